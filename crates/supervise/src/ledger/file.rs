//! Opens a ledger that may be somebody else's, or no ledger at all.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

/// A ledger is some lines for each fault. What is larger is something else.
const MAX_BYTES: u64 = 64 << 20;

/// Why a ledger is not used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The system's error.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It is a symbolic link, or its directory is one that leads elsewhere.
    #[error("{} is a symbolic link; name the directory that it leads to, if you trust it", .0.display())]
    Link(PathBuf),
    /// A directory, a pipe, a device.
    #[error("it is no regular file")]
    NotAFile,
    /// Too large for a ledger.
    #[error("it has {0} bytes, which no ledger has")]
    TooLarge(u64),
    /// It, or its directory, is another user's, whose commands would run with the rights of this one.
    #[error("{} belongs to the user with the id {owner}, and this is the user with the id {user}: run it as that user", path.display())]
    Owner {
        /// The file or directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who reads it.
        user: u32,
    },
    /// Others may have written to it.
    #[error("other users may write to {} (mode {mode:03o}), so its commands may be theirs; read it, and set its mode to {right:03o} if you trust it", path.display())]
    Writable {
        /// The file or directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode without the rights of others.
        right: u32,
    },
}

/// Opens a ledger for reading, and for appending if `append`. It must be a regular file of this user that nobody else can write to, in
/// a directory of this user that not everybody can write to. Never waits for the other end of a pipe.
pub(super) fn open(path: &Path, append: bool) -> Result<File, LedgerError> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let opened = File::options().read(true).append(append).custom_flags(flags.bits()).open(path);
    let file = match opened {
        Err(_) if path.is_symlink() => return Err(LedgerError::Link(path.into())),
        opened => opened?,
    };
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(LedgerError::NotAFile);
    }
    check(path, &found, 0o022)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // In a group of its own a user's directories are often open to the group. Only the file decides about that.
    check(directory, &directory.metadata()?, 0o002)?;
    if found.len() > MAX_BYTES {
        return Err(LedgerError::TooLarge(found.len()));
    }
    Ok(file)
}

/// Whether this user alone decides about a file or directory. `others`: the rights that nobody else may have.
fn check(path: &Path, found: &std::fs::Metadata, others: u32) -> Result<(), LedgerError> {
    let user = nix::unistd::geteuid().as_raw();
    if found.uid() != user {
        return Err(LedgerError::Owner { path: path.into(), owner: found.uid(), user });
    }
    let mode = found.mode() & 0o777;
    // In a directory with the sticky bit nobody can replace another user's file.
    let sticky = found.is_dir() && found.mode() & 0o1000 != 0;
    if mode & others != 0 && !sticky {
        return Err(LedgerError::Writable { path: path.into(), mode, right: mode & !0o022 });
    }
    Ok(())
}

/// The bytes of a ledger.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, LedgerError> {
    let mut bytes = Vec::new();
    // It may grow while it is read.
    open(path, false)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use nix::sys::stat::Mode;

    use super::*;

    #[test]
    fn only_a_file_of_this_user_that_nobody_else_can_write_is_a_ledger() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("faults.ndjson");
        let set = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        std::fs::write(&path, "x").unwrap();
        for (mode, good) in [(0o600, true), (0o644, true), (0o660, false), (0o602, false)] {
            set(&path, mode);
            assert_eq!(open(&path, true).is_ok(), good, "{mode:o}");
        }
        let why = open(&path, false).unwrap_err().to_string();
        assert!(why.contains("mode 602") && why.contains("set its mode to 600"), "{why}");
        set(&path, 0o600);
        for (mode, good) in [(0o777, false), (0o1777, true), (0o775, true), (0o700, true)] {
            set(directory.path(), mode);
            assert_eq!(open(&path, false).is_ok(), good, "a directory with {mode:o}");
        }
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(open(&link, false), Err(LedgerError::Link(_))));
        std::os::unix::fs::symlink("nowhere", directory.path().join("dangling")).unwrap();
        assert!(matches!(open(&directory.path().join("dangling"), true), Err(LedgerError::Link(_))));
        assert!(matches!(open(directory.path(), false), Err(LedgerError::NotAFile)));
    }

    #[test]
    fn a_pipe_is_not_waited_for_and_a_huge_file_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        nix::unistd::mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        assert!(matches!(open(&pipe, false), Err(LedgerError::NotAFile)));
        let huge = directory.path().join("huge");
        File::create(&huge).unwrap().set_len(MAX_BYTES + 1).unwrap();
        assert!(matches!(read(&huge), Err(LedgerError::TooLarge(_))));
    }

    #[test]
    fn the_ledger_of_another_user_is_refused() {
        // As root: the file of somebody else. As anybody else: a file of root.
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("faults.ndjson");
        std::fs::write(&path, "x").unwrap();
        let path = match std::os::unix::fs::chown(&path, Some(12345), None) {
            Ok(()) => path,
            Err(_) => "/etc/passwd".into(),
        };
        assert!(matches!(open(&path, false), Err(LedgerError::Owner { .. })));
    }
}
