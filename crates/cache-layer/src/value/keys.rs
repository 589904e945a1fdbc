//! Encryption of the values of sealed classes: format 2, a sealed envelope of format 1.

use super::Garbled;
use crate::key::Key;
use bytes::Bytes;
use std::fmt;

#[cfg(feature = "encryption")]
use crate::encryption::{KeyRing, Opened};
#[cfg(feature = "encryption")]
use std::sync::Arc;

/// The first byte of a sealed value.
#[cfg(any(feature = "encryption", feature = "manage"))]
pub(crate) const SEALED: u8 = 2;

/// The keys for values, if there are any.
#[derive(Clone, Default)]
pub struct ValueKeys(#[cfg(feature = "encryption")] Option<Arc<KeyRing>>);

impl ValueKeys {
    /// These keys: the first encrypts, all decrypt.
    #[cfg(feature = "encryption")]
    #[must_use]
    pub fn new(ring: KeyRing) -> Self {
        Self(Some(Arc::new(ring)))
    }

    /// As [`KeyRing::parse`] takes them. `None`: they are not keys, or this library was built without the feature `encryption`.
    #[cfg(feature = "encryption")]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        KeyRing::parse(text).ok().map(Self::new)
    }

    #[cfg(not(feature = "encryption"))]
    pub(crate) fn parse(_: &str) -> Option<Self> {
        None
    }

    /// Whether there are none, so that values of sealed classes are not kept.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        #[cfg(feature = "encryption")]
        return self.0.is_none();
        #[cfg(not(feature = "encryption"))]
        true
    }

    /// An envelope, encrypted; `None` without keys.
    #[cfg(feature = "encryption")]
    pub(crate) fn seal(&self, key: &Key, envelope: &[u8]) -> Option<Bytes> {
        let record = self.0.as_ref()?.seal(envelope, &belongs_to(key))?;
        Some([&[SEALED], &record[..]].concat().into())
    }

    #[cfg(not(feature = "encryption"))]
    pub(crate) fn seal(&self, _: &Key, _: &[u8]) -> Option<Bytes> {
        None
    }

    /// The envelope in a sealed value.
    #[cfg(feature = "encryption")]
    pub(crate) fn open(&self, key: &Key, stored: &[u8]) -> Result<Bytes, Garbled> {
        let record = stored.strip_prefix(&[SEALED]).ok_or(Garbled::NotSealed)?;
        let ring = self.0.as_ref().ok_or(Garbled::NoKey)?;
        match ring.open(record, &belongs_to(key)) {
            // The copy that the cache hands out is plain in any case.
            Opened::Open { plain, .. } => Ok(Bytes::copy_from_slice(&plain)),
            Opened::UnknownKey => Err(Garbled::NoKey),
            Opened::Broken => Err(Garbled::Forged),
        }
    }

    #[cfg(not(feature = "encryption"))]
    pub(crate) fn open(&self, _: &Key, _: &[u8]) -> Result<Bytes, Garbled> {
        Err(Garbled::NoKey)
    }
}

/// What a value is authenticated with. No record of a session begins so.
#[cfg(feature = "encryption")]
fn belongs_to(key: &Key) -> Vec<u8> {
    ["value", key.class().name, key.name()].join("\0").into_bytes()
}

impl fmt::Debug for ValueKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[cfg(feature = "encryption")]
        return f.debug_tuple("ValueKeys").field(&self.0).finish();
        #[cfg(not(feature = "encryption"))]
        f.write_str("ValueKeys")
    }
}

#[cfg(all(test, feature = "encryption"))]
mod tests {
    use super::*;
    use crate::key::{KeyClass, ttl};

    const CLASS: KeyClass = KeyClass::new("wishes", ttl::HOUR).sealed();
    const OTHER: KeyClass = KeyClass::new("orders", ttl::HOUR).sealed();

    fn keys(name: &str) -> ValueKeys {
        let text = format!("{name}:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        ValueKeys::new(KeyRing::parse(&text).expect("a key"))
    }

    #[test]
    fn a_value_opens_only_under_its_own_key_and_class() {
        let key = Key::new(CLASS, "wishes:7");
        let stored = keys("a").seal(&key, b"a bicycle").expect("sealed");
        assert!(!stored.windows(7).any(|part| part == b"bicycle"));
        assert_eq!(keys("a").open(&key, &stored).as_deref(), Ok(&b"a bicycle"[..]));
        assert_eq!(keys("a").open(&Key::new(CLASS, "wishes:8"), &stored), Err(Garbled::Forged), "of another item");
        assert_eq!(keys("a").open(&Key::new(OTHER, "wishes:7"), &stored), Err(Garbled::Forged), "of another class");
        assert_eq!(keys("b").open(&key, &stored), Err(Garbled::NoKey));
        assert_eq!(ValueKeys::default().open(&key, &stored), Err(Garbled::NoKey));
        assert_eq!(keys("a").open(&key, b"\x01 a plain envelope"), Err(Garbled::NotSealed), "planted");
        assert_eq!(keys("a").open(&key, b""), Err(Garbled::NotSealed));
        assert_eq!(ValueKeys::default().seal(&key, b"a bicycle"), None);
        assert!(ValueKeys::default().is_empty() && !keys("a").is_empty());
        assert_eq!(format!("{:?}", keys("a")), "ValueKeys(Some([\"a\"]))", "no key is shown");
    }
}
