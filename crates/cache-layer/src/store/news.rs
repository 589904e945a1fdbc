//! What processes tell each other: which values are no longer good.

use super::Invalidation;
use crate::key::Tag;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

#[derive(Serialize, Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    keys: Vec<Cow<'a, str>>,
    #[serde(borrow, default)]
    tags: Vec<Cow<'a, str>>,
    #[serde(borrow, default)]
    patterns: Vec<Cow<'a, str>>,
}

/// As it goes over the wire: JSON, names without namespace.
pub(super) fn to_message(what: &Invalidation) -> Vec<u8> {
    let borrowed = |names: &'_ [String]| names.iter().map(|name| Cow::Owned(name.clone())).collect();
    let tags = what.tags.iter().map(|tag| Cow::Owned(tag.name().to_owned())).collect();
    let message = Message { keys: borrowed(&what.keys), tags, patterns: borrowed(&what.patterns) };
    serde_json::to_vec(&message).expect("lists of strings have a JSON form")
}

/// `None` for what is no message: whoever gets one no longer knows what is good.
pub(super) fn from_message(bytes: &[u8]) -> Option<Invalidation> {
    let message: Message<'_> = serde_json::from_slice(bytes).ok()?;
    let owned = |names: Vec<Cow<'_, str>>| names.into_iter().map(Cow::into_owned).collect();
    Some(Invalidation {
        keys: owned(message.keys),
        tags: message.tags.into_iter().map(|tag| Tag::new(tag.into_owned())).collect(),
        patterns: owned(message.patterns),
    })
}

impl Invalidation {
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.tags.is_empty() && self.patterns.is_empty()
    }

    pub(super) fn everything() -> Self {
        Self::new().pattern("*")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_message_says_what_was_told(
            keys in proptest::collection::vec("\\PC{0,8}", 0..4),
            tags in proptest::collection::vec("\\PC{0,8}", 0..4),
            patterns in proptest::collection::vec("\\PC{0,8}", 0..4),
        ) {
            let tags = tags.into_iter().map(Tag::new).collect();
            let told = Invalidation { keys, tags, patterns };
            prop_assert_eq!(from_message(&to_message(&told)), Some(told));
        }

        #[test]
        fn any_bytes_are_understood_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            drop(from_message(&bytes));
        }
    }
}
