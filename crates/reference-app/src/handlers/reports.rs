//! Expensive statements over much of the data, memoised.

use crate::app::App;
use crate::database::DatabaseError;
use crate::respond::{CACHE_STATUS, Problem, json, wants_no_cache};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use cache_layer::cached;
use serde_json::value::RawValue;
use std::sync::atomic::{AtomicBool, Ordering};

struct Report {
    name: &'static str,
    sql: &'static str,
}

static REPORTS: [Report; 2] = [
    Report {
        name: "keywords",
        sql: "SELECT json_build_object('as_of', now(), 'keywords', (SELECT coalesce(json_agg(w), '[]') FROM
                (SELECT lexeme AS word, sum(cardinality(positions)) AS times
                   FROM (SELECT to_tsvector('english', body) AS words FROM comments ORDER BY id DESC LIMIT 2000) c,
                        unnest(c.words) GROUP BY lexeme ORDER BY 2 DESC, 1 LIMIT 20) w))::text",
    },
    Report {
        name: "authors",
        sql: "SELECT json_build_object('as_of', now(), 'authors', (SELECT coalesce(json_agg(a), '[]') FROM
                (SELECT author, count(*) AS comments, round(avg(score), 2) AS mean_score FROM comments
                  GROUP BY author ORDER BY 2 DESC, 1 LIMIT 20) a))::text",
    },
];

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/reports/{name}", get(show))
}

/// Loads a report for one request.
struct ReportLoader {
    app: App,
    computed_now: AtomicBool,
}

impl ReportLoader {
    /// Memoised under `queries:report:{name}`.
    #[cached(cache = "self.app.cache()", ttl = "5m", prefix = "queries", key = "report.name")]
    async fn report(&self, report: &'static Report) -> Result<Box<RawValue>, DatabaseError> {
        self.computed(report).await
    }

    async fn computed(&self, report: &'static Report) -> Result<Box<RawValue>, DatabaseError> {
        self.computed_now.store(true, Ordering::Relaxed);
        let text = self.app.database().one::<String>(sqlx::query_scalar(report.sql)).await?;
        // Postgres returns JSON.
        Ok(text.and_then(|text| RawValue::from_string(text).ok()).unwrap_or_default())
    }
}

async fn show(State(app): State<App>, Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let report = REPORTS.iter().find(|report| report.name == name);
    let report = report.ok_or_else(|| Problem::not_found("reports", &name))?;
    let loader = ReportLoader { app, computed_now: AtomicBool::new(false) };
    let (text, status) = if wants_no_cache(&headers) {
        (loader.computed(report).await?, "reference; fwd=request")
    } else {
        let text = loader.report(report).await?;
        (text, if loader.computed_now.into_inner() { "reference; fwd=uri-miss" } else { "reference; hit" })
    };
    Ok(([(CACHE_STATUS, HeaderValue::from_static(status))], json(StatusCode::OK, &text)).into_response())
}
