//! Hashes of the bodies of answers, by which two are compared without keeping them.

use std::hash::{DefaultHasher, Hasher as _};

/// JSON that is shorter may well be the same for many items: `[]`, `{"on":true}`.
const MIN_DISTINCTIVE_JSON: usize = 24;

/// The hash of a body, where the bodies of two items should differ.
pub(crate) fn distinctive_hash(body: &[u8]) -> Option<u64> {
    let is_json = serde_json::from_slice::<&serde_json::value::RawValue>(body).is_ok();
    if body.is_empty() || (is_json && body.len() < MIN_DISTINCTIVE_JSON) {
        return None;
    }
    Some(whole_hash(body))
}

/// The hash of a body, whatever it is.
pub(crate) fn whole_hash(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(body);
    hasher.finish()
}
