//! A private Postgres, and the app on it.

#[path = "../../../cache-layer/tests/it/support.rs"]
#[expect(dead_code, reason = "the cache layer's own tests use more of it")]
mod redis_server;

pub use redis_server::{Redis, Server, eventually, free_port};

use reference_app::{App, ServeArgs, router, serve_on};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::oneshot;

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

impl Postgres {
    pub async fn start() -> Self {
        let dir = TempDir::with_prefix("reference-app-test-").expect("a directory");
        let data = dir.path().join("data");
        std::fs::create_dir(&data).expect("a directory");
        let (data, user) = (data.to_str().expect("a path"), as_postgres());
        if !user.is_empty() {
            run(dir.path(), &["chmod", "755", "."]);
            run(dir.path(), &["chown", "postgres:", data]);
        }
        let initdb = bin("initdb");
        let initdb = [
            initdb.as_str(),
            "-D",
            data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
            "--no-instructions",
        ];
        run(dir.path(), &[user, &initdb].concat());
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
        // An immediate shutdown gives back its shared memory, a kill does not.
        Command::new("kill").args(["-QUIT", &self.server.pid.to_string()]).status().ok();
        let start = Instant::now();
        let alive = || Path::new(&format!("/proc/{}/stat", self.server.pid)).exists();
        while alive() && start.elapsed() < Duration::from_millis(300) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The app, in this process, on a port of its own.
pub struct Running {
    pub url: String,
    pub http: reqwest::Client,
    _stop: Option<oneshot::Sender<()>>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub cache: String,
    pub body: serde_json::Value,
}

impl Answer {
    pub fn number(&self, field: &str) -> i64 {
        self.body[field].as_i64().unwrap_or_else(|| panic!("{field} in {}", self.body))
    }

    pub fn is_hit(&self) -> bool {
        self.cache.starts_with("reference; hit; ttl=")
    }
}

/// With time to spare: where waiting is not the subject, a busy machine must not look like an outage.
pub fn args(postgres: &Postgres, redis: Option<&Redis>, cache: &str) -> ServeArgs {
    ServeArgs {
        listen: ([127, 0, 0, 1], 0).into(),
        database_url: postgres.url(),
        redis_url: redis.map(Redis::url),
        cache: cache.parse().expect("a strategy"),
        cache_timeout_ms: 10_000,
        load: "posts=60,profiles=30,products=30,courses=30".parse().expect("a load"),
        db_connections: 8,
    }
}

impl Running {
    pub async fn start(args: ServeArgs) -> Self {
        let listener = tokio::net::TcpListener::bind(args.listen).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let app = App::build(&args).await.expect("the app");
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            stopped.await.ok();
        };
        tokio::spawn(serve_on(listener, router(app), shutdown));
        Self { url, http: reqwest::Client::new(), _stop: Some(stop) }
    }

    /// An app that runs already.
    pub fn at_url(url: String) -> Self {
        Self { url, http: reqwest::Client::new(), _stop: None }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.http.get(self.at(path))).await
    }

    pub async fn get_no_store(&self, path: &str) -> Answer {
        self.send(self.http.get(self.at(path)).header("cache-control", "no-store")).await
    }

    pub async fn post(&self, path: &str, body: serde_json::Value) -> Answer {
        self.send(self.http.post(self.at(path)).json(&body)).await
    }

    pub async fn put(&self, path: &str, body: serde_json::Value) -> Answer {
        self.send(self.http.put(self.at(path)).json(&body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.http.delete(self.at(path))).await
    }

    pub async fn metrics(&self) -> String {
        let answer = self.http.get(self.at("/metrics")).send().await.expect("an answer");
        answer.text().await.expect("text")
    }

    /// The sum of the samples whose line begins like this.
    pub async fn metric(&self, beginning: &str) -> u64 {
        let text = self.metrics().await;
        let lines = text.lines().filter(|line| line.starts_with(beginning));
        lines.map(|line| line.rsplit(' ').next().expect("a value").parse::<u64>().expect("a number")).sum()
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let cache = answer.headers().get("cache-status").map_or("", |value| value.to_str().expect("text")).to_owned();
        Answer { status, cache, body: answer.json().await.expect("JSON") }
    }
}
