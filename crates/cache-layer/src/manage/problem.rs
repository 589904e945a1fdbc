use crate::store::CacheError;
use crate::warm::WarmError;
use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::de::DeserializeOwned;

/// Every answer that is none: `{"error": {"code": …, "message": …}}`.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(super) fn busy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "busy", message)
    }

    pub(super) fn unauthorized() -> Self {
        let message = "send the management token: `Authorization: Bearer …`";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    pub(super) fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "this token gives no access")
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path does not know that method")
    }

    pub(super) fn took_too_long() -> Self {
        let message = "it took too long and was broken off; what it did until then stays done";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message)
    }
}

impl From<CacheError> for Problem {
    /// The text of the server's refusal stays in: who gets here may see it, and it holds no secrets.
    fn from(error: CacheError) -> Self {
        let (status, code) = match &error {
            CacheError::Timeout => (StatusCode::GATEWAY_TIMEOUT, "timeout"),
            CacheError::Server(_) => (StatusCode::BAD_GATEWAY, "refused"),
            CacheError::Unavailable(_) | CacheError::Connection(_) | CacheError::Untrusted => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
            }
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<WarmError> for Problem {
    fn from(error: WarmError) -> Self {
        match error {
            WarmError::Busy => Self::busy(error.to_string()),
            WarmError::Unknown { .. } | WarmError::Twice(_) => Self::bad_request(error.to_string()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": { "code": self.code, "message": self.message } });
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = header::HeaderValue::from_static("Bearer realm=\"cache\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// A body of JSON; none at all is as good as `{}`.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            let (status, message) = (rejection.status(), rejection.body_text());
            Problem::new(status, "bad_request", message)
        })?;
        let text = if bytes.is_empty() { b"{}" } else { &bytes[..] };
        serde_json::from_slice(text).map(Self).map_err(|error| Problem::bad_request(error.to_string()))
    }
}

/// The query of the URL.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::from_request_parts(parts, state).await;
        query.map(|Query(params)| Self(params)).map_err(|rejection| Problem::bad_request(rejection.body_text()))
    }
}

/// The name of a key out of the path, fit to be one.
pub(super) struct Name(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let name = Path::<String>::from_request_parts(parts, state).await;
        let Path(name) = name.map_err(|rejection| Problem::bad_request(rejection.body_text()))?;
        fit(&name).map(|()| Self(name))
    }
}

/// The longest name, tag or pattern, in bytes.
const LONGEST: usize = 1024;

/// Stars in a pattern: each multiplies the work of Redis for names that nearly match.
const STARS: usize = 5;

/// Whether a name from outside may be used as one. The layer's own records begin with `!` and are not to be touched.
pub(super) fn fit(name: &str) -> Result<(), Problem> {
    if name.is_empty() || name.len() > LONGEST {
        return Err(Problem::bad_request(format!("a name has 1 to {LONGEST} bytes")));
    }
    if name.starts_with('!') {
        return Err(Problem::bad_request("names that begin with `!` are the layer's own"));
    }
    if name.chars().any(char::is_control) {
        return Err(Problem::bad_request("a name has no control characters"));
    }
    Ok(())
}

/// Whether a pattern from outside may be used as one.
pub(super) fn fit_pattern(pattern: &str) -> Result<(), Problem> {
    fit(pattern)?;
    if pattern.bytes().filter(|byte| *byte == b'*').count() > STARS {
        return Err(Problem::bad_request(format!("a pattern has at most {STARS} stars")));
    }
    Ok(())
}
