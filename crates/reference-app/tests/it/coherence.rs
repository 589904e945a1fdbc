//! The coherence levels, set by configuration.

use crate::support::{Postgres, Redis, RunningApp, args, eventually, free_port};
use cache_layer::promise::PromiseConfig;
use cache_layer::{Coherence, Environment};
use serde_json::json;
use std::time::Instant;

/// With the outbox, a write past the app soon shows in all answers. It writes to each watched table.
#[tokio::test]
async fn with_the_outbox_a_write_past_the_app_shows_in_every_handler() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let mut args = args(&postgres, Some(&redis), "redis");
    args.app.coherence = Some(Coherence::Outbox);
    let app = RunningApp::start(args).await;
    let pool = postgres.pool(1).await;
    for (paths, sql) in [
        (&["/posts/3", "/posts?filter=top", "/feed", "/feed/all"][..], "UPDATE posts SET title = 'past' WHERE id = 3"),
        (
            &["/posts/3", "/posts"],
            "INSERT INTO comments (parent_id, author, score, body, created_at) VALUES (3, 'u', 1, 'b', now())",
        ),
        (&["/profiles/2"], "UPDATE profiles SET bio = 'past' WHERE id = 2"),
        (&["/products/2", "/products?filter=oldest"], "DELETE FROM products WHERE id = 2"),
        (&["/courses/2"], "UPDATE courses SET score = 1 WHERE id = 2"),
        (&["/users/7", "/users/7/full", "/users?ids=7"], "UPDATE users SET name = 'past' WHERE id = 7"),
        (
            &["/projects/4", "/projects/4/full", "/dashboards/5/overview", "/users/22/projects"],
            "UPDATE projects SET name = 'past' WHERE id = 4",
        ),
        (
            &["/projects/4/tasks", "/projects/4/stats", "/dashboards/5/stats", "/dashboards/5/activity"],
            "UPDATE tasks SET status = 'review' WHERE project_id = 4",
        ),
        (&["/projects/4/team", "/users/1/projects"], "INSERT INTO members (project_id, user_id) VALUES (4, 1)"),
        (
            &[
                "/users/8",
                "/users/8/full",
                "/users/8/tasks",
                "/users/8/projects",
                "/users/8/dashboard",
                "/users/8/preferences",
            ],
            "DELETE FROM users WHERE id = 8",
        ),
        (
            &["/dashboards/6/overview", "/dashboards/6/stats", "/dashboards/6/activity"],
            "DELETE FROM workspaces WHERE id = 6",
        ),
        (&["/requirements/1"], "UPDATE requirements SET status = 'past' WHERE id = 1"),
        (&["/features/1"], "UPDATE features SET status = 'past' WHERE id = 1"),
        (&["/devices/5", "/users/6/devices"], "UPDATE devices SET name = 'past' WHERE id = 5"),
        (&["/regions/1"], "UPDATE regions SET name = 'past' WHERE id = 1"),
        (&["/users/9/preferences"], r#"INSERT INTO preferences (user_id, wishes) VALUES (9, '{"a":1}')"#),
    ] {
        let mut before = Vec::new();
        for path in paths {
            eventually("it is cached", async || app.get(path).await.is_hit()).await;
            before.push(app.get(path).await.body);
        }
        sqlx::query(sql).execute(&pool).await.expect(sql);
        for (path, before) in paths.iter().zip(before) {
            let current = app.get_no_store(path).await.body;
            assert!(current != before || path.starts_with("/posts"), "{path}: {sql} changes nothing here");
            eventually("the write shows", async || app.get(path).await.body == current).await;
        }
    }
    // The cache is never ahead of the database.
    assert_eq!(app.post("/posts/5/views", json!({})).await.status, 202);
    assert_eq!(app.get("/posts/5/views").await.number("views"), 1, "written at once");
    let health = app.get("/health").await;
    assert_eq!(health.body["cache"]["coherence"], "outbox", "{:?}", health.body);
    app.app().close().await;
}

/// An instance that cannot reach Redis writes. After the acknowledgement every other instance shows the write.
#[tokio::test]
async fn with_writes_wait_an_acknowledged_write_is_visible_on_every_instance() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let instance = |cut_off: bool| {
        let mut args = args(&postgres, Some(&redis), "redis");
        (args.app.coherence, args.app.writes_wait) = (Some(Coherence::Outbox), true);
        // Redis is new, so no replicas are remembered.
        let known = [("CACHE_ENV", "test"), ("CACHE_REPLICAS_REMEMBERED", "1s")];
        args.app.environment = Some(known.into_iter().collect());
        if cut_off {
            args.app.redis_url = Some(format!("redis://127.0.0.1:{}", free_port()));
        }
        RunningApp::start(args)
    };
    let (reader, writer) = (instance(false).await, instance(true).await);
    // Preferences are written through: the writer puts the new value into the cache.
    for (round, path) in ["/posts/3", "/users/3/preferences"].into_iter().cycle().take(4).enumerate() {
        eventually("it is cached", async || reader.get(path).await.is_hit()).await;
        let start = Instant::now();
        let written = writer.put(path, json!({"title": format!("round {round}"), "body": "b"})).await;
        assert_eq!(written.status, 200, "{:?}", written.body);
        let read = reader.get(path).await;
        assert!(read.number("version") >= written.number("version"), "round {round}: {:?}", read.body);
        assert!(start.elapsed() >= PromiseConfig::default().delta, "the write did not wait");
    }
    // An instance that can reach Redis does not wait: less than a fifth of that on average.
    let start = Instant::now();
    for round in 0..20 {
        reader.put("/posts/3", json!({"title": format!("round {round}"), "body": "b"})).await;
    }
    assert!(start.elapsed() < PromiseConfig::default().delta * 4, "{:?}", start.elapsed());
    for app in [reader, writer] {
        app.app().close().await;
    }
}

/// The order is: defaults of the environment, the file, variables, the command line.
#[tokio::test]
async fn the_command_line_overrides_the_environment() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let mut args = args(&postgres, None, "redis");
    let environment: Environment = [("CACHE_ENV", "prod".to_owned()), ("REDIS_URL", redis.url())].into_iter().collect();
    args.app.environment = Some(environment);
    let app = RunningApp::start(args.clone()).await;
    app.get("/posts/3").await;
    let mut raw = redis.connect();
    assert!(redis::cmd("EXISTS").arg("prod:posts:3").query::<bool>(&mut raw).expect("EXISTS"));
    args.app.cache = None;
    args.app.environment = Some([("CACHE_ENV", "test")].into_iter().collect());
    let app = RunningApp::start(args.clone()).await;
    assert_eq!(app.get("/health").await.body["cache"]["strategy"], "memory", "tests need no Redis");
    args.app.environment = Some([("CACHE_ENV", "prod"), ("CACHE_NAMESPCE", "x:")].into_iter().collect());
    let error = reference_app::App::build(&args.app).await.err().expect("a mistake").to_string();
    assert!(error.contains("CACHE_NAMESPACE"), "it suggests the nearest name: {error}");
}

/// Each region has a Redis of its own, and all have one database. The outbox reaches every Redis.
#[tokio::test]
async fn in_two_regions_with_a_redis_each_a_write_shows_in_both() {
    let postgres = Postgres::start().await;
    let (here, there) = (Redis::start(), Redis::start());
    let mut apps = Vec::new();
    for redis in [&here, &there] {
        let mut args = args(&postgres, Some(redis), "redis");
        args.app.coherence = Some(Coherence::Outbox);
        apps.push(RunningApp::start(args).await);
    }
    for round in 1..=3 {
        for app in &apps {
            eventually("it is cached in each region", async || app.get("/posts/3").await.is_hit()).await;
        }
        let title = format!("Title {round}");
        let writer = &apps[round % 2];
        assert_eq!(writer.put("/posts/3", json!({ "title": title })).await.status, 200);
        let written = Instant::now();
        assert_eq!(writer.get("/posts/3").await.body["title"], title.as_str(), "at once where it was written");
        let other = &apps[1 - round % 2];
        eventually("the write shows in the other region", async || {
            other.get("/posts/3").await.body["title"] == title.as_str()
        })
        .await;
        let within = PromiseConfig::default().delta;
        assert!(written.elapsed() < within * 10, "{:?}, promised are {within:?}", written.elapsed());
    }
}
