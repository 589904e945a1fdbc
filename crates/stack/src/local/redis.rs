//! Starts a local `redis-server` or `valkey-server`, also as a Sentinel.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::{Installed, Launch, LocalServer, make_directory};
use crate::probe::ServerKind;
use crate::{StackError, StartFailure};
use cacheproof_supervise::Guard;

/// A server to start.
pub(crate) struct LocalRedisSpec<'a> {
    pub(crate) kind: ServerKind,
    /// The name of its directory.
    pub(crate) name: &'a str,
    /// Makes its configuration, from the path of its directory.
    pub(crate) configuration: &'a (dyn Fn(&str) -> String + Send + Sync),
    /// Other files in its directory, by name.
    pub(crate) files: &'a [(&'static str, String)],
    pub(crate) is_sentinel: bool,
    /// Where it answers.
    pub(crate) url: String,
}

/// Starts a server and waits until it answers.
pub(crate) async fn start(
    spec: &LocalRedisSpec<'_>,
    installed: &Installed,
    guard: &Guard,
) -> Result<LocalServer, StartFailure> {
    let directory = make_directory(guard.directory(), spec.name, None).map_err(StartFailure::Other)?;
    let conf = directory.join("server.conf");
    let write = |path: &Path, text: &str| {
        write_private(path, text).map_err(StackError::path("write", path)).map_err(StartFailure::Other)
    };
    // In a file, because every user can read the command line, which would show the password.
    write(&conf, &(spec.configuration)(&directory.display().to_string()))?;
    for (name, text) in spec.files {
        write(&directory.join(name), text)?;
    }
    let mut arguments = vec![conf.into_os_string()];
    if spec.is_sentinel {
        arguments.push("--sentinel".into());
    }
    let launch = Launch {
        program: installed.program.clone(),
        arguments,
        log: directory.join(format!("{}.log", spec.name)),
        directory,
        owner: None,
        url: spec.url.clone(),
        guard_handle: guard.guard_handle(),
    };
    // On failure it deletes the directory.
    LocalServer::start(spec.kind, launch).await
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}
