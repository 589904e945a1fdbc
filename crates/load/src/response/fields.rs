//! Reads single fields of a JSON body without parsing it completely.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;

/// The field at `path` (dots for depth) of a JSON object, as JSON text. `Ok(None)`: valid JSON without it.
/// `Err`: not JSON, in words.
pub fn field<'body>(body: &'body [u8], path: &str) -> Result<Option<&'body str>, String> {
    let mut text = std::str::from_utf8(body).map_err(|_| "the body isn't UTF-8".to_owned())?;
    for name in path.split('.') {
        if !text.trim_start().starts_with('{') {
            // Valid JSON of another type has no fields; anything else is not JSON.
            return serde_json::from_str::<&RawValue>(text).map(|_| None).map_err(|error| not_json_message(&error));
        }
        let object: HashMap<Cow<'_, str>, &RawValue> =
            serde_json::from_str(text).map_err(|error| not_json_message(&error))?;
        match object.get(name) {
            Some(value) => text = value.get(),
            None => return Ok(None),
        }
    }
    Ok(Some(text))
}

fn not_json_message(error: &serde_json::Error) -> String {
    format!("the body isn't JSON: {error}")
}

/// A JSON scalar as plain text: strings without their quotes.
pub fn unquote(json: &str) -> Cow<'_, str> {
    if json.starts_with('"') {
        serde_json::from_str::<String>(json).map_or(Cow::Borrowed(json), Cow::Owned)
    } else {
        Cow::Borrowed(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_at_any_depth() {
        let body = br#"{"id": 17, "meta": {"version": "42", "cache": {"hit": true}}}"#;
        assert_eq!(field(body, "id"), Ok(Some("17")));
        assert_eq!(field(body, "meta.version").map(|value| value.map(unquote)), Ok(Some("42".into())));
        assert_eq!(field(body, "meta.cache.hit"), Ok(Some("true")));
        assert_eq!(field(body, "meta.missing"), Ok(None));
        assert_eq!(field(b"[1, 2]", "id"), Ok(None));
    }

    #[test]
    fn a_body_that_is_not_json_is_an_error() {
        assert!(field(b"<html>", "id").unwrap_err().contains("isn't JSON"));
        assert!(field(br#"{"id": 17"#, "id").unwrap_err().contains("isn't JSON"));
        assert!(field(b"\xff", "id").unwrap_err().contains("UTF-8"));
    }
}
