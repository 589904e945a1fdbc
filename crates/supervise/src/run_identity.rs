//! Which run something belongs to. It is chosen before anything is started, so that the ledger can say it first.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What marks everything of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunIdentity {
    token: String,
    directory: PathBuf,
}

impl RunIdentity {
    /// That of a new run.
    pub fn new() -> Self {
        Self::of(format!("{:012x}", rand::random::<u64>() >> 16))
    }

    /// That of the run with this token.
    pub(crate) fn of(token: String) -> Self {
        let directory = parent_directory().join(format!("cacheproof-{token}"));
        Self { token, directory }
    }

    /// Part of the name of its directory, the value of [`RUN_VARIABLE`](crate::RUN_VARIABLE) of every child and of
    /// [`RUN_LABEL`](crate::RUN_LABEL) of every container.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Its temporary directory, which the guard makes and removes.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Default for RunIdentity {
    fn default() -> Self {
        Self::new()
    }
}

/// The temporary directory. For root: /tmp, where other users can't reach the temporary directory, because servers run as another
/// user.
fn parent_directory() -> PathBuf {
    let temporary = std::env::temp_dir();
    let temporary = std::path::absolute(&temporary).unwrap_or(temporary);
    let reachable = |part: &Path| part.metadata().is_ok_and(|data| data.mode() & 0o001 != 0);
    if nix::unistd::geteuid().is_root() && !temporary.ancestors().all(reachable) {
        return "/tmp".into();
    }
    temporary
}

/// Whether this is the directory of the run with this token, as a guard makes it: a real directory of this user with the run's name.
/// True as well when it is gone already. Nothing else is deleted, whatever a ledger names.
pub(crate) fn is_run_directory(token: &str, directory: &Path) -> bool {
    let is_named = !token.is_empty()
        && token.chars().all(|letter| letter.is_ascii_hexdigit())
        && directory.is_absolute()
        && directory.components().all(|part| part != std::path::Component::ParentDir)
        && directory.file_name().is_some_and(|name| name.to_str() == Some(&format!("cacheproof-{token}")));
    let is_ours = || match directory.symlink_metadata() {
        Ok(found) => found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    is_named && is_ours()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_directory_that_a_guard_made_is_deleted() {
        assert!(is_run_directory("ab12", Path::new("/tmp/cacheproof-ab12")));
        for (token, directory) in [
            ("", "/tmp/cacheproof-"),
            ("ab12", "/home"),
            ("ab12", "/"),
            ("ab12", ""),
            ("ab12", "cacheproof-ab12"),
            ("ab12", "/tmp/../cacheproof-ab12"),
            ("ab12", "/tmp/cacheproof-ab12/.."),
            ("ab12", "/tmp/cacheproof-ab13"),
            ("..", "/tmp/cacheproof-.."),
            ("ab12/", "/tmp/cacheproof-ab12/"),
        ] {
            assert!(!is_run_directory(token, Path::new(directory)), "{directory}");
        }
    }

    #[test]
    fn a_file_a_link_or_the_directory_of_somebody_else_is_not_deleted() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("cacheproof-ab12");
        assert!(is_run_directory("ab12", &path), "it is gone");
        std::fs::write(&path, "").unwrap();
        assert!(!is_run_directory("ab12", &path));
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(parent.path(), &path).unwrap();
        assert!(!is_run_directory("ab12", &path));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(is_run_directory("ab12", &path));
        if std::os::unix::fs::chown(&path, Some(12345), None).is_ok() {
            assert!(!is_run_directory("ab12", &path));
        }
    }

    #[test]
    fn each_run_has_a_directory_of_its_own() {
        let (one, other) = (RunIdentity::new(), RunIdentity::new());
        assert_ne!(one, other);
        assert!(is_run_directory(one.token(), one.directory()), "{one:?}");
        assert_eq!(RunIdentity::of(one.token().into()), one, "the guard finds the same directory");
    }
}
