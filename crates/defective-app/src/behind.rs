//! Write-behind: a write is acknowledged once it is in the cache and in a queue, and a worker writes to the database what is in the
//! queue. This one's queue is short, and what does not fit is dropped: so is an acknowledged write, once its copy in the cache ends.

use crate::Wrap;
use crate::ask::{Asked, Kind};
use crate::front::{Front, Removes, Screws, before, fetch};
use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use reference_app::ServeArgs;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};

/// How many writes may wait, and how long the worker takes for one.
const QUEUE: usize = 4;
const EACH: Duration = Duration::from_millis(60);
/// How long the copies in the cache live: longer than what waits in the queue.
const COPIES: Duration = Duration::from_secs(1);

struct Behind {
    queue: mpsc::Sender<(Request, Next)>,
    /// The version that was last acknowledged, by item.
    versions: Mutex<HashMap<u64, u64>>,
    front: Arc<Front>,
}

/// Plants write-behind in front of the fixture's cache.
pub(crate) fn plant(args: &mut ServeArgs) -> Wrap {
    let front = Arc::new(Front::new(
        args,
        Screws { ttl: Some(COPIES), leases: false, removes: Removes::Never, ..Screws::default() },
    ));
    Box::new(|_, routes| {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(work(waiting));
        let behind = Arc::new(Behind { queue, versions: Mutex::default(), front: Arc::clone(&front) });
        let cached = before(routes, front);
        Router::new().fallback_service(cached).layer(middleware::from_fn_with_state(behind, serve))
    })
}

async fn work(mut waiting: mpsc::Receiver<(Request, Next)>) {
    while let Some((write, next)) = waiting.recv().await {
        tokio::time::sleep(EACH).await;
        drop(next.run(write).await);
    }
}

async fn serve(State(behind): State<Arc<Behind>>, request: Request, next: Next) -> Response {
    match Asked::of(&request) {
        Some(asked @ Asked { kind: Kind::Write, item: Some(_), .. }) if request.method() == Method::PUT => {
            let accepted = behind.accept(&asked, request, next).await;
            accepted.unwrap_or_else(|| StatusCode::SERVICE_UNAVAILABLE.into_response())
        }
        _ => next.run(request).await,
    }
}

impl Behind {
    /// Answers as the database would, from what it said last.
    async fn accept(&self, asked: &Asked, request: Request, next: Next) -> Option<Response> {
        let (id, uri) = (asked.item?, request.uri().clone());
        let change = to_bytes(request.into_body(), usize::MAX).await.ok()?;
        let mut versions = self.versions.lock().await;
        let (_, current) = fetch(asked, next.clone()).await;
        let mut item: Value = serde_json::from_slice(&current).ok()?;
        let version = item["version"].as_u64()?.max(versions.get(&id).copied().unwrap_or_default()) + 1;
        let fields: Value = serde_json::from_slice(&change).ok()?;
        for (name, value) in fields.as_object()? {
            item[name] = value.clone();
        }
        item["version"] = version.into();
        self.front.keep(asked, &Bytes::from(item.to_string())).await;
        versions.insert(id, version);
        let write = Request::builder().method(Method::PUT).uri(uri).body(change.into()).ok()?;
        // The defect: nobody looks whether there was room.
        let _dropped = self.queue.try_send((write, next));
        let body = serde_json::json!({ "id": id, "version": version });
        Some(axum::Json(body).into_response())
    }
}
