//! Write-behind: a write is acknowledged once it is in the cache and in a queue; a worker writes the queue to the database.
//! The defect: the queue is short and drops what does not fit. An acknowledged write is then lost when its copy in the cache
//! expires.

use crate::RouteWrapper;
use crate::data_request::{Access, DataRequest};
use crate::front_cache::{FrontCache, FrontCacheConfig, InvalidationPolicy, fetch, wrap_routes};
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

/// Capacity of the queue, and how long the worker takes for one write.
const QUEUE_CAPACITY: usize = 4;
const WRITE_DELAY: Duration = Duration::from_millis(60);
/// TTL of the copies in the cache: longer than a write waits in the queue.
const COPY_TTL: Duration = Duration::from_secs(1);

struct WriteBehindCache {
    queue: mpsc::Sender<(Request, Next)>,
    /// The last acknowledged version of each item.
    versions: Mutex<HashMap<u64, u64>>,
    front_cache: Arc<FrontCache>,
}

/// Puts write-behind in front of the fixture's cache.
pub(crate) fn install(args: &mut ServeArgs) -> RouteWrapper {
    let front_cache = Arc::new(FrontCache::new(
        args,
        FrontCacheConfig {
            ttl: Some(COPY_TTL),
            leases: false,
            invalidation: InvalidationPolicy::Never,
            ..FrontCacheConfig::default()
        },
    ));
    Box::new(|_, routes| {
        let (queue, waiting) = mpsc::channel(QUEUE_CAPACITY);
        tokio::spawn(run_worker(waiting));
        let write_behind =
            Arc::new(WriteBehindCache { queue, versions: Mutex::default(), front_cache: Arc::clone(&front_cache) });
        let cached = wrap_routes(routes, front_cache);
        Router::new().fallback_service(cached).layer(middleware::from_fn_with_state(write_behind, serve))
    })
}

async fn run_worker(mut waiting: mpsc::Receiver<(Request, Next)>) {
    while let Some((write, next)) = waiting.recv().await {
        tokio::time::sleep(WRITE_DELAY).await;
        drop(next.run(write).await);
    }
}

async fn serve(State(write_behind): State<Arc<WriteBehindCache>>, request: Request, next: Next) -> Response {
    match DataRequest::of(&request) {
        Some(data_request @ DataRequest { kind: Access::Write, item: Some(_), .. })
            if request.method() == Method::PUT =>
        {
            let accepted = write_behind.accept(&data_request, request, next).await;
            accepted.unwrap_or_else(|| StatusCode::SERVICE_UNAVAILABLE.into_response())
        }
        _ => next.run(request).await,
    }
}

impl WriteBehindCache {
    /// Answers as the database would, from its current value.
    async fn accept(&self, data_request: &DataRequest, request: Request, next: Next) -> Option<Response> {
        let (id, uri) = (data_request.item?, request.uri().clone());
        let change = to_bytes(request.into_body(), usize::MAX).await.ok()?;
        let mut versions = self.versions.lock().await;
        let (_, current) = fetch(data_request, next.clone()).await;
        let mut item: Value = serde_json::from_slice(&current).ok()?;
        let version = item["version"].as_u64()?.max(versions.get(&id).copied().unwrap_or_default()) + 1;
        let fields: Value = serde_json::from_slice(&change).ok()?;
        for (name, value) in fields.as_object()? {
            item[name] = value.clone();
        }
        item["version"] = version.into();
        self.front_cache.store(data_request, &Bytes::from(item.to_string())).await;
        versions.insert(id, version);
        let write = Request::builder().method(Method::PUT).uri(uri).body(change.into()).ok()?;
        // The defect: nothing checks whether the queue had room.
        let _dropped = self.queue.try_send((write, next));
        let body = serde_json::json!({ "id": id, "version": version });
        Some(axum::Json(body).into_response())
    }
}
