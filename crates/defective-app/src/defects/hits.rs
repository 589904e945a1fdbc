//! The cache is there and does not do its work.

use super::Defect;
use crate::Wrap;
use crate::ask::{is_cached_read, says};
use crate::front::{self, Screws};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::Response;
use cache_layer::Strategy;
use reference_app::ServeArgs;
use std::time::Duration;

const SCENARIO: &str = "defects";
const MOST_READS: &str = "The cache answers most reads";

pub(super) static TABLE: [Defect; 6] = [
    Defect::new("never-caches", "every read misses, and says so", never_caches).caught(SCENARIO, MOST_READS),
    Defect::new("false-hit", "says hit, but asks the database every time", false_hit)
        .caught(SCENARIO, "The database is spared"),
    Defect::new("slow-hits", "answers hits 200 ms late", slow_hits).caught(SCENARIO, "The cached path is fast"),
    Defect::new("ttl-in-ms", "a TTL of 300 s is written as 300 ms", |args| {
        front::plant(args, Screws { ttl: Some(Duration::from_millis(300)), ..Screws::default() })
    })
    .caught(SCENARIO, MOST_READS),
    Defect::new("stores-nothing-large", "answers of more than 256 bytes are not stored, and nobody is told", |args| {
        front::plant(args, Screws { largest: 256, ..Screws::default() })
    })
    .caught(SCENARIO, MOST_READS),
    Defect::new("orphaned-lock", "the lock on a key never ends, and one holder in 5 dies: the others wait", |args| {
        front::plant(args, Screws { dies_every: 5, ..Screws::default() })
    })
    .caught(SCENARIO, "The cached path is fast"),
];

fn never_caches(args: &mut ServeArgs) -> Wrap {
    args.app.cache = Some(Strategy::None);
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
