//! Writes files, each completely or not at all.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use super::ReportError;

/// Writes files below a directory. Each is written to a temporary file first and then renamed, so that no reader
/// sees half a file, not even after a crash.
pub fn write(directory: &Path, files: &[(String, Vec<u8>)]) -> Result<(), ReportError> {
    for (name, bytes) in files {
        let path = directory.join(name);
        let failed = |source| ReportError::Write { path: path.clone(), source };
        let parent = path.parent().unwrap_or(directory);
        fs::create_dir_all(parent).map_err(failed)?;
        let mut file = tempfile::Builder::new().prefix(".cacheproof-").tempfile_in(parent).map_err(failed)?;
        file.write_all(bytes).map_err(failed)?;
        make_world_readable(file.as_file()).map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
    }
    Ok(())
}

/// Temporary files are readable by their owner only; reports are readable by everybody.
#[cfg(unix)]
fn make_world_readable(file: &fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn make_world_readable(_: &fs::File) -> std::io::Result<()> {
    Ok(())
}

/// What to do about a file that can't be written.
pub(super) fn advice(source: &std::io::Error) -> &'static str {
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "the disk is full: free some space, then render again with `cacheproof report`"
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "the directory can't be written to: change its permissions, or choose another"
        }
        _ => "what was measured is kept in events.jsonl: render again with `cacheproof report`",
    }
}
