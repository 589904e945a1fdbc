//! How the text of a box is compared with a criterion's.

/// A text as boxes and criteria are compared: what a reader sees. Spaces of any kind are one space, what has no width is nothing, and
/// a full stop at the end does not count.
pub(super) fn seen(text: &str) -> String {
    let visible: String = text.chars().filter(|letter| !is_invisible(*letter)).collect();
    let words: Vec<&str> = visible.split_whitespace().collect();
    let line = words.join(" ");
    match line.strip_suffix('.') {
        Some(rest) if !rest.ends_with('.') => rest.trim_end().to_owned(),
        _ => line,
    }
}

/// Soft hyphens, marks of direction and what else has no width.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2060}' | '\u{feff}')
}

/// Why a text that is not a criterion's is nearly it. The order is from the nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Likeness {
    /// Only punctuation, symbols, capitals or marks differ.
    Punctuation,
    /// It has all words of the criterion, and more.
    SaysMore,
    /// It has a part of the criterion's words.
    SaysLess,
    /// Some words or letters are others.
    OtherWords,
}

/// A text as its words, for [`Words::likeness`].
#[derive(Debug)]
pub(super) struct Words {
    /// In lower case, each with a space before it, and one at the end.
    line: String,
    /// Sorted.
    words: Vec<String>,
    /// How many letters the line has, and how often each of them, by its number modulo 64.
    length: usize,
    letters: [u32; 64],
}

/// Texts longer than this are compared word by word only.
const MAX_EDITED: usize = 400;

impl Words {
    pub(super) fn of(text: &str) -> Self {
        let mut words: Vec<String> = text
            .split(|letter: char| !letter.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect();
        let line = format!(" {} ", words.join(" "));
        let (mut length, mut letters) = (0, [0; 64]);
        for letter in line.chars() {
            length += 1;
            letters[letter as usize % 64] += 1;
        }
        words.sort_unstable();
        Self { line, words, length, letters }
    }

    /// How a text is like a criterion, if they are not the same text.
    pub(super) fn likeness(&self, criterion: &Self) -> Option<Likeness> {
        if self.words.is_empty() || criterion.words.is_empty() {
            return None;
        }
        if self.line == criterion.line {
            return Some(Likeness::Punctuation);
        }
        if self.words.len() > criterion.words.len() && self.line.contains(&criterion.line) {
            return Some(Likeness::SaysMore);
        }
        if self.words.len() * 2 >= criterion.words.len() && criterion.line.contains(&self.line) {
            return Some(Likeness::SaysLess);
        }
        (self.shares_most_words(criterion) || self.is_edited(criterion)).then_some(Likeness::OtherWords)
    }

    /// Whether three quarters of the longer text's words are in both.
    fn shares_most_words(&self, other: &Self) -> bool {
        let most = self.words.len().max(other.words.len());
        if self.words.len().min(other.words.len()) * 4 < most * 3 {
            return false;
        }
        let (mut mine, mut theirs, mut shared) = (self.words.iter().peekable(), other.words.iter().peekable(), 0);
        while let (Some(word), Some(with)) = (mine.peek(), theirs.peek()) {
            match word.cmp(with) {
                std::cmp::Ordering::Less => _ = mine.next(),
                std::cmp::Ordering::Greater => _ = theirs.next(),
                std::cmp::Ordering::Equal => {
                    shared += 1;
                    (_, _) = (mine.next(), theirs.next());
                }
            }
        }
        shared * 4 >= most * 3
    }

    /// Whether a fifth of the letters, at most, must be edited to make one of the other.
    fn is_edited(&self, other: &Self) -> bool {
        let longest = self.length.max(other.length);
        let allowed = (longest / 5).max(1);
        // One edit changes two counts at most, so most texts need no look at their order.
        let changed: u32 = self.letters.iter().zip(&other.letters).map(|(mine, theirs)| mine.abs_diff(*theirs)).sum();
        longest <= MAX_EDITED
            && changed as usize <= 2 * allowed
            && strsim::levenshtein(&self.line, &other.line) <= allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reader_does_not_see_makes_no_other_text() {
        assert_eq!(seen("  No\u{a0}stale\tdata\r\n re\u{ad}turned. "), "No stale data returned");
        assert_eq!(seen("and so on..."), "and so on...");
        assert_ne!(seen("Hit rate > 60 %"), seen("Hit rate > 70 %"));
        assert_ne!(seen("Hit rate"), seen("hit rate"));
    }

    #[test]
    fn nearly_the_same_text_is_found_with_its_difference() {
        let like = |text: &str, criterion: &str| Words::of(text).likeness(&Words::of(criterion));
        let stale = "No stale data returned to users";
        for (text, criterion, wanted) in [
            ("no stale data returned to users!", stale, Some(Likeness::Punctuation)),
            ("Hit rate < 60 %", "Hit rate > 60 %", Some(Likeness::Punctuation)),
            ("No stale data returned to users within a minute", stale, Some(Likeness::SaysMore)),
            ("Done: no stale data returned to users", stale, Some(Likeness::SaysMore)),
            ("No stale data", stale, Some(Likeness::SaysLess)),
            ("No stale data retuned to users", stale, Some(Likeness::OtherWords)),
            ("Hit rate > 70 %", "Hit rate > 60 %", Some(Likeness::OtherWords)),
            ("No stale data is returned to users", stale, Some(Likeness::OtherWords)),
            ("To users no stale data returned", stale, Some(Likeness::OtherWords)),
            ("Schutzschalter fur Redis", "Schutzschalter für Redis", Some(Likeness::OtherWords)),
            ("No", stale, None),
            ("Graceful fallback if Redis is down", stale, None),
            ("", stale, None),
            ("%", "%%", None),
        ] {
            assert_eq!(like(text, criterion), wanted, "{text:?} and {criterion:?}");
        }
        let (long, longer) = ("a".repeat(3_000), "a".repeat(3_001));
        assert_eq!(like(&long, &longer), None, "not compared letter by letter");
    }
}
