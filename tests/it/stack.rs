//! Containers and local processes: real servers start, take faults, and leave nothing behind.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cacheproof::scenario::{PostgresSpec, Provider, RedisSpec, StackSpec};
use cacheproof::stack::{ProcessFaultKind, Server, Stack};
use cacheproof::supervise::{Guard, RUN_LABEL};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::Connection as _;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_cacheproof");

/// Whether Docker answers. Without Docker the tests of containers pass with a note, unless CACHEPROOF_TEST_CONTAINERS=required says
/// that this machine must have Docker.
pub fn docker_answers() -> bool {
    let answers = Command::new("docker").arg("info").output().is_ok_and(|answer| answer.status.success());
    if !answers {
        let required = std::env::var("CACHEPROOF_TEST_CONTAINERS").is_ok_and(|value| value == "required");
        assert!(!required, "Docker does not answer: start it");
        eprintln!("Docker does not answer: containers are not tested");
    }
    answers
}

/// The image to test with: the environment's, else the official one where Docker has it, else the stand-in.
pub fn image(variable: &str, names: [&str; 2]) -> String {
    if let Ok(image) = std::env::var(variable) {
        return image;
    }
    let is_present = |image: &&str| {
        Command::new("docker").args(["image", "inspect", image]).output().is_ok_and(|output| output.status.success())
    };
    let found = names.iter().find(|image| is_present(image));
    (*found.unwrap_or_else(|| panic!("Docker has none of {names:?}: run sh scripts/offline-images.sh"))).into()
}

pub fn redis_image() -> String {
    image("CACHEPROOF_REDIS_IMAGE", ["redis:7", "cacheproof-standin/redis:latest"])
}

pub fn postgres_image() -> String {
    image("CACHEPROOF_POSTGRES_IMAGE", ["postgres:17", "cacheproof-standin/postgres:latest"])
}

pub fn spec(provider: Provider) -> StackSpec {
    let (redis, postgres) = match provider {
        Provider::Container => (redis_image(), postgres_image()),
        _ => ("redis:7".into(), "postgres:17".into()),
    };
    StackSpec {
        redis: Some(RedisSpec {
            provider,
            image: redis,
            maxmemory: Some(64 << 20),
            policy: Some("allkeys-lru".into()),
            appendonly: true,
            ..RedisSpec::default()
        }),
        postgres: Some(PostgresSpec { provider, image: postgres, ..PostgresSpec::default() }),
    }
}

async fn up(provider: Provider) -> (Guard, Stack) {
    let guard = Guard::start(Path::new(PROGRAM)).unwrap();
    let stack = Stack::up(&spec(provider), 1, &guard, &|line| eprintln!("{line}")).await.unwrap();
    (guard, stack)
}

pub fn containers(token: &str) -> Vec<String> {
    let filter = format!("label={RUN_LABEL}={token}");
    let output = Command::new("docker").args(["ps", "-aq", "--no-trunc", "--filter", &filter]).output().unwrap();
    assert!(output.status.success(), "docker ps: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Processes, without zombies, whose working directory is inside a directory.
pub fn processes_in(directory: &Path) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(directory)) {
            found.push(pid);
        }
    }
    found
}

async fn redis(server: &Server) -> redis::aio::MultiplexedConnection {
    redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

async fn postgres(server: &Server) -> sqlx::PgConnection {
    sqlx::PgConnection::connect(server.url()).await.unwrap()
}

/// A server must answer within 300 ms. On a busy machine a single answer may be late, so it is asked several times.
async fn answers_soon(server: &Server) -> bool {
    for _ in 0..20 {
        if server.answers().await {
            return true;
        }
    }
    false
}

async fn serves_and_survives_faults(provider: Provider, name: &str) {
    let (guard, stack) = up(provider).await;
    let facts = stack.facts();
    let (server, database) = (stack.redis.as_ref().unwrap().first(), stack.postgres.as_ref().unwrap().first());

    // Version, settings and provider.
    let redis_facts = facts.redis.unwrap();
    assert_eq!(redis_facts.provider, name);
    assert_eq!(redis_facts.why, format!("the scenario asks for provider = \"{name}\""));
    assert!(redis_facts.version.split('.').next().unwrap().parse::<u32>().unwrap() >= 7, "{redis_facts:?}");
    let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert!(redis_facts.settings.contains(&setting("maxmemory", "67108864")), "{redis_facts:?}");
    assert!(redis_facts.settings.contains(&setting("maxmemory-policy", "allkeys-lru")), "{redis_facts:?}");
    assert!(redis_facts.settings.contains(&setting("appendonly", "yes")), "{redis_facts:?}");
    let postgres_facts = facts.postgres.unwrap();
    assert_eq!(postgres_facts.provider, name);
    assert!(postgres_facts.settings.contains(&setting("max_connections", "200")), "{postgres_facts:?}");

    // No password is shown, and without a password a client is refused.
    for (server, facts) in [(server, &redis_facts), (database, &postgres_facts)] {
        let url = server.url();
        let password = url.split(['@']).next().unwrap().rsplit(':').next().unwrap();
        assert!(password.len() >= 16, "a real password");
        assert!(!format!("{server:?} {facts:?}").contains(password));
    }
    let bare = format!("redis://{}", server.url().split('@').nth(1).unwrap());
    let mut stranger = redis::Client::open(bare).unwrap().get_multiplexed_async_connection().await.unwrap();
    assert!(redis::cmd("PING").query_async::<()>(&mut stranger).await.is_err(), "without the password: no answer");

    // Statements are counted.
    let mut connection = postgres(database).await;
    for _ in 0..7 {
        let three: i32 = sqlx::query_scalar("SELECT 1 + $1::int4").bind(2).fetch_one(&mut connection).await.unwrap();
        assert_eq!(three, 3);
    }
    let calls: i64 =
        sqlx::query_scalar("SELECT sum(calls)::bigint FROM pg_stat_statements WHERE query LIKE 'SELECT $_ + %::int4'")
            .fetch_one(&mut connection)
            .await
            .unwrap_or_default();
    let all: Vec<String> =
        sqlx::query_scalar("SELECT query FROM pg_stat_statements").fetch_all(&mut connection).await.unwrap();
    assert_eq!(calls, 7, "{all:?}");

    // Data written now must survive the kill.
    redis::cmd("SET").arg("kept").arg("yes").query_async::<()>(&mut redis(server).await).await.unwrap();
    sqlx::raw_sql("CREATE TABLE kept (id int); INSERT INTO kept VALUES (1)").execute(&mut connection).await.unwrap();
    drop(connection);

    for server in [server, database] {
        faults(server).await;
    }
    let kept: String = redis::cmd("GET").arg("kept").query_async(&mut redis(server).await).await.unwrap();
    assert_eq!(kept, "yes", "the append-only file was read again");
    restarts(server, database).await;
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM kept").fetch_one(&mut postgres(database).await).await.unwrap();
    assert_eq!(rows, 1, "the same data directory");

    // A server that something else kills is reported.
    let victim = match (server.pid().await, server.container_id().await) {
        (Some(pid), None) => {
            kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
            format!("pid {pid}")
        }
        (None, Some(id)) => {
            assert!(Command::new("docker").args(["kill", &id]).output().unwrap().status.success());
            id[..12].to_owned()
        }
        other => panic!("neither process nor container: {other:?}"),
    };
    let begun = Instant::now();
    let report = loop {
        match server.died().await {
            Some(report) => break report,
            None => assert!(begun.elapsed() < Duration::from_secs(20), "its death was not noticed"),
        }
    };
    assert!(report.contains("ended unexpectedly") && report.contains(&victim), "{report}");
    assert!(report.contains("Ready to accept connections"), "its last log lines: {report}");
    assert!(database.died().await.is_none());

    // Down: nothing is left.
    let (token, directory) = (guard.token().to_owned(), guard.directory().to_owned());
    assert!(directory.to_string_lossy().contains(&token));
    stack.down().await.unwrap();
    assert_eq!(processes_in(&directory), Vec::<u32>::new());
    if provider == Provider::Container {
        assert_eq!(containers(&token), Vec::<String>::new());
    }
    guard.release().unwrap();
    assert!(!directory.exists());
}

async fn faults(server: &Server) {
    let url = server.url().to_owned();
    assert!(answers_soon(server).await);

    let done = server.inject_fault(ProcessFaultKind::Kill).await.unwrap();
    assert!(done.starts_with("SIGKILL to "), "{done}");
    assert!(!server.answers().await);
    assert!(server.died().await.is_none(), "it was killed on purpose");
    let again = server.inject_fault(ProcessFaultKind::Kill).await.unwrap();
    assert!(again.ends_with("is killed already"), "{again}");
    let done = server.undo_fault(ProcessFaultKind::Kill).await.unwrap();
    assert!(done.starts_with("started "), "{done}");
    assert_eq!(server.url(), url, "the same port and password");
    assert!(answers_soon(server).await);
    let again = server.undo_fault(ProcessFaultKind::Kill).await.unwrap();
    assert!(again.ends_with("runs already"), "{again}");

    server.inject_fault(ProcessFaultKind::Pause).await.unwrap();
    assert!(!server.answers().await);
    assert!(server.died().await.is_none(), "a paused server is not dead");
    assert!(server.inject_fault(ProcessFaultKind::Pause).await.unwrap().ends_with("is paused already"));
    server.undo_fault(ProcessFaultKind::Pause).await.unwrap();
    assert!(answers_soon(server).await);
    assert!(server.undo_fault(ProcessFaultKind::Pause).await.unwrap().ends_with("is not paused"));

    // Killed while paused.
    server.inject_fault(ProcessFaultKind::Pause).await.unwrap();
    server.inject_fault(ProcessFaultKind::Kill).await.unwrap();
    server.undo_fault(ProcessFaultKind::Kill).await.unwrap();
    assert!(answers_soon(server).await);

    // Shut down, also while paused.
    server.inject_fault(ProcessFaultKind::Pause).await.unwrap();
    let done = server.inject_fault(ProcessFaultKind::Stop).await.unwrap();
    assert!(["SIGTERM to ", "SIGINT to ", "stopped "].iter().any(|how| done.starts_with(how)), "{done}");
    assert!(!server.answers().await);
    assert!(server.died().await.is_none(), "it was stopped on purpose");
    for again in [ProcessFaultKind::Stop, ProcessFaultKind::Kill, ProcessFaultKind::Pause] {
        assert!(server.inject_fault(again).await.unwrap().ends_with("is stopped already"));
    }
    server.undo_fault(ProcessFaultKind::Stop).await.unwrap();
    assert_eq!(server.url(), url, "the same port and password");
    assert!(answers_soon(server).await);
    assert!(server.undo_fault(ProcessFaultKind::Stop).await.unwrap().ends_with("runs already"));
}

/// A restart in one step, with and without the data on disk.
async fn restarts(server: &Server, database: &Server) {
    let set = async |value: &str| {
        redis::cmd("SET").arg("mark").arg(value).query_async::<()>(&mut redis(server).await).await.unwrap();
    };
    let get =
        async || redis::cmd("GET").arg("mark").query_async::<Option<String>>(&mut redis(server).await).await.unwrap();
    set("one").await;
    let done = server.restart(true).await.unwrap();
    assert!(done.starts_with("stopped, started ") && !done.contains("without"), "{done}");
    assert_eq!(get().await.as_deref(), Some("one"), "SIGTERM writes everything out");
    let done = server.restart(false).await.unwrap();
    assert!(done.ends_with(" again without its data"), "{done}");
    assert_eq!(get().await, None, "the data on disk was deleted");
    set("two").await;
    // A server that is down or paused is restarted as well.
    server.inject_fault(ProcessFaultKind::Pause).await.unwrap();
    server.restart(true).await.unwrap();
    assert_eq!(get().await.as_deref(), Some("two"));
    server.inject_fault(ProcessFaultKind::Kill).await.unwrap();
    server.restart(false).await.unwrap();
    assert_eq!(get().await, None);
    assert!(server.died().await.is_none());

    let error = database.restart(false).await.unwrap_err().to_string();
    assert!(error.contains("can't be restarted without its data"), "{error}");
    database.restart(true).await.unwrap();
    assert!(answers_soon(database).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn local_servers_serve_and_survive_faults() {
    serves_and_survives_faults(Provider::Local, "local").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_serve_and_survive_faults() {
    if !docker_answers() {
        return;
    }
    serves_and_survives_faults(Provider::Container, "container").await;
}

/// Not a test of its own: the process that the two tests below kill. It starts a stack, pauses Redis, prints the run's token and
/// directory, and waits.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by the tests that kill it"]
async fn victim_of_kill_minus_nine() {
    let provider = match std::env::var("CACHEPROOF_TEST_PROVIDER").unwrap().as_str() {
        "local" => Provider::Local,
        "container" => Provider::Container,
        other => panic!("no provider {other}"),
    };
    let (guard, stack) = up(provider).await;
    stack.redis.as_ref().unwrap().first().inject_fault(ProcessFaultKind::Pause).await.unwrap();
    eprintln!("UP {} {}", guard.token(), guard.directory().display());
    tokio::time::sleep(Duration::from_secs(600)).await;
}

/// Starts the victim (a test of this program), kills it when its servers are up, and waits until nothing of its run is left.
pub fn nothing_outlives_kill_minus_nine(victim: &str, provider: &str, servers: usize) {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", victim, "--ignored", "--nocapture"])
        .env("CACHEPROOF_TEST_PROVIDER", provider)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let up = BufReader::new(victim.stderr.take().unwrap()).lines().map_while(Result::ok).find_map(|line| {
        said.push_str(&line);
        let (token, directory) = line.split_once("UP ")?.1.split_once(' ')?;
        Some((token.to_owned(), PathBuf::from(directory)))
    });
    let (token, directory) = up.unwrap_or_else(|| panic!("the victim did not come up: {said}"));
    let there = if provider == "local" { processes_in(&directory).len() } else { containers(&token).len() };
    assert!(there >= servers, "{there} of {servers} servers were up");

    let begun = Instant::now();
    victim.kill().unwrap();
    victim.wait().unwrap();
    let left = || {
        let containers = if provider == "container" { containers(&token) } else { Vec::new() };
        (processes_in(&directory), containers, directory.exists())
    };
    while left() != (Vec::new(), Vec::new(), false) {
        // It takes 1 to 3 s on a quiet machine.
        assert!(begun.elapsed() < Duration::from_secs(50), "left behind: {:?} of {token}", left());
        std::thread::sleep(Duration::from_millis(20));
    }
    eprintln!("{provider}: clean after {:?}", begun.elapsed());
}

#[test]
fn no_process_outlives_kill_minus_nine() {
    nothing_outlives_kill_minus_nine("stack::victim_of_kill_minus_nine", "local", 2);
}

#[test]
fn no_container_outlives_kill_minus_nine() {
    if !docker_answers() {
        return;
    }
    nothing_outlives_kill_minus_nine("stack::victim_of_kill_minus_nine", "container", 2);
}

#[test]
fn the_guard_outlives_ctrl_c_and_a_closed_terminal() {
    let token = format!("{:08x}", std::process::id());
    let mut guard =
        Command::new(PROGRAM).args(["guard", &token]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(guard.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let directory = PathBuf::from(line.trim_end().strip_prefix("directory ").unwrap());
    assert!(directory.is_dir());
    let mut child = Command::new("sleep").arg("600").env("CACHEPROOF_RUN", &token).spawn().unwrap();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        kill(Pid::from_raw(guard.id().cast_signed()), signal).unwrap();
    }
    assert!(child.try_wait().unwrap().is_none(), "it waits for cacheproof's end");
    assert!(guard.try_wait().unwrap().is_none(), "it lives");
    drop(guard.stdin.take());
    assert!(guard.wait().unwrap().success());
    use std::os::unix::process::ExitStatusExt as _;
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::SIGKILL as i32), "found by the run's token");
    assert!(!directory.exists());
}

#[tokio::test]
async fn an_external_server_is_used_but_never_broken() {
    let (guard, stack) = up(Provider::Local).await;
    let (redis_url, postgres_url) = (
        stack.redis.as_ref().unwrap().first().url().to_owned(),
        stack.postgres.as_ref().unwrap().first().url().to_owned(),
    );
    let mut outside = spec(Provider::External);
    outside.redis.as_mut().unwrap().url = Some(redis_url);
    outside.postgres.as_mut().unwrap().url = Some(postgres_url);
    let second = Guard::start(Path::new(PROGRAM)).unwrap();
    let external = Stack::up(&outside, 1, &second, &|_| ()).await.unwrap();
    for server in [external.redis.as_ref().unwrap().first(), external.postgres.as_ref().unwrap().first()] {
        assert_eq!(server.facts().provider, "external");
        let error = server.inject_fault(ProcessFaultKind::Kill).await.unwrap_err().to_string();
        assert!(error.contains("is external, and cacheproof breaks only what it started itself"), "{error}");
        assert!(server.undo_fault(ProcessFaultKind::Kill).await.is_err());
        assert!(server.died().await.is_none());
    }
    external.down().await.unwrap();
    second.release().unwrap();
    assert!(
        answers_soon(stack.redis.as_ref().unwrap().first()).await,
        "it was stopped with a stack that it does not belong to"
    );
    assert!(answers_soon(stack.postgres.as_ref().unwrap().first()).await);
    stack.down().await.unwrap();
    guard.release().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_waits_until_its_port_is_free() {
    let (guard, stack) = up(Provider::Local).await;
    for (server, log) in [(&stack.redis, "redis/redis.log"), (&stack.postgres, "postgres/postgres.log")] {
        let server = server.as_ref().unwrap().first();
        server.inject_fault(ProcessFaultKind::Kill).await.unwrap();
        let port = server.url().rsplit(':').next().unwrap().split('/').next().unwrap();
        let blocker = std::net::TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
        let unblock = async {
            while !std::fs::read_to_string(guard.directory().join(log)).unwrap().contains("Address already in use") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            drop(blocker);
        };
        let (undone, ()) = tokio::join!(server.undo_fault(ProcessFaultKind::Kill), unblock);
        undone.unwrap();
        assert!(answers_soon(server).await);
    }
    stack.down().await.unwrap();
    guard.release().unwrap();
}

#[tokio::test]
async fn a_setting_that_redis_refuses_is_reported_and_nothing_is_left() {
    let guard = Guard::start(Path::new(PROGRAM)).unwrap();
    let directory = guard.directory().to_owned();
    let mut bad = spec(Provider::Local);
    bad.redis.as_mut().unwrap().policy = Some("allkeys-lrv".into());
    let error = Stack::up(&bad, 1, &guard, &|_| ()).await.unwrap_err().to_string();
    assert!(error.starts_with("Redis did not come up: redis-server ended"), "{error}");
    assert!(error.contains("maxmemory-policy"), "what Redis said: {error}");
    assert_eq!(processes_in(&directory), Vec::<u32>::new(), "the Postgres beside it was taken down");
    guard.release().unwrap();
    assert!(!directory.exists());
}

/// cacheproof's own statements must not count as the app's.
#[tokio::test]
async fn no_statement_of_ours_counts_as_the_apps() {
    let (guard, stack) = up(Provider::Local).await;
    let server = stack.postgres.as_ref().unwrap().first();
    assert!(answers_soon(server).await);
    let mut prober = cacheproof::run::probe::Prober::new(&[], Some(server.url()));
    prober.sample(&[]).await;
    let sample = prober.sample(&[]).await.postgres.expect("it answers");
    assert!(sample.exact && !sample.started.is_empty(), "{sample:?}");
    let mut connection = postgres(server).await;
    let ours: Vec<String> = sqlx::query_scalar(
        "SELECT query FROM pg_stat_statements WHERE query NOT LIKE '%/* cacheproof */%' \
         AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!((ours, sample.queries), (Vec::new(), 0));
    drop(connection);
    stack.down().await.unwrap();
    guard.release().unwrap();
}
