//! Starts a local `postgres`.

use std::path::Path;

use sqlx::Connection as _;
use tokio::process::Command;

use super::{Installed, Launch, LocalServer, Owner, PORT_ATTEMPTS, make_directory, owner, prepare};
use crate::log::last_lines;
use crate::password::random_password;
use crate::probe::{ServerKind, connect_postgres};
use crate::{StackError, StartFailure, free_port};
use cacheproof_supervise::Guard;

/// The user and the database of the server.
const NAME: &str = "cacheproof";

/// Starts a Postgres; returns it with its URL.
pub(crate) async fn start(installed: &Installed, guard: &Guard) -> Result<(LocalServer, String), StackError> {
    let owner = owner()?;
    let directory = make_directory(guard.directory(), "postgres", owner.as_ref())?;
    let password = random_password();
    let data = directory.join("data");
    initialise(installed, guard.token(), &directory, &data, owner.as_ref(), &password).await?;
    for _ in 0..PORT_ATTEMPTS {
        let port = free_port().map_err(StackError::system("find a free port"))?;
        let url = |database: &str| format!("postgres://{NAME}:{password}@127.0.0.1:{port}/{database}");
        let launch = Launch {
            program: installed.program.clone(),
            arguments: ["-D".into(), data.clone().into(), "-p".into(), port.to_string().into()].into(),
            log: directory.join("postgres.log"),
            directory: directory.clone(),
            owner: owner.clone(),
            url: url("postgres"),
            guard_handle: guard.guard_handle(),
        };
        match LocalServer::start(ServerKind::Postgres, launch).await {
            Ok(mut server) => {
                server.launch.url = url(NAME);
                if let Err(error) = create_database(&url("postgres")).await {
                    server.stop().await;
                    return Err(server.start_failure(format!("creating its database: {error}")));
                }
                return Ok((server, url(NAME)));
            }
            Err(StartFailure::PortTaken) => {
                make_directory(guard.directory(), "postgres", owner.as_ref())?;
                initialise(installed, guard.token(), &directory, &data, owner.as_ref(), &password).await?;
            }
            Err(StartFailure::Other(error)) => return Err(error),
        }
    }
    Err(StackError::NoPort(ServerKind::Postgres.name()))
}

/// Makes the data directory and its configuration.
async fn initialise(
    installed: &Installed,
    token: &str,
    directory: &Path,
    data: &Path,
    owner: Option<&Owner>,
    password: &str,
) -> Result<(), StackError> {
    let secret = directory.join("password");
    std::fs::write(&secret, password).map_err(StackError::path("write", &secret))?;
    if let Some(owner) = owner {
        std::os::unix::fs::chown(&secret, Some(owner.uid), Some(owner.gid))
            .map_err(StackError::path("change the owner of", &secret))?;
    }
    let mut command = Command::new(installed.program.with_file_name("initdb"));
    command.arg("--pgdata").arg(data).args(["--username", NAME, "--pwfile"]).arg(&secret);
    command.args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]);
    command.kill_on_drop(true);
    prepare(&mut command, directory, owner, token);
    let output = command.output().await.map_err(StackError::system("start initdb"))?;
    let _ = std::fs::remove_file(&secret);
    if !output.status.success() {
        return Err(StackError::StartFailure {
            what: ServerKind::Postgres.name().into(),
            why: format!("initdb failed: {}", last_lines(&String::from_utf8_lossy(&output.stderr), 6)),
            help: "look at the message above; `cacheproof doctor` says what this machine lacks".into(),
        });
    }
    let conf = data.join("postgresql.auto.conf");
    std::fs::write(&conf, CONFIGURATION).map_err(StackError::path("write", &conf))
}

/// No Unix socket, because its path could be too long. Dynamic shared memory is in the data directory, because in /dev/shm it would
/// be left behind after SIGKILL.
const CONFIGURATION: &str = "\
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
dynamic_shared_memory_type = mmap
max_connections = 200
shared_preload_libraries = 'pg_stat_statements'
pg_stat_statements.track_utility = off
";

async fn create_database(url: &str) -> Result<(), sqlx::Error> {
    let mut connection = connect_postgres(url).await?;
    sqlx::raw_sql("CREATE /* cacheproof */ DATABASE cacheproof").execute(&mut connection).await?;
    connection.close().await
}
