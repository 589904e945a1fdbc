//! Environment variables into URLs, and passwords out of texts.

use super::Scenario;

/// Environment variables that a scenario's URLs name and that are not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[error("the scenario needs environment variables that are not set: {}", names.join(", "))]
#[diagnostic(help("set them before the run: export {}=…", names.join("=… ")))]
pub struct MissingVariables {
    /// Their names.
    pub names: Vec<String>,
}

/// Puts the values of environment variables where the scenario's URLs say `${NAME}`.
///
/// Parsing leaves them alone, so that a report can read the scenario again on a machine without them. Call
/// this once before the servers are brought up, and keep the result out of journals and reports.
///
/// # Errors
/// Every variable that `get` does not know.
pub fn resolve_env(scenario: &mut Scenario, get: impl Fn(&str) -> Option<String>) -> Result<(), MissingVariables> {
    let mut names: Vec<String> = Vec::new();
    let stack = &mut scenario.stack;
    let redis = stack.redis.as_mut().and_then(|redis| redis.url.as_mut());
    let postgres = stack.postgres.as_mut().and_then(|postgres| postgres.url.as_mut());
    for url in [redis, postgres, scenario.target.url.as_mut()].into_iter().flatten() {
        let mut filled = String::new();
        let mut rest = url.as_str();
        while let Some((before, (name, after))) =
            rest.split_once("${").and_then(|(before, after)| Some((before, after.split_once('}')?)))
        {
            filled.push_str(before);
            match get(name) {
                Some(value) => filled.push_str(&value),
                None if names.iter().any(|known| known == name) => {}
                None => names.push(name.to_owned()),
            }
            rest = after;
        }
        filled.push_str(rest);
        *url = filled;
    }
    if names.is_empty() { Ok(()) } else { Err(MissingVariables { names }) }
}

/// The names in `${…}`. An error where one is not closed.
pub(super) fn variables(text: &str) -> Result<Vec<&str>, ()> {
    text.split("${").skip(1).map(|part| part.split_once('}').map(|(name, _)| name).ok_or(())).collect()
}

/// Strikes out the passwords of all URLs in a text: `redis://:secret@host` becomes `redis://:***@host`, and so
/// does `?password=secret`. A password given as `${NAME}` stays, for the name tells nothing.
pub fn mask_passwords(text: &str) -> String {
    mask(text, &|_| "***".to_owned())
}

/// The same with one `*` for each byte, so that every other byte stays where it is.
pub(super) fn mask_in_place(text: &str) -> String {
    mask(text, &|password| "*".repeat(password.len()))
}

/// What is shown instead of a password.
type MaskFn<'a> = &'a dyn Fn(&str) -> String;

fn mask(text: &str, mask_with: MaskFn<'_>) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        masked.push_str(before);
        let ends = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '<' | '>' | '`');
        let (url, next) = after.split_at(after.find(ends).unwrap_or(after.len()));
        masked.push_str(&mask_url(url, mask_with));
        rest = next;
    }
    masked.push_str(rest);
    masked
}

/// What follows `://`.
fn mask_url(url: &str, mask_with: MaskFn<'_>) -> String {
    // Passwords that were not percent-encoded may hold "/" or "?", so the last "@" before a space ends them,
    // unless a path or query that comes first has nothing to do with a password.
    let plain_end = url.find(['/', '?', '#']).unwrap_or(url.len());
    let at = match url[..plain_end].rfind('@') {
        Some(at) => Some(at),
        None => url.rfind('@').filter(|at| url[..*at].contains(':') && !looks_like_host_and_port(&url[..plain_end])),
    };
    let (user, rest) = at.map_or(("", url), |at| url.split_at(at));
    let user = match user.split_once(':') {
        Some((name, password)) if !password.is_empty() && !is_variable(password) => {
            format!("{name}:{}", mask_with(password))
        }
        _ => user.to_owned(),
    };
    format!("{user}{}", mask_query(rest, mask_with))
}

fn is_variable(text: &str) -> bool {
    text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).is_some_and(|name| !name.contains(['$', '{', '}']))
}

fn looks_like_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_none_or(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn mask_query(url: &str, mask_with: MaskFn<'_>) -> String {
    let Some((path, query)) = url.split_once('?') else { return url.to_owned() };
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, value))
            if ["password", "sslpassword", "pass", "pwd"].contains(&name.to_ascii_lowercase().as_str())
                && !value.is_empty()
                && !is_variable(value) =>
        {
            format!("{name}={}", mask_with(value))
        }
        _ => pair.to_owned(),
    });
    format!("{path}?{}", pairs.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_struck_out_wherever_a_url_stands() {
        for (text, masked) in [
            ("url = \"redis://:s3cret@host:6379/0\"", "url = \"redis://:***@host:6379/0\""),
            ("postgres://app:p%40ss@db/app?x=1", "postgres://app:***@db/app?x=1"),
            ("postgres://app:a/b?c@db/app", "postgres://app:***@db/app"),
            ("postgres://db/app?user=a&password=secret#", "postgres://db/app?user=a&password=***"),
            ("# was http://u:p@one and http://u:q@two", "# was http://u:***@one and http://u:***@two"),
            ("redis://:${PASSWORD}@host", "redis://:${PASSWORD}@host"),
            ("http://localhost:8080/a@b", "http://localhost:8080/a@b"),
            ("http://user@host/", "http://user@host/"),
            ("nothing: here @ all", "nothing: here @ all"),
        ] {
            assert_eq!(mask_passwords(text), masked);
            assert_eq!(mask_passwords(masked), masked, "masking again changes nothing");
            assert_eq!(mask_in_place(text).len(), text.len());
            assert_eq!(mask_passwords(&mask_in_place(text)), masked, "in place hides the same");
        }
    }
}
