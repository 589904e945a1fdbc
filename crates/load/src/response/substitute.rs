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
];

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
        return is_told("error") || is_told("errors");
    }
    if !text.trim_start().starts_with('<') {
        return false;
    }
    let asks_for_password = ["\"password\"", "'password'", "=password"].iter().any(|part| text.contains(part));
    asks_for_password
        || ["title", "h1", "h2"].iter().filter_map(|tag| content(&text, tag)).any(|heading| {
            let is_status = |word: &str| word.len() == 3 && matches!(word.parse(), Ok(400_u16..=599));
            PHRASES.iter().any(|phrase| has_word(heading, phrase))
                || heading.split(|c: char| !c.is_alphanumeric()).any(is_status)
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
        ] {
            assert!(is(body), "{body}");
        }
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
            "chair, error",
            "",
        ] {
            assert!(!is(body), "{body}");
        }
    }
}
