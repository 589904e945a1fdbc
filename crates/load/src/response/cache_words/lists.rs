//! The members of a header that is a list.

use std::borrow::Cow;

/// The last member of a header's lines: field lines of one name are one list (RFC 9110, 5.3).
pub fn last_member<'lines>(lines: &'lines [Cow<'_, str>]) -> Option<&'lines str> {
    lines.iter().rev().find_map(|line| members(line).pop())
}

/// The members of one line. Empty ones don't count.
pub(super) fn members(line: &str) -> Vec<&str> {
    split(line, ',').into_iter().map(str::trim).filter(|member| !member.is_empty()).collect()
}

/// Splits outside quoted strings and comments in parentheses, unless one is left open.
pub(super) fn split(text: &str, at: char) -> Vec<&str> {
    let mut quoted = false;
    let mut escaped = false;
    let mut depth = 0_u32;
    let parts = text
        .split(|c: char| {
            let was_escaped = std::mem::take(&mut escaped);
            match c {
                '\\' if quoted && !was_escaped => escaped = true,
                '"' if !was_escaped => quoted = !quoted,
                '(' if !quoted => depth += 1,
                ')' if !quoted => depth = depth.saturating_sub(1),
                _ => {}
            }
            c == at && !quoted && depth == 0
        })
        .collect();
    if quoted || depth > 0 { text.split(at).collect() } else { parts }
}
