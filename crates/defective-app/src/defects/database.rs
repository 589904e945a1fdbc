//! Defects that show while Postgres is down, and after.

use super::Defect;
use crate::data_request::is_cached_read;
use crate::front_cache::{self, FrontCacheConfig};
use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::{self, Next};
use axum::response::Response;
use std::time::Duration;

const SCENARIO: &str = "defects-database";

pub(super) static TABLE: [Defect; 2] = [
    Defect::new("caches-errors", "stores the 503 of a load that took too long, for the whole TTL", |args| {
        let load_timeout = Duration::from_millis(400);
        front_cache::install(
            args,
            FrontCacheConfig { is_stored: |_| true, load_timeout, ..FrontCacheConfig::default() },
        )
    })
    .caught(SCENARIO, "Errors end with the outage of Postgres"),
    Defect::new("hits-need-postgres", "queries the database for permission before each read", |_| {
        Box::new(|_, routes| routes.layer(middleware::from_fn(query_database_first)))
    })
    .caught(SCENARIO, "Hits go on without Postgres"),
];

async fn query_database_first(request: Request, next: Next) -> Response {
    if is_cached_read(&request) {
        let mut question = Request::get(request.uri().clone()).body(Body::empty()).unwrap_or_default();
        question.headers_mut().insert("cache-control", HeaderValue::from_static("no-store"));
        *question.extensions_mut() = request.extensions().clone();
        next.clone().run(question).await;
    }
    next.run(request).await
}
