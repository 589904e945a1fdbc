//! Answers of the wrong user, and lists with deleted items.

use super::Defect;
use crate::RouteWrapper;
use crate::data_request::DataRequest;
use crate::front_cache::{self, FrontCacheConfig, LocalCache};
use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Duration;

const SCENARIO: &str = "defects-people";

pub(super) static TABLE: [Defect; 3] = [
    Defect::new("another-users-answer", "a user's own page is cached under a key without the user", |_| {
        cached_by_path("/mine")
    })
    .caught(SCENARIO, "Nobody gets another's page"),
    Defect::new(
        "session-after-logout",
        "the logged-in user is cached for 10 s, and a logout does not delete it",
        |_| cached_by_path("/visits/"),
    )
    .caught(SCENARIO, "Who logged out is out"),
    Defect::new(
        "list-after-delete",
        "a delete removes the item from the cache, but not the lists that show it",
        |args| {
            let invalidated_keys = |data_request: &DataRequest| {
                if data_request.deletes { vec![data_request.key()] } else { data_request.invalidated_keys() }
            };
            front_cache::install(args, FrontCacheConfig { invalidated_keys, ..FrontCacheConfig::default() })
        },
    )
    .caught(SCENARIO, "Lists show no item that is deleted"),
];

/// Caches 200 answers to paths with this prefix for 10 s, by path, in the process, without regard to the user.
fn cached_by_path(prefix: &'static str) -> RouteWrapper {
    Box::new(move |_, routes| {
        let state = (prefix, Arc::new(LocalCache::default()));
        Router::new().fallback_service(routes).layer(middleware::from_fn_with_state(state, store))
    })
}

async fn store(
    State((prefix, local)): State<(&'static str, Arc<LocalCache>)>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().to_owned();
    if request.method() != Method::GET || !path.starts_with(prefix) {
        return next.run(request).await;
    }
    if let Some((status, body)) = local.get(&path) {
        return (status, [("cache-status", "front; hit")], body).into_response();
    }
    let (head, body) = next.run(request).await.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    if head.status == StatusCode::OK {
        local.store(&path, head.status, &body, Duration::from_secs(10));
    }
    Response::from_parts(head, body.into())
}
