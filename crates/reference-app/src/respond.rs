//! What goes back to the client.

use crate::database::DatabaseError;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cache_layer::{Lookup, Status};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A failed request: its status and one sentence.
#[derive(Debug)]
pub(crate) struct Problem(pub(crate) StatusCode, pub(crate) String);

impl Problem {
    pub(crate) fn bad_request(text: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, text.into())
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self(StatusCode::NOT_FOUND, format!("there is no {what}"))
    }
}

impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        tracing::debug!(%error, "the database gave no answer");
        Self(StatusCode::SERVICE_UNAVAILABLE, "the database gave no answer".into())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        json(self.0, &serde_json::json!({ "error": self.1 }))
    }
}

pub(crate) fn json(status: StatusCode, value: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (status, [(CONTENT_TYPE, JSON)], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// The bytes as they came from the cache or the database, and where they came from.
pub(crate) fn looked_up(lookup: Lookup, what: &str) -> Response {
    let mut response = match lookup.value {
        Some(body) => ([(CONTENT_TYPE, JSON)], Bytes::into_response(body)).into_response(),
        None => Problem::not_found(what).into_response(),
    };
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response.headers_mut().insert(CACHE_STATUS, cache_status(lookup.status));
    response
}

/// RFC 9211.
fn cache_status(status: Status) -> HeaderValue {
    HeaderValue::from_static(match status {
        Status::Hit { ttl } => {
            let text = format!("reference; hit; ttl={}", ttl.as_secs());
            return HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("reference; hit"));
        }
        Status::Miss { stored: true, collapsed: false } => "reference; fwd=uri-miss; stored",
        Status::Miss { stored: false, collapsed: false } => "reference; fwd=uri-miss",
        Status::Miss { stored: true, collapsed: true } => "reference; fwd=uri-miss; stored; collapsed",
        Status::Miss { stored: false, collapsed: true } => "reference; fwd=uri-miss; collapsed",
        Status::Bypass => "reference; fwd=request",
        Status::Fallback => "reference; fwd=bypass; detail=fallback",
    })
}

/// Whether the client wants neither a cached answer nor a stored one.
pub(crate) fn wants_no_cache(headers: &HeaderMap) -> bool {
    headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|directive| directive.trim().eq_ignore_ascii_case("no-store"))
}
