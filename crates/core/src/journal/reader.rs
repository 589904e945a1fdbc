//! Reads a journal back, line by line, so that a journal of hours needs no more memory than one of minutes.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::check::LineCheck;
use super::{Event, JOURNAL_FILE, JOURNAL_VERSION, JournalEntry, JournalError, Outline, RunStarted};

/// Longest line in bytes. The longest that a run writes are slices of many requests, some hundred KB.
const MAX_LINE_BYTES: u64 = 32 << 20;

/// The lines of a journal, each of them checked. A last line that was cut off by a crash is left out.
#[derive(Debug)]
pub struct JournalReader {
    path: PathBuf,
    file: BufReader<File>,
    /// Number of the line that was read last.
    line: usize,
    /// The line that was read last.
    text: Vec<u8>,
    check: LineCheck,
    start: RunStarted,
    /// The first line, until it is taken.
    first: Option<JournalEntry>,
}

impl JournalReader {
    /// Opens the journal in a run's directory, and reads its first line.
    pub fn open(directory: &Path) -> Result<Self, JournalError> {
        let path = directory.join(JOURNAL_FILE);
        let read_error = |source| JournalError::Read { path: path.clone(), source };
        // To open a named pipe would wait for its writer.
        if !std::fs::metadata(&path).map_err(read_error)?.is_file() {
            return Err(JournalError::NoFile { path });
        }
        let mut file = BufReader::new(File::open(&path).map_err(read_error)?);
        let (mut line, mut text) = (0, Vec::new());
        let first = match read_line(&path, &mut file, &mut line, &mut text) {
            Ok(Some(first)) => first,
            Ok(None) => return Err(JournalError::NoStart { path }),
            Err(JournalError::Line { .. }) if !text.starts_with(b"{\"at\":") => {
                return Err(JournalError::NoStart { path });
            }
            Err(error) => return Err(error),
        };
        let start = match &first.event {
            Event::RunStarted(start) if start.journal <= JOURNAL_VERSION => start.clone(),
            Event::RunStarted(start) => {
                return Err(JournalError::TooNew { path, found: start.journal, known: JOURNAL_VERSION });
            }
            _ => return Err(JournalError::NoStart { path }),
        };
        let mut check = LineCheck::default();
        check.check(&first).map_err(|why| JournalError::Impossible { path: path.clone(), line: 1, why })?;
        Ok(Self { path, file, line, text, check, start, first: Some(first) })
    }

    /// The first line.
    pub fn start(&self) -> &RunStarted {
        &self.start
    }

    /// Refuses lines about phases, faults and requests that the scenario does not have.
    pub fn set_outline(&mut self, outline: Outline) {
        self.check.set_outline(outline);
    }

    /// An error about the line that was read last.
    pub fn refusal(&self, why: &str) -> JournalError {
        JournalError::Impossible { path: self.path.clone(), line: self.line, why: why.to_owned() }
    }

    fn read(&mut self) -> Result<Option<JournalEntry>, JournalError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let Some(entry) = read_line(&self.path, &mut self.file, &mut self.line, &mut self.text)? else {
            return Ok(None);
        };
        let impossible = |why| JournalError::Impossible { path: self.path.clone(), line: self.line, why };
        self.check.check(&entry).map_err(impossible)?;
        Ok(Some(entry))
    }
}

impl Iterator for JournalReader {
    type Item = Result<JournalEntry, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// The next line; `None` at the end.
fn read_line(
    path: &Path,
    file: &mut BufReader<File>,
    line: &mut usize,
    text: &mut Vec<u8>,
) -> Result<Option<JournalEntry>, JournalError> {
    text.clear();
    let read = file.take(MAX_LINE_BYTES + 1).read_until(b'\n', text);
    if read.map_err(|source| JournalError::Read { path: path.to_owned(), source })? == 0 {
        return Ok(None);
    }
    *line += 1;
    if text.len() as u64 > MAX_LINE_BYTES {
        return Err(JournalError::TooLong { path: path.to_owned(), line: *line, most: MAX_LINE_BYTES });
    }
    match serde_json::from_slice(text) {
        Ok(entry) => Ok(Some(entry)),
        Err(_) if text.last() != Some(&b'\n') => Ok(None),
        Err(source) => Err(JournalError::Line { path: path.to_owned(), line: *line, source }),
    }
}

/// A whole journal.
pub fn read_journal(directory: &Path) -> Result<Vec<JournalEntry>, JournalError> {
    JournalReader::open(directory)?.collect()
}
