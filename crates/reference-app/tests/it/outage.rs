//! Redis or Postgres down.

use crate::support::{Postgres, Redis, RunningApp, args, eventually};
use serde_json::json;
use std::time::{Duration, Instant};

/// Ten times the promised time: test machines are shared and noisy.
const BOUND: Duration = Duration::from_secs(1);
const FALLBACK: &str = "reference; fwd=bypass; detail=fallback";

/// Reads and writes are correct and fast while Redis is down.
async fn works_without_redis(app: &RunningApp) {
    let mut version = app.get_no_store("/posts/5").await.number("version");
    for round in 0..20 {
        let start = Instant::now();
        let written = app.put("/posts/5", json!({ "title": format!("round {round}") })).await;
        assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
        version += 1;
        assert_eq!((written.status, written.number("version")), (200, version));
        for path in ["/posts/5", "/posts?filter=top"] {
            let start = Instant::now();
            let read = app.get(path).await;
            assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
            assert_eq!((read.status, read.cache.as_str()), (200, FALLBACK), "{path}");
            assert_eq!(
                read.number("version"),
                if path == "/posts/5" { version } else { written.number("list_version") }
            );
        }
    }
    let several = app.get("/users?ids=1,2").await;
    assert_eq!((several.status, several.cache.as_str()), (200, FALLBACK));
    let health = app.get("/health").await;
    assert_eq!((health.status, &health.body["status"]), (200, &json!("degraded")));
}

#[tokio::test]
async fn breaker_opens_and_closes() {
    let (postgres, mut redis) = (Postgres::start().await, Redis::start());
    let mut args = args(&postgres, Some(&redis), "redis");
    args.app.cache_timeout_ms = Some(50);
    let app = RunningApp::start(args).await;
    app.get("/posts/5").await;
    app.get("/posts?filter=top").await;
    for outage in ["kill", "freeze"] {
        if outage == "kill" {
            redis.kill()
        } else {
            redis.freeze()
        }
        works_without_redis(&app).await;
        eventually("the breaker opens", async || {
            app.get("/posts/6").await;
            app.get("/health").await.body["cache"]["breaker"] == "open"
        })
        .await;
        if outage == "kill" {
            redis.start_again()
        } else {
            redis.thaw()
        }
        let version = app.get_no_store("/posts/5").await.number("version");
        eventually("the cache is used again", async || {
            let read = app.get("/posts/5").await;
            assert_eq!(read.number("version"), version, "stale after {outage}: {}", read.cache);
            read.is_hit()
        })
        .await;
        eventually("the breaker closes", async || {
            app.get("/posts/5").await;
            app.get("/health").await.body["cache"]["breaker"] == "closed"
        })
        .await;
        eventually("all is well", async || app.get("/health").await.body["status"] == "ok").await;
    }
    assert!(app.metric("cache_fallbacks_total").await >= 80);
    eventually("nothing is owed", async || app.metric("cache_owed_invalidations").await == 0).await;
}

#[tokio::test]
async fn health_is_503_only_when_postgres_is_down() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let app = RunningApp::start(args(&postgres, Some(&redis), "redis")).await;
    app.get("/posts/1").await;
    postgres.signal("QUIT");
    eventually("ill", async || app.get("/health").await.status == 503).await;
    assert_eq!(app.get("/health").await.body["postgres"], "down");
    assert!(app.get("/posts/1").await.is_hit(), "cached values are still served");
    let other = app.get("/posts/2").await;
    assert_eq!(other.status, 503, "{other:?}");
}

/// Postgres continues a write whose request has timed out. Its commit, however late, must not leave the old value in the cache.
#[tokio::test]
async fn a_write_that_commits_after_its_timeout_leaves_nothing_stale() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let app = RunningApp::start(args(&postgres, Some(&redis), "redis")).await;
    for (write, read, field) in
        [("/posts/5", "/posts/5", "version"), ("/users/5/preferences", "/users/5/preferences", "version")]
    {
        assert_eq!(app.put(write, json!({ "title": "in time" })).await.status, 200);
        let before = app.get(read).await.number(field);
        let pool = postgres.pool(1).await;
        let mut other = pool.begin().await.expect("a transaction");
        for lock in
            ["SELECT 1 FROM posts WHERE id = 5 FOR UPDATE", "SELECT 1 FROM preferences WHERE user_id = 5 FOR UPDATE"]
        {
            sqlx::query(lock).execute(&mut *other).await.expect(lock);
        }
        let given_up = app.put(write, json!({ "title": "late" })).await;
        assert_eq!(given_up.status, 503, "{write}: {given_up:?}");
        assert_eq!(app.get(read).await.number(field), before, "{read} is read, and cached, meanwhile");
        assert!(app.get(read).await.is_hit());
        other.rollback().await.expect("the lock is free");
        eventually("Postgres commits it", async || app.get_no_store(read).await.number(field) == before + 1).await;
        eventually("it shows", async || app.get(read).await.number(field) == before + 1).await;
    }
}
