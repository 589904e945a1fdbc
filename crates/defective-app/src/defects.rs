//! The table of defects. Each is planted by changing the app's settings, by wrapping its routes, or both.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use cache_layer::Strategy;
use reference_app::{App, ServeArgs};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;

/// Wraps the routes of the app that was built.
pub(crate) type Wrap = Box<dyn FnOnce(App, Router) -> Router>;

/// One defect.
#[derive(Debug)]
pub(crate) struct Defect {
    pub(crate) name: &'static str,
    what: &'static str,
    /// Changes the settings; answers what wraps the routes.
    pub(crate) plant: fn(&mut ServeArgs) -> Wrap,
}

pub(crate) static DEFECTS: [Defect; 7] = [
    Defect { name: "none", what: "the healthy app", plant: |_| Box::new(|_, routes| routes) },
    Defect { name: "never-caches", what: "every read misses, and says so", plant: never_caches },
    Defect { name: "false-hit", what: "says hit, but asks the database every time", plant: false_hit },
    Defect { name: "500-without-redis", what: "answers 500 while Redis cannot be reached", plant: needs_redis },
    Defect { name: "hangs-with-redis", what: "waits for Redis without a limit before each cached read", plant: hangs },
    Defect { name: "slow-hits", what: "answers hits 200 ms late", plant: slow_hits },
    Defect { name: "wrong-item", what: "answers 1 in 20 cached item reads with another item", plant: wrong_item },
];

pub(crate) fn find(name: &str) -> Result<&'static Defect, String> {
    let found = DEFECTS.iter().find(|defect| defect.name == name);
    found.ok_or_else(|| format!("write one of {}", DEFECTS.each_ref().map(|defect| defect.name).join(", ")))
}

pub(crate) fn help() -> String {
    let lines: Vec<_> = DEFECTS.iter().map(|defect| format!("  {:18} {}", defect.name, defect.what)).collect();
    format!("Defects:\n{}", lines.join("\n"))
}

fn never_caches(args: &mut ServeArgs) -> Wrap {
    args.cache = Strategy::None;
    Box::new(|_, routes| routes)
}

fn false_hit(_: &mut ServeArgs) -> Wrap {
    Box::new(|_, routes| routes.layer(middleware::from_fn(lie)))
}

async fn lie(mut request: Request, next: Next) -> Response {
    if !is_cached_read(&request) {
        return next.run(request).await;
    }
    request.headers_mut().insert("cache-control", HeaderValue::from_static("no-store"));
    let mut response = next.run(request).await;
    if response.status() == StatusCode::OK {
        response.headers_mut().insert("cache-status", HeaderValue::from_static("reference; hit; ttl=300"));
    }
    response
}

fn needs_redis(_: &mut ServeArgs) -> Wrap {
    Box::new(|app, routes| routes.layer(middleware::from_fn_with_state(app, give_up)))
}

async fn give_up(State(app): State<App>, request: Request, next: Next) -> Response {
    let is_data = service_of(request.uri()).is_some();
    let response = next.run(request).await;
    let fell_back = says(response.headers(), "detail=fallback");
    if is_data && (fell_back || !app.cache().status().usable) {
        return (StatusCode::INTERNAL_SERVER_ERROR, r#"{"error":"no Redis"}"#).into_response();
    }
    response
}

/// A connection of its own, without any limit of time.
#[derive(Clone)]
struct Unhurried {
    client: Option<redis::Client>,
    connection: Arc<Mutex<Option<redis::aio::MultiplexedConnection>>>,
}

fn hangs(args: &mut ServeArgs) -> Wrap {
    let client = args.redis_url.as_deref().and_then(|url| redis::Client::open(url).ok());
    let redis = Unhurried { client, connection: Arc::default() };
    Box::new(|_, routes| routes.layer(middleware::from_fn_with_state(redis, wait_for_redis)))
}

async fn wait_for_redis(State(redis): State<Unhurried>, request: Request, next: Next) -> Response {
    if is_cached_read(&request) {
        redis.ping().await;
    }
    next.run(request).await
}

impl Unhurried {
    /// Returns when Redis answered, or when it is dead; never while it is frozen.
    async fn ping(&self) {
        let Some(mut connection) = self.connected().await else { return };
        if redis::cmd("PING").exec_async(&mut connection).await.is_err() {
            *self.connection.lock().await = None;
        }
    }

    async fn connected(&self) -> Option<redis::aio::MultiplexedConnection> {
        let mut held = self.connection.lock().await;
        if held.is_none() {
            let forever = redis::AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
            *held = self.client.as_ref()?.get_multiplexed_async_connection_with_config(&forever).await.ok();
        }
        held.clone()
    }
}

fn slow_hits(_: &mut ServeArgs) -> Wrap {
    Box::new(|_, routes| routes.layer(middleware::from_fn(dawdle)))
}

async fn dawdle(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    if says(response.headers(), "hit") {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    response
}

fn wrong_item(_: &mut ServeArgs) -> Wrap {
    // Routing has happened by the time a layer of the routes runs; so the path is changed outside of them.
    Box::new(|_, routes| {
        let reads = Arc::new(AtomicU64::new(0));
        Router::new().fallback_service(routes).layer(middleware::from_fn_with_state(reads, mix_up))
    })
}

async fn mix_up(State(reads): State<Arc<AtomicU64>>, mut request: Request, next: Next) -> Response {
    if is_cached_read(&request)
        && let Some((service, id)) = item_of(request.uri())
        && reads.fetch_add(1, Ordering::Relaxed) % 20 == 19
        && let Ok(other) = Uri::try_from(format!("/{service}/{}", if id == 1 { 2 } else { id - 1 }))
    {
        *request.uri_mut() = other;
    }
    next.run(request).await
}

fn is_cached_read(request: &Request) -> bool {
    let no_store = request.headers().get("cache-control").is_some_and(|value| value == "no-store");
    request.method() == Method::GET && !no_store && service_of(request.uri()).is_some()
}

fn service_of(uri: &Uri) -> Option<&str> {
    let first = uri.path().split('/').nth(1)?;
    cache_layer::key::SERVICES.iter().any(|service| service.name() == first).then_some(first)
}

fn item_of(uri: &Uri) -> Option<(String, u64)> {
    let id = uri.path().split('/').nth(2)?.parse().ok()?;
    Some((service_of(uri)?.to_owned(), id))
}

/// Whether `Cache-Status` has this parameter.
fn says(headers: &HeaderMap, parameter: &str) -> bool {
    let status = headers.get("cache-status").and_then(|value| value.to_str().ok()).unwrap_or("");
    status.split(';').any(|part| part.trim() == parameter)
}
