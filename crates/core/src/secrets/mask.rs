//! The secrets of one run.

use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::url::{in_text, in_whole_url};
use super::words::Word;
use super::{strike, strike_in_place};
use crate::percent;

/// A shorter secret is struck out only at its own place in the scenario: anywhere else it would strike out too much.
pub const MIN_SECRET_LENGTH: usize = 4;

/// The usual names of users, servers and hosts, and this program's, which stands in every path and message. They come from
/// variables too, and hide nothing.
const NO_SECRETS: [&str; 13] = [
    "127.0.0.1",
    "cacheproof",
    "default",
    "false",
    "http",
    "https",
    "localhost",
    "none",
    "null",
    "postgres",
    "redis",
    "true",
    "valkey",
];

/// The secrets of one run, and what strikes them out of a text. Clones share them: a secret that is added to one is known to
/// all. An empty mask strikes out the passwords and secret parameters of URLs.
#[derive(Clone, Default)]
pub struct Mask {
    /// The longest first, so that a secret within another one doesn't leave the rest of it.
    words: Arc<RwLock<Vec<Word>>>,
}

impl Mask {
    /// A mask for these secrets.
    pub fn of<T: AsRef<str>>(secrets: impl IntoIterator<Item = T>) -> Self {
        let mask = Self::default();
        secrets.into_iter().for_each(|secret| mask.add(secret.as_ref()));
        mask
    }

    /// Adds one secret. Of a URL only the password and the secret parameters are secrets.
    pub fn add(&self, secret: &str) {
        let secret = secret.trim();
        if secret.contains("://") && !secret.contains(char::is_whitespace) {
            for part in in_whole_url(secret) {
                self.add_word(&secret[part]);
            }
            return;
        }
        self.add_word(secret);
        // Of several lines an output may hold one.
        secret.lines().filter(|line| *line != secret).for_each(|line| self.add_word(line.trim()));
        // `Bearer TOKEN` as the value of a variable.
        if let Some((scheme, rest)) = secret.split_once(' ')
            && ["basic", "bearer", "token", "apikey", "digest"].iter().any(|word| scheme.eq_ignore_ascii_case(word))
        {
            self.add(rest);
        }
        // `Basic` holds user and password.
        if let Ok(bytes) = STANDARD.decode(secret)
            && let Some((_, password)) = std::str::from_utf8(&bytes).ok().and_then(|text| text.split_once(':'))
        {
            self.add_word(password);
        }
    }

    fn add_word(&self, word: &str) {
        let decoded = percent::decode(word);
        let mut words = self.words.write().unwrap_or_else(PoisonError::into_inner);
        for word in [word, &decoded] {
            let shows_nothing = word.len() < MIN_SECRET_LENGTH
                || NO_SECRETS.iter().any(|known| word.eq_ignore_ascii_case(known))
                || word.chars().all(|c| c == '*');
            if !shows_nothing && !words.iter().any(|known| known.is(word)) {
                words.push(Word::new(word));
            }
        }
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    }

    /// The text without its secrets.
    pub fn text(&self, text: &str) -> String {
        strike(text, self.find(text))
    }

    /// The same with one `*` for each byte of a secret, so that every other byte stays where it is.
    pub(crate) fn in_place(&self, text: &str) -> String {
        strike_in_place(text, self.find(text))
    }

    fn find(&self, text: &str) -> Vec<Range<usize>> {
        let mut found = self.find_words(text);
        found.extend(in_text(text));
        found
    }

    /// Where the text holds known secrets.
    pub(crate) fn find_words(&self, text: &str) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        for word in self.words.read().unwrap_or_else(PoisonError::into_inner).iter() {
            word.find(text, &mut found);
        }
        found
    }
}

impl PartialEq for Mask {
    fn eq(&self, other: &Self) -> bool {
        if Arc::ptr_eq(&self.words, &other.words) {
            return true;
        }
        let words = |mask: &Self| mask.words.read().unwrap_or_else(PoisonError::into_inner).clone();
        words(self) == words(other)
    }
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.words.read().unwrap_or_else(PoisonError::into_inner).len();
        write!(formatter, "Mask({count} secrets)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_secret_is_struck_out_whole() {
        let mask = Mask::of(["hush", "hush-hush-hush"]);
        assert_eq!(mask.text("a hush-hush-hush b hush c"), "a *** b *** c");
        assert_eq!(mask.in_place("a hush"), "a ****");
        assert_eq!(mask.text(&mask.in_place("a hush")), "a ****");
    }

    #[test]
    fn short_and_usual_words_are_not_secrets() {
        let mask = Mask::of(["a", "app", "postgres", "LOCALHOST", "***", ""]);
        assert_eq!(mask.text("a app on postgres at localhost ***"), "a app on postgres at localhost ***");
        assert_eq!(format!("{mask:?}"), "Mask(0 secrets)");
    }

    #[test]
    fn the_name_of_the_program_is_struck_out_in_urls_alone() {
        let mask = Mask::of(["redis://:cacheproof@127.0.0.1:6379/", "cacheproof"]);
        assert_eq!(
            mask.text("cacheproof run: by cacheproof of redis://:cacheproof@h and postgres://app:cacheproof@db/app"),
            "cacheproof run: by cacheproof of redis://:***@h and postgres://app:***@db/app"
        );
    }

    #[test]
    fn the_password_of_a_url_is_a_secret_and_its_host_is_none() {
        let mask = Mask::of(["redis://me:p%40ss/word@cache.example:6379/0?sig=abcdef"]);
        assert_eq!(mask.text("p@ss/word p%40ss%2Fword abcdef at cache.example"), "*** *** *** at cache.example");
    }

    #[test]
    fn the_parts_of_a_header_from_a_variable_are_secrets_too() {
        // me:open sesame
        let mask = Mask::of(["Basic bWU6b3BlbiBzZXNhbWU="]);
        assert_eq!(mask.text("bWU6b3BlbiBzZXNhbWU= is open+sesame"), "*** is ***");
        assert_eq!(Mask::of(["Bearer abcdef"]).text("got abcdef"), "got ***");
        assert_eq!(Mask::of(["one-1\ntwo-2\n"]).text("line two-2"), "line ***");
    }

    #[test]
    fn clones_share_what_they_know_and_show_nothing_of_it() {
        let mask = Mask::default();
        mask.clone().add("late-secret");
        assert_eq!(mask.text("late-secret"), "***");
        assert_eq!(format!("{mask:?}"), "Mask(1 secrets)");
    }
}
