//! Responses, and what is parsed from requests.

use crate::database::DatabaseError;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cache_layer::{LoadError, Lookup, Status};
use serde::de::DeserializeOwned;
use std::fmt::Display;

pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A failed request: its status and one sentence.
#[derive(Debug)]
pub(crate) struct Problem(pub(crate) StatusCode, pub(crate) String);

impl Problem {
    pub(crate) fn bad_request(text: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, text.into())
    }

    pub(crate) fn not_found(kind: &str, id: impl Display) -> Self {
        Self(StatusCode::NOT_FOUND, format!("there is no {kind}/{id}"))
    }
}

impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        tracing::debug!(%error, "the database did not answer");
        Self(StatusCode::SERVICE_UNAVAILABLE, "the database did not answer".into())
    }
}

impl From<LoadError<DatabaseError>> for Problem {
    fn from(error: LoadError<DatabaseError>) -> Self {
        match error {
            LoadError::Failed(error) => error.into(),
            // Too slow, or too many at the same time.
            error => Self(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        }
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

/// The bytes from the cache or the database, with `Cache-Status`.
pub(crate) fn lookup_response(lookup: Lookup, kind: &str, id: impl Display) -> Response {
    let mut response = match lookup.value {
        Some(body) => Bytes::into_response(body),
        None => Problem::not_found(kind, id).into_response(),
    };
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response.headers_mut().insert(CACHE_STATUS, cache_status(lookup.status));
    response
}

/// RFC 9211.
pub(crate) fn cache_status(status: Status) -> HeaderValue {
    HeaderValue::from_static(match status {
        Status::Hit { ttl } => {
            let text = format!("reference; hit; ttl={}", ttl.as_secs());
            return HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("reference; hit"));
        }
        Status::Stale { expired, why, .. } => {
            let text = format!("reference; hit; ttl=-{}; detail={}", expired.as_secs(), why.name());
            return HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("reference; hit; detail=stale"));
        }
        Status::Miss { stored: true, collapsed: false } => "reference; fwd=uri-miss; stored",
        Status::Miss { stored: false, collapsed: false } => "reference; fwd=uri-miss",
        Status::Miss { stored: true, collapsed: true } => "reference; fwd=uri-miss; stored; collapsed",
        Status::Miss { stored: false, collapsed: true } => "reference; fwd=uri-miss; collapsed",
        Status::Bypass => "reference; fwd=request",
        Status::Fallback => "reference; fwd=bypass; detail=fallback",
    })
}

/// Whether the request has `Cache-Control: no-store`.
pub(crate) fn wants_no_cache(headers: &HeaderMap) -> bool {
    headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|directive| directive.trim().eq_ignore_ascii_case("no-store"))
}

pub(crate) fn parse_id(text: &str) -> Result<i64, Problem> {
    text.parse().map_err(|_| Problem::bad_request(format!("`{text}` is not an id: ids are whole numbers from 1")))
}

pub(crate) fn parse_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body)
        .map_err(|error| Problem::bad_request(format!("the body is not the expected JSON: {error}")))
}

/// The response to a create: the id and the version of the new row.
pub(crate) fn created_response(kind: &str, new: Option<(i64, i64)>) -> Result<Response, Problem> {
    let (id, version) = new.ok_or_else(|| Problem::not_found(kind, "new"))?;
    let body = json(StatusCode::CREATED, &serde_json::json!({ "id": id, "version": version }));
    Ok(([(LOCATION, format!("/{kind}/{id}"))], body).into_response())
}
