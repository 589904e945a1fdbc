//! Where a part of a string's value stands in the file.

use std::ops::Range;

use super::reader::Located;

/// Maps a part of a string's value to the part of the file that it was written as.
pub(super) fn span_in_file(file: &str, string: &Located<&str>, part: Range<usize>) -> Range<usize> {
    let whole = string.span.clone();
    let Some(raw) = file.get(whole.clone()) else { return whole };
    let quotes = if raw.starts_with("'''") || raw.starts_with("\"\"\"") { 3 } else { 1 };
    let mut from = quotes;
    if quotes == 3 {
        // A line break right behind the opening quotes does not belong to the value.
        from += ["\r\n", "\n"].iter().find(|line| raw[3..].starts_with(**line)).map_or(0, |line| line.len());
    }
    let mut value = 0;
    let mut start = None;
    let mut at = from;
    let end_of_raw = raw.len().saturating_sub(quotes);
    let escapes = raw.starts_with('"');
    while at < end_of_raw && value < part.end {
        if value >= part.start && start.is_none() {
            start = Some(at);
        }
        let Some(next) = raw[at..].chars().next() else { break };
        let (width, length) =
            if escapes && next == '\\' { escape(&raw[at..]) } else { (next.len_utf8(), next.len_utf8()) };
        at += width;
        value += length;
    }
    let start = start.unwrap_or(at);
    // A point at the string's end marks its closing quote, so that there is something to see.
    let end = if at > start { at } else { start + raw[start..].chars().next().map_or(0, char::len_utf8) };
    let limit = whole.end;
    (whole.start + start).min(limit)..(whole.start + end).min(limit)
}

/// How many bytes an escape takes in the file, and how many in the value.
fn escape(raw: &str) -> (usize, usize) {
    let digits = match raw.as_bytes().get(1) {
        Some(b'x') => 2,
        Some(b'u') => 4,
        Some(b'U') => 8,
        Some(b' ' | b'\t' | b'\r' | b'\n') => {
            let rest = &raw[1..];
            return (1 + rest.len() - rest.trim_start().len(), 0);
        }
        Some(_) => return (2, 1),
        None => return (1, 1),
    };
    let code = raw.get(2..2 + digits).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let length = code.and_then(char::from_u32).map_or(1, char::len_utf8);
    (2 + digits, length)
}
