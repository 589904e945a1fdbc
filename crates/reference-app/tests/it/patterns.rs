//! The caching patterns, where the app uses them.

use crate::support::{Postgres, Redis, RunningApp, args, eventually};
use serde_json::json;

#[tokio::test]
async fn a_batch_of_users_costs_one_statement_for_its_misses() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let app = RunningApp::start(args(&postgres, Some(&redis), "redis")).await;
    let queries = async || app.metric("db_queries_total{kind=\"read\"").await;
    let ids = |answer: &crate::support::Answer| {
        let users = answer.body["users"].as_array().expect("users").clone();
        users.iter().map(|user| user["id"].as_i64().expect("an id")).collect::<Vec<_>>()
    };
    let before = queries().await;
    let first = app.get("/users?ids=3,1,2,999,1").await;
    assert_eq!((ids(&first), &first.body["missing"]), (vec![3, 1, 2, 1], &json!([999])), "in the order asked for");
    assert_eq!((first.cache.as_str(), queries().await), ("reference; fwd=partial-miss", before + 1));
    let second = app.get("/users?ids=1,2,3").await;
    assert_eq!((second.cache.as_str(), queries().await), ("reference; hit", before + 1));
    assert!(app.get("/users/2").await.is_hit(), "the batch and the single read share a key");

    app.put("/users/2", json!({ "name": "Other" })).await;
    let before = queries().await;
    let third = app.get("/users?ids=1,2,3").await;
    assert_eq!((&third.body["users"][1]["name"], queries().await), (&json!("Other"), before + 1));
    let past = app.get_no_store("/users?ids=1,2").await;
    assert_eq!((ids(&past), past.cache.as_str()), (vec![1, 2], "reference; fwd=request"));
    assert_eq!(app.get("/users?ids=1,x").await.status, 400);
    let many = (1..=101).map(|id| id.to_string()).collect::<Vec<_>>().join(",");
    assert_eq!(app.get(&format!("/users?ids={many}")).await.status, 400);
}

#[tokio::test]
async fn preferences_are_written_through_and_reports_are_memoised() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let app = RunningApp::start(args(&postgres, Some(&redis), "redis")).await;
    for round in 1..=3 {
        let wishes = json!({ "round": round });
        app.put("/users/4/preferences", wishes.clone()).await;
        let read = app.get("/users/4/preferences").await;
        assert!(read.is_hit(), "the write filled the cache: {}", read.cache);
        assert_eq!((&read.body["wishes"], read.number("version")), (&wishes, round));
    }
    let queries = async || app.metric("db_queries_total{kind=\"read\"").await;
    let first = app.get("/reports/authors").await;
    let before = queries().await;
    let second = app.get("/reports/authors").await;
    assert_eq!((first.is_hit(), second.is_hit(), queries().await), (false, true, before));
    assert_eq!(first.body, second.body);
    assert_eq!(app.get_no_store("/reports/authors").await.cache, "reference; fwd=request");
    assert_eq!(queries().await, before + 1);
}

#[tokio::test]
async fn views_are_written_a_moment_later_and_at_shutdown() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let apps = [
        RunningApp::start(args(&postgres, Some(&redis), "redis")).await,
        RunningApp::start(args(&postgres, Some(&redis), "redis")).await,
    ];
    for n in 0..30 {
        assert_eq!(apps[n % 2].post("/posts/5/views", json!({})).await.status, 202);
    }
    eventually("a moment later", async || apps[0].get("/posts/5/views").await.number("views") == 30).await;
    let writes = apps[0].metric("db_queries_total{kind=\"write\"").await;
    assert!(writes < 15, "15 views took {writes} writes: they should be batched");
    for _ in 0..7 {
        apps[1].post("/posts/6/views", json!({})).await;
    }
    apps[1].app().close().await;
    let seen = postgres.number("SELECT sum(n)::bigint FROM views WHERE post_id = 6").await;
    assert_eq!(seen, 7, "unwritten views are written at shutdown");
}

#[tokio::test]
async fn the_feeds_page_has_an_etag_until_a_post_changes() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let app = RunningApp::start(args(&postgres, Some(&redis), "redis")).await;
    let page = async |etag: Option<&str>| {
        let request = app.http.get(format!("{}/feed", app.url));
        let request = if let Some(etag) = etag { request.header("if-none-match", etag) } else { request };
        let answer = request.send().await.expect("an answer");
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
        let shown =
            (answer.status().as_u16(), header("etag").expect("an ETag"), header("cache-status").expect("a status"));
        (shown, answer.text().await.expect("text").len())
    };
    let ((status, etag, cache), length) = page(None).await;
    assert!(status == 200 && length > 1000 && cache.contains("fwd=uri-miss"), "{status} {cache}");
    let ((status, again, cache), length) = page(Some(&etag)).await;
    assert_eq!((status, &again, length), (304, &etag, 0), "{cache}");
    assert!(cache.starts_with("reference; hit"), "{cache}");
    // The page takes its keywords from the posts alone, `/feed/all` from their discussions as well.
    let without_keywords = async |path: &str| {
        let mut posts = app.get(path).await.body["posts"].clone();
        for post in posts.as_array_mut().expect("posts") {
            assert!(post.as_object_mut().expect("a post").remove("keywords").is_some_and(|words| words.is_array()));
        }
        posts
    };
    let posts = without_keywords("/feed").await;
    assert_eq!(posts.as_array().map(Vec::len), Some(60));
    assert_eq!(posts, without_keywords("/feed/all").await);

    app.post("/posts/5/upvote", json!({ "user": 1 })).await;
    let ((status, new, cache), _) = page(Some(&etag)).await;
    assert!(status == 200 && new != etag, "{status} {cache}");
    assert!(app.get_no_store("/feed").await.cache.contains("fwd=request"));
}

/// Without Postgres, hits are still served.
#[tokio::test]
async fn cached_values_are_served_without_postgres_by_every_handler() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let app = RunningApp::start(args(&postgres, Some(&redis), "redis")).await;
    let paths = ["/platform/stats", "/dashboards/3/overview", "/users/3", "/users?ids=3", "/feed", "/reports/authors"];
    for path in paths {
        app.get(path).await;
    }
    postgres.signal("QUIT");
    eventually("Postgres is down", async || app.get("/health").await.status == 503).await;
    for path in paths {
        let read = app.get(path).await;
        assert_eq!((read.status, read.is_hit()), (200, true), "{path}: {}", read.cache);
    }
    assert_eq!(app.get("/users/4").await.status, 503);
    assert_eq!(app.put("/users/3/preferences", json!({})).await.status, 503);
}

#[tokio::test]
async fn a_first_tier_serves_hits_and_is_invalidated_by_other_instances() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let apps = [
        RunningApp::start(args(&postgres, Some(&redis), "two-tier")).await,
        RunningApp::start(args(&postgres, Some(&redis), "two-tier")).await,
    ];
    let asks = || redis.info("stats", "keyspace_hits") + redis.info("stats", "keyspace_misses");
    eventually("the first tier answers", async || {
        apps[0].get("/posts/3").await;
        let before = asks();
        let read = apps[0].get("/posts/3").await;
        read.is_hit() && asks() == before
    })
    .await;
    for version in 2..=4 {
        apps[1].put("/posts/3", json!({ "title": "elsewhere" })).await;
        eventually("the write is visible", async || apps[0].get("/posts/3").await.number("version") == version).await;
    }
}
