//! The management endpoints, in front of a real Redis.

use crate::samples::Samples;
use crate::support::{Redis, eventually};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use bytes::Bytes;
use cache_layer::key::{POSTS, PROFILES};
use cache_layer::manage::{Manage, Token};
use cache_layer::warm::{Plan, Warmer};
use cache_layer::{Cache, CacheConfig, Invalidation, Key, Metrics, Sampler, State, Status, Ttl};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::time::Duration;
use tower::ServiceExt;

const TOKEN: &str = "a-token-for-tests-only";

async fn open(redis: &Redis, namespace: &str) -> Cache {
    let mut config = redis.patiently();
    config.redis.as_mut().expect("redis").namespace = namespace.into();
    let cache = config.open(Metrics::default()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    cache
}

fn managed(cache: &Cache) -> Router {
    let tokens = vec![Token::new("another-token-for-tests").expect("long"), Token::new(TOKEN).expect("long")];
    Router::new().nest("/cache", Manage::new(cache.clone()).tokens(tokens).router())
}

async fn read(cache: &Cache, key: &Key, value: &'static str) -> Status {
    let load = || async move { Ok::<_, Infallible>(Some(Bytes::from_static(value.as_bytes()))) };
    cache.get_or_load(key, Ttl::Class, load).await.expect("infallible").status
}

/// The status and the body, which is JSON, whatever it says.
async fn call(app: &Router, method: Method, path: &str, token: Option<&str>, body: &str) -> (StatusCode, Value) {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, token);
    }
    let request = request.body(Body::from(body.to_owned())).expect("a request");
    let response = app.clone().oneshot(request).await.expect("infallible");
    let status = response.status();
    let challenged = response.headers().contains_key(header::WWW_AUTHENTICATE);
    assert_eq!(challenged, status == StatusCode::UNAUTHORIZED);
    if path.starts_with("/cache") {
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    }
    let bytes = to_bytes(response.into_body(), 8 << 20).await.expect("a body");
    let json: Value = serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("no JSON: {bytes:?}"));
    if status.is_client_error() || status.is_server_error() {
        assert!(json["error"]["code"].is_string() && json["error"]["message"].is_string(), "{json}");
    }
    (status, json)
}

async fn get(app: &Router, path: &str) -> (StatusCode, Value) {
    call(app, Method::GET, path, Some(&format!("Bearer {TOKEN}")), "").await
}

async fn post(app: &Router, path: &str, body: &Value) -> (StatusCode, Value) {
    call(app, Method::POST, path, Some(&format!("Bearer {TOKEN}")), &body.to_string()).await
}

#[tokio::test]
async fn nobody_comes_in_without_the_token() {
    let app = managed(&CacheConfig::memory().open(Metrics::default()).expect("a cache"));
    for path in ["/cache/stats", "/cache/keys/posts:1", "/cache/nothing"] {
        let none = call(&app, Method::GET, path, None, "").await;
        assert_eq!((none.0, &none.1["error"]["code"]), (StatusCode::UNAUTHORIZED, &json!("unauthorized")));
        for no_token in ["", "Bearer", "Bearer ", "Basic YTpi", TOKEN] {
            assert_eq!(
                call(&app, Method::GET, path, Some(no_token), "").await.0,
                StatusCode::UNAUTHORIZED,
                "{no_token}"
            );
        }
        for wrong in
            ["Bearer a-token-for-tests-onlx", "Bearer a-token-for-tests-only ", "bearer A-TOKEN-FOR-TESTS-ONLY"]
        {
            assert_eq!(call(&app, Method::GET, path, Some(wrong), "").await.0, StatusCode::FORBIDDEN, "{wrong}");
        }
    }
    for right in ["Bearer a-token-for-tests-only", "bearer another-token-for-tests"] {
        assert_eq!(call(&app, Method::GET, "/cache/stats", Some(right), "").await.0, StatusCode::OK, "{right}");
    }
    assert_eq!(get(&app, "/cache/nothing").await.0, StatusCode::NOT_FOUND);
    let put = call(&app, Method::PUT, "/cache/stats", Some(&format!("Bearer {TOKEN}")), "").await;
    assert_eq!(put.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn without_a_token_set_nothing_is_there() {
    let cache = CacheConfig::memory().open(Metrics::default()).expect("a cache");
    let nothing = async || (StatusCode::NOT_FOUND, r#"{"error":{"code":"app","message":"the app's own"}}"#);
    let app = Router::new().nest("/off", Manage::new(cache).router()).fallback(nothing);
    for path in ["/off/stats", "/off/keys/posts:1", "/off"] {
        let (status, json) = call(&app, Method::GET, path, Some("Bearer "), "").await;
        assert_eq!((status, &json["error"]["code"]), (StatusCode::NOT_FOUND, &json!("app")));
    }
}

#[tokio::test]
async fn keys_are_listed_shown_and_removed_within_their_namespace_only() {
    let redis = Redis::start();
    let (cache, other) = (open(&redis, "a*:").await, open(&redis, "abc:").await);
    let app = managed(&cache);
    for id in 0..30 {
        read(&cache, &POSTS.item(id), r#"{"id":1}"#).await;
        read(&other, &POSTS.item(id), "theirs").await;
    }
    read(&cache, &POSTS.list("top/new *", 1), "plain text").await;
    cache.store().add(&Key::new(POSTS.items, "views:1"), 5, Duration::from_secs(60)).await.expect("a counter");

    let (status, listed) = get(&app, "/cache/keys?pattern=posts:1*&limit=5").await;
    assert_eq!((status, listed["keys"].as_array().map(Vec::len)), (StatusCode::OK, Some(5)));
    assert_eq!(listed["complete"], false);
    let all = get(&app, "/cache/keys?limit=1000").await.1;
    assert_eq!((all["keys"].as_array().map(Vec::len), &all["complete"]), (Some(32), &json!(true)), "{all}");

    let (_, shown) = get(&app, "/cache/keys/posts:7").await;
    assert_eq!((&shown["kind"], &shown["bytes"], shown.get("value")), (&json!("value"), &json!(8), None));
    let ttl = shown["ttl_seconds"].as_f64().expect("a number");
    assert!((200.0..=300.0).contains(&ttl), "{ttl}");
    let (_, shown) = get(&app, "/cache/keys/posts:7?value=true").await;
    assert_eq!((&shown["value"], &shown["encoding"]), (&json!({"id": 1}), &json!("json")));
    // The list's name is `posts:list:top%2Fnew%20%2A:1`.
    let (_, shown) = get(&app, "/cache/keys/posts:list:top%252Fnew%2520%252A:1?value=true").await;
    assert_eq!((&shown["value"], &shown["tags"]), (&json!("plain text"), &json!(1)));
    let (_, counter) = get(&app, "/cache/keys/views:1").await;
    assert_eq!((&counter["kind"], &counter["count"]), (&json!("counter"), &json!(5)));

    let bearer = format!("Bearer {TOKEN}");
    let delete = async |name: &str| call(&app, Method::DELETE, &format!("/cache/keys/{name}"), Some(&bearer), "").await;
    assert_eq!(delete("posts:7").await.1, json!({"removed": 1, "complete": true, "owed": false}));
    assert_eq!(delete("posts:7").await.1["removed"], 0);
    assert_eq!(delete("posts:*").await.1["removed"], 0, "a name is no pattern");
    assert_eq!(get(&app, "/cache/keys/posts:7").await.0, StatusCode::NOT_FOUND);

    assert_eq!(post(&app, "/cache/clear", &json!({"pattern": "posts:1?", "limit": 4})).await.1["complete"], false);
    assert_eq!(post(&app, "/cache/clear", &json!({"pattern": "posts:1?"})).await.1["removed"], 6);
    let cleared = post(&app, "/cache/clear", &json!({"pattern": "*"})).await.1;
    assert!(cleared["removed"].as_u64() >= Some(21), "with the generation of a tag: {cleared}");
    assert_eq!(get(&app, "/cache/keys").await.1["keys"], json!([]));
    for id in 0..30 {
        assert!(matches!(read(&other, &POSTS.item(id), "theirs").await, Status::Hit { .. }), "theirs stays");
    }
    for forbidden in ["keys", "flushall", "flushdb"] {
        assert_eq!(redis.calls(forbidden), 0, "{forbidden}");
    }
}

#[tokio::test]
async fn a_tag_invalidates_what_has_it() {
    let redis = Redis::start();
    let cache = open(&redis, "").await;
    let app = managed(&cache);
    let list = POSTS.list("top", 1);
    read(&cache, &list, "old").await;
    read(&cache, &PROFILES.item(1), "old").await;
    assert!(matches!(read(&cache, &list, "new").await, Status::Hit { .. }));
    let (status, done) =
        post(&app, "/cache/invalidate", &json!({"tags": ["posts:list"], "keys": ["profiles:1"]})).await;
    assert_eq!((status, &done["removed"]), (StatusCode::OK, &json!(1)));
    assert!(matches!(read(&cache, &list, "new").await, Status::Miss { .. }));
    assert!(matches!(read(&cache, &PROFILES.item(1), "new").await, Status::Miss { .. }));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_it_reaches_redis() {
    let redis = Redis::start();
    let cache = open(&redis, "").await;
    let app = managed(&cache);
    let before = redis.info("stats", "total_commands_processed");
    let long = "x".repeat(1025);
    for path in [
        "/cache/keys?limit=0",
        "/cache/keys?limit=1001",
        "/cache/keys?limit=-1",
        "/cache/keys?pattern=",
        "/cache/keys?pattern=a*b*c*d*e*f*g",
        "/cache/keys?patern=x",
        "/cache/keys/!tag:posts:list",
        "/cache/keys/%21wm",
        "/cache/keys/a%0D%0AFLUSHALL",
        "/cache/keys/%FF",
        &format!("/cache/keys/{long}"),
        "/cache/keys/posts:1?value=maybe",
    ] {
        assert_eq!(get(&app, path).await.0, StatusCode::BAD_REQUEST, "{path}");
    }
    for (path, body) in [
        ("/cache/clear", json!({})),
        ("/cache/clear", json!({"pattern": "posts:*", "limit": 100_001})),
        ("/cache/clear", json!({"pattern": "!*"})),
        ("/cache/clear", json!({"pattern": ["posts:*"]})),
        ("/cache/clear", json!({"pattern": "x", "really": true})),
        ("/cache/invalidate", json!({})),
        ("/cache/invalidate", json!({"tags": [""]})),
        ("/cache/invalidate", json!({"keys": vec!["x"; 1001]})),
    ] {
        assert_eq!(post(&app, path, &body).await.0, StatusCode::BAD_REQUEST, "{path} {body}");
    }
    let bearer = format!("Bearer {TOKEN}");
    let large = format!(r#"{{"pattern": "{}"}}"#, "x".repeat(300 << 10));
    let (status, _) = call(&app, Method::POST, "/cache/clear", Some(&bearer), &large).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(get(&app, "/cache/warm").await.0, StatusCode::NOT_FOUND, "no plans here");
    let asked = redis.info("stats", "total_commands_processed") - before;
    assert!(asked < 40, "a few heartbeats of the connections: {asked}");
    for forbidden in ["scan", "unlink", "hmget", "flushall"] {
        assert_eq!(redis.calls(forbidden), 0, "{forbidden}");
    }
}

#[tokio::test]
async fn statistics_count_what_happened() {
    let redis = Redis::start();
    let cache = open(&redis, "").await;
    let app = managed(&cache);
    for id in [1, 1, 1, 2] {
        read(&cache, &POSTS.item(id), "v").await;
    }
    read(&cache, &PROFILES.item(1), "v").await;
    let (status, stats) = get(&app, "/cache/stats").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&stats["total"]["hits"], &stats["total"]["misses"]), (&json!(2), &json!(3)), "{stats}");
    assert_eq!(stats["classes"]["posts"]["hit_rate"], json!(0.5));
    assert_eq!(stats["classes"]["profiles"]["misses"], json!(1));
    assert!(stats["classes"]["profiles"]["latency"]["p95_ms"].as_f64() > Some(0.0), "{stats}");
    let get_operation = &stats["operations"]["get"];
    // A miss looks once more where its lease took its time.
    let misses = get_operation["outcomes"]["miss"].as_u64().expect("a count");
    assert!(misses >= 3, "{stats}");
    assert_eq!(
        (&get_operation["count"], &get_operation["outcomes"]),
        (&json!(2 + misses), &json!({"hit": 2, "miss": misses}))
    );
    let quantile = |name: &str| get_operation["latency"][name].as_f64().expect("a number");
    assert!(quantile("p50_ms") > 0.0 && quantile("p50_ms") <= quantile("p99_ms"), "{stats}");
}

#[tokio::test]
async fn health_says_what_is_wrong_and_servers_lose_their_figures_when_they_go() {
    let mut redis = Redis::start();
    let metrics = Metrics::default();
    let cache = redis.patiently().open(metrics.clone()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    let _sampler = Sampler::start(&cache, Duration::from_millis(20), Duration::ZERO);
    let scrape = || Samples::of(&metrics);
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("100mb").exec(&mut redis.connect()).expect("CONFIG");
    let app = managed(&cache);
    read(&cache, &POSTS.item(1), "v").await;
    eventually("all is well", async || cache.health().await.state == State::Up).await;
    let (status, health) = get(&app, "/cache/health").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&health["strategy"], &health["breaker"]), (&json!("redis"), &json!("closed")), "{health}");
    let server = &health["servers"][0];
    assert_eq!(
        (&server["role"], &server["max_memory"], &server["keys"]),
        (&json!("master"), &json!(100 << 20), &json!(1))
    );
    let at = format!("{{server=\"127.0.0.1:{}\"}}", redis.port);
    eventually("sampled", async || scrape().contains(&format!("cache_redis_memory_max_bytes{at} 104857600"))).await;
    assert!(scrape().contains(&format!("cache_redis_evicted_keys_total{at} 0")), "{}", scrape());

    redis.kill();
    eventually("it is seen", async || cache.health().await.state == State::Down).await;
    let health = cache.health().await;
    assert!(health.servers.is_empty() && !health.problems.is_empty(), "{health:?}");
    eventually("seen by the sampler", async || scrape().contains(&format!("cache_redis_up{at} 0"))).await;
    assert!(!scrape().contains("cache_redis_memory_used_bytes{"), "old figures look like new ones");
    assert_eq!(get(&app, "/cache/keys/posts:1").await.0, StatusCode::SERVICE_UNAVAILABLE);
    let (status, owed) = post(&app, "/cache/invalidate", &json!({"tags": ["posts:list"]})).await;
    assert_eq!((status, &owed["owed"]), (StatusCode::ACCEPTED, &json!(true)));
    redis.start_again();
    eventually("up again", async || {
        read(&cache, &POSTS.item(1), "v").await;
        cache.health().await.state == State::Up
    })
    .await;
}

#[tokio::test]
async fn warming_is_begun_watched_and_ended_by_endpoint() {
    let cache = CacheConfig::memory().open(Metrics::default()).expect("a cache");
    let ids = async |limit: usize| Ok::<_, Infallible>((0..limit as i64).collect::<Vec<_>>());
    let load = async |id: i64| Ok(Some(Bytes::from(id.to_string())));
    let quick = Plan::new("quick", 20, ids, |id| POSTS.item(*id), load).per_second(100_000);
    let slow = Plan::new("slow", 1000, ids, |id| PROFILES.item(*id), load).per_second(1);
    let warmer = Warmer::new(cache.clone(), vec![quick, slow]).expect("two names");
    let manage = Manage::new(cache.clone()).tokens(vec![Token::new(TOKEN).expect("long")]).warmer(warmer);
    let app = Router::new().nest("/cache", manage.router());
    assert_eq!(post(&app, "/cache/warm", &json!({"plans": ["none"]})).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(post(&app, "/cache/warm", &json!({})).await.0, StatusCode::ACCEPTED);
    let plan = async |at: usize| get(&app, "/cache/warm").await.1["plans"][at].clone();
    eventually("the second begins", async || plan(1).await["state"] == "running").await;
    assert_eq!(plan(0).await["outcomes"], json!({"stored": 20}));
    assert_eq!(post(&app, "/cache/warm", &json!({"plans": ["quick"]})).await.0, StatusCode::CONFLICT);
    let bearer = format!("Bearer {TOKEN}");
    let stop = async || call(&app, Method::DELETE, "/cache/warm", Some(&bearer), "").await.1;
    assert_eq!(stop().await, json!({"stopped": true}));
    eventually("it ends", async || get(&app, "/cache/warm").await.1["running"] == false).await;
    assert_eq!(plan(1).await["state"], "cancelled");
    assert_eq!(stop().await, json!({"stopped": false}));
    assert!(matches!(read(&cache, &POSTS.item(19), "x").await, Status::Hit { .. }));
    cache.invalidate(&Invalidation::new().key(&POSTS.item(3))).await;
    assert_eq!(post(&app, "/cache/warm", &json!({"plans": ["quick"]})).await.0, StatusCode::ACCEPTED);
    eventually("again", async || plan(0).await["outcomes"] == json!({"stored": 1, "present": 19})).await;
}
