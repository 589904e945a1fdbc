//! The comments of a scenario file, and what they assign.

use std::ops::Range;

use crate::secrets::is_secret_name;

/// The comments of a file: from a `#` outside its strings to the end of the line.
pub(super) fn comments(text: &str, strings: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut strings: Vec<_> = strings.to_vec();
    strings.sort_by_key(|span| span.start);
    let mut strings = strings.iter().peekable();
    let mut quote = None;
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        while strings.next_if(|span| span.end <= at).is_some() {}
        if let Some(span) = strings.peek().filter(|span| span.contains(&at)) {
            at = span.end;
            continue;
        }
        match (quote, c) {
            (_, '\n') => quote = None,
            // A key may be in quotes.
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, '#') => {
                let end = text[at..].find('\n').map_or(text.len(), |length| at + length);
                found.push(at + 1..end);
                at = end;
                continue;
            }
            _ => {}
        }
        at += c.len_utf8();
    }
    found
}

/// Whether a word of a comment can hardly be a word of its prose. One that can be is struck out where it stands: it would be missing
/// everywhere else.
pub(super) fn is_no_prose(word: &str) -> bool {
    word.len() >= 8 && word.bytes().any(|byte| byte.is_ascii_digit())
}

/// In a comment, the string that follows the name of a secret, or the word where it is no string.
pub(super) fn assigned(text: &str) -> Vec<Range<usize>> {
    let value = |value: Range<usize>| {
        let rest = &text[value.start..];
        match rest.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let end = rest[1..].find(quote).map_or(text.len(), |length| value.start + 1 + length);
                value.start + 1..end
            }
            _ => {
                let end = rest.find(|c: char| c.is_whitespace() || matches!(c, ',' | '}' | ']'));
                value.start..end.map_or(text.len(), |length| value.start + length)
            }
        }
    };
    named_values(text, false).into_iter().map(value).collect()
}

/// The beginnings of what follows `name =` and `"name" =`, and `Name:` in what looks like a header, where the name is that of
/// a secret; with `any_colon` also `name:` in what does not, as in YAML. Each ends with the text.
pub(super) fn named_values(text: &str, any_colon: bool) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, c) in text.match_indices(['=', ':']) {
        let before = text[..at].trim_end().trim_end_matches(['"', '\'']);
        let in_name = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        let begin =
            before.rfind(|c| !in_name(c)).map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        let name = &before[begin..];
        let is_header =
            name.contains('-') || ["authorization", "cookie"].iter().any(|one| name.eq_ignore_ascii_case(one));
        let value = at + c.len();
        let value = value + (text[value..].len() - text[value..].trim_start().len());
        if is_secret_name(name)
            && (c == "=" || is_header || any_colon || text[value..].starts_with(['"', '\'']))
            && value < text.len()
        {
            found.push(value..text.len());
        }
    }
    found
}
