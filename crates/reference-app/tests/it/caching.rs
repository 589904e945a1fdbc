//! What is cached, for how long, and what a write invalidates.

use crate::support::{Postgres, Redis, RunningApp, args};
use serde_json::json;

const SERVICES: [&str; 4] = ["posts", "profiles", "products", "courses"];

#[tokio::test]
async fn invalidates_item_and_lists_on_update_and_delete() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let app = RunningApp::start(args(&postgres, Some(&redis), "redis")).await;
    for service in SERVICES {
        let [item, list, page] = ["/7", "?filter=top", "?filter=recent&page=2"].map(|rest| format!("/{service}{rest}"));
        let paths = [&item, &list, &page];
        let warm = async || {
            for path in paths {
                app.get(path).await;
                let again = app.get(path).await;
                assert!(again.is_hit(), "{path}: {again:?}");
            }
        };
        warm().await;
        let before = app.get(&list).await.number("version");

        let text = json!({ "title": format!("new {service}"), "body": "text" });
        let updated = app.put(&item, text.clone()).await;
        assert_eq!((updated.status, updated.number("version")), (200, 2));
        for path in paths {
            let fresh = app.get(path).await;
            assert_eq!(fresh.cache, "reference; fwd=uri-miss; stored", "{path} after an update");
            assert_eq!(app.get(path).await.body, fresh.body, "{path}: the stored body is the same");
        }
        assert_eq!(app.get(&item).await.number("version"), 2);
        assert_eq!(app.get(&list).await.number("version"), before + 1);
        assert_eq!(updated.number("list_version"), before + 1);

        let created = app.post(&format!("/{service}"), text.clone()).await;
        assert_eq!((created.status, created.number("version")), (201, 1));
        assert!(app.get(&item).await.is_hit(), "a create invalidates no items");
        let fresh = app.get(&format!("/{service}?filter=recent")).await;
        assert_eq!(fresh.body["items"][0]["id"], created.body["id"], "the newest item leads the list");
        for path in [&list, &page] {
            assert_eq!(app.get(path).await.cache, "reference; fwd=uri-miss; stored", "{path} after a create");
        }

        warm().await;
        let deleted = app.delete(&item).await;
        assert_eq!((deleted.status, deleted.number("id")), (200, 7));
        let gone = app.get(&item).await;
        assert_eq!((gone.status, gone.cache.as_str()), (404, "reference; fwd=uri-miss"));
        for path in [&list, &page] {
            assert_eq!(app.get(path).await.cache, "reference; fwd=uri-miss; stored", "{path} after a delete");
        }
        assert_eq!(app.put(&item, text).await.status, 404);
        assert_eq!(app.delete(&item).await.status, 404);
        assert_eq!(app.get(&list).await.number("version"), before + 3, "a write that changed nothing is not counted");
    }
}

#[tokio::test]
async fn keys_follow_the_documented_patterns_with_the_ttl_of_each_key_class() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let app = RunningApp::start(args(&postgres, Some(&redis), "redis")).await;
    let mut raw = redis.connect();
    for (service, seconds) in SERVICES.iter().zip([300, 300, 600, 600]) {
        for (path, key, limit) in [
            (format!("/{service}/3"), format!("{service}:3"), seconds),
            (format!("/{service}?filter=top&page=2"), format!("{service}:list:top:2"), 60),
            (format!("/{service}"), format!("{service}:list:recent:1"), 60),
        ] {
            assert_eq!(app.get(&path).await.cache, "reference; fwd=uri-miss; stored");
            let ttl: i64 = redis::cmd("TTL").arg(&key).query(&mut raw).expect("TTL");
            assert!((limit - 20..=limit).contains(&ttl), "{key}: {ttl} s of {limit}");
            let hit = app.get(&path).await;
            let shown: i64 = hit.cache.strip_prefix("reference; hit; ttl=").expect("a hit").parse().expect("seconds");
            assert!((limit - 20..=limit).contains(&shown), "{}", hit.cache);
        }
    }
}

#[tokio::test]
async fn no_store_neither_reads_nor_fills_the_cache() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let app = RunningApp::start(args(&postgres, Some(&redis), "redis")).await;
    for path in ["/posts/1", "/posts?filter=top"] {
        for _ in 0..3 {
            let answer = app.get_no_store(path).await;
            assert_eq!((answer.status, answer.cache.as_str()), (200, "reference; fwd=request"));
        }
        assert_eq!(app.get(path).await.cache, "reference; fwd=uri-miss; stored", "it was not filled");
    }
    postgres.number("WITH u AS (UPDATE posts SET version = 9 WHERE id = 1 RETURNING 1) SELECT count(*) FROM u").await;
    assert_eq!(app.get("/posts/1").await.number("version"), 1, "the cache does not know of a write past the app");
    assert_eq!(app.get_no_store("/posts/1").await.number("version"), 9, "the uncached path does");

    // Each miss and each write is one statement; a hit is none.
    let queries = async || app.metric("db_queries_total").await;
    let (before, hits) = (queries().await, app.metric("cache_hits_total").await);
    app.get("/posts/1").await;
    app.get("/posts?filter=top").await;
    assert_eq!((queries().await, app.metric("cache_hits_total").await), (before, hits + 2));
    app.get_no_store("/posts/1").await;
    app.get_no_store("/posts?filter=top").await;
    app.get("/posts/2").await;
    app.put("/posts/2", json!({ "title": "t" })).await;
    assert_eq!(queries().await, before + 4);
    let requests = app.metric("http_requests_total{method=\"GET\",route=\"/posts/{id}\",status=\"200\"}").await;
    assert_eq!(requests, 9);
}

#[tokio::test]
async fn one_interface_three_strategies() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    for (cache, caches) in [("redis", true), ("memory", true), ("none", false)] {
        let app = RunningApp::start(args(&postgres, Some(&redis), cache)).await;
        let health = app.get("/health").await;
        assert_eq!((health.status, &health.body["cache"]["strategy"]), (200, &json!(cache)));
        for path in ["/courses/1", "/courses?filter=oldest"] {
            let (first, second) = (app.get(path).await, app.get(path).await);
            assert_eq!(first.body, second.body);
            if caches {
                assert_eq!(first.cache, "reference; fwd=uri-miss; stored", "{cache}");
                assert!(second.is_hit(), "{cache}: {}", second.cache);
            } else {
                assert_eq!([first.cache, second.cache], ["reference; fwd=uri-miss"; 2]);
            }
        }
        let version = app.put("/courses/1", json!({ "summary": "new" })).await.number("version");
        assert_eq!(app.get("/courses/1").await.number("version"), version, "{cache}");
        assert_eq!(app.get("/courses/1").await.body["summary"], "new");
    }
}

#[tokio::test]
async fn errors_of_bad_requests_say_what_is_wrong() {
    let postgres = Postgres::start().await;
    let app = RunningApp::start(args(&postgres, None, "memory")).await;
    for (answer, status, says) in [
        (app.get("/posts/x").await, 400, "whole numbers"),
        (app.get("/posts/99999999").await, 404, "posts/99999999"),
        (app.get("/posts/-1").await, 404, "posts/-1"),
        (app.get("/posts?filter=newest").await, 400, "recent, top, oldest"),
        (app.get("/posts?page=0").await, 400, "1 to 1000"),
        (app.get("/nothing").await, 404, "no such path"),
        (app.post("/products", json!({ "name": "a name" })).await, 400, "`description`"),
        (app.post("/products", json!([1])).await, 400, "JSON"),
    ] {
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.body["error"].as_str().expect("text").contains(says), "{answer:?}");
    }
    let last = app.get("/posts?page=1000").await;
    assert_eq!((last.status, last.body["items"].as_array().expect("a list").len()), (200, 0));
    let hostile = app.post("/posts", json!({ "title": "'; DROP TABLE posts; --", "body": "\u{1F980}" })).await;
    let path = format!("/posts/{}", hostile.number("id"));
    assert_eq!(app.get(&path).await.body["title"], "'; DROP TABLE posts; --");
}

#[tokio::test]
async fn metrics_show_hits_misses_invalidations_and_the_breakers_state() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let app = RunningApp::start(args(&postgres, Some(&redis), "redis")).await;
    for path in ["/posts/3", "/posts/3", "/posts/3", "/profiles/4"] {
        app.get(path).await;
    }
    assert_eq!(app.metric("cache_hits_total").await, 2);
    assert_eq!(app.metric("cache_misses_total").await, 2);
    let text = app.metrics().await;
    for name in ["cache_operation_duration_seconds_bucket", "cache_breaker_state", "cache_owed_invalidations"] {
        assert!(text.contains(name), "{name} is missing in:\n{text}");
    }
    // Unknown methods must not create counters.
    for n in 0..3 {
        let method = format!("INVENTED{n}").parse().expect("a method");
        app.http.request(method, format!("{}/posts/3", app.url)).send().await.expect("an answer");
    }
    assert_eq!(app.metric("http_requests_total{method=\"other\"").await, 3);
    assert!(!app.metrics().await.contains("INVENTED"));
    let posts = text.lines().find(|line| line.starts_with("cache_hits_total") && line.contains("posts"));
    assert!(posts.is_some_and(|line| line.ends_with(" 2")), "hits are counted by class of key: {posts:?}");
}
