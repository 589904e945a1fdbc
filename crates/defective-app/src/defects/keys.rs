//! Defects of cache keys.

use super::Defect;
use crate::RouteWrapper;
use crate::data_request::{Access, DataRequest};
use crate::front_cache::{self, FrontCacheConfig};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::Uri;
use axum::middleware::{self, Next};
use axum::response::Response;
use reference_app::ServeArgs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SCENARIO: &str = "defects";
const RIGHT: &str = "Answers are right";

pub(super) static TABLE: [Defect; 4] = [
    Defect::new("wrong-item", "answers 1 in 20 cached item reads with another item", wrong_item)
        .caught(SCENARIO, RIGHT),
    Defect::new("key-cut-short", "only the last two digits of an id are in the key", |args| {
        let name = |data_request: &DataRequest| {
            format!("{}:{}", data_request.service, data_request.item.unwrap_or_default() % 100)
        };
        front_cache::install(args, FrontCacheConfig { name, ..FrontCacheConfig::default() })
    })
    .caught(SCENARIO, RIGHT),
    Defect::new(
        "key-never-shared",
        "the number of the request is in the key: nothing is found, everything is stored",
        |args| front_cache::install(args, FrontCacheConfig { name: never_the_same, ..FrontCacheConfig::default() }),
    )
    .caught(SCENARIO, "Redis holds each answer once"),
    Defect::new(
        "key-of-a-view",
        "the query string is in the key, and a write deletes only the key without it",
        |args| {
            let name = |data_request: &DataRequest| {
                format!("{}?{}", data_request.key(), data_request.uri.query().unwrap_or_default())
            };
            front_cache::install(args, FrontCacheConfig { name, ..FrontCacheConfig::default() })
        },
    )
    .caught("defects-freshness", "No answer is older than a write"),
];

fn never_the_same(data_request: &DataRequest) -> String {
    static REQUESTS: AtomicU64 = AtomicU64::new(0);
    format!("{}:{}", data_request.key(), REQUESTS.fetch_add(1, Ordering::Relaxed))
}

fn wrong_item(_: &mut ServeArgs) -> RouteWrapper {
    // A layer inside the router runs after routing; so the path is changed outside of it.
    Box::new(|_, routes| {
        let reads = Arc::new(AtomicU64::new(0));
        Router::new().fallback_service(routes).layer(middleware::from_fn_with_state(reads, swap_item))
    })
}

async fn swap_item(State(reads): State<Arc<AtomicU64>>, mut request: Request, next: Next) -> Response {
    if let Some(DataRequest { kind: Access::Read, service, item: Some(id), .. }) = DataRequest::of(&request)
        && reads.fetch_add(1, Ordering::Relaxed) % 20 == 19
        && let Ok(other) = Uri::try_from(format!("/{service}/{}", if id == 1 { 2 } else { id - 1 }))
    {
        *request.uri_mut() = other;
    }
    next.run(request).await
}
