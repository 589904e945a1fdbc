//! Each defect shows, and no other fault does.

#[path = "../../../reference-app/tests/it/support.rs"]
#[expect(dead_code, reason = "the reference app's own tests use more of it")]
mod support;

use std::process::{Child, Command};
use std::time::{Duration, Instant};
use support::{Answer, Postgres, Redis, RunningApp, eventually, free_port};

struct Defective {
    child: Child,
    running: RunningApp,
}

impl Defective {
    async fn start(defect: &str, postgres: &Postgres, redis: &Redis, cache_timeout_ms: &str) -> Self {
        let listen = format!("127.0.0.1:{}", free_port());
        let child = Command::new(env!("CARGO_BIN_EXE_defective-app"))
            .args([defect, "--listen", &listen, "--database-url", &postgres.url(), "--redis-url", &redis.url()])
            .args(["--load", "posts=60", "--cache-timeout-ms", cache_timeout_ms])
            .env("RUST_LOG", "warn")
            .spawn()
            .expect("the app starts");
        let running = RunningApp::at_url(format!("http://{listen}"));
        let ready = async || running.http.get(format!("http://{listen}/health")).send().await.is_ok();
        eventually("the app is ready", ready).await;
        Self { child, running }
    }

    async fn get(&self, path: &str) -> Answer {
        self.running.get(path).await
    }
}

impl Drop for Defective {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test]
async fn each_defect_shows_without_an_outage() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    for defect in
        ["none", "never-caches", "false-hit", "500-without-redis", "hangs-with-redis", "slow-hits", "wrong-item"]
    {
        let app = Defective::start(defect, &postgres, &redis, "10000").await;
        redis::cmd("FLUSHALL").exec(&mut redis.connect()).expect("FLUSHALL");
        let queries = async || app.running.metric("db_queries_total{kind=\"read\"").await;
        let before = queries().await;
        let start = Instant::now();
        let (mut hits, mut wrong) = (0, 0);
        for round in 0..4 {
            for id in 1..=10 {
                let answer = app.get(&format!("/posts/{id}")).await;
                assert_eq!(answer.status, 200, "{defect}");
                hits += u32::from(answer.is_hit());
                wrong += u32::from(answer.number("id") != id);
                assert!(round > 0 || !answer.is_hit() || matches!(defect, "false-hit" | "wrong-item"), "{defect}");
            }
        }
        let (queries, took) = (queries().await - before, start.elapsed());
        let counts = (hits, queries, wrong);
        match defect {
            "never-caches" => assert_eq!(counts, (0, 40, 0)),
            "false-hit" => assert_eq!(counts, (40, 40, 0)),
            "wrong-item" => assert_eq!(counts, (30, 10, 2)),
            _ => assert_eq!(counts, (30, 10, 0), "{defect}"),
        }
        let slow = took > Duration::from_secs(6);
        assert_eq!(slow, defect == "slow-hits", "{defect}: {took:?}");
        let uncached = app.running.get_no_store("/posts/1").await;
        assert_eq!((uncached.cache.as_str(), uncached.number("id")), ("reference; fwd=request", 1), "{defect}");
    }
}

#[tokio::test]
async fn outage_defects_show_during_an_outage_and_end_with_it() {
    let (postgres, mut redis) = (Postgres::start().await, Redis::start());
    let healthy = Defective::start("none", &postgres, &redis, "50").await;
    let failing = Defective::start("500-without-redis", &postgres, &redis, "50").await;
    let hanging = Defective::start("hangs-with-redis", &postgres, &redis, "50").await;
    let all = [&healthy, &failing, &hanging];
    for app in all {
        assert_eq!(app.get("/posts/1").await.status, 200);
    }

    redis.freeze();
    assert_eq!(healthy.get("/posts/1").await.status, 200);
    assert_eq!(failing.get("/posts/1").await.status, 500);
    let hangs = tokio::time::timeout(Duration::from_secs(2), hanging.get("/posts/1")).await;
    assert!(hangs.is_err(), "it hangs while Redis is frozen");
    assert_eq!(hanging.running.get_no_store("/posts/1").await.status, 200, "not on the uncached path");
    redis.thaw();
    for app in all {
        eventually("hits again after the freeze", async || app.get("/posts/1").await.is_hit()).await;
    }

    redis.kill();
    assert_eq!(healthy.get("/posts/1").await.status, 200);
    assert_eq!(failing.get("/posts/1").await.status, 500);
    let health = failing.get("/health").await;
    assert_eq!(health.status, 200, "only data routes have the defect");
    let dead = tokio::time::timeout(Duration::from_secs(10), hanging.get("/posts/1")).await;
    assert_eq!(dead.expect("it does not hang when Redis is dead").status, 200);
    redis.start_again();
    for app in all {
        eventually("hits again after the kill", async || app.get("/posts/1").await.is_hit()).await;
    }
}

#[test]
fn the_error_for_an_unknown_defect_lists_all_names() {
    let output = Command::new(env!("CARGO_BIN_EXE_defective-app")).arg("slow").output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("slow-hits") && text.contains("wrong-item"), "{text}");
}
