use super::Garbled;
use bytes::Bytes;
use lz4_flex::block;

/// LZ4 makes at most this many bytes out of one.
const EXPANSION_AT_MOST: usize = 255;

/// How values are written. Whatever it says, all values can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codec {
    /// Bodies longer than this many bytes are compressed where that saves an eighth or more; `None`: never.
    pub compress_above: Option<usize>,
}

impl Default for Codec {
    /// Above 2 KiB: what fits into two network packets gains nothing.
    fn default() -> Self {
        Self { compress_above: Some(2048) }
    }
}

impl Codec {
    /// The body compressed, if it should be.
    pub(super) fn compressed(&self, body: &[u8]) -> Option<Vec<u8>> {
        if body.len() <= self.compress_above? {
            return None;
        }
        let smaller = block::compress(body);
        (smaller.len() < body.len() - body.len() / 8).then_some(smaller)
    }
}

/// A compressed body, whose length before is known from its header.
pub(super) fn decompressed(stored: &[u8], length: usize) -> Result<Bytes, Garbled> {
    if length > stored.len().saturating_mul(EXPANSION_AT_MOST) {
        return Err(Garbled::Length);
    }
    let body = block::decompress(stored, length).map_err(|_| Garbled::Compression)?;
    if body.len() != length { Err(Garbled::Length) } else { Ok(body.into()) }
}
