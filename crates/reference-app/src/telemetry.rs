//! The metrics of the app.

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use cache_layer::StoreStatus;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::Arc;

/// The app's metrics, and the registry with those of the cache.
#[derive(Clone, Debug)]
pub(crate) struct Telemetry {
    requests: Family<RequestLabels, Counter>,
    queries: Family<QueryLabels, Counter>,
    sessions_usable: Gauge,
    sessions_owed: Gauge,
    registry: Arc<Registry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueryLabels {
    kind: &'static str,
}

/// The purpose of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Query {
    Read,
    Write,
    Health,
}

impl Telemetry {
    pub(crate) fn new(cache: &cache_layer::Metrics) -> Self {
        let (requests, queries) = (Family::default(), Family::default());
        let mut registry = Registry::default();
        registry.register("http_requests", "Requests answered", Family::clone(&requests));
        registry.register("db_queries", "Statements sent to Postgres", Family::clone(&queries));
        let (sessions_usable, sessions_owed) = (Gauge::default(), Gauge::default());
        let help = "Whether sessions can be looked up: 1, or 0";
        registry.register("sessions_usable", help, sessions_usable.clone());
        let help = "Sessions that were ended and are not deleted yet";
        registry.register("sessions_owed_deletions", help, sessions_owed.clone());
        cache.register(&mut registry);
        Self { requests, queries, sessions_usable, sessions_owed, registry: Arc::new(registry) }
    }

    /// Sets the gauges of the session store.
    pub(crate) fn sessions(&self, status: &StoreStatus) {
        self.sessions_usable.set(status.usable.into());
        self.sessions_owed.set(i64::try_from(status.owed_invalidations).unwrap_or(i64::MAX));
    }

    pub(crate) fn query(&self, query: Query) {
        let kind = match query {
            Query::Read => "read",
            Query::Write => "write",
            Query::Health => "health",
        };
        self.queries.get_or_create(&QueryLabels { kind }).inc();
    }

    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        encode(&mut text, &self.registry).ok();
        text
    }
}

/// Unknown methods share one label, because clients can invent any number of them.
fn name(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    known.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

pub(crate) async fn count(State(telemetry): State<Telemetry>, request: Request, next: Next) -> Response {
    let method = name(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    let labels = RequestLabels { method, route, status: response.status().as_u16() };
    telemetry.requests.get_or_create(&labels).inc();
    response
}
