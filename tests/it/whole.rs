//! Fails if a part of a thing is measured and the whole judged: one process of the app, some statements of the database, a field that a
//! server does not report.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cacheproof::journal::PostgresSample;
use cacheproof::run::probe::Prober;
use cacheproof::scenario::{PostgresSpec, Provider, StackSpec};
use cacheproof::stack::Stack;
use cacheproof::supervise::Guard;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::support::{CACHEPROOF, CompletedRun, edited, root, run_scenario, sibling};

/// Runs the soak scenario on an app that is started like this.
fn soak(script: &str, defect: &str) -> CompletedRun {
    let app = sibling("defective-app").display().to_string();
    let start = serde_json::Value::from(["sh", "-c", script, &app, defect].map(str::to_owned).to_vec());
    run_scenario(&root().join("tests/scenarios/defects-soak.toml"), &[format!("target.start={start}")])
}

fn assert_leak_is_caught(ran: &CompletedRun) {
    assert_eq!(ran.code, Some(1), "{}", ran.said());
    let level = "✘ the app's memory grew by";
    assert!(ran.stdout.contains(level), "{}", ran.said());
}

#[test]
fn a_leak_behind_a_shell_is_caught() {
    assert_leak_is_caught(&soak("\"$0\" \"$@\"; true", "leaks-memory"));
}

mod slow {
    use super::*;

    #[test]
    fn a_leak_in_a_worker_that_forgot_its_marks_and_left_its_session_is_caught() {
        // The first process only waits, as servers with workers do.
        let worker = "setsid env -u CACHEPROOF_RUN \"$0\" \"$@\" & wait";
        assert_leak_is_caught(&soak(worker, "leaks-memory"));
    }

    #[test]
    fn workers_that_do_not_leak_pass() {
        // Others come and go beside the one that serves.
        let ran = soak("(while true; do sleep 0.3; done) & (sleep 600; true) & \"$0\" \"$@\"; true", "none");
        assert_eq!(ran.code, Some(0), "{}", ran.said());
    }
}

/// A server that speaks Redis' protocol and answers INFO with this text, in which `{n}` grows; to everything else but PING it answers
/// with an error.
fn redis_with(info: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicU64::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let count = Arc::clone(&count);
            std::thread::spawn(move || serve(stream, info, &count));
        }
    });
    address
}

fn serve(mut stream: TcpStream, info: &str, count: &AtomicU64) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let words = read_number(&mut reader)?;
        let mut command = Vec::new();
        for _ in 0..words {
            let mut word = vec![0; read_number(&mut reader)? + 2];
            reader.read_exact(&mut word).ok()?;
            command.push(String::from_utf8_lossy(&word).trim().to_uppercase());
        }
        let answer = match command.first()?.as_str() {
            "PING" => "+PONG\r\n".to_owned(),
            "INFO" if !info.is_empty() => {
                let text =
                    info.replace("{n}", &count.fetch_add(100, Ordering::Relaxed).to_string()).replace('\n', "\r\n");
                format!("${}\r\n{text}\r\n", text.len())
            }
            "INFO" => "-NOPERM this user has no permissions to run the 'info' command\r\n".to_owned(),
            _ => "-ERR unknown command\r\n".to_owned(),
        };
        stream.write_all(answer.as_bytes()).ok()?;
    }
}

/// The number behind the first letter of a line.
fn read_number(reader: &mut impl BufRead) -> Option<usize> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    line.trim().get(1..)?.parse().ok()
}

/// Runs an app with this Redis beside it, and one rule.
fn judged(info: &'static str, rule: &str) -> CompletedRun {
    let address = redis_with(info);
    let nginx = root().join("tests/scenarios/nginx.toml");
    let stack = format!("[stack.redis]\nurl = \"redis://{address}\"\n\n[data]");
    let text = std::fs::read_to_string(&nginx).unwrap();
    let criteria = text.split_once("[[criterion]]").unwrap().1;
    let replaced = format!("\nsays = \"c\"\nrules = [\"{rule}\"]\n");
    let (_kept, file) = edited(&nginx, &[("[data]", &stack), (criteria, &replaced)]);
    run_scenario(&file, &[])
}

const FULL: &str = "# Server\nredis_version:7.4.3\nrun_id:b\n# Clients\nconnected_clients:3\n# Memory\nused_memory:50000000\nmaxmemory:0\n\
                    # Stats\nkeyspace_hits:{n}\nkeyspace_misses:1\nevicted_keys:0\n# Replication\nrole:master\n# Keyspace\n";

#[test]
fn what_a_redis_does_not_report_is_not_measured() {
    let old = "# Server\nredis_version:6.2.14\nrun_id:b\n# Memory\nused_memory:50000000\n# Stats\nkeyspace_hits:{n}\nkeyspace_misses:1\n";
    // As other servers say: no run_id, another version, no sections.
    let other = "redis_version:255.255.255\nused_memory:50000000\nkeyspace_hits:{n}\nkeyspace_misses:1\n";
    let cases = [
        (FULL, "redis_memory < 1gb", 0),
        (old, "redis_memory < 1gb", 0),
        (other, "redis_memory < 1gb", 0),
        (
            "# Server\nredis_version:7.4.3\n# Memory\nused_memory_rss:5\ntotal_system_memory:8\n",
            "redis_memory < 1gb",
            1,
        ),
        (old, "evictions == 0", 1),
        (old, "redis_clients < 100", 1),
        // INFO is forbidden.
        ("", "redis_memory < 1gb", 1),
    ];
    std::thread::scope(|scope| {
        let runs = cases.map(|(info, rule, code)| (scope.spawn(move || judged(info, rule)), info, rule, code));
        for (run, info, rule, code) in runs {
            let ran = run.join().unwrap();
            assert_eq!(ran.code, Some(code), "{rule} of {info:?}; {}", ran.said());
        }
    });
}

/// A database with a superuser, and a probe of it.
struct Database {
    guard: Guard,
    stack: Stack,
    prober: Prober,
}

impl Database {
    async fn up() -> Self {
        let guard = Guard::start(Path::new(CACHEPROOF)).unwrap();
        let postgres = PostgresSpec { provider: Provider::Local, ..PostgresSpec::default() };
        let spec = StackSpec { redis: None, postgres: Some(postgres) };
        let stack = Stack::up(&spec, 1, &guard, &|_| {}).await.unwrap();
        let prober = Prober::new(&[], stack.postgres.as_ref().map(|postgres| postgres.first().url()));
        Self { guard, stack, prober }
    }

    fn url(&self) -> String {
        self.stack.postgres.as_ref().unwrap().first().url().to_owned()
    }

    async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.unwrap()
    }

    async fn sample(&mut self) -> PostgresSample {
        self.prober.sample(&[]).await.postgres.expect("it answers")
    }

    async fn down(self) {
        self.stack.down().await.unwrap();
        self.guard.release().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_the_app_shares_with_cacheproof_are_the_apps() {
    let mut database = Database::up().await;
    let mut app = database.connect().await;
    let before = database.sample().await;
    assert!(before.exact && before.evicted.is_some() && !before.counting_since.is_empty(), "{before:?}");
    for statement in [
        // As pools ask whether a connection lives, and as older versions of cacheproof did.
        "SELECT 1",
        "SELECT /* cacheproof */ 1",
        "SELECT pg_postmaster_start_time()::text",
        "SELECT current_setting('server_version')",
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()",
    ] {
        let before = database.sample().await.queries;
        for _ in 0..20 {
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut app).await.unwrap();
            // cacheproof asks as well.
            let _however_late = database.stack.postgres.as_ref().unwrap().first().answers().await;
        }
        assert_eq!(database.sample().await.queries - before, 20, "{statement}");
    }
    let quiet = database.sample().await.queries;
    for _ in 0..5 {
        assert_eq!(database.sample().await.queries, quiet, "the probe counts itself");
    }
    app.close().await.unwrap();
    database.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_that_the_database_threw_out_are_noticed() {
    let mut database = Database::up().await;
    let mut app = database.connect().await;
    let before = database.sample().await;
    // More different statements than it keeps; their names tell them apart.
    for chunk in 0..56 {
        let statements: String = (0..100)
            .map(|number| format!("WITH s_{chunk}_{number} AS (SELECT 1) SELECT * FROM s_{chunk}_{number};"))
            .collect();
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut app).await.unwrap();
    }
    let after = database.sample().await;
    assert!(after.evicted > before.evicted, "{before:?} {after:?}");
    sqlx::raw_sql("SELECT pg_stat_statements_reset()").execute(&mut app).await.unwrap();
    assert_ne!(database.sample().await.counting_since, after.counting_since);
    app.close().await.unwrap();
    database.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_a_user_may_not_see_are_unknown() {
    let mut database = Database::up().await;
    let mut app = database.connect().await;
    assert_eq!(database.sample().await.connections, Some(1));
    sqlx::raw_sql("CREATE ROLE stranger LOGIN PASSWORD 'stranger'").execute(&mut app).await.unwrap();
    let mut url = reqwest::Url::parse(&database.url()).unwrap();
    url.set_username("stranger").unwrap();
    url.set_password(Some("stranger")).unwrap();
    let mut prober = Prober::new(&[], Some(url.as_str()));
    let sample = prober.sample(&[]).await.postgres.expect("it answers");
    assert_eq!(sample.connections, None, "there is one that it may not see: {sample:?}");
    // The numbers of statements are for everybody.
    let queries = sample.queries;
    sqlx::raw_sql("SELECT 1").execute(&mut app).await.unwrap();
    let sample = prober.sample(&[]).await.postgres.expect("it answers");
    assert!(sample.exact && sample.queries == queries + 1, "{sample:?}");
    app.close().await.unwrap();
    database.down().await;
}
