//! A private Postgres: its own process, port and directory; gone when the test is.

use super::{Server, eventually, free_port};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub struct Postgres {
    _dir: TempDir,
    server: Server,
    port: u16,
}

/// Postgres refuses to run as root; then its account does.
fn as_postgres() -> &'static [&'static str] {
    let me = Command::new("id").arg("-u").output().expect("id").stdout;
    if me == b"0\n" { &["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] } else { &[] }
}

fn bin(name: &str) -> String {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = installed.map(|entry| entry.path().join("bin").join(name)).filter(|path| path.exists()).max();
    newest.unwrap_or_else(|| PathBuf::from(name)).to_str().expect("a path").to_owned()
}

fn run(dir: &Path, command: &[&str]) {
    let output = Command::new(command[0]).args(&command[1..]).current_dir(dir).output().expect(command[0]);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What `initdb` makes, to be copied: it takes half a second of a core, a copy a tenth, and the tests start some hundred servers. Whoever
/// comes first makes it, and it stays for later runs. Its name has all that it depends on; who copies it is who made it, root or not.
fn template(user: &[&str]) -> PathBuf {
    let version = Command::new(bin("postgres")).arg("--version").output().expect("postgres").stdout;
    let version: String = String::from_utf8_lossy(&version).chars().filter(char::is_ascii_alphanumeric).collect();
    let whose = if user.is_empty() { "own" } else { "root" };
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{version}-{whose}"));
    if place.exists() {
        return place;
    }
    let dir = TempDir::with_prefix("cache-layer-test-").expect("a directory");
    let data = dir.path().join("data");
    std::fs::create_dir(&data).expect("a directory");
    let data = data.to_str().expect("a path");
    if !user.is_empty() {
        run(dir.path(), &["chmod", "755", "."]);
        run(dir.path(), &["chown", "postgres:", data]);
    }
    let initdb = bin("initdb");
    let initdb = [initdb.as_str(), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8"];
    run(dir.path(), &[user, &initdb, &["--no-sync", "--no-instructions"]].concat());
    // Whole or not there: several may make it at once, and the first one's stays.
    let mine = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    run(dir.path(), &["cp", "-a", data, mine.path().to_str().expect("a path")]);
    match std::fs::rename(mine.path().join("data"), &place) {
        Ok(()) => {}
        Err(error) => assert!(place.exists(), "{}: {error}", place.display()),
    }
    place
}

impl Postgres {
    pub async fn start() -> Self {
        let dir = TempDir::with_prefix("cache-layer-test-").expect("a directory");
        let user = as_postgres();
        if !user.is_empty() {
            run(dir.path(), &["chmod", "755", "."]);
        }
        run(dir.path(), &["cp", "-a", template(user).to_str().expect("a path"), "data"]);
        let data = dir.path().join("data");
        let data = data.to_str().expect("a path");
        let (port, postgres) = (free_port(), bin("postgres"));
        let number = port.to_string();
        let settings = ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="];
        let command = [user, &[&postgres, "-D", data, "-p", &number], &settings].concat();
        let server = Server::start(dir.path(), &command);
        let postgres = Self { _dir: dir, server, port };
        let url = postgres.url();
        eventually("postgres came up", async || connect(&url).await.is_some()).await;
        postgres
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Some connections.
    pub async fn pool(&self, connections: u32) -> sqlx::PgPool {
        let options = sqlx::postgres::PgPoolOptions::new().max_connections(connections);
        options.connect(&self.url()).await.expect("a connection")
    }

    /// One number out of a statement of our own.
    pub async fn number(&self, sql: &'static str) -> i64 {
        let mut connection = connect(&self.url()).await.expect("a connection");
        sqlx::query_scalar(sql).fetch_one(&mut connection).await.expect(sql)
    }

    pub fn signal(&self, signal: &str) {
        self.server.signal(signal);
    }
}

async fn connect(url: &str) -> Option<sqlx::PgConnection> {
    <sqlx::PgConnection as sqlx::Connection>::connect(url).await.ok()
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // An immediate shutdown gives back its shared memory, a kill does not. The test may have killed it: nothing to say of that.
        let quit = ["-QUIT", &self.server.pid.to_string()];
        Command::new("kill").args(quit).stderr(std::process::Stdio::null()).status().ok();
        let start = Instant::now();
        let alive = || Path::new(&format!("/proc/{}/stat", self.server.pid)).exists();
        while alive() && start.elapsed() < Duration::from_millis(300) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
