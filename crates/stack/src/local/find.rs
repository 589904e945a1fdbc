//! Finds installed server programs, and the user that they can run as.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::User;

use crate::StackError;
use crate::probe::ServerKind;

/// A server program that is new enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Installed {
    /// `redis-server`, `valkey-server` or `postgres`.
    pub(crate) program: PathBuf,
    /// Its version.
    pub(crate) version: String,
}

/// The user that a server runs as when cacheproof is root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The installed program of a server.
///
/// # Errors
/// [`StackError::NotInstalled`] or [`StackError::TooOld`].
pub(crate) fn installed(kind: ServerKind) -> Result<Installed, StackError> {
    let program = kind.program();
    let mut too_old = None;
    for search_path in search_paths(kind) {
        let mut path = search_path.join(program);
        if !path.is_file() {
            continue;
        }
        // A link to postgres may have no initdb beside it, so it is resolved. Not for Redis: its binary looks at the name by which
        // it was called.
        if kind == ServerKind::Postgres {
            path = path.canonicalize().unwrap_or(path);
            if !path.with_file_name("initdb").is_file() {
                continue;
            }
        }
        let Some(version) = version(&path) else { continue };
        match kind.check_version(program, &version) {
            Ok(()) => return Ok(Installed { program: path, version }),
            Err(error) => too_old = Some(error),
        }
    }
    Err(too_old.unwrap_or(StackError::NotInstalled {
        program,
        looked: match kind {
            ServerKind::Redis | ServerKind::Valkey => "PATH and the usual places".into(),
            ServerKind::Postgres => "PATH, /usr/lib/postgresql and the usual places (initdb must be beside it)".into(),
        },
    }))
}

/// Directories to search, best first.
fn search_paths(kind: ServerKind) -> Vec<PathBuf> {
    let mut search_paths: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    if kind == ServerKind::Postgres {
        for parent in ["/usr/lib/postgresql", "/usr/libexec/postgresql"] {
            search_paths.extend(newest_first(Path::new(parent)).into_iter().map(|version| version.join("bin")));
        }
        search_paths.extend(["/usr/local/pgsql/bin", "/usr/pgsql/bin"].map(PathBuf::from));
    }
    search_paths.extend(["/usr/local/bin", "/usr/bin", "/usr/local/sbin", "/usr/sbin"].map(PathBuf::from));
    search_paths
}

/// The directories named by a version, such as `15`, the highest first.
fn newest_first(parent: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some((name.parse().ok()?, entry.path()))
        })
        .collect();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, path)| path).collect()
}

/// The version in `Redis server v=7.0.15 sha=…` or `postgres (PostgreSQL) 15.18 (Debian …)`.
fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace()
        .map(|word| word.trim_start_matches("v="))
        .find(|word| word.starts_with(|letter: char| letter.is_ascii_digit()))
        .map(str::to_owned)
}

/// The user that Postgres runs as. `None`: cacheproof is not root, and Postgres runs as the same user.
///
/// # Errors
/// [`StackError::NoUnprivilegedUser`].
pub(crate) fn owner() -> Result<Option<Owner>, StackError> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    ["postgres", "_postgres", "nobody"]
        .into_iter()
        .find_map(|name| User::from_name(name).ok().flatten())
        .filter(|user| !user.uid.is_root())
        .map(|user| Some(Owner { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() }))
        .ok_or(StackError::NoUnprivilegedUser)
}
