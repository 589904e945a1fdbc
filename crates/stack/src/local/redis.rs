//! A private `redis-server` or `valkey-server`, also as a Sentinel.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::super::probe::ServerKind;
use super::super::{StackError, StartFailure};
use super::{Installed, Launch, LocalServer, make_directory};
use cacheproof_supervise::Guard;

/// A server to start.
pub(in super::super) struct LocalRedisSpec<'a> {
    pub(in super::super) kind: ServerKind,
    /// Of its directory in the run's.
    pub(in super::super) name: &'a str,
    /// Its configuration, given its directory.
    pub(in super::super) configuration: &'a (dyn Fn(&str) -> String + Send + Sync),
    /// Files beside it, by name.
    pub(in super::super) files: &'a [(&'static str, String)],
    pub(in super::super) is_sentinel: bool,
    /// Where it answers.
    pub(in super::super) url: String,
}

/// Starts one and waits until it answers.
pub(in super::super) async fn start(
    spec: &LocalRedisSpec<'_>,
    installed: &Installed,
    guard: &Guard,
) -> Result<LocalServer, StartFailure> {
    let directory = make_directory(guard.directory(), spec.name, None).map_err(StartFailure::Other)?;
    let conf = directory.join("server.conf");
    let write = |path: &Path, text: &str| {
        write_private(path, text).map_err(StackError::path("write", path)).map_err(StartFailure::Other)
    };
    // A file of our own: on the command line everybody could read the password.
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
    // A server that fails takes its directory with it.
    LocalServer::start(spec.kind, launch).await
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}
