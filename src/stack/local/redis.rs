//! A private `redis-server`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::super::StackError;
use super::super::guard::Guard;
use super::super::probe::Kind;
use super::{Installed, Launch, LocalServer, NotUp, PORTS, free_port, make_directory, password};
use crate::scenario::RedisSpec;

/// Starts one; gives it with its URL.
pub(crate) async fn start(
    spec: &RedisSpec,
    installed: &Installed,
    guard: &Guard,
) -> Result<(LocalServer, String), StackError> {
    let directory = make_directory(guard.directory(), "redis", None)?;
    let password = password();
    let conf = directory.join("redis.conf");
    for _ in 0..PORTS {
        let port = free_port().map_err(StackError::system("find a free port"))?;
        let url = format!("redis://:{password}@127.0.0.1:{port}/");
        // A file of our own: on the command line everybody could read the password.
        write_private(&conf, &configuration(spec, port, &password, &directory))
            .map_err(StackError::path("write", &conf))?;
        let launch = Launch {
            program: installed.program.clone(),
            arguments: vec![conf.clone().into()],
            log: directory.join("redis.log"),
            directory: directory.clone(),
            owner: None,
            url: url.clone(),
            watch: guard.watch(),
        };
        match LocalServer::start(Kind::Redis, launch).await {
            Ok(server) => return Ok((server, url)),
            Err(NotUp::PortTaken) => {
                // The failed server took its directory with it.
                make_directory(guard.directory(), "redis", None)?;
            }
            Err(NotUp::Other(error)) => return Err(error),
        }
    }
    Err(StackError::NoPort(Kind::Redis.name()))
}

fn configuration(spec: &RedisSpec, port: u16, password: &str, directory: &Path) -> String {
    let mut text = format!(
        "bind 127.0.0.1\nport {port}\nprotected-mode yes\nrequirepass {password}\ndir \"{}\"\nsave \"\"\n\
         appendonly {}\nappendfsync everysec\n",
        directory.display(),
        if spec.appendonly { "yes" } else { "no" },
    );
    if let Some(bytes) = spec.maxmemory {
        let _ = writeln!(text, "maxmemory {bytes}");
    }
    if let Some(policy) = &spec.policy {
        let _ = writeln!(text, "maxmemory-policy {policy}");
    }
    text
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}
