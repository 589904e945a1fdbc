//! A response as it is stored.
//!
//! Format 1, numbers big endian: `1`, kind, then for a response (kind 0) when it was made (Unix ms, 8 bytes), its life
//! (ms, 8), status (2), number of headers (2), each with the lengths of its name (2) and value (4) before them, the body's length (8),
//! the body; for a list of header names that the answers vary by (kind 1) their number (1) and each with its length (2).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

const FORMAT: u8 = 1;
const RESPONSE: u8 = 0;
const VARIES: u8 = 1;
/// Headers that answers may vary by.
pub(super) const VARY_AT_MOST: usize = 8;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Record {
    Response(Stored),
    /// The answers of this resource differ by these request headers; each is stored under a key of its own.
    Varies(Vec<HeaderName>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored {
    pub(super) made_ms: u64,
    pub(super) life_ms: u64,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Record {
    /// `None` when it has more headers, or longer ones, than the format takes.
    pub(super) fn encode(&self) -> Option<Bytes> {
        let mut out = BytesMut::new();
        out.put_u8(FORMAT);
        match self {
            Self::Response(stored) => {
                out.reserve(64 + stored.body.len() + stored.headers.len() * 64);
                out.put_u8(RESPONSE);
                out.put_u64(stored.made_ms);
                out.put_u64(stored.life_ms);
                out.put_u16(stored.status.as_u16());
                out.put_u16(u16::try_from(stored.headers.len()).ok()?);
                for (name, value) in &stored.headers {
                    put_name(&mut out, name)?;
                    out.put_u32(u32::try_from(value.len()).ok()?);
                    out.put_slice(value.as_bytes());
                }
                out.put_u64(u64::try_from(stored.body.len()).ok()?);
                out.put_slice(&stored.body);
            }
            Self::Varies(names) => {
                out.put_u8(VARIES);
                out.put_u8(u8::try_from(names.len()).ok().filter(|n| usize::from(*n) <= VARY_AT_MOST)?);
                for name in names {
                    put_name(&mut out, name)?;
                }
            }
        }
        Some(out.freeze())
    }

    /// `None` for anything that [`Record::encode`] did not write.
    pub(super) fn decode(mut bytes: Bytes) -> Option<Self> {
        if bytes.try_get_u8().ok()? != FORMAT {
            return None;
        }
        let record = match bytes.try_get_u8().ok()? {
            RESPONSE => Self::Response(stored(&mut bytes)?),
            VARIES => {
                let count = bytes.try_get_u8().ok()?;
                let mut names = Vec::new();
                for _ in 0..count {
                    names.push(name(&mut bytes)?);
                }
                Self::Varies(names)
            }
            _ => return None,
        };
        bytes.is_empty().then_some(record)
    }
}

fn stored(bytes: &mut Bytes) -> Option<Stored> {
    let made_ms = bytes.try_get_u64().ok()?;
    let life_ms = bytes.try_get_u64().ok()?;
    let status = StatusCode::from_u16(bytes.try_get_u16().ok()?).ok()?;
    let count = bytes.try_get_u16().ok()?;
    // Not made as large as the count says: it may be garbage.
    let mut headers = HeaderMap::new();
    for _ in 0..count {
        let name = name(bytes)?;
        let length = usize::try_from(bytes.try_get_u32().ok()?).ok()?;
        headers.try_append(name, HeaderValue::from_maybe_shared(take(bytes, length)?).ok()?).ok()?;
    }
    let length = usize::try_from(bytes.try_get_u64().ok()?).ok()?;
    Some(Stored { made_ms, life_ms, status, headers, body: take(bytes, length)? })
}

fn put_name(out: &mut BytesMut, name: &HeaderName) -> Option<()> {
    out.put_u16(u16::try_from(name.as_str().len()).ok()?);
    out.put_slice(name.as_str().as_bytes());
    Some(())
}

fn name(bytes: &mut Bytes) -> Option<HeaderName> {
    let length = usize::from(bytes.try_get_u16().ok()?);
    HeaderName::from_bytes(&take(bytes, length)?).ok()
}

fn take(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (bytes.len() >= length).then(|| bytes.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(body: Vec<u8>, values: &[String]) -> Record {
        let mut headers = HeaderMap::new();
        for (i, value) in values.iter().enumerate() {
            let name = HeaderName::from_bytes(format!("x-{}", i / 2).as_bytes()).expect("a name");
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        Record::Response(Stored {
            made_ms: 1_700_000_000_000,
            life_ms: 60_000,
            status: StatusCode::OK,
            headers,
            body: body.into(),
        })
    }

    #[test]
    fn format_1_stays_as_it_is() {
        let bytes = sample(b"hi".to_vec(), &["v".to_owned()]).encode().expect("bytes");
        let expected: &[u8] = b"\x01\x00\x00\x00\x01\x8b\xcf\xe5\x68\x00\x00\x00\x00\x00\x00\x00\xea\x60\x00\xc8\
            \x00\x01\x00\x03x-0\x00\x00\x00\x01v\x00\x00\x00\x00\x00\x00\x00\x02hi";
        assert_eq!(&bytes[..], expected);
        let varies = Record::Varies(vec![http::header::ACCEPT]).encode().expect("bytes");
        assert_eq!(&varies[..], b"\x01\x01\x01\x00\x06accept");
        assert_eq!(Record::decode(varies), Some(Record::Varies(vec![http::header::ACCEPT])));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_a_part_of_it_is_not(
            body in proptest::collection::vec(any::<u8>(), 0..64),
            values in proptest::collection::vec("[ -~]{0,20}", 0..6),
            cut in any::<proptest::sample::Index>(),
        ) {
            let record = sample(body, &values);
            let bytes = record.encode().expect("bytes");
            prop_assert_eq!(Record::decode(bytes.clone()), Some(record));
            prop_assert_eq!(Record::decode(bytes.slice(..cut.index(bytes.len()))), None);
            prop_assert_eq!(Record::decode([&bytes[..], b"x"].concat().into()), None);
        }

        #[test]
        fn garbage_is_no_record_and_no_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0_u8..3) {
            Record::decode(bytes.clone().into());
            bytes.splice(0..0, [FORMAT, kind]);
            Record::decode(bytes.into());
        }
    }
}
