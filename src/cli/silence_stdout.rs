//! Silences stdout: goose prints to it, and no setting of goose turns that off.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;

use nix::unistd::{dup, dup2_stdout};

/// Redirects stdout to /dev/null until it is dropped.
pub struct SilencedStdout {
    stdout: Option<OwnedFd>,
}

impl SilencedStdout {
    /// Silences stdout. If that fails, goose's lines are printed.
    pub fn stdout() -> Self {
        let stdout = dup(std::io::stdout()).ok();
        if stdout.is_some()
            && let Ok(null) = File::options().write(true).open("/dev/null")
        {
            let _not_silenced = dup2_stdout(&null);
        }
        Self { stdout }
    }
}

impl Drop for SilencedStdout {
    fn drop(&mut self) {
        let _closed = std::io::stdout().flush();
        if let Some(stdout) = &self.stdout {
            let _not_restored = dup2_stdout(stdout);
        }
    }
}
