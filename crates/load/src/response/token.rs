//! The token of a write: it names the run, the item and the write that a value comes from. So values of other items,
//! values that were never written and values mixed from two writes are recognized.

use std::fmt;

const TOKEN_PREFIX: &str = "cp-";

/// `cp-RUN-ID-NUMBER`, written in a body in place of `{token}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteToken {
    /// The run, in hexadecimal.
    pub run: u32,
    /// Id of the item; 0 where it was not known yet.
    pub id: u64,
    /// Which write of the item, from 1.
    pub number: u64,
}

impl WriteToken {
    /// The first token in a text.
    pub fn find(text: &str) -> Option<Self> {
        text.match_indices(TOKEN_PREFIX).find_map(|(at, _)| {
            let mut parts = text[at + TOKEN_PREFIX.len()..].splitn(3, '-');
            let run = parts.next().filter(|run| run.len() == 8)?;
            let (id, rest) = (parts.next()?, parts.next()?);
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            Some(Self {
                run: u32::from_str_radix(run, 16).ok()?,
                id: id.parse().ok()?,
                number: rest[..digits].parse().ok()?,
            })
        })
    }
}

impl fmt::Display for WriteToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TOKEN_PREFIX}{:08x}-{}-{}", self.run, self.id, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_anywhere_in_a_text() {
        let token = WriteToken { run: 0xBEEF, id: 17, number: 4 };
        for text in [format!("{token}"), format!("title {token} (edited)"), format!("cp-x {token}")] {
            assert_eq!(WriteToken::find(&text), Some(token.clone()), "{text}");
        }
        for none in ["", "cp-", "cp-0000beef-17", "cp-0000beef-x-4", "cp-beef-17-4", "a title"] {
            assert_eq!(WriteToken::find(none), None, "{none}");
        }
    }
}
