//! The last lines of a server's log, for error messages.

use std::fs::File;
use std::path::Path;

use cacheproof_supervise::read_tail;

/// How much of a log is read.
const MAX_BYTES: u64 = 16 * 1024;

/// The last lines of a log file from a position on, joined into one line.
pub(crate) fn last_lines_of_file(log: &Path, from: u64, lines: usize) -> String {
    let text = File::open(log).and_then(|mut file| read_tail(&mut file, from, MAX_BYTES));
    last_lines(&text.unwrap_or_default(), lines)
}

/// The last lines of a text, joined into one line.
pub(crate) fn last_lines(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if all.is_empty() {
        return "(its log is empty)".into();
    }
    all[all.len().saturating_sub(lines)..].join(" | ")
}
