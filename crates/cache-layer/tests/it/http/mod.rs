//! The caching middleware around an axum router, on real Redis.

use crate::support::{Redis, eventually};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use bytes::Bytes;
use cache_layer::http::{HttpCacheLayer, Rule, Scope, WriteRule};
use cache_layer::{Cache, CacheConfig, Key, KeyClass, Metrics};
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tower::ServiceExt;

mod bodies;
mod underway;

const MINUTE: Duration = Duration::from_secs(60);

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    pub fn cache(&self) -> &str {
        self.header("cache-status")
    }

    pub fn is_hit(&self) -> bool {
        self.cache().starts_with("cache-layer; hit; ttl=")
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

async fn send(app: &Router, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).expect("a request");
    let (parts, body) = app.clone().oneshot(request).await.expect("infallible").into_parts();
    let body = axum::body::to_bytes(body, 1 << 24).await.expect("a body");
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

async fn read(app: &Router, path: &str) -> Answer {
    send(app, "GET", path, &[]).await
}

/// A count of calls, in the body of each answer.
#[derive(Clone, Default)]
struct Calls(Arc<AtomicU64>);

impl Calls {
    fn next(&self) -> String {
        (self.0.fetch_add(1, Ordering::SeqCst) + 1).to_string()
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

async fn cache(redis: &Redis) -> Cache {
    with_leases_of(redis, Duration::from_secs(60)).await
}

/// Where loads are repeated that store nothing, so that their leases do not keep the next one out for long.
async fn with_short_leases(redis: &Redis) -> Cache {
    with_leases_of(redis, Duration::from_millis(100)).await
}

async fn with_leases_of(redis: &Redis, ttl: Duration) -> Cache {
    let mut config = redis.patiently();
    config.redis.as_mut().expect("redis").lease_ttl = ttl;
    let cache = config.open(Metrics::default()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    cache
}

fn layer(cache: &Cache, rules: impl IntoIterator<Item = Rule>) -> HttpCacheLayer {
    let builder = HttpCacheLayer::builder(cache.clone());
    rules.into_iter().fold(builder, |builder, rule| builder.rule(rule)).build().expect("rules")
}

#[tokio::test]
async fn a_response_is_cached_with_its_validators_and_its_age() {
    let redis = Redis::start();
    let calls = Calls::default();
    let handler = {
        let calls = calls.clone();
        async move |Path(id): Path<String>| {
            (
                [("x-kind", "post"), ("x-request-id", "1"), ("connection", "x-hop"), ("x-hop", "1")],
                format!("{id} {}", calls.next()),
            )
        }
    };
    let rule = Rule::get("/posts/{id}", MINUTE).class(KeyClass::new("posts", MINUTE));
    let app = Router::new().route("/posts/{id}", get(handler)).layer(layer(&cache(&redis).await, [rule]));

    let miss = read(&app, "/posts/7").await;
    assert_eq!((miss.status, miss.text(), miss.cache()), (200, "7 1", "cache-layer; fwd=uri-miss; stored"));
    let tag = miss.header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.len() == 34, "a strong tag: {tag}");

    let hit = read(&app, "/posts/7").await;
    assert!(hit.is_hit(), "{hit:?}");
    assert_eq!((hit.text(), hit.header("etag"), hit.header("x-kind")), ("7 1", &*tag, "post"));
    assert!(hit.header("age").parse::<u64>().expect("an age") < 30);
    assert!(hit.header("content-type").starts_with("text/plain"));
    assert_eq!([hit.header("x-request-id"), hit.header("connection"), hit.header("x-hop")], [""; 3], "not stored");

    let fresh = send(&app, "GET", "/posts/7", &[("if-none-match", &format!("\"x\", W/{tag}"))]).await;
    assert_eq!((fresh.status, fresh.body.len(), fresh.header("etag")), (304, 0, &*tag));
    assert!(fresh.is_hit() && fresh.header("content-type").is_empty());
    let other = send(&app, "GET", "/posts/7", &[("if-none-match", "\"x\"")]).await;
    assert_eq!((other.status, other.text()), (200, "7 1"));

    let head = send(&app, "HEAD", "/posts/7", &[]).await;
    assert_eq!((head.status, head.body.len(), head.header("content-length")), (200, 0, "3"));
    assert!(head.is_hit());
    assert_eq!(calls.count(), 1);

    // A miss answers conditions, too, and what a HEAD loads a GET finds.
    let head = send(&app, "HEAD", "/posts/8", &[]).await;
    assert_eq!((head.body.len(), head.header("content-length")), (0, "3"));
    let tag = head.header("etag").to_owned();
    assert!(read(&app, "/posts/8").await.is_hit());
    send(&app, "GET", "/posts/9", &[("if-none-match", &tag)]).await;
    let missed = send(&app, "GET", "/posts/9", &[("if-none-match", "*")]).await;
    assert_eq!(missed.status, 304);
    assert_eq!(read(&app, "/posts/9").await.text(), "9 3", "the whole answer was stored, not the 304");
}

#[tokio::test]
async fn what_must_not_be_stored_is_not() {
    let redis = Redis::start();
    let calls = Calls::default();
    let answer = {
        let calls = calls.clone();
        async move |Path(kind): Path<String>| -> Response {
            let body = calls.next();
            match kind.as_str() {
                "cookie" => ([("set-cookie", "a=b")], body).into_response(),
                "no-store" => ([("cache-control", "no-store")], body).into_response(),
                "private" => ([("cache-control", "private, max-age=60")], body).into_response(),
                "no-cache" => ([("cache-control", "no-cache")], body).into_response(),
                "max-age-0" => ([("cache-control", "max-age=0")], body).into_response(),
                "vary-all" => ([("vary", "*")], body).into_response(),
                "error" => (StatusCode::INTERNAL_SERVER_ERROR, body).into_response(),
                "absent" => (StatusCode::NOT_FOUND, body).into_response(),
                "partial" => (StatusCode::PARTIAL_CONTENT, body).into_response(),
                "large" => "x".repeat(3000).into_response(),
                "refused" => ([("x-no", "1")], body).into_response(),
                _ => body.into_response(),
            }
        }
    };
    let rules = [
        Rule::get("/never", MINUTE).scope(Scope::Never),
        Rule::get("/{kind}", MINUTE)
            .body_limit(2000)
            .skip_if(|request| request.uri.path() == "/skipped")
            .store_if(|answer| !answer.headers.contains_key("x-no")),
    ];
    let app = Router::new().route("/{kind}", any(answer)).layer(layer(&cache(&redis).await, rules));

    let unstored = [
        ("cookie", "set-cookie"),
        ("no-store", "cache-control"),
        ("private", "cache-control"),
        ("no-cache", "cache-control"),
        ("max-age-0", "no-life"),
        ("vary-all", "vary"),
        ("error", "status"),
        ("absent", "status"),
        ("partial", "status"),
        ("large", "too-large"),
        ("refused", "skipped"),
    ];
    for (kind, why) in unstored {
        let before = calls.count();
        for _ in 0..2 {
            let answer = read(&app, &format!("/{kind}")).await;
            assert_eq!(answer.cache(), format!("cache-layer; fwd=uri-miss; detail={why}"));
            assert_eq!(answer.header("age"), "");
        }
        assert_eq!(calls.count(), before + 2, "{kind}");
    }
    assert_eq!(read(&app, "/large").await.body.len(), 3000, "passed on whole");

    assert_eq!(read(&app, "/plain").await.cache(), "cache-layer; fwd=uri-miss; stored");
    let past: &[(&[(&str, &str)], &str)] = &[
        (&[("cache-control", "no-store")], "request; detail=no-store"),
        (&[("cache-control", "no-cache")], "request; detail=no-cache"),
        (&[("range", "bytes=0-1")], "bypass; detail=range"),
        (&[("if-match", "\"x\"")], "bypass; detail=precondition"),
        (&[("authorization", "Bearer t")], "bypass; detail=credentials"),
        (&[("cookie", "a=b")], "bypass; detail=credentials"),
        (&[("x-api-key", "k")], "bypass; detail=credentials"),
    ];
    for (headers, fwd) in past {
        let before = calls.count();
        let answer = send(&app, "GET", "/plain", headers).await;
        assert_eq!(answer.cache(), format!("cache-layer; fwd={fwd}"), "{headers:?}");
        assert_eq!(calls.count(), before + 1);
    }
    assert!(read(&app, "/plain").await.is_hit(), "and the entry is as it was");
    assert_eq!(read(&app, "/skipped").await.cache(), "cache-layer; fwd=bypass; detail=skipped");
    assert_eq!(read(&app, "/never").await.cache(), "cache-layer; fwd=bypass; detail=never");
    assert_eq!(send(&app, "POST", "/plain", &[]).await.cache(), "cache-layer; fwd=method");
    let body = Request::get("/plain").body(Body::from("x")).expect("a request");
    let answer = app.clone().oneshot(body).await.expect("infallible");
    assert_eq!(answer.headers()["cache-status"], "cache-layer; fwd=bypass; detail=request-body");
}

#[tokio::test]
async fn users_have_entries_of_their_own_and_no_name_of_theirs_is_in_redis() {
    let redis = Redis::start();
    let calls = Calls::default();
    let me = {
        let calls = calls.clone();
        async move |headers: HeaderMap| {
            calls.next();
            headers.get(AUTHORIZATION).map_or("nobody".to_owned(), |value| value.to_str().expect("text").to_owned())
        }
    };
    let rule = Rule::get("/me", MINUTE).scope(Scope::per_credential(AUTHORIZATION));
    let app = Router::new().route("/me", get(me)).layer(layer(&cache(&redis).await, [rule]));
    for round in 0..2 {
        for token in ["Bearer alice-token", "Bearer bob-token"] {
            let answer = send(&app, "GET", "/me", &[("authorization", token)]).await;
            assert_eq!(answer.text(), token);
            assert_eq!(answer.is_hit(), round == 1);
            assert_eq!(answer.header("cache-control"), "private", "not to be shared further out either");
        }
        assert_eq!(read(&app, "/me").await.cache(), "cache-layer; fwd=bypass; detail=no-identity");
    }
    assert_eq!(calls.count(), 4);
    let twice = send(&app, "GET", "/me", &[("authorization", "Bearer alice-token"), ("authorization", "x")]).await;
    assert_eq!(twice.cache(), "cache-layer; fwd=bypass; detail=no-identity");
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut redis.connect()).expect("KEYS");
    assert_eq!(keys.len(), 2, "{keys:?}");
    assert!(!keys.iter().any(|key| key.contains("token")), "{keys:?}");
}

#[tokio::test]
async fn chosen_parameters_make_the_key_and_others_do_not_reach_the_service() {
    let redis = Redis::start();
    let handler = async |request: Request| request.uri().to_string();
    let rule = Rule::get("/posts", MINUTE).query(["page", "filter"]);
    let app = Router::new().route("/posts", get(handler)).layer(layer(&cache(&redis).await, [rule]));
    assert_eq!(read(&app, "/posts?filter=top&page=2&utm=evil").await.text(), "/posts?page=2&filter=top");
    let other = read(&app, "/posts?page=2&filter=top").await;
    assert!(other.is_hit());
    assert!(!read(&app, "/posts?page=3&filter=top").await.is_hit());
}

#[tokio::test]
async fn answers_that_vary_are_kept_side_by_side() {
    let redis = Redis::start();
    let calls = Calls::default();
    let handler = {
        let calls = calls.clone();
        async move |headers: HeaderMap| {
            calls.next();
            let language =
                headers.get("accept-language").map_or("en", |value| value.to_str().expect("text")).to_owned();
            ([("vary", "Accept-Language, Accept")], language)
        }
    };
    let rule = Rule::get("/", MINUTE).header(http::header::ACCEPT);
    let app = Router::new().route("/", get(handler)).layer(layer(&cache(&redis).await, [rule]));
    let in_language = async |language: &str| send(&app, "GET", "/", &[("accept-language", language)]).await;
    let first = in_language("de").await;
    assert_eq!(
        (first.text(), first.cache()),
        ("de", "cache-layer; fwd=uri-miss; detail=vary"),
        "learnt that it varies"
    );
    assert_eq!(in_language("de").await.cache(), "cache-layer; fwd=vary-miss; stored");
    assert_eq!(in_language("fr").await.cache(), "cache-layer; fwd=vary-miss; stored");
    for language in ["de", "fr", "de"] {
        let answer = in_language(language).await;
        assert!(answer.is_hit(), "{answer:?}");
        assert_eq!((answer.text(), answer.header("vary")), (language, "Accept-Language, Accept"));
    }
    assert_eq!(calls.count(), 3);
}

#[tokio::test]
async fn short_lives_and_absences_end_by_themselves() {
    let redis = Redis::start();
    let calls = Calls::default();
    let handler = {
        let calls = calls.clone();
        async move |Path(kind): Path<String>| match kind.as_str() {
            "short" => ([("cache-control", "max-age=30")], calls.next()).into_response(),
            _ => (StatusCode::NOT_FOUND, calls.next()).into_response(),
        }
    };
    let rule = Rule::get("/{kind}", MINUTE).absent_for(Duration::from_secs(2));
    let app = Router::new().route("/{kind}", get(handler)).layer(layer(&cache(&redis).await, [rule]));
    for (path, at_most) in [("/short", 30_000), ("/absent", 2_000)] {
        assert_eq!(read(&app, path).await.cache(), "cache-layer; fwd=uri-miss; stored");
        let keys: Vec<String> =
            redis::cmd("KEYS").arg(format!("http:{}:*", &path[1..])).query(&mut redis.connect()).expect("KEYS");
        let left: i64 = redis::cmd("PTTL").arg(&keys[0]).query(&mut redis.connect()).expect("PTTL");
        assert!(left <= at_most, "{path}: {left} ms");
    }
    eventually("an absence ends", async || read(&app, "/absent").await.text() == "3").await;
    assert_eq!(read(&app, "/short").await.text(), "1");
}

#[tokio::test]
async fn garbage_in_redis_is_a_miss_and_heals() {
    let redis = Redis::start();
    let cache = with_short_leases(&redis).await;
    let calls = Calls::default();
    let handler = {
        let calls = calls.clone();
        async move || calls.next()
    };
    let app = Router::new().route("/", get(handler)).layer(layer(&cache, [Rule::get("/", MINUTE)]));
    read(&app, "/").await;
    let name = cache.store().scan("http:*", 10).await.expect("keys").pop().expect("a key");
    let key = Key::new(KeyClass::new("http", MINUTE), name);
    for garbage in [&b"\x01\x00garbage"[..], b"", b"\xff"] {
        cache.store().set(&key, &Bytes::from_static(garbage), MINUTE).await.expect("set");
        let answer = read(&app, "/").await;
        assert_eq!((answer.status, answer.text()), (200, &*calls.count().to_string()), "{answer:?}");
        eventually("healed", async || read(&app, "/").await.is_hit()).await;
    }
}

#[tokio::test]
async fn without_redis_the_service_answers() {
    let mut redis = Redis::start();
    let handler = async || "answer";
    let app = Router::new().route("/", get(handler)).layer(layer(&cache(&redis).await, [Rule::get("/", MINUTE)]));
    read(&app, "/").await;
    assert!(read(&app, "/").await.is_hit());
    redis.kill();
    for _ in 0..20 {
        let answer = read(&app, "/").await;
        assert_eq!((answer.status, answer.text()), (200, "answer"));
        assert_eq!(answer.cache(), "cache-layer; fwd=bypass; detail=fallback");
    }
}
