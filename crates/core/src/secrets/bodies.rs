//! Secrets in bodies, whatever they are: JSON, forms, multipart, XML.

use std::ops::Range;

use super::names::is_secret_name;
use super::url::{in_query, in_text};
use super::values::{in_json, literal_parts};

/// The values of a body whose fields have the names of secrets; whether each is a string in JSON or a text elsewhere.
pub(crate) fn in_body(text: &str) -> Vec<(Range<usize>, bool)> {
    if text.trim_start().starts_with(['{', '[', '"']) {
        return in_json(text);
    }
    let mut found = in_query(text, 0);
    found.extend(in_multipart(text));
    found.extend(in_markup(text));
    found.extend(in_text(text));
    found.into_iter().map(|part| (part, true)).collect()
}

/// The parts of a multipart body: `name="password"`, an empty line, the value, and the next boundary.
fn in_multipart(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, start) in text.match_indices("name=\"") {
        let begin = at + start.len();
        let Some(length) = text[begin..].find('"') else { continue };
        if !is_secret_name(&text[begin..begin + length]) {
            continue;
        }
        let rest = begin + length;
        let empty = ["\r\n\r\n", "\n\n"].iter().filter_map(|line| Some((text[rest..].find(line)?, line.len()))).min();
        let Some((offset, width)) = empty else { continue };
        let value = rest + offset + width;
        let end = text[value..].find("\n--").map_or(text.len(), |length| value + length);
        let end = value + text[value..end].trim_end_matches('\r').len();
        found.extend(literal_parts(text, value..end, true));
    }
    found
}

/// Elements and attributes of XML: `<password>…</password>`, `<login token="…">`.
fn in_markup(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices('<') {
        let Some(length) = text[at..].find('>') else { continue };
        let tag = &text[at + 1..at + length];
        let name = tag.split(|c: char| c.is_whitespace() || c == '/').next().unwrap_or_default();
        let local = name.rsplit(':').next().unwrap_or_default();
        let content = at + length + 1;
        if is_secret_name(local) {
            let end = text[content..].find('<').map_or(text.len(), |length| content + length);
            found.extend(literal_parts(text, content..end, true));
        }
        for (equals, _) in tag.match_indices('=') {
            let attribute = tag[..equals].trim_end().rsplit(char::is_whitespace).next().unwrap_or_default();
            let Some(quote) = tag[equals + 1..].trim_start().chars().next().filter(|c| "\"'".contains(*c)) else {
                continue;
            };
            let Some(open) = tag[equals..].find(quote).map(|length| equals + length + 1) else { continue };
            if is_secret_name(attribute.rsplit(':').next().unwrap_or_default()) {
                let end = tag[open..].find(quote).map_or(tag.len(), |length| open + length);
                found.extend(literal_parts(text, at + 1 + open..at + 1 + end, true));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::strike;
    use super::*;

    #[test]
    fn the_secrets_of_every_kind_of_body_are_found() {
        for body in [
            "password=HUSH&kept=1",
            "kept=1&api_key=HUSH%21",
            "kept=1&token={token}&secret=HUSH",
            "--b\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\nHUSH\r\n--b\r\nContent-Disposition: form-data; \
             name=\"kept\"\r\n\r\nx\r\n--b--\r\n",
            "<login kept=\"1\"><password>HUSH</password></login>",
            "<s:login kept='1' s:token='HUSH'/>",
            "{\"password\": \"HUSH\", \"kept\": 1}",
        ] {
            let parts = in_body(body).into_iter().map(|(part, _)| part).collect();
            let struck = strike(body, parts);
            assert!(!struck.contains("HUSH") && struck.contains("kept"), "{body}: {struck}");
        }
        assert!(in_body("plain text, no secret=").is_empty());
    }
}
