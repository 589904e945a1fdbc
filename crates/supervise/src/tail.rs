//! The end of a log file, for error messages.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

/// The text of a file from byte `from` on, but at most its last `limit` bytes. What was cut off at its beginning is left out as
/// far as the next line, or the next word of a single line: half of a secret would not be known as one.
///
/// # Errors
/// When the file can't be read.
pub fn read_tail(file: &mut File, from: u64, limit: u64) -> std::io::Result<String> {
    let length = file.metadata()?.len();
    let begin = from.max(length.saturating_sub(limit));
    let cut = begin > from;
    file.seek(SeekFrom::Start(begin - u64::from(cut)))?;
    let mut bytes = Vec::new();
    // The process may still be writing to it.
    file.take(limit + u64::from(cut)).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    if !cut {
        return Ok(text.into_owned());
    }
    // The byte before is there too: it may be what ends a line or a word.
    let whole = text.find('\n').or_else(|| text.find(char::is_whitespace));
    Ok(whole.map_or("", |at| &text[at..]).trim_start().to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_tail_begins_at_its_position_but_is_never_longer_than_its_limit() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"one two three").unwrap();
        assert_eq!(read_tail(&mut file, 0, 100).unwrap(), "one two three");
        assert_eq!(read_tail(&mut file, 4, 100).unwrap(), "two three");
        assert_eq!(read_tail(&mut file, 4, 5).unwrap(), "three");
        assert_eq!(read_tail(&mut file, 0, 7).unwrap(), "three", "no half words");
        assert_eq!(read_tail(&mut file, 0, 3).unwrap(), "");
        assert_eq!(read_tail(&mut file, 99, 5).unwrap(), "");
        file.write_all(b" four\nfive six\n").unwrap();
        assert_eq!(read_tail(&mut file, 0, 12).unwrap(), "five six\n", "no half lines");
    }
}
