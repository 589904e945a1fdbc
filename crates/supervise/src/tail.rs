//! The end of a log file, for error messages.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

/// The text of a file from byte `from` on, but at most its last `limit` bytes.
///
/// # Errors
/// When the file can't be read.
pub fn read_tail(file: &mut File, from: u64, limit: u64) -> std::io::Result<String> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(from.max(length.saturating_sub(limit))))?;
    let mut bytes = Vec::new();
    // The process may still be writing to it.
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
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
        assert_eq!(read_tail(&mut file, 99, 5).unwrap(), "");
    }
}
