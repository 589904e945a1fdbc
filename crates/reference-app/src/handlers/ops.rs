//! Health and metrics.

use crate::app::App;
use crate::handlers::session::SessionService;
use crate::respond::json;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/health", get(health)).route("/metrics", get(metrics))
}

/// 200 as long as Postgres answers: without a cache the app is slower, but works.
async fn health(State(app): State<App>) -> Response {
    let (postgres, cache) = tokio::join!(app.database().is_reachable(), app.cache().health());
    let usable = app.cache().status().usable;
    let status = if postgres { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let text = match (postgres, usable) {
        (true, true) => "ok",
        (true, false) => "degraded",
        (false, _) => "down",
    };
    let mut shown = serde_json::to_value(&cache).unwrap_or_default();
    shown["usable"] = usable.into();
    shown["coherence"] = format!("{:?}", app.cache().coherence()).to_lowercase().into();
    let mut body =
        serde_json::json!({ "status": text, "postgres": if postgres { "up" } else { "down" }, "cache": shown });
    if let Some(sessions) = app.session_service().map(SessionService::status) {
        body["sessions"] = serde_json::json!({
            "usable": sessions.usable, "breaker": sessions.breaker.name(), "connections": sessions.connections,
            "owed_deletions": sessions.owed_invalidations,
        });
    }
    json(status, &body)
}

async fn metrics(State(app): State<App>) -> Response {
    let _sets_the_gauges = app.cache().status();
    if let Some(session_service) = app.session_service() {
        app.telemetry().sessions(&session_service.status());
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], app.telemetry().render()).into_response()
}
