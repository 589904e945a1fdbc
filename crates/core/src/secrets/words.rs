//! Finds a known secret in a text, in any of the forms in which it may appear there.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// A shorter secret is found only as a whole word, so that `test` is not struck out of `latest`.
const MIN_ANYWHERE: usize = 8;

/// Of a secret of fewer bytes too little of a longer base64 text is certain.
const MIN_WITHIN_BASE64: usize = 6;

/// One secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    plain: Vec<u8>,
    /// What base64 makes of it, by the number of bytes before it, as far as the bytes around it don't matter.
    base64: Vec<Vec<u8>>,
}

impl Word {
    pub(super) fn new(text: &str) -> Self {
        let base64 = if text.len() >= MIN_WITHIN_BASE64 {
            (0..3).map(|before| within_base64(text.as_bytes(), before)).collect()
        } else {
            vec![STANDARD_NO_PAD.encode(text).into_bytes()]
        };
        Self { plain: text.as_bytes().to_vec(), base64 }
    }

    pub(super) fn len(&self) -> usize {
        self.plain.len()
    }

    pub(super) fn is(&self, text: &str) -> bool {
        self.plain == text.as_bytes()
    }

    /// Where the text holds it.
    pub(super) fn find(&self, text: &str, found: &mut Vec<Range<usize>>) {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            match self.match_at(text, at) {
                Some(range) => {
                    at = range.end.max(at + 1);
                    found.push(range);
                }
                None => at += 1,
            }
        }
    }

    fn match_at(&self, text: &str, at: usize) -> Option<Range<usize>> {
        let bytes = text.as_bytes();
        let first = bytes[at];
        let escape = matches!(first, b'%' | b'\\' | b'&' | b'+');
        if text.is_char_boundary(at)
            && (escape || first == self.plain[0])
            && let Some(length) = matched(bytes, at, &self.plain, |a, b| a == b)
            && text.is_char_boundary(at + length)
            && (self.plain.len() >= MIN_ANYWHERE || is_whole_word(bytes, at..at + length))
        {
            return Some(at..at + length);
        }
        for form in &self.base64 {
            if (escape || same_in_base64(first, form[0]))
                && let Some(length) = matched(bytes, at, form, same_in_base64)
            {
                // The letters beside it hold some of its bits, and of a password the user before it.
                let range = base64_around(bytes, at..at + length);
                if self.plain.len() >= MIN_WITHIN_BASE64 || range == (at..at + length) {
                    return Some(range);
                }
            }
        }
        None
    }
}

/// Base64 of a secret behind so many other bytes, without the letters that depend on what is around it.
fn within_base64(secret: &[u8], before: usize) -> Vec<u8> {
    let mut bytes = vec![0; before];
    bytes.extend_from_slice(secret);
    let letters = STANDARD_NO_PAD.encode(&bytes).into_bytes();
    let (begin, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
    letters[begin..end].to_vec()
}

/// The alphabet for URLs has `-` and `_` for `+` and `/`.
fn same_in_base64(a: u8, b: u8) -> bool {
    let usual = |letter| match letter {
        b'-' => b'+',
        b'_' => b'/',
        letter => letter,
    };
    usual(a) == usual(b)
}

fn base64_around(text: &[u8], range: Range<usize>) -> Range<usize> {
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte);
    let before = text[..range.start].iter().rev().take_while(|byte| letter(byte)).count();
    let after = text[range.end..].iter().take_while(|byte| letter(byte)).count();
    range.start - before..range.end + after
}

/// How much of the text is the secret, as it stands or escaped. A text that was cut off in the middle of the secret (`…`)
/// holds enough of it.
fn matched(text: &[u8], at: usize, secret: &[u8], same: impl Fn(u8, u8) -> bool) -> Option<usize> {
    run(text, at, secret, &same, |_, _| None).or_else(|| run(text, at, secret, &same, unescape))
}

fn run(
    text: &[u8],
    at: usize,
    secret: &[u8],
    same: &impl Fn(u8, u8) -> bool,
    unescape: impl Fn(&[u8], u8) -> Option<(Vec<u8>, usize)>,
) -> Option<usize> {
    let (mut here, mut done) = (at, 0);
    while done < secret.len() {
        let rest = &text[here..];
        if let Some((bytes, length)) = unescape(rest, secret[done])
            && bytes.len() <= secret.len() - done
            && bytes.iter().zip(&secret[done..]).all(|(a, b)| same(*a, *b))
        {
            here += length;
            done += bytes.len();
        } else if rest.first().is_some_and(|byte| same(*byte, secret[done])) {
            here += 1;
            done += 1;
        } else {
            let cut_off = done >= super::MIN_SECRET_LENGTH && rest.starts_with("…".as_bytes());
            return cut_off.then_some(here - at);
        }
    }
    Some(here - at)
}

/// What an escape at the beginning of a text stands for, and its length. `wanted` tells what a `+` means.
fn unescape(text: &[u8], wanted: u8) -> Option<(Vec<u8>, usize)> {
    let hex = |digits: &[u8]| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
    let letter = |code: Option<u32>, length: usize| {
        char::from_u32(code?).map(|c| (c.encode_utf8(&mut [0; 4]).as_bytes().to_vec(), length))
    };
    match (text.first()?, text.get(1)) {
        (b'+', _) => (wanted == b' ').then(|| (vec![b' '], 1)),
        (b'%', _) => {
            // `%2525` is a `%` that was encoded twice.
            let encoded_again =
                text.get(1..3) == Some(b"25") && text.get(3..5).is_some_and(|digits| hex(digits).is_some());
            let begin = if encoded_again { 3 } else { 1 };
            let byte = hex(text.get(begin..begin + 2)?).filter(|_| text[begin] != b'+')?;
            Some((vec![u8::try_from(byte).ok()?], begin + 2))
        }
        (b'\\', Some(b'u')) if text.get(2) == Some(&b'{') => {
            let end = text.iter().take(12).position(|byte| *byte == b'}')?;
            letter(hex(&text[3..end]), end + 1)
        }
        (b'\\', Some(b'u')) => letter(hex(text.get(2..6)?), 6),
        (b'\\', Some(b'U')) => letter(hex(text.get(2..10)?), 10),
        (b'\\', Some(b'n')) => Some((vec![b'\n'], 2)),
        (b'\\', Some(b'r')) => Some((vec![b'\r'], 2)),
        (b'\\', Some(b't')) => Some((vec![b'\t'], 2)),
        (b'\\', Some(c)) if c.is_ascii_punctuation() => Some((vec![*c], 2)),
        (b'&', _) => {
            let end = text.iter().take(10).position(|byte| *byte == b';')?;
            let code = match &text[1..end] {
                b"amp" => Some(u32::from(b'&')),
                b"lt" => Some(u32::from(b'<')),
                b"gt" => Some(u32::from(b'>')),
                b"quot" => Some(u32::from(b'"')),
                b"apos" => Some(u32::from(b'\'')),
                [b'#', b'x' | b'X', digits @ ..] => hex(digits),
                [b'#', digits @ ..] => std::str::from_utf8(digits).ok()?.parse().ok(),
                _ => None,
            };
            letter(code, end + 1)
        }
        _ => None,
    }
}

/// Whether no letter or digit stands beside it, or one that ends an escape.
fn is_whole_word(text: &[u8], range: Range<usize>) -> bool {
    let in_word = |byte: u8| byte.is_ascii_alphanumeric() || byte >= 0x80;
    let begins = range.start.checked_sub(1).is_none_or(|before| {
        let escaped = before >= 2 && text[before - 2] == b'%' || before >= 1 && text[before - 1] == b'\\';
        !in_word(text[before]) || escaped || !in_word(text[range.start])
    });
    let after = &text[range.end..];
    let ends = after.first().is_none_or(|byte| !in_word(*byte) || !in_word(text[range.end - 1]));
    begins && (ends || after.starts_with("…".as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn struck(secret: &str, text: &str) -> String {
        let mut found = Vec::new();
        Word::new(secret).find(text, &mut found);
        super::super::strike(text, found)
    }

    #[test]
    fn a_secret_is_found_in_every_form() {
        let secret = "HUSH a/b\"c\\é%&<";
        for text in [
            "HUSH a/b\"c\\é%&<",
            "HUSH%20a%2Fb%22c%5C%C3%A9%25%26%3C",
            "HUSH+a%2fb%22c%5c%c3%a9%25%26%3c",
            "HUSH%2520a%252Fb%2522c%255C%25C3%25A9%2525%2526%253C",
            r#"HUSH a/b\"c\\\u00e9%&<"#,
            r#"HUSH a\/b\"c\\é%\u0026\u003c"#,
            "HUSH a&#x2F;b&quot;c\\&#233;%&amp;&lt;",
        ] {
            assert_eq!(struck(secret, &format!("x={text}&y")), "x=***&y", "{text}");
        }
        assert_eq!(struck("50%25off", "say 50%25off"), "say ***");
    }

    #[test]
    fn a_secret_is_found_in_base64_whatever_stands_around_it() {
        use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
        for before in ["", "a", "ab", "user:", "me:x"] {
            for after in ["", "1", "12", "123 and more"] {
                for secret in ["HUSH??>>~~", "hushed"] {
                    let text = format!("{before}{secret}{after}");
                    for encoded in [STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
                        assert_eq!(struck(secret, &format!("Basic {encoded}, x")), "Basic ***, x", "{text}");
                    }
                }
            }
        }
        assert_eq!(struck("abcd", "is YWJjZA now"), "is *** now", "a short one alone");
        assert_eq!(struck("abcd", "is xxYWJjZAxx now"), "is xxYWJjZAxx now", "not within another text");
    }

    #[test]
    fn a_short_secret_is_found_only_as_a_whole_word() {
        assert_eq!(struck("test", "latest test,testing\\ntest=%3Dtest"), "latest ***,testing\\n***=%3D***");
        assert_eq!(struck("test-1234", "latest-12345"), "la***5", "a long one anywhere");
        assert_eq!(struck(":1/x", "y:1/x z"), "y*** z");
    }

    #[test]
    fn a_text_that_was_cut_off_within_the_secret_holds_none_of_it() {
        assert_eq!(struck("HUSH-in-a-header", "token HUSH-in…"), "token ***…");
        assert_eq!(struck("HUSH-in-a-header", "token HUS…"), "token HUS…");
        assert_eq!(struck("HUSH-in-a-header", "token HUSH-out…"), "token HUSH-out…");
    }
}
