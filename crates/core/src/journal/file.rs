//! The journal file: `events.jsonl`, one [`JournalEntry`] a line, append-only.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::JournalEntry;
use crate::secrets::{Mask, to_masked_json};

/// Name of the journal in a run's directory.
pub const JOURNAL_FILE: &str = "events.jsonl";

/// Why a journal could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It could not be written.
    #[error("can't write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// It could not be read.
    #[error("can't read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A line in the middle is not a journal line.
    #[error("{path}, line {line}: not a line of a cacheproof journal: {source}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// A line holds what no run writes.
    #[error("{path}, line {line}: no run of cacheproof writes this: {why}")]
    Impossible {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
        /// What is wrong, in words.
        why: String,
    },
    /// A line is longer than any that a run writes.
    #[error("{path}, line {line}: it is longer than {most} bytes, as no line of a cacheproof journal is")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
        /// The longest that is read, in bytes.
        most: u64,
    },
    /// It is a directory, a named pipe or a device.
    #[error("{path} is not a file")]
    NoFile {
        /// Its path.
        path: PathBuf,
    },
    /// It does not begin with a `run_started` line.
    #[error("{path} is not a cacheproof journal: it does not begin with a run_started line")]
    NoStart {
        /// The file.
        path: PathBuf,
    },
    /// A newer cacheproof wrote it.
    #[error("{path} has journal format {found}, this cacheproof reads up to {known}: use a newer one")]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its format version.
        found: u32,
        /// The newest version that this cacheproof reads.
        known: u32,
    },
}

/// Writes a journal, a line at a time. Each line is handed to the operating system before [`Self::append`]
/// returns, so that a crash loses at most the line being written. Secrets are struck out of every line; the report is made
/// from the journal, so it holds none either.
#[derive(Debug)]
pub struct JournalWriter {
    path: PathBuf,
    file: File,
    mask: Mask,
}

impl JournalWriter {
    /// Creates the journal in a run's directory. There must be none yet.
    pub fn create(directory: &Path) -> Result<Self, JournalError> {
        let path = directory.join(JOURNAL_FILE);
        match File::create_new(&path) {
            Ok(file) => Ok(Self { path, file, mask: Mask::default() }),
            Err(source) => Err(JournalError::Write { path, source }),
        }
    }

    /// Strikes out these secrets too, not only the passwords in URLs.
    #[must_use]
    pub fn with_mask(self, mask: Mask) -> Self {
        Self { mask, ..self }
    }

    /// Appends one line.
    pub fn append(&mut self, line: &JournalEntry) -> Result<(), JournalError> {
        let mut text = to_masked_json(line, &self.mask).expect("every event can be written as JSON");
        text.push(b'\n');
        self.file.write_all(&text).map_err(|source| JournalError::Write { path: self.path.clone(), source })
    }
}
