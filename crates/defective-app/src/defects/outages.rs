//! Defects that show while Redis is down, and after.

use super::Defect;
use crate::RouteWrapper;
use crate::data_request::{DataRequest, has_cache_status, is_cached_read};
use crate::front_cache::{self, FrontCacheConfig, LoadLock, RedisClientConfig};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use reference_app::{App, ServeArgs};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

const DEAD: &str = "defects-dead";
const FROZEN: &str = "defects-frozen";
const WORKS_FROZEN: &str = "Works on while Redis is frozen";
const USED_AGAIN: &str = "Redis is used again once it is back";

pub(super) static TABLE: [Defect; 15] = [
    Defect::new("500-without-redis", "answers 500 while Redis cannot be reached", needs_redis)
        .caught(DEAD, "Works on while Redis is dead"),
    Defect::new("crashes-with-redis", "exits when Redis dies; its supervisor starts it again", crashes)
        .caught(DEAD, "Works on while Redis is dead")
        .supervised(),
    Defect::new("slow-fallback", "tries Redis for a second before each fallback", |args| {
        front_cache::install(
            args,
            FrontCacheConfig { fallback_delay: Duration::from_secs(1), ..FrontCacheConfig::default() },
        )
    })
    .caught(DEAD, "Is fast while Redis is dead"),
    Defect::new("serial-fallback", "one lock around all loads, of 20 ms each", |args| {
        let extra_load_time = Duration::from_millis(20);
        front_cache::install(
            args,
            FrontCacheConfig { load_lock: LoadLock::Global, extra_load_time, ..FrontCacheConfig::default() },
        )
    })
    .caught(DEAD, "Is fast while Redis is dead"),
    Defect::new(
        "retry-storm",
        "a read whose value cannot be stored is tried 5 times, with its query each time",
        |args| front_cache::install(args, FrontCacheConfig { retries: 4, ..FrontCacheConfig::default() }),
    )
    .caught(DEAD, "Postgres is asked once for each read"),
    Defect::new("reconnect-gives-up", "a broken connection to Redis is never replaced", |args| {
        install(args, RedisClientConfig { reconnects: false, ..RedisClientConfig::default() })
    })
    .caught(DEAD, USED_AGAIN),
    Defect::new("scripts-sent-once", "calls its script by a digest that a restarted Redis does not know", |args| {
        front_cache::install(args, FrontCacheConfig { script_once: true, ..FrontCacheConfig::default() })
    })
    .caught(DEAD, "The cache fills again"),
    Defect::new(
        "health-needs-redis",
        "the health check fails without Redis: a load balancer would remove the app",
        |_| Box::new(|app, routes| routes.layer(middleware::from_fn_with_state(app, fail_health_check))),
    )
    .caught(DEAD, "Stays healthy while Redis is dead"),
    Defect::new("log-flood", "five lines in the log for each request while Redis is away", |args| {
        front_cache::install(args, FrontCacheConfig { log_lines_per_failure: 5, ..FrontCacheConfig::default() })
    })
    .caught(DEAD, "The log stays readable"),
    Defect::new("hangs-with-redis", "waits for Redis without a timeout before each cached read", hangs)
        .caught(FROZEN, WORKS_FROZEN),
    Defect::new("breaker-never-opens", "each request waits a second for Redis", |args| {
        install(
            args,
            RedisClientConfig {
                command_timeout: Duration::from_secs(1),
                breaker_threshold: None,
                ..RedisClientConfig::default()
            },
        )
    })
    .caught(FROZEN, "Is fast while Redis is frozen"),
    Defect::new("breaker-never-closes", "a breaker that opened stays open for an hour", |args| {
        install(
            args,
            RedisClientConfig { breaker_open_time: Duration::from_secs(3600), ..RedisClientConfig::default() },
        )
    })
    .caught(FROZEN, USED_AGAIN),
    Defect::new("invalidations-lost", "deletions that fail while Redis is away are forgotten", |args| {
        install(args, RedisClientConfig { retries_invalidations: false, ..RedisClientConfig::default() })
    })
    .caught(FROZEN, "No answer is older than a write"),
    Defect::new(
        "no-ttl",
        "stores without a TTL, so a value whose deletion was lost in an outage stays for ever",
        |args| {
            let redis_client_config =
                RedisClientConfig { retries_invalidations: false, ..RedisClientConfig::default() };
            front_cache::install(
                args,
                FrontCacheConfig { redis_client_config, ttl: None, ..FrontCacheConfig::default() },
            )
        },
    )
    .caught(FROZEN, "No old answer outlives its TTL"),
    Defect::new(
        "writes-need-redis",
        "a write whose deletion fails is answered with 503, although it was committed",
        |args| front_cache::install(args, FrontCacheConfig { writes_need_redis: true, ..FrontCacheConfig::default() }),
    )
    .caught(FROZEN, WORKS_FROZEN),
];

fn install(args: &mut ServeArgs, redis_client_config: RedisClientConfig) -> RouteWrapper {
    front_cache::install(args, FrontCacheConfig { redis_client_config, ..FrontCacheConfig::default() })
}

fn needs_redis(_: &mut ServeArgs) -> RouteWrapper {
    Box::new(|app, routes| routes.layer(middleware::from_fn_with_state(app, fail_without_redis)))
}

async fn fail_without_redis(State(app): State<App>, request: Request, next: Next) -> Response {
    let is_data = DataRequest::of(&request).is_some();
    let response = next.run(request).await;
    if is_data && is_without_redis(&app, &response) {
        return (StatusCode::INTERNAL_SERVER_ERROR, r#"{"error":"no Redis"}"#).into_response();
    }
    response
}

fn is_without_redis(app: &App, response: &Response) -> bool {
    has_cache_status(response.headers(), "detail=fallback") || !app.cache().status().usable
}

fn crashes(_: &mut ServeArgs) -> RouteWrapper {
    Box::new(|app, routes| routes.layer(middleware::from_fn_with_state(app, panic_at_outage)))
}

async fn panic_at_outage(State(app): State<App>, request: Request, next: Next) -> Response {
    let is_data = DataRequest::of(&request).is_some();
    let response = next.run(request).await;
    if is_data && is_without_redis(&app, &response) {
        tracing::error!("Redis is gone: cannot go on");
        std::process::exit(70);
    }
    response
}

async fn fail_health_check(State(app): State<App>, request: Request, next: Next) -> Response {
    let is_health = request.uri().path() == "/health";
    let response = next.run(request).await;
    if is_health && !app.cache().status().usable {
        return (StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"down","why":"no Redis"}"#).into_response();
    }
    response
}

/// A connection without a timeout.
#[derive(Clone)]
struct RedisWithoutTimeout {
    client: Option<redis::Client>,
    connection: Arc<Mutex<Option<redis::aio::MultiplexedConnection>>>,
}

fn hangs(args: &mut ServeArgs) -> RouteWrapper {
    let client = args.app.redis_url.as_deref().and_then(|url| redis::Client::open(url).ok());
    let redis = RedisWithoutTimeout { client, connection: Arc::default() };
    Box::new(|_, routes| routes.layer(middleware::from_fn_with_state(redis, wait_for_redis)))
}

async fn wait_for_redis(State(redis): State<RedisWithoutTimeout>, request: Request, next: Next) -> Response {
    if is_cached_read(&request) {
        redis.ping().await;
    }
    next.run(request).await
}

impl RedisWithoutTimeout {
    /// Returns when Redis answers or is dead; never while it is frozen.
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
