//! Names that say that their value is a secret: of headers, query parameters, JSON fields, options and variables.

/// Words that are enough alone.
const WORDS: [&str; 21] = [
    "apikey",
    "auth",
    "bearer",
    "cred",
    "creds",
    "csrf",
    "hmac",
    "jwt",
    "key",
    "oauth",
    "otp",
    "pass",
    "psk",
    "pw",
    "pwd",
    "requirepass",
    "sas",
    "sid",
    "sig",
    "token",
    "xsrf",
];

/// Words that are enough within a longer one: `jsessionid`, `pgpassword`, `authentication`.
const STEMS: [&str; 10] =
    ["authenti", "authoris", "authoriz", "cookie", "credential", "passphrase", "passw", "secret", "sessid", "session"];

/// Short words that are enough behind one of [`OWNERS`]: `accesskey`, `dbpass`, but not `monkey` and `bypass`.
const ENDINGS: [&str; 6] = ["key", "auth", "pass", "pwd", "sig", "token"];

/// What such a key is for, or whose it is.
const OWNERS: [&str; 39] = [
    "access",
    "account",
    "admin",
    "api",
    "app",
    "auth",
    "basic",
    "client",
    "csrf",
    "db",
    "encryption",
    "function",
    "functions",
    "http",
    "id",
    "jwt",
    "license",
    "master",
    "my",
    "mysql",
    "o",
    "pg",
    "private",
    "proxy",
    "redis",
    "rediscli",
    "refresh",
    "root",
    "secret",
    "service",
    "session",
    "shared",
    "signing",
    "smtp",
    "subscription",
    "user",
    "x",
    "xsrf",
    "bearer",
];

/// Whether a name says that its value is a secret. The name is taken apart at everything that is no letter or digit and
/// at capitals, and its parts are compared as whole words: `X-Api-Key`, `apikey`, `accessToken` and `PGPASSWORD` are names
/// of secrets, `Monkey`, `Bypass` and `Author` are not.
pub fn is_secret_name(name: &str) -> bool {
    words(name).iter().any(|word| is_secret_word(word.trim_end_matches(|c: char| c.is_ascii_digit())))
}

fn is_secret_word(word: &str) -> bool {
    WORDS.contains(&word)
        || STEMS.iter().any(|stem| word.contains(stem))
        || word.starts_with("token")
        || word.ends_with("token")
        || word.ends_with("signature")
        || (word.starts_with("auth") && ENDINGS.contains(&&word[4..]))
        || ENDINGS.iter().any(|end| word.strip_suffix(end).is_some_and(|owner| OWNERS.contains(&owner)))
}

/// The words of a name in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let letters: Vec<char> = name.chars().collect();
    for (at, c) in letters.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| letters.get(at));
        let next_is_lower = letters.get(at + 1).is_some_and(|next| next.is_lowercase());
        // `apiKey` and `APIKey`.
        let begins = c.is_uppercase()
            && before.is_some_and(|before| !before.is_uppercase() || (before.is_uppercase() && next_is_lower));
        if !c.is_alphanumeric() || begins {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known_by_whole_words() {
        for name in [
            "Authorization",
            "Proxy-Authorization",
            "Cookie",
            "Set-Cookie",
            "X-Api-Key",
            "x_api_key",
            "apikey",
            "apiKey",
            "APIKey",
            "APIKEY",
            "X-Auth-Token",
            "X-Authentication",
            "access_token",
            "accessToken",
            "sig",
            "X-Amz-Signature",
            "X-Hub-Signature-256",
            "password",
            "PGPASSWORD",
            "passwd",
            "pwd",
            "sslpassword",
            "client-secret",
            "X-Session-Id",
            "sessionid",
            "JSESSIONID",
            "PHPSESSID",
            "X-Credential",
            "Credentials",
            "REDISCLI_AUTH",
            "OAuth2Token",
            "Key1",
            "key",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "Monkey",
            "Bypass",
            "Compass",
            "Author",
            "Authority",
            "Keyboard",
            "X-User",
            "Accept",
            "Turkey",
            "page",
            "q",
            "sort",
            "Cache-Control",
            "If-None-Match",
            "Signal",
            "Passenger",
            "",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
