//! Keeps stdout to ourselves: goose announces its users there, and no setting of its stops it.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;

use nix::unistd::{dup, dup2_stdout};

/// While it lives, what is written to stdout goes nowhere.
pub struct SilencedStdout {
    stdout: Option<OwnedFd>,
}

impl SilencedStdout {
    /// Silences stdout. Where that fails, a stray line is the worst that happens.
    pub fn stdout() -> Self {
        let stdout = dup(std::io::stdout()).ok();
        if stdout.is_some()
            && let Ok(nowhere) = File::options().write(true).open("/dev/null")
        {
            let _stays_loud = dup2_stdout(&nowhere);
        }
        Self { stdout }
    }
}

impl Drop for SilencedStdout {
    fn drop(&mut self) {
        let _closed = std::io::stdout().flush();
        if let Some(stdout) = &self.stdout {
            let _stays_quiet = dup2_stdout(stdout);
        }
    }
}
