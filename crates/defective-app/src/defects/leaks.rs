//! What grows, and what comes all at once.

use super::Defect;
use crate::Wrap;
use crate::ask::is_cached_read;
use crate::front::{self, Gate, Manners, Screws};
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
    Defect::new("stampede", "a TTL of a second, loads of 100 ms, and whoever misses loads", |args| {
        let (ttl, load_takes) = (Some(Duration::from_secs(1)), Duration::from_millis(100));
        front::plant(args, Screws { ttl, load_takes, gate: Gate::Open, leases: false, ..Screws::default() })
    })
    .caught(SCENARIO, "One load an expiry"),
    Defect::new("leaks-memory", "keeps 64 KiB of each request", |_| {
        let kept: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        Box::new(|_, routes| routes.layer(middleware::from_fn_with_state(kept, hoard)))
    })
    .caught(SCENARIO, "The app's memory is level"),
    Defect::new(
        "leaks-redis-connections",
        "each command has a new connection to Redis, which is never closed",
        |args| {
            let manners = Manners { leaks: true, ..Manners::default() };
            front::plant(args, Screws { manners, ..Screws::default() })
        },
    )
    .caught(SCENARIO, "Connections to Redis are level"),
    Defect::new("leaks-postgres-connections", "one read in 50 opens a connection to Postgres and keeps it", drip)
        .caught(SCENARIO, "Connections to Postgres are level"),
];

async fn hoard(State(kept): State<Arc<Mutex<Vec<Vec<u8>>>>>, request: Request, next: Next) -> Response {
    // Written to, so that it is there.
    kept.lock().unwrap_or_else(PoisonError::into_inner).push(vec![1; 64 * 1024]);
    next.run(request).await
}

struct Drip {
    url: String,
    reads: AtomicU64,
    kept: Mutex<Vec<PgConnection>>,
}

fn drip(args: &mut ServeArgs) -> Wrap {
    let drip = Drip { url: args.app.database_url.clone(), reads: AtomicU64::new(0), kept: Mutex::default() };
    let drip = Arc::new(drip);
    Box::new(|_, routes| routes.layer(middleware::from_fn_with_state(drip, forget_one)))
}

async fn forget_one(State(drip): State<Arc<Drip>>, request: Request, next: Next) -> Response {
    if is_cached_read(&request)
        && drip.reads.fetch_add(1, Ordering::Relaxed).is_multiple_of(50)
        && let Ok(connection) = PgConnection::connect(&drip.url).await
    {
        drip.kept.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
    next.run(request).await
}
