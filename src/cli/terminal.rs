//! What the commands print. Everything passes through here, so that no secret reaches a terminal or the log of a CI job; the
//! lints in `lib.rs` see to it. A pipe that was closed is no error: its reader has seen enough. Any other error on standard output is
//! one, and [`output_failure`] tells it.

use std::io::{ErrorKind, Write};
use std::sync::{OnceLock, PoisonError, RwLock};

use crate::secrets::Mask;

/// The secrets of this process. None until a scenario is read: then passwords and secret parameters of URLs are struck out.
static MASK: RwLock<Option<Mask>> = RwLock::new(None);

/// The first error of standard output.
static FAILURE: OnceLock<std::io::Error> = OnceLock::new();

/// Why something that was meant for standard output is not there. `None` when all of it was written, or its reader went away.
pub(super) fn output_failure() -> Option<&'static std::io::Error> {
    FAILURE.get()
}

/// Keeps an error of standard output for [`output_failure`].
pub(super) fn note_output(written: std::io::Result<()>) {
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
    {
        let _only_the_first = FAILURE.set(error);
    }
}

/// Strikes these secrets out of everything that is printed from now on, and those that are added to the mask later.
pub(super) fn hide(secrets: &Mask) {
    *MASK.write().unwrap_or_else(PoisonError::into_inner) = Some(secrets.clone());
}

/// Prints to standard output.
pub(super) fn print(text: &str) {
    note_output(write(&mut std::io::stdout(), text));
}

/// Prints to standard error.
pub(super) fn print_error(text: &str) {
    // There is no other place to tell it.
    let _closed = write(&mut std::io::stderr(), text);
}

fn write(to: &mut impl Write, text: &str) -> std::io::Result<()> {
    let mask = MASK.read().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
    to.write_all(mask.text(text).as_bytes())?;
    to.flush()
}

/// Standard error for logs. Each log line is one write.
pub(super) struct MaskedStderr;

impl Write for MaskedStderr {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        print_error(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}
