//! What an answer is stored under.

use super::Defect;
use crate::Wrap;
use crate::ask::{Asked, Kind};
use crate::front::{self, Screws};
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
        let name = |asked: &Asked| format!("{}:{}", asked.service, asked.item.unwrap_or_default() % 100);
        front::plant(args, Screws { name, ..Screws::default() })
    })
    .caught(SCENARIO, RIGHT),
    Defect::new("key-never-shared", "a number of the request is in the key: nothing is found, all is stored", |args| {
        front::plant(args, Screws { name: never_the_same, ..Screws::default() })
    })
    .caught(SCENARIO, "Redis holds each answer once"),
    Defect::new("key-of-a-view", "the query is in the key, and a write deletes the plain key only", |args| {
        let name = |asked: &Asked| format!("{}?{}", asked.key(), asked.uri.query().unwrap_or_default());
        front::plant(args, Screws { name, ..Screws::default() })
    })
    .caught("defects-freshness", "No answer is older than a write"),
];

fn never_the_same(asked: &Asked) -> String {
    static REQUESTS: AtomicU64 = AtomicU64::new(0);
    format!("{}:{}", asked.key(), REQUESTS.fetch_add(1, Ordering::Relaxed))
}

fn wrong_item(_: &mut ServeArgs) -> Wrap {
    // Routing has happened by the time a layer of the routes runs; so the path is changed outside of them.
    Box::new(|_, routes| {
        let reads = Arc::new(AtomicU64::new(0));
        Router::new().fallback_service(routes).layer(middleware::from_fn_with_state(reads, mix_up))
    })
}

async fn mix_up(State(reads): State<Arc<AtomicU64>>, mut request: Request, next: Next) -> Response {
    if let Some(Asked { kind: Kind::Read, service, item: Some(id), .. }) = Asked::of(&request)
        && reads.fetch_add(1, Ordering::Relaxed) % 20 == 19
        && let Ok(other) = Uri::try_from(format!("/{service}/{}", if id == 1 { 2 } else { id - 1 }))
    {
        *request.uri_mut() = other;
    }
    next.run(request).await
}
