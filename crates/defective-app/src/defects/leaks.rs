//! Leaks, and the stampede.

use super::Defect;
use crate::RouteWrapper;
use crate::data_request::is_cached_read;
use crate::front_cache::{self, FrontCacheConfig, LoadLock, RedisClientConfig};
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use reference_app::ServeArgs;
use sqlx::{Connection as _, PgConnection};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const SCENARIO: &str = "defects-soak";

pub(super) static TABLE: [Defect; 4] = [
    Defect::new("stampede", "a TTL of a second, loads of 100 ms, and every miss loads", |args| {
        let (ttl, extra_load_time) = (Some(Duration::from_secs(1)), Duration::from_millis(100));
        front_cache::install(
            args,
            FrontCacheConfig {
                ttl,
                extra_load_time,
                load_lock: LoadLock::Unlocked,
                leases: false,
                ..FrontCacheConfig::default()
            },
        )
    })
    .caught(SCENARIO, "One load an expiry"),
    Defect::new("leaks-memory", "keeps 64 KiB of each request", |_| {
        let kept: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        Box::new(|_, routes| routes.layer(middleware::from_fn_with_state(kept, leak_memory)))
    })
    .caught(SCENARIO, "The app's memory is level"),
    Defect::new(
        "leaks-redis-connections",
        "each command opens a new connection to Redis, which is never closed",
        |args| {
            let redis_client_config = RedisClientConfig { leaks_connections: true, ..RedisClientConfig::default() };
            front_cache::install(args, FrontCacheConfig { redis_client_config, ..FrontCacheConfig::default() })
        },
    )
    .caught(SCENARIO, "Connections to Redis are level"),
    Defect::new(
        "leaks-postgres-connections",
        "one read in 50 opens a connection to Postgres and keeps it",
        connection_leak,
    )
    .caught(SCENARIO, "Connections to Postgres are level"),
];

async fn leak_memory(State(kept): State<Arc<Mutex<Vec<Vec<u8>>>>>, request: Request, next: Next) -> Response {
    // Not zero, so that the pages are really allocated.
    kept.lock().unwrap_or_else(PoisonError::into_inner).push(vec![1; 64 * 1024]);
    next.run(request).await
}

struct ConnectionLeak {
    url: String,
    reads: AtomicU64,
    kept: Mutex<Vec<PgConnection>>,
}

fn connection_leak(args: &mut ServeArgs) -> RouteWrapper {
    let connection_leak =
        ConnectionLeak { url: args.app.database_url.clone(), reads: AtomicU64::new(0), kept: Mutex::default() };
    let connection_leak = Arc::new(connection_leak);
    Box::new(|_, routes| routes.layer(middleware::from_fn_with_state(connection_leak, leak_connection)))
}

async fn leak_connection(State(connection_leak): State<Arc<ConnectionLeak>>, request: Request, next: Next) -> Response {
    if is_cached_read(&request)
        && connection_leak.reads.fetch_add(1, Ordering::Relaxed).is_multiple_of(50)
        && let Ok(connection) = PgConnection::connect(&connection_leak.url).await
    {
        connection_leak.kept.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
    next.run(request).await
}
