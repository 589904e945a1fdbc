//! The keys that sessions and the values of some classes are encrypted with.
//!
//! A sealed record, format 1: `1`, length of the key's name (1 byte), the name, nonce (12 bytes), AES-256-GCM ciphertext with its tag (16).
//! Authenticated with it: everything before the nonce, and what the record belongs to (a session's id, a user, the key of a value).

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::fmt;
use zeroize::Zeroizing;

const FORMAT: u8 = 1;
const NONCE: usize = 12;
const TAG: usize = 16;
const NAME_AT_MOST: usize = 32;

/// With or without `=` at the end.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Keys for AES-256-GCM, each with a name. The first encrypts, all decrypt. Neither shown by `Debug` nor in any error.
///
/// To change keys without logging anyone out, in three steps that each reach **all** instances before the next: add the new key
/// at the end; move it to the front; take the old one away when the longest life of a session has passed. Each
/// nonce is random, so a key is good for 2^32 records (NIST SP 800-38D, 8.3): 49 days at 1,000 a second.
pub struct KeyRing(Vec<(String, Aes256Gcm)>);

/// What became of a sealed record.
pub(crate) enum Opened {
    /// Its content, and whether the first key sealed it.
    Open {
        plain: Zeroizing<Vec<u8>>,
        #[cfg_attr(
            not(feature = "sessions"),
            expect(dead_code, reason = "sessions are sealed again, values are loaded again")
        )]
        newest: bool,
    },
    /// Sealed with a key that this ring has not, or made to look so.
    UnknownKey,
    /// Changed, cut short, of something else, or no record at all.
    Broken,
}

impl KeyRing {
    /// `name:key` for each key, comma between them; a key is 32 bytes in base64 (`openssl rand -base64 32`).
    ///
    /// # Errors
    /// There is none, a name occurs twice or is no name, or a key is not 32 bytes.
    pub fn parse(text: &str) -> Result<Self, KeyRingError> {
        let mut keys: Vec<(String, Aes256Gcm)> = Vec::new();
        for (i, entry) in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).enumerate() {
            let at = i + 1;
            let (name, key) = entry.split_once(':').ok_or(KeyRingError::NoName { at })?;
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if name.is_empty() || name.len() > NAME_AT_MOST || !name.chars().all(is_name) {
                return Err(KeyRingError::NoName { at });
            }
            if keys.iter().any(|(other, _)| other == name) {
                return Err(KeyRingError::Twice { at });
            }
            let bytes = Zeroizing::new(BASE64.decode(key.trim()).map_err(|_| KeyRingError::NoKey { at })?);
            let cipher = Aes256Gcm::new_from_slice(&bytes).map_err(|_| KeyRingError::NoKey { at })?;
            keys.push((name.to_owned(), cipher));
        }
        if keys.is_empty() { Err(KeyRingError::Empty) } else { Ok(Self(keys)) }
    }

    /// [`KeyRing::parse`] of an environment variable.
    ///
    /// # Errors
    /// It is not set, or as for [`KeyRing::parse`].
    pub fn from_env(variable: &str) -> Result<Self, KeyRingError> {
        let text = std::env::var(variable).map_err(|_| KeyRingError::NotSet(variable.to_owned()))?;
        Self::parse(&Zeroizing::new(text))
    }

    /// `None` only if there is more to seal than AES-GCM takes (64 GiB).
    pub(crate) fn seal(&self, plain: &[u8], belongs_to: &[u8]) -> Option<Vec<u8>> {
        let (name, cipher) = self.0.first()?;
        let mut record = vec![FORMAT, u8::try_from(name.len()).ok()?];
        record.extend_from_slice(name.as_bytes());
        let aad = [&record[..], belongs_to].concat();
        let nonce: [u8; NONCE] = rand::random();
        record.extend_from_slice(&nonce);
        let sealed = cipher.encrypt(&Nonce::from(nonce), Payload { msg: plain, aad: &aad }).ok()?;
        record.extend_from_slice(&sealed);
        Some(record)
    }

    pub(crate) fn open(&self, record: &[u8], belongs_to: &[u8]) -> Opened {
        let Some((head, nonce, sealed)) = split(record) else { return Opened::Broken };
        let Some(at) = self.0.iter().position(|(name, _)| name.as_bytes() == &head[2..]) else {
            return Opened::UnknownKey;
        };
        let aad = [head, belongs_to].concat();
        match self.0[at].1.decrypt(&Nonce::from(nonce), Payload { msg: sealed, aad: &aad }) {
            Ok(plain) => Opened::Open { plain: Zeroizing::new(plain), newest: at == 0 },
            Err(_) => Opened::Broken,
        }
    }
}

/// Head, nonce, ciphertext.
fn split(record: &[u8]) -> Option<(&[u8], [u8; NONCE], &[u8])> {
    let length = match record {
        [FORMAT, length, ..] => usize::from(*length),
        _ => return None,
    };
    let (head, rest) = record.split_at_checked(2 + length)?;
    let (nonce, sealed) = rest.split_first_chunk::<NONCE>()?;
    (length <= NAME_AT_MOST && sealed.len() >= TAG).then_some((head, *nonce, sealed))
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Keys that cannot be used. What was given is not repeated, for it holds keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingError {
    /// None at all.
    #[error("there is no encryption key: write name:key, the key 32 bytes in base64 (openssl rand -base64 32)")]
    Empty,
    /// The variable is not set.
    #[error("there is no encryption key: the variable {0} is not set")]
    NotSet(String),
    /// A key without a name.
    #[error("encryption key {at} has no name: write name:key, the name 1 to 32 letters, digits, `-`, `_` or `.`")]
    NoName {
        /// Its place, from 1.
        at: usize,
    },
    /// A name that another key has.
    #[error("encryption key {at} has the name of another")]
    Twice {
        /// Its place, from 1.
        at: usize,
    },
    /// A key that is none.
    #[error("encryption key {at} is not 32 bytes in base64 (openssl rand -base64 32)")]
    NoKey {
        /// Its place, from 1.
        at: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(name: &str, byte: u8) -> String {
        format!("{name}:{}", BASE64.encode([byte; 32]))
    }

    fn ring(keys: &[String]) -> KeyRing {
        KeyRing::parse(&keys.join(",")).expect("keys")
    }

    fn opened(ring: &KeyRing, record: &[u8], belongs_to: &[u8]) -> Option<(Vec<u8>, bool)> {
        match ring.open(record, belongs_to) {
            Opened::Open { plain, newest } => Some((plain.to_vec(), newest)),
            Opened::UnknownKey | Opened::Broken => None,
        }
    }

    #[test]
    fn the_first_key_seals_and_all_open() {
        let (old, new) = (key("old", 1), key("2026-11", 2));
        let before = ring(std::slice::from_ref(&old));
        let after = ring(&[new.clone(), old]);
        let record = before.seal(b"hello", b"id").expect("sealed");
        assert_eq!(opened(&after, &record, b"id"), Some((b"hello".to_vec(), false)));
        let record = after.seal(b"hello", b"id").expect("sealed");
        assert_eq!(opened(&after, &record, b"id"), Some((b"hello".to_vec(), true)));
        assert!(matches!(before.open(&record, b"id"), Opened::UnknownKey));
        assert_eq!(opened(&ring(&[new]), &record, b"other"), None, "of another session");
        let same_name = ring(&[key("2026-11", 3)]);
        assert!(matches!(same_name.open(&record, b"id"), Opened::Broken));
        assert_ne!(after.seal(b"hello", b"id"), after.seal(b"hello", b"id"), "a new nonce each time");
        assert!(!record.windows(5).any(|w| w == b"hello"));
    }

    #[test]
    fn aes_256_gcm_it_is() {
        // Test case 14 of the GCM specification: key, nonce and plaintext all zero.
        let cipher = Aes256Gcm::new_from_slice(&[0; 32]).expect("a key");
        let sealed = cipher.encrypt(&Nonce::from([0; NONCE]), &[0_u8; 16][..]).expect("sealed");
        let hex: String = sealed.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
    }

    #[test]
    fn keys_are_refused_without_being_shown() {
        let good = key("a", 7);
        let shown = format!("{:?}", ring(std::slice::from_ref(&good)));
        assert_eq!(shown, "[\"a\"]");
        let short = format!("a:{}", BASE64.encode([7; 31]));
        for (text, error) in [
            ("", KeyRingError::Empty),
            (" , ", KeyRingError::Empty),
            ("c2VjcmV0", KeyRingError::NoName { at: 1 }),
            (":c2VjcmV0", KeyRingError::NoName { at: 1 }),
            ("a b:c2VjcmV0", KeyRingError::NoName { at: 1 }),
            (&short, KeyRingError::NoKey { at: 1 }),
            ("a:c2VjcmV0!", KeyRingError::NoKey { at: 1 }),
            (&format!("{good},{good}"), KeyRingError::Twice { at: 2 }),
        ] {
            let refused = KeyRing::parse(text).expect_err(text);
            assert_eq!(refused, error);
            assert!(!format!("{refused} {refused:?}").contains("c2VjcmV0"), "{refused}");
        }
        assert!(KeyRing::parse(good.trim_end_matches('=')).is_ok(), "padding or not");
    }

    proptest! {
        #[test]
        fn a_changed_or_cut_record_is_none(
            plain in proptest::collection::vec(any::<u8>(), 0..80),
            at in any::<proptest::sample::Index>(),
            bit in 0_u8..8,
        ) {
            // The names differ in one bit, so that a flip in the name meets a key that is there.
            let ring = ring(&[key("a", 1), key("c", 1)]);
            let record = ring.seal(&plain, b"id").expect("sealed");
            prop_assert_eq!(opened(&ring, &record, b"id"), Some((plain, true)));
            let mut flipped = record.clone();
            flipped[at.index(record.len())] ^= 1 << bit;
            prop_assert_eq!(opened(&ring, &flipped, b"id"), None);
            prop_assert_eq!(opened(&ring, &record[..at.index(record.len())], b"id"), None);
            prop_assert_eq!(opened(&ring, &[&record[..], &[bit]].concat(), b"id"), None);
        }

        #[test]
        fn garbage_is_no_record_and_no_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let ring = ring(&[key("a", 1)]);
            prop_assert_eq!(opened(&ring, &bytes, b"id"), None);
            bytes.splice(0..0, [FORMAT, 1, b'a']);
            prop_assert_eq!(opened(&ring, &bytes, b"id"), None);
        }
    }
}
