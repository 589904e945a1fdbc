//! A private `redis-server` or `valkey-server`, also as a Sentinel.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::super::probe::Kind;
use super::super::{NotUp, StackError};
use super::{Installed, Launch, LocalServer, make_directory};
use cacheproof_supervise::Guard;

/// A server to start.
pub(in super::super) struct Wanted<'a> {
    pub(in super::super) kind: Kind,
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
    wanted: &Wanted<'_>,
    installed: &Installed,
    guard: &Guard,
) -> Result<LocalServer, NotUp> {
    let directory = make_directory(guard.directory(), wanted.name, None).map_err(NotUp::Other)?;
    let conf = directory.join("server.conf");
    let write = |path: &Path, text: &str| {
        write_private(path, text).map_err(StackError::path("write", path)).map_err(NotUp::Other)
    };
    // A file of our own: on the command line everybody could read the password.
    write(&conf, &(wanted.configuration)(&directory.display().to_string()))?;
    for (name, text) in wanted.files {
        write(&directory.join(name), text)?;
    }
    let mut arguments = vec![conf.into_os_string()];
    if wanted.is_sentinel {
        arguments.push("--sentinel".into());
    }
    let launch = Launch {
        program: installed.program.clone(),
        arguments,
        log: directory.join(format!("{}.log", wanted.name)),
        directory,
        owner: None,
        url: wanted.url.clone(),
        watch: guard.watch(),
    };
    // A server that fails takes its directory with it.
    LocalServer::start(wanted.kind, launch).await
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}
