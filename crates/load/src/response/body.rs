//! Bodies: read up to a limit, and unpacked up to the same limit, so that no answer can take all memory.

use std::io::Read;

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};

use cacheproof_core::numbers;

/// Why there is no body to read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is longer than the limit.
    #[error("the body is longer than {}, the limit (target.max_body)", numbers::bytes(*limit as f64))]
    TooLong {
        /// The limit in bytes.
        limit: u64,
    },
    /// It is longer than the limit when it is unpacked.
    #[error("the body is longer than {} when it is unpacked, the limit (target.max_body)", numbers::bytes(*limit as f64))]
    UnpacksTooLong {
        /// The limit in bytes.
        limit: u64,
    },
    /// It is packed in a way that cacheproof does not know.
    #[error("the body has the content encoding \"{0}\", which cacheproof cannot unpack")]
    UnknownEncoding(String),
    /// It is not what its header says.
    #[error("the body is not {encoding}, which its header Content-Encoding says: {why}")]
    Broken {
        /// The encoding.
        encoding: String,
        /// What is wrong, in words.
        why: String,
    },
    /// The connection broke before its end.
    #[error("the body ended early: {}", super::failure_in_words(.0))]
    EndedEarly(reqwest::Error),
}

/// Reads a body as it was sent.
///
/// # Errors
/// It is longer than `limit` bytes, or ends early. Nothing more is read then.
pub async fn read_body(response: &mut Response, limit: u64) -> Result<Bytes, BodyError> {
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(BodyError::TooLong { limit });
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(BodyError::EndedEarly)? {
        if (body.len() + chunk.len()) as u64 > limit {
            return Err(BodyError::TooLong { limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The encodings of a body, the first applied first.
fn encodings(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all(CONTENT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    let names = lines.flat_map(|line| line.split(',')).map(|name| name.trim().to_ascii_lowercase());
    names.filter(|name| !name.is_empty() && name != "identity").collect()
}

/// A body as it was before the encodings of its header Content-Encoding.
///
/// # Errors
/// An encoding is not known, the body is not what the header says, or it is longer than `limit` bytes.
pub fn unpack(headers: &HeaderMap, body: Bytes, limit: u64) -> Result<Bytes, BodyError> {
    let encodings = encodings(headers);
    // An answer to HEAD, a 204 and a 304 name an encoding and have no body.
    if encodings.is_empty() || body.is_empty() {
        return Ok(body);
    }
    encodings.into_iter().rev().try_fold(body, |body, encoding| decode(encoding, &body, limit))
}

fn decode(encoding: String, body: &[u8], limit: u64) -> Result<Bytes, BodyError> {
    let unpacked = match encoding.as_str() {
        "gzip" | "x-gzip" => read_up_to(flate2::read::MultiGzDecoder::new(body), limit),
        // RFC 9110 means zlib's format; some servers send the bare stream.
        "deflate" => match read_up_to(flate2::read::ZlibDecoder::new(body), limit) {
            Err(Unreadable::Broken(_)) => read_up_to(flate2::read::DeflateDecoder::new(body), limit),
            read => read,
        },
        "br" => read_up_to(brotli_decompressor::Decompressor::new(body, 4096), limit),
        "zstd" => unzstd(body, limit),
        _ => return Err(BodyError::UnknownEncoding(encoding)),
    };
    unpacked.map(Bytes::from).map_err(|error| match error {
        Unreadable::TooLong => BodyError::UnpacksTooLong { limit },
        Unreadable::Broken(why) => BodyError::Broken { encoding, why },
    })
}

enum Unreadable {
    TooLong,
    Broken(String),
}

fn read_up_to(reader: impl Read, limit: u64) -> Result<Vec<u8>, Unreadable> {
    let mut bytes = Vec::new();
    reader.take(limit + 1).read_to_end(&mut bytes).map_err(|error| Unreadable::Broken(error.to_string()))?;
    if bytes.len() as u64 > limit { Err(Unreadable::TooLong) } else { Ok(bytes) }
}

/// Each frame of a zstd body. A frame that asks for a larger window than the limit is longer than it, or wastes memory.
fn unzstd(mut body: &[u8], limit: u64) -> Result<Vec<u8>, Unreadable> {
    let broken = |error: &dyn std::fmt::Display| Unreadable::Broken(error.to_string());
    let mut bytes = Vec::new();
    while !body.is_empty() {
        let frame = ruzstd::decoding::StreamingDecoder::new(&mut body).map_err(|error| broken(&error))?;
        let left = limit - bytes.len() as u64;
        bytes.extend(read_up_to(frame, left)?);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const LIMIT: u64 = 1 << 20;

    fn headers(encoding: &str) -> HeaderMap {
        [(CONTENT_ENCODING, encoding.parse().unwrap())].into_iter().collect()
    }

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(body: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(body: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(body: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(body, ruzstd::encoding::CompressionLevel::Fastest)
    }

    /// `{"id":17}` as `brotli` packs it: an uncompressed meta-block and an empty last one.
    const BROTLI: &[u8] = &[0x0b, 0x04, 0x80, b'{', b'"', b'i', b'd', b'"', b':', b'1', b'7', b'}', 0x03];

    fn unpacked(encoding: &str, body: &[u8]) -> Result<Bytes, BodyError> {
        unpack(&headers(encoding), Bytes::copy_from_slice(body), LIMIT)
    }

    #[test]
    fn a_body_is_unpacked_as_its_header_says() {
        let body = br#"{"id":17}"#;
        for (encoding, packed) in [
            ("gzip", gzip(body)),
            ("x-gzip", gzip(body)),
            ("GZIP", gzip(body)),
            ("deflate", zlib(body)),
            ("deflate", deflate(body)),
            ("br", BROTLI.to_vec()),
            ("zstd", zstd(body)),
            ("identity", body.to_vec()),
            ("", body.to_vec()),
            ("deflate, gzip", gzip(&zlib(body))),
            ("gzip, identity", gzip(body)),
            ("gzip", [gzip(&body[..4]), gzip(&body[4..])].concat()),
            ("zstd", [zstd(&body[..4]), zstd(&body[4..])].concat()),
        ] {
            assert_eq!(unpacked(encoding, &packed).unwrap(), &body[..], "{encoding}");
        }
        assert!(unpacked("gzip", b"").unwrap().is_empty(), "a 304 names the encoding of what it does not hold");
    }

    #[test]
    fn what_cannot_be_unpacked_is_told_by_its_name() {
        for (encoding, body, why) in [
            ("compress", &b"x"[..], "\"compress\", which cacheproof cannot unpack"),
            ("dcb", b"x", "\"dcb\""),
            ("gzip", b"{\"id\":17}", "is not gzip"),
            ("deflate", b"\xff\xff\xff", "is not deflate"),
            ("br", b"{\"id\":17}", "is not br"),
            ("zstd", b"{\"id\":17}", "is not zstd"),
            ("gzip", &gzip(b"a long enough text")[..20], "is not gzip"),
            ("zstd", &zstd(b"a long enough text")[..12], "is not zstd"),
        ] {
            let error = unpacked(encoding, body).unwrap_err().to_string();
            assert!(error.contains(why), "{encoding}: {error}");
        }
    }

    /// 64 MB of zeros, packed by the brotli of Google: there is no pure Rust encoder among the dependencies.
    const BROTLI_BOMB: &str = "cbffff3f002400e2b14072effff8ffff078004401c1680eefd1fffffff00900088c302d0bdffe3ffff1f001200715800baf7 \
         7ffcffff034002200e0b40f7fe8fffff7f004800c46101e8defff1ffff0f000980382c00ddfb3ffeffff012001108705a07b \
         ff37";

    fn bytes(hexadecimal: &str) -> Vec<u8> {
        let digits: Vec<u8> =
            hexadecimal.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
        digits.chunks_exact(2).map(|pair| pair[0] * 16 + pair[1]).collect()
    }

    #[test]
    fn a_bomb_is_not_unpacked_beyond_the_limit() {
        let bomb = vec![b'x'; 64 << 20];
        for (encoding, packed) in [
            ("gzip", gzip(&bomb)),
            ("deflate", zlib(&bomb)),
            ("deflate", deflate(&bomb)),
            ("zstd", zstd(&bomb)),
            ("br", bytes(BROTLI_BOMB)),
            ("gzip, gzip", gzip(&gzip(&bomb))),
        ] {
            let error = unpacked(encoding, &packed).unwrap_err();
            assert!(matches!(error, BodyError::UnpacksTooLong { limit: LIMIT }), "{encoding}: {error}");
        }
        let within = vec![b'x'; LIMIT as usize];
        assert_eq!(unpacked("gzip", &gzip(&within)).unwrap().len(), within.len(), "the limit itself is allowed");
    }
}
