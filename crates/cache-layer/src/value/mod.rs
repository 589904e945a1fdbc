//! What a cached value looks like in a store: an envelope around its bytes, format 1.
//!
//! | bytes | what |
//! |---|---|
//! | 0 | format, 1 |
//! | 1 | flags: 1 compressed (LZ4 block), 2 absent |
//! | 2–9 | when it was made, Unix ms |
//! | 10–13 | how long its load took, ms |
//! | 14–21 | until when it is fresh, Unix ms |
//! | 22–29 | length of the body before compression |
//! | 30– | the body |
//!
//! Values of [sealed](crate::KeyClass::sealed) classes have format 2: the byte 2, then such an envelope, encrypted
//! as [`crate::encryption`] has it.
//!
//! Numbers are big-endian. Every process that shares a store must understand what every other one wrote: a change of this
//! table is a new format byte, and what cannot be understood is [`Garbled`], which the caller treats as a miss. Lengths must add
//! up, so that a value that was cut off or overwritten in part does not pass for a shorter one; there is no checksum: servers and
//! TCP have theirs.

mod codec;
mod keys;

pub use codec::Codec;
#[cfg(feature = "manage")]
pub(crate) use keys::SEALED;
pub use keys::ValueKeys;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::time::Duration;

const FORMAT: u8 = 1;
pub(crate) const HEADER: usize = 30;
const COMPRESSED: u8 = 1;
const ABSENT: u8 = 2;

/// A value with what must be known about it to serve it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// When its load ended, Unix ms.
    pub made_ms: u64,
    /// How long its load took, ms; early refreshes go by it.
    pub load_ms: u32,
    /// Until when it may be served as fresh, Unix ms. Its store keeps it longer where it may be served as stale.
    pub fresh_until_ms: u64,
    /// The value itself.
    pub body: Body,
}

/// What a loader found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A value, possibly empty.
    Present(Bytes),
    /// That there is no such thing.
    Absent,
}

/// Bytes that are no envelope this version understands. Load the value anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Garbled {
    /// Too short for the header.
    #[error("a cached value of {0} bytes is too short")]
    Short(usize),
    /// Written by another version of this library, or by something else.
    #[error("a cached value has the unknown format {0}")]
    Format(u8),
    /// Flags that are not known, or that contradict each other.
    #[error("a cached value has the impossible flags {0:#04x}")]
    Flags(u8),
    /// The body is not as long as the header says.
    #[error("a cached value is not as long as it says")]
    Length,
    /// The body cannot be decompressed.
    #[error("a cached value cannot be decompressed")]
    Compression,
    /// A plain value under a key whose values are encrypted: this cache did not write it.
    #[error("a cached value is not encrypted, but its class is")]
    NotSealed,
    /// Encrypted with a key that is not here.
    #[error("a cached value is encrypted with a key that is not here")]
    NoKey,
    /// Changed, or of another key or class.
    #[error("a cached value was changed or belongs to another key")]
    Forged,
}

impl Envelope {
    /// The bytes to store. One copy of the body.
    #[must_use]
    pub fn encode(&self, codec: &Codec) -> Bytes {
        let (body, absent) = match &self.body {
            Body::Present(bytes) => (&bytes[..], 0),
            Body::Absent => (&[][..], ABSENT),
        };
        let compressed = codec.compressed(body);
        let (flags, stored) = match &compressed {
            Some(smaller) => (COMPRESSED, &smaller[..]),
            None => (absent, body),
        };
        let mut out = BytesMut::with_capacity(HEADER + stored.len());
        out.put_u8(FORMAT);
        out.put_u8(flags);
        out.put_u64(self.made_ms);
        out.put_u32(self.load_ms);
        out.put_u64(self.fresh_until_ms);
        out.put_u64(body.len() as u64);
        out.put_slice(stored);
        out.freeze()
    }

    /// What [`Envelope::encode`] was given. A plain body is not copied. Needs at most 255 times the memory of `bytes`, whatever they say.
    ///
    /// # Errors
    /// The bytes are no envelope of a known format.
    pub fn decode(mut bytes: Bytes) -> Result<Self, Garbled> {
        let Some((&header, rest)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(Garbled::Short(bytes.len()));
        };
        if header[0] != FORMAT {
            return Err(Garbled::Format(header[0]));
        }
        let length = usize::try_from(number(&header, 22)).map_err(|_| Garbled::Length)?;
        let body = match header[1] {
            0 if rest.len() == length => {
                bytes.advance(HEADER);
                Body::Present(bytes)
            }
            COMPRESSED => Body::Present(codec::decompressed(rest, length)?),
            ABSENT if rest.is_empty() && length == 0 => Body::Absent,
            0 | ABSENT => return Err(Garbled::Length),
            flags => return Err(Garbled::Flags(flags)),
        };
        Ok(Self {
            made_ms: number(&header, 2),
            load_ms: u32::from_be_bytes(at(&header, 10)),
            fresh_until_ms: number(&header, 14),
            body,
        })
    }

    /// Whether it may be served as fresh at this time (Unix ms).
    #[must_use]
    pub const fn is_fresh(&self, now_ms: u64) -> bool {
        now_ms < self.fresh_until_ms
    }

    /// How long ago it was made, at this time (Unix ms); zero when a clock went back.
    #[must_use]
    pub const fn age(&self, now_ms: u64) -> Duration {
        Duration::from_millis(now_ms.saturating_sub(self.made_ms))
    }
}

/// Whether these bytes are an envelope around a value that only has to be cut out behind [`HEADER`].
pub(crate) fn is_plain(bytes: &[u8]) -> bool {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return false };
    header[0] == FORMAT && header[1] == 0 && number(header, 22) == rest.len() as u64
}

fn number(header: &[u8; HEADER], from: usize) -> u64 {
    u64::from_be_bytes(at(header, from))
}

fn at<const N: usize>(header: &[u8; HEADER], from: usize) -> [u8; N] {
    std::array::from_fn(|i| header[from + i])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Format 1, byte by byte, as processes of every release write and read it. Never change these: add a format.
    const PLAIN: &[u8] = b"\x01\x00\x00\x00\x01\x9a\xbc\xde\xf0\x12\x00\x00\x00\x2a\x00\x00\x01\x9a\xbc\xe3\x84\x52\
        \x00\x00\x00\x00\x00\x00\x00\x05hello";
    const NOTHING: &[u8] = b"\x01\x02\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x03\
        \x00\x00\x00\x00\x00\x00\x00\x00";
    const PACKED: &[u8] = b"\x01\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x03\
        \x00\x00\x00\x00\x00\x00\x00\x40\x1fa\x01\x00\x27Paaaaa";

    fn envelope(body: &'static [u8]) -> Envelope {
        Envelope { made_ms: 1, load_ms: 2, fresh_until_ms: 3, body: Body::Present(Bytes::from_static(body)) }
    }

    #[test]
    fn format_1_is_written_and_read_as_it_always_was() {
        let hello =
            Envelope { made_ms: 0x019a_bcde_f012, load_ms: 42, fresh_until_ms: 0x019a_bce3_8452, ..envelope(b"hello") };
        assert_eq!(hello.encode(&Codec::default()), PLAIN);
        assert_eq!(Envelope::decode(Bytes::from_static(PLAIN)), Ok(hello));
        let nothing = Envelope { body: Body::Absent, ..envelope(b"") };
        assert_eq!(nothing.encode(&Codec::default()), NOTHING);
        assert_eq!(Envelope::decode(Bytes::from_static(NOTHING)), Ok(nothing));
        // What a compressor writes may change with its version; what it wrote must stay readable.
        let packed = Envelope::decode(Bytes::from_static(PACKED));
        assert_eq!(packed, Ok(envelope(&[b'a'; 64])));
    }

    #[test]
    fn what_is_no_envelope_says_why() {
        let of = |bytes: &'static [u8]| Envelope::decode(Bytes::from_static(bytes));
        assert_eq!(of(b""), Err(Garbled::Short(0)));
        assert_eq!(of(b"{\"id\": 7, \"title\": \"somebody else's JSON\"}"), Err(Garbled::Format(b'{')));
        assert_eq!(of(&PLAIN[..PLAIN.len() - 1]), Err(Garbled::Length), "cut off");
        let mut flags = PLAIN.to_vec();
        flags[1] = COMPRESSED | ABSENT;
        assert_eq!(Envelope::decode(flags.into()), Err(Garbled::Flags(3)));
    }

    /// A few bytes that claim to become a terabyte must not cost one.
    #[test]
    fn a_length_that_cannot_be_is_refused_before_memory_is_taken() {
        let mut bomb = PACKED.to_vec();
        bomb[22..30].copy_from_slice(&(1_u64 << 40).to_be_bytes());
        assert_eq!(Envelope::decode(bomb.into()), Err(Garbled::Length));
    }

    #[test]
    fn compression_is_for_large_values_that_it_makes_smaller() {
        let codec = Codec { compress_above: Some(1000) };
        let large = envelope(&[7; 4096]);
        assert!(large.encode(&codec).len() < 200);
        assert_eq!(large.encode(&Codec { compress_above: None }).len(), HEADER + 4096, "switched off");
        assert_eq!(envelope(&[7; 999]).encode(&codec).len(), HEADER + 999, "small");
        let noise: Vec<u8> = std::iter::repeat_with(rand::random).take(4096).collect();
        let noise = Envelope { body: Body::Present(noise.into()), ..envelope(b"") };
        let stored = noise.encode(&codec);
        assert_eq!((stored.len(), stored[1]), (HEADER + 4096, 0), "does not pay");
    }

    #[test]
    fn fresh_until_but_not_at_the_end() {
        let envelope = Envelope { made_ms: 100, fresh_until_ms: 200, ..envelope(b"") };
        assert!(envelope.is_fresh(199) && !envelope.is_fresh(200));
        assert_eq!(envelope.age(150), Duration::from_millis(50));
        assert_eq!(envelope.age(50), Duration::ZERO);
    }

    fn bodies() -> impl Strategy<Value = Body> {
        let repetitive = (any::<[u8; 4]>(), 0_usize..600).prop_map(|(word, times)| word.repeat(times));
        let bytes = prop_oneof![proptest::collection::vec(any::<u8>(), 0..600), repetitive];
        prop_oneof![1 => Just(Body::Absent), 9 => bytes.prop_map(|bytes| Body::Present(bytes.into()))]
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            body in bodies(),
            made_ms: u64,
            load_ms: u32,
            fresh_until_ms: u64,
            compress_above in proptest::option::of(0_usize..1000),
        ) {
            let envelope = Envelope { made_ms, load_ms, fresh_until_ms, body };
            let encoded = envelope.encode(&Codec { compress_above });
            if is_plain(&encoded) {
                prop_assert_eq!(Body::Present(encoded.slice(HEADER..)), envelope.body.clone());
            }
            prop_assert_eq!(Envelope::decode(encoded), Ok(envelope));
        }

        /// No panic, and nothing but what could have been written is understood.
        #[test]
        fn any_bytes_are_decoded_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), flags in 0_u8..4) {
            drop(Envelope::decode(bytes.clone().into()));
            if bytes.len() >= HEADER {
                // Past the first checks, into the body.
                (bytes[0], bytes[1]) = (FORMAT, flags);
                let long = (bytes.len() as u64).wrapping_mul(u64::from(bytes[29]));
                bytes[22..30].copy_from_slice(&long.to_be_bytes());
                let plain = is_plain(&bytes);
                prop_assert!(!plain || Envelope::decode(bytes.clone().into()).is_ok());
                if let Ok(envelope) = Envelope::decode(bytes.into()) {
                    prop_assert_eq!(plain, flags == 0, "what is plain is known for it");
                    let again = envelope.encode(&Codec { compress_above: None });
                    prop_assert_eq!(Envelope::decode(again), Ok(envelope));
                }
            }
        }

        /// A byte changed on the way, or an end cut off: never a panic, never another length of plain body.
        #[test]
        fn damaged_envelopes_do_no_harm(body in bodies(), at: prop::sample::Index, to: u8, cut: prop::sample::Index) {
            let envelope = Envelope { made_ms: 1, load_ms: 2, fresh_until_ms: 3, body };
            let bytes = envelope.encode(&Codec { compress_above: Some(64) });
            let mut damaged = bytes.to_vec();
            damaged[at.index(bytes.len())] = to;
            drop(Envelope::decode(damaged.into()));
            let cut = cut.index(bytes.len());
            prop_assert!(Envelope::decode(bytes.slice(..cut)).is_err(), "{} of {} bytes", cut, bytes.len());
        }
    }
}
