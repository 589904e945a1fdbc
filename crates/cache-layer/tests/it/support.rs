//! A private redis-server: its own process, port and directory; gone when the test is.

use cache_layer::CacheConfig;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Runs a server and ends it when the standard input closes, so that it goes even when the test is killed.
const GUARD: &str = r#""$@" >server.log 2>&1 & p=$!; echo $p; cat >/dev/null; kill -9 $p; wait $p"#;

/// A server process that does not outlive this value, nor this process.
pub struct Server {
    guard: Child,
    _stdin: Option<ChildStdin>,
    pub pid: u32,
}

impl Server {
    pub fn start(dir: &std::path::Path, command: &[&str]) -> Self {
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .args(command)
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        let mut pid = String::new();
        BufReader::new(guard.stdout.take().expect("piped")).read_line(&mut pid).expect("the pid");
        let stdin = guard.stdin.take();
        Self { guard, _stdin: stdin, pid: pid.trim().parse().expect("a pid") }
    }

    pub fn signal(&self, signal: &str) {
        let done = Command::new("kill").arg(format!("-{signal}")).arg(self.pid.to_string()).status().expect("kill");
        assert!(done.success(), "kill -{signal} {}", self.pid);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self._stdin.take());
        self.guard.wait().ok();
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

pub struct Redis {
    dir: TempDir,
    server: Option<Server>,
    options: Vec<String>,
    pub port: u16,
}

impl Redis {
    /// With an append-only file: what it answered is there after a kill.
    pub fn start() -> Self {
        // Nothing is synced in the background: while that is under way, `everysec` holds back what a killed server should find again.
        Self::start_with(&["--save", "", "--appendonly", "yes", "--appendfsync", "no"])
    }

    /// Only what `SAVE` wrote is there after a kill.
    pub fn start_with_snapshots() -> Self {
        Self::start_with(&["--save", "", "--appendonly", "no"])
    }

    /// With options of its own beside port and address.
    pub fn start_with(options: &[&str]) -> Self {
        let mut redis = Self {
            dir: TempDir::with_prefix("cache-layer-test-").expect("a directory"),
            server: None,
            options: options.iter().map(ToString::to_string).collect(),
            port: free_port(),
        };
        redis.start_again();
        redis
    }

    /// Starts the server at the same port, with what it had saved.
    pub fn start_again(&mut self) {
        let port = self.port.to_string();
        let mut command = vec!["redis-server", "--port", &port, "--bind", "127.0.0.1"];
        command.extend(self.options.iter().map(String::as_str));
        self.server = Some(Server::start(self.dir.path(), &command));
        let start = Instant::now();
        while !self.answers() {
            assert!(start.elapsed() < Duration::from_secs(20), "redis-server came up");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Kills it and starts it again with nothing.
    pub fn start_again_empty(&mut self) {
        self.kill();
        for entry in std::fs::read_dir(self.dir.path()).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.expect("removed");
        }
        self.start_again();
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.server.take().expect("a running server").signal("KILL");
    }

    /// SIGSTOP: the kernel still accepts connections, nobody answers.
    pub fn freeze(&self) {
        self.server.as_ref().expect("a running server").signal("STOP");
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.server.as_ref().expect("a running server").signal("CONT");
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// The layer with time to spare: where waiting is not the subject, a busy machine must not look like an outage.
    pub fn patiently(&self) -> CacheConfig {
        patiently(&self.url())
    }

    /// A blocking connection beside the layer's.
    pub fn connect(&self) -> redis::Connection {
        redis::Client::open(self.url()).expect("a URL").get_connection().expect("a connection")
    }

    /// A number out of `INFO`.
    pub fn info(&self, section: &str, field: &str) -> u64 {
        let info: redis::InfoDict = redis::cmd("INFO").arg(section).query(&mut self.connect()).expect("INFO");
        info.get(field).unwrap_or_else(|| panic!("{field} in INFO {section}"))
    }

    /// How often a command was called.
    pub fn calls(&self, command: &str) -> u64 {
        let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut self.connect()).expect("INFO");
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |rest| rest.split(',').next().expect("a number").parse().expect("a number"))
    }

    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        stream.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
        let mut line = String::new();
        stream.write_all(b"PING\r\n").is_ok()
            && BufReader::new(stream).read_line(&mut line).is_ok()
            && (line.starts_with("+PONG") || line.starts_with("-NOAUTH"))
    }
}

/// See [`Redis::patiently`].
pub fn patiently(url: &str) -> CacheConfig {
    let mut config = CacheConfig::redis(url);
    let redis = config.redis.as_mut().expect("redis");
    redis.command_timeout = Duration::from_secs(10);
    redis.connect_timeout = Duration::from_secs(10);
    redis.breaker.slow_call = Some(Duration::from_secs(10));
    config.request_budget = Duration::from_secs(10);
    config
}

/// Waits for something that is bound to happen; how long it took.
pub async fn eventually(what: &str, mut is: impl AsyncFnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !is().await {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    start.elapsed()
}
