//! Whether an answer with a status of success is an error page or a sign-in page in place of the item.

use super::fields::field;

/// How much of a page is looked at.
const MAX_BYTES: usize = 64 << 10;

/// What the title or a heading of such a page says.
const PHRASES: &[&str] = &[
    "error",
    "errors",
    "not found",
    "unavailable",
    "bad gateway",
    "gateway timeout",
    "forbidden",
    "unauthorized",
    "access denied",
    "maintenance",
    "sign in",
    "signin",
    "log in",
    "login",
    "captcha",
    "just a moment",
    "something went wrong",
    "bad request",
    "too many requests",
    "temporarily",
    "oops",
];

/// Longer plain texts are no errors of a server.
const MAX_PLAIN: usize = 200;

/// How plain texts begin that servers and proxies answer with.
const PLAIN_ERRORS: &[&str] = &[
    "error",
    "bad gateway",
    "bad request",
    "forbidden",
    "gateway timeout",
    "internal server error",
    "not found",
    "service unavailable",
    "too many requests",
    "unauthorized",
];

/// Whether a path asks for a page of this kind, so that its answer is what was wanted.
pub(super) fn is_asked_for(path: &str) -> bool {
    let path = path.to_lowercase();
    ["login", "log-in", "signin", "sign-in", "auth", "error", "captcha", "maintenance"]
        .iter()
        .any(|word| path.contains(word))
}

/// Whether the body looks like one. `keys`: what names the item; a page with one of them is the item's.
pub(super) fn is_substitute(body: &[u8], keys: &[String]) -> bool {
    let text = String::from_utf8_lossy(&body[..body.len().min(MAX_BYTES)]);
    // Nearly every answer has its key, written as in the path: no copy of it in small letters is needed.
    if keys.iter().any(|key| has_word(&text, key)) {
        return false;
    }
    let text = text.to_lowercase();
    if keys.iter().any(|key| has_word(&text, &key.to_lowercase())) {
        return false;
    }
    if text.trim_start().starts_with('{') {
        let is_told = |name: &str| {
            field(body, name)
                .ok()
                .flatten()
                .is_some_and(|value| !matches!(value, "null" | "false" | "[]" | "{}" | "\"\"" | "0"))
        };
        return is_told("error") || is_told("errors") || is_problem(&text);
    }
    if !text.trim_start().starts_with('<') {
        let line = text.trim().trim_end_matches(['.', '!']);
        let line = line.split_once(' ').filter(|(code, _)| is_status(code)).map_or(line, |(_, rest)| rest);
        return line.len() <= MAX_PLAIN && PLAIN_ERRORS.iter().any(|error| line.starts_with(error));
    }
    if is_xml_error(&text) || leads_elsewhere(&text) {
        return true;
    }
    // Where no item was asked for, a form to sign in may well be on every page of the site.
    let asks_for_password =
        !keys.is_empty() && ["\"password\"", "'password'", "=password"].iter().any(|part| text.contains(part));
    asks_for_password
        || ["title", "h1", "h2"].iter().filter_map(|tag| content(&text, tag)).any(|heading| {
            PHRASES.iter().any(|phrase| has_word(heading, phrase))
                || heading.split(|c: char| !c.is_alphanumeric()).any(is_status)
        })
}

fn is_status(word: &str) -> bool {
    word.len() == 3 && matches!(word.parse(), Ok(400_u16..=599))
}

/// Whether a JSON object says that something failed: a problem of RFC 9457, `"success": false`, or nothing but nulls.
fn is_problem(text: &str) -> bool {
    let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(text) else { return false };
    let number = |name: &str| fields.get(name).and_then(serde_json::Value::as_u64);
    let is_failure = |name: &str| number(name).is_some_and(|code| (400..600).contains(&code));
    let is_false = |name: &str| fields.get(name) == Some(&serde_json::Value::Bool(false));
    let has = |names: &[&str]| names.iter().any(|name| fields.contains_key(*name));
    (is_failure("status") && has(&["title", "detail", "type", "message"]))
        || ((is_failure("code") || is_failure("statuscode")) && has(&["message", "msg", "detail"]))
        || is_false("success")
        || is_false("ok")
        || (!fields.is_empty() && fields.values().all(serde_json::Value::is_null))
}

/// Whether the root of an XML text is an error.
fn is_xml_error(text: &str) -> bool {
    let mut rest = text.trim_start();
    while rest.starts_with("<?") || rest.starts_with("<!") {
        let Some(end) = rest.find('>') else { return false };
        rest = rest[end + 1..].trim_start();
    }
    let root = rest.strip_prefix('<').map(|rest| rest.split([' ', '>', '/']).next().unwrap_or_default());
    let root = root.map(|name| name.rsplit(':').next().unwrap_or_default());
    matches!(root, Some("error" | "errors" | "errorresponse" | "fault" | "exception"))
}

/// Whether a page has nothing to say but where to go.
fn leads_elsewhere(text: &str) -> bool {
    text.find("http-equiv").is_some_and(|at| {
        let end = text[at..].find('>').map_or(text.len(), |length| at + length);
        text[at..end].contains("refresh") && text[at..end].contains("url=")
    })
}

/// Whether `word` is in the text and not a part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    !word.is_empty()
        && text.match_indices(word).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let after = text[at + word.len()..].chars().next();
            ![before, after].iter().flatten().any(|c| c.is_alphanumeric())
        })
}

/// What stands in the first element of this name.
fn content<'text>(text: &'text str, tag: &str) -> Option<&'text str> {
    let from = [format!("<{tag}>"), format!("<{tag} ")].iter().filter_map(|open| text.find(open)).min()?;
    let rest = &text[from..];
    let inner = &rest[rest.find('>')? + 1..];
    Some(&inner[..inner.find(&format!("</{tag}")).unwrap_or(inner.len().min(inner.floor_char_boundary(200)))])
}

#[cfg(test)]
mod tests {
    use super::is_substitute;

    fn is(body: &str) -> bool {
        is_substitute(body.as_bytes(), &["17".to_owned()])
    }

    #[test]
    fn error_pages_and_sign_in_pages_are_no_items() {
        for body in [
            "<html><h1>502 Bad Gateway</h1><hr>nginx/1.22</html>",
            "<!DOCTYPE html><title>Service Unavailable</title><p>Request 4711 failed.",
            "<title lang=en>Log in · Shop</title>",
            "<form><input name=\"p\" type=\"password\"><input value=\"0.1723\"></form>",
            "<h2 class=x>Error 1020</h2>",
            "{\"error\": \"database is down\", \"trace\": \"a175\"}",
            "{\"errors\": [{\"code\": 9}]}",
            "{\"data\": null}",
            "{\"type\": \"about:blank\", \"title\": \"Service Unavailable\", \"status\": 503}",
            "{\"code\": 500, \"message\": \"x\", \"nonce\": \"0.123\"}",
            "{\"success\": false, \"reason\": \"x\"}",
            "Service Unavailable",
            "503 Service Unavailable\n",
            "Service Unavailable, reference 0.123",
            "<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>",
            "<title>Something went wrong</title>",
            "<html><meta http-equiv=\"refresh\" content=\"0; url=/signin\">",
        ] {
            assert!(is(body), "{body}");
        }
    }

    #[test]
    fn a_page_that_is_no_items_is_judged_by_its_title() {
        let is = |body: &str| is_substitute(body.as_bytes(), &[]);
        assert!(is("<title>502 Bad Gateway</title>") && is("{\"error\": \"down\"}"));
        assert!(!is("<title>Shop</title><form><input type=\"password\"></form><h1>Chairs</h1>"));
        assert!(!is("{\"items\": []}") && !is(""));
    }

    #[test]
    fn pages_of_the_item_are_items_whatever_they_speak_of() {
        for body in [
            "<title>Post 17: 502 errors, explained</title>",
            "<title>The terror of error-free code</title><a href=\"/posts/17\">",
            "<title>Shop</title><form><input type=password></form><h1>Chair</h1><a href=/items/17/edit>",
            "<title>Chair</title><p>Without its number</p>",
            "<title>Terrors of the deep</title>",
            "{\"error\": null, \"name\": \"chair\"}",
            "{\"name\": \"chair\"}",
            "{\"status\": 503, \"name\": \"chair\"}",
            "{\"name\": null, \"price\": 3}",
            "{\"code\": 404, \"name\": \"chair\"}",
            "The error page of a chair",
            "<chair><error>0.1</error></chair>",
            "<meta http-equiv=\"content-type\" content=\"text/html\"><h1>Chair</h1>",
            "chair, error",
            "",
        ] {
            assert!(!is(body), "{body}");
        }
    }
}
