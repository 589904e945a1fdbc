//! Variables of a shell with a word that takes their place.

use std::ops::Range;

use super::values::without_quotes;

/// A variable for which a shell may take a word that is written out: `${NAME:-word}`.
pub(super) struct Expansion<'a> {
    pub name: &'a str,
    /// What may become the value. The message of `${NAME:?message}` never does.
    pub word: Range<usize>,
    pub length: usize,
}

impl<'a> Expansion<'a> {
    /// The one that a text begins with.
    pub(super) fn at(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix("${")?;
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
        let begins = rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let operator = rest[end..].strip_prefix(':').unwrap_or(&rest[end..]).chars().next()?;
        if !begins || !"-=+?".contains(operator) {
            return None;
        }
        let word = text.len() - rest[end..].len() + rest[end..].find(operator)? + 1;
        let close = word + closing_brace(&text[word..])?;
        let value = if operator == '?' { close..close } else { word..close };
        Some(Self { name: &rest[..end], word: without_quotes(text, value), length: close + 1 })
    }
}

/// Where the `}` is that closes what was opened before this text.
fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' if text[..at].ends_with('$') => open += 1,
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
    }
    None
}
