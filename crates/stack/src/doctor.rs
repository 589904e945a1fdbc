//! `cacheproof doctor`: checks what this machine has and lacks for running servers.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

use bollard::Docker;

use crate::container::{ask_registry, has_image};
use crate::probe::ServerKind;
use crate::{StackError, free_port, local};
use cacheproof_supervise::{Guard, docker, has_proc, most_open_files};

/// The images of a scenario that names none.
const DEFAULT_IMAGES: [(ServerKind, &str); 2] = [(ServerKind::Redis, "redis:7"), (ServerKind::Postgres, "postgres:17")];

/// Open files that a run with a few hundred connections needs.
const MIN_OPEN_FILES: u64 = 1024;

/// Megabytes that the data of Postgres, its log and a report need at least.
const MIN_FREE_MB: f64 = 500.0;

/// Bytes in a megabyte.
const BYTES_PER_MB: f64 = 1e6;

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Whether it passed.
    pub passed: bool,
    /// What was found.
    pub found: String,
    /// What to do when it did not pass.
    pub advice: Option<String>,
}

/// The results of all checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoctorReport {
    /// In the order to show them.
    pub checks: Vec<Check>,
    /// Whether both servers can run as local processes.
    pub local: bool,
    /// Whether both servers can run in containers.
    pub container: bool,
}

fn passed(found: impl Into<String>) -> Check {
    Check { passed: true, found: found.into(), advice: None }
}

fn failed(found: impl Into<String>, advice: impl Into<String>) -> Check {
    Check { passed: false, found: found.into(), advice: Some(advice.into()) }
}

/// Checks this machine. `program` is cacheproof itself, to try its guard. Starts no server; it may ask a registry about an image.
pub async fn check_machine(program: &Path) -> DoctorReport {
    let mut checks = vec![redis_server(), postgres(), owner()];
    let machine_checks = [guard(program), temporary_directory(), port()];
    let ready = machine_checks.iter().all(|check| check.passed);
    let local = ready && checks.iter().all(|check| check.passed);
    checks.push(valkey_server());
    let (docker_checks, images) = docker_and_images().await;
    checks.extend(docker_checks);
    checks.extend(machine_checks);
    checks.extend([open_files(), proc()]);
    DoctorReport { checks, local, container: ready && images }
}

fn redis_server() -> Check {
    match local::installed(ServerKind::Redis) {
        Ok(found) => passed(format!("redis-server {} ({})", found.version, found.program.display())),
        Err(error) => failed(error.to_string(), "sh scripts/setup.sh installs it"),
    }
}

/// It passes without Valkey, which only scenarios with `server = "valkey"` need.
fn valkey_server() -> Check {
    match local::installed(ServerKind::Valkey) {
        Ok(found) => passed(format!("valkey-server {} ({})", found.version, found.program.display())),
        Err(StackError::NotInstalled { .. }) => {
            passed("no valkey-server: server = \"valkey\" needs it installed, or a container")
        }
        Err(error) => failed(error.to_string(), "install a newer one, or do not use server = \"valkey\""),
    }
}

fn postgres() -> Check {
    let found = match local::installed(ServerKind::Postgres) {
        Ok(found) => found,
        Err(error) => return failed(error.to_string(), "sh scripts/setup.sh installs it"),
    };
    let named = format!("postgres {} ({})", found.version, found.program.display());
    let plugins = Command::new(found.program.with_file_name("pg_config")).arg("--pkglibdir").output();
    // Without pg_config it is not known here; then the start of the server shows it.
    if let Ok(plugins) = plugins {
        let directory = String::from_utf8_lossy(&plugins.stdout).trim().to_owned();
        let has = |suffix: &str| Path::new(&directory).join(format!("pg_stat_statements.{suffix}")).exists();
        if plugins.status.success() && !has("so") && !has("dylib") {
            return failed(
                format!("{named} without pg_stat_statements, which counts statements"),
                "install Postgres' contrib modules: sh scripts/setup.sh",
            );
        }
    }
    passed(named)
}

fn owner() -> Check {
    match local::owner() {
        Ok(None) => passed("not root: servers run as this user"),
        Ok(Some(owner)) => passed(format!("root: a local Postgres runs as user {}", owner.name)),
        Err(error) => failed(error.to_string(), "useradd --system postgres"),
    }
}

async fn docker_and_images() -> (Vec<Check>, bool) {
    if docker::is_remote() {
        let advice = "unset DOCKER_HOST to use this machine's Docker; local servers need none";
        return (vec![failed(StackError::RemoteDocker.to_string(), advice)], false);
    }
    let docker = match docker::connect().await {
        Ok(docker) => docker,
        Err(error) => {
            return (vec![failed(error.to_string(), "start Docker to use containers; local servers need none")], false);
        }
    };
    let mut checks = vec![match docker.version().await {
        Ok(version) => passed(format!(
            "Docker {} answers (API {})",
            version.version.unwrap_or_default(),
            version.api_version.unwrap_or_default()
        )),
        Err(error) => {
            failed(format!("Docker does not say its version: {}", docker::error_text(&error)), "restart Docker")
        }
    }];
    let [redis, postgres] = DEFAULT_IMAGES.map(|(kind, default)| image(&docker, kind, kind.image(default)));
    let images = tokio::join!(redis, postgres);
    checks.extend([images.0, images.1]);
    let usable = checks.iter().all(|check| check.passed);
    (checks, usable)
}

async fn image(docker: &Docker, kind: ServerKind, image: String) -> Check {
    match has_image(docker, &image).await {
        Ok(true) => return passed(format!("image {image} is present")),
        Ok(false) => {}
        Err(error) => return failed(error.to_string(), "restart Docker"),
    }
    let Err(why) = ask_registry(docker, &image).await else {
        return passed(format!("image {image} is missing and can be pulled; the first run pulls it"));
    };
    let stand_in = format!("cacheproof-standin/{}:latest", kind.key());
    let advice = if has_image(docker, &stand_in).await.unwrap_or(false) {
        format!("use the stand-in: export {}={stand_in}", kind.image_variable())
    } else {
        format!("sh scripts/offline-images.sh builds a stand-in; then export {}={stand_in}", kind.image_variable())
    };
    failed(format!("image {image} is missing and can't be pulled: {why}"), advice)
}

fn guard(program: &Path) -> Check {
    let advice = "the temporary directory must be writable, and new processes must be allowed";
    match Guard::start(program).and_then(Guard::release) {
        Ok(()) => passed("the guard starts and cleans up"),
        Err(error) => failed(error.to_string(), advice),
    }
}

fn temporary_directory() -> Check {
    let directory = std::env::temp_dir();
    let shown = directory.display();
    match nix::sys::statvfs::statvfs(&directory) {
        Ok(space) => {
            // The types of these numbers differ between systems.
            let free = space.blocks_available() as f64 * space.fragment_size() as f64 / BYTES_PER_MB;
            let found = format!("temporary directory {shown} has {free:.0} MB free");
            if free >= MIN_FREE_MB {
                passed(found)
            } else {
                failed(
                    found,
                    format!("free some space ({MIN_FREE_MB} MB are enough), or set TMPDIR to another directory"),
                )
            }
        }
        Err(error) => failed(format!("temporary directory {shown}: {error}"), "set TMPDIR to a directory that exists"),
    }
}

fn port() -> Check {
    match free_port().and_then(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port))) {
        Ok(_) => passed("ports are free on 127.0.0.1"),
        Err(error) => failed(format!("can't listen on 127.0.0.1: {error}"), "enable the loopback interface"),
    }
}

fn open_files() -> Check {
    // A run raises its own limit.
    match most_open_files() {
        Some(limit) if limit < MIN_OPEN_FILES => {
            failed(format!("only {limit} open files are allowed"), format!("ulimit -Hn {MIN_OPEN_FILES} or more"))
        }
        Some(limit) => passed(format!("{limit} open files are allowed")),
        None => passed("the limit on open files is unknown here"),
    }
}

fn proc() -> Check {
    if has_proc() {
        return passed("/proc is available: processes are measured, and processes that a crashed run left are found");
    }
    failed("no /proc", "nothing to do: a run works, but the CPU and memory of processes are not measured")
}
