//! What the commands print. Everything passes through here, so that no secret reaches a terminal or the log of a CI job; the
//! lints in `lib.rs` see to it. A pipe that was closed is no error.

use std::io::Write;
use std::sync::{PoisonError, RwLock};

use crate::secrets::Mask;

/// The secrets of this process. None until a scenario is read: then passwords and secret parameters of URLs are struck out.
static MASK: RwLock<Option<Mask>> = RwLock::new(None);

/// Strikes these secrets out of everything that is printed from now on, and those that are added to the mask later.
pub(super) fn hide(secrets: &Mask) {
    *MASK.write().unwrap_or_else(PoisonError::into_inner) = Some(secrets.clone());
}

/// Prints to standard output.
pub(super) fn print(text: &str) {
    write(&mut std::io::stdout(), text);
}

/// Prints to standard error.
pub(super) fn print_error(text: &str) {
    write(&mut std::io::stderr(), text);
}

fn write(to: &mut impl Write, text: &str) {
    let mask = MASK.read().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
    let _closed = to.write_all(mask.text(text).as_bytes()).and_then(|()| to.flush());
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
