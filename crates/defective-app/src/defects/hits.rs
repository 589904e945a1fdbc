//! Defects of a cache that is slow or useless.

use super::Defect;
use crate::RouteWrapper;
use crate::data_request::{has_cache_status, is_cached_read};
use crate::front_cache::{self, FrontCacheConfig};
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
        front_cache::install(
            args,
            FrontCacheConfig { ttl: Some(Duration::from_millis(300)), ..FrontCacheConfig::default() },
        )
    })
    .caught(SCENARIO, MOST_READS),
    Defect::new(
        "stores-nothing-large",
        "answers of more than 256 bytes are not stored, and no error is reported",
        |args| front_cache::install(args, FrontCacheConfig { max_body_bytes: 256, ..FrontCacheConfig::default() }),
    )
    .caught(SCENARIO, MOST_READS),
    Defect::new(
        "orphaned-lock",
        "the lock on a key never expires, and one holder in 5 dies: the others wait",
        |args| {
            front_cache::install(args, FrontCacheConfig { lock_holder_dies_every: 5, ..FrontCacheConfig::default() })
        },
    )
    .caught(SCENARIO, "The cached path is fast"),
];

fn never_caches(args: &mut ServeArgs) -> RouteWrapper {
    args.app.cache = Some(Strategy::None);
    Box::new(|_, routes| routes)
}

fn false_hit(_: &mut ServeArgs) -> RouteWrapper {
    Box::new(|_, routes| routes.layer(middleware::from_fn(claim_hit)))
}

async fn claim_hit(mut request: Request, next: Next) -> Response {
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

fn slow_hits(_: &mut ServeArgs) -> RouteWrapper {
    Box::new(|_, routes| routes.layer(middleware::from_fn(delay_hit)))
}

async fn delay_hit(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    if has_cache_status(response.headers(), "hit") {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    response
}
