//! What the app wrote, kept with the report.

use std::fs::File;
use std::path::{Path, PathBuf};

use cacheproof_core::secrets::Mask;
use cacheproof_supervise::read_tail;

/// How much of a log is kept.
const MAX_BYTES: u64 = 1 << 20;

/// Copies these logs into a directory, under the same names: of each the end, with the known secrets struck out. A log without content
/// is left out.
///
/// # Errors
/// The system's, with the name of the file.
pub fn keep_logs(logs: &[PathBuf], directory: &Path, mask: &Mask) -> std::io::Result<()> {
    for log in logs {
        let Some(name) = log.file_name() else { continue };
        let named = |error: std::io::Error| std::io::Error::new(error.kind(), format!("{}: {error}", log.display()));
        let mut file = File::open(log).map_err(named)?;
        let left_out = file.metadata().map_err(named)?.len().saturating_sub(MAX_BYTES);
        let mut text = mask.text(&read_tail(&mut file, 0, MAX_BYTES).map_err(named)?);
        if left_out > 0 {
            text = format!("(the first {left_out} bytes or more are left out)\n{text}");
        }
        if !text.is_empty() {
            std::fs::write(directory.join(name), text).map_err(named)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_kept_without_its_secrets_and_not_without_end() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let log = |name: &str, text: &[u8]| {
            std::fs::write(from.path().join(name), text).unwrap();
            from.path().join(name)
        };
        let long = "a line of the app\n".repeat(200_000);
        let logs = [
            log("app.log", b"connected to redis://:s3cret@h/ with hush-hush\n\xff\n"),
            log("app-2.log", long.as_bytes()),
            log("app-3.log", b""),
        ];
        keep_logs(&logs, to.path(), &Mask::of(["hush-hush"])).unwrap();
        let kept = |name: &str| std::fs::read_to_string(to.path().join(name)).unwrap();
        assert_eq!(kept("app.log"), "connected to redis://:***@h/ with ***\n\u{fffd}\n");
        let (first, rest) = (kept("app-2.log"), long.len() - (1 << 20));
        assert!(first.starts_with(&format!("(the first {rest} bytes or more are left out)\na line of the app\n")));
        assert!(first.len() < (1 << 20) + 100 && first.ends_with("a line of the app\n"), "{}", first.len());
        assert!(!to.path().join("app-3.log").exists());
        assert!(keep_logs(&[from.path().join("none")], to.path(), &Mask::default()).is_err());
    }
}
