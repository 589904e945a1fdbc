//! Answers out of records, and what `Cache-Status` says of them.

use super::body::CacheBody;
use super::conditions::Validators;
use super::record::Stored;
use crate::cache::Status;
use bytes::Bytes;
use http::header::{
    AGE, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_TYPE, DATE, ETAG,
    EXPIRES, LAST_MODIFIED, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, response};
use http_body::Body;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Headers that belong to one connection or one exchange.
const NOT_STORED: [HeaderName; 19] = [
    AGE,
    CACHE_STATUS,
    CONNECTION,
    CONTENT_LENGTH,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    SET_COOKIE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-authentication-info"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("server-timing"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-correlation-id"),
    HeaderName::from_static("x-request-id"),
];

/// What a 304 keeps (RFC 9110, 15.4.5), and what says something of the exchange.
const OF_304: [HeaderName; 7] = [CACHE_CONTROL, CONTENT_LOCATION, DATE, ETAG, EXPIRES, LAST_MODIFIED, VARY];

pub(super) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

impl Stored {
    /// A whole answer as it is to be stored for `life`.
    pub(super) fn new(parts: &response::Parts, body: Bytes, life: Duration, private: bool) -> Self {
        let mut headers = parts.headers.clone();
        let listed = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        let named: Vec<String> = listed.flat_map(|list| list.split(',')).map(|name| name.trim().to_owned()).collect();
        named.iter().for_each(|name| _ = headers.remove(name.as_str()));
        let age = headers.get(AGE).and_then(|age| age.to_str().ok()?.parse::<u64>().ok()).unwrap_or(0);
        NOT_STORED.iter().for_each(|name| _ = headers.remove(name));
        if parts.status == StatusCode::OK && !headers.contains_key(ETAG) {
            headers.insert(ETAG, etag(&headers, &body));
        }
        if private && !headers.contains_key(CACHE_CONTROL) {
            // What is one user's here must not be shared by a cache further out either.
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
        }
        let life_ms = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
        let made_ms = now_ms().saturating_sub(age.saturating_mul(1000));
        // The answer's own age is over already; its life begins now.
        let life_ms = life_ms.saturating_add(age.saturating_mul(1000));
        Self { made_ms, life_ms, status: parts.status, headers, body }
    }

    /// What is left of its life.
    pub(super) fn left(&self) -> Duration {
        Duration::from_millis(self.made_ms.saturating_add(self.life_ms).saturating_sub(now_ms()))
    }
}

/// A strong one: of the body and of the headers without which the body says something else.
fn etag(headers: &HeaderMap, body: &[u8]) -> HeaderValue {
    let mut hash = Sha256::new();
    for name in [CONTENT_TYPE, CONTENT_ENCODING] {
        let value = headers.get(name).map_or(&b""[..], HeaderValue::as_bytes);
        hash.update((value.len() as u64).to_be_bytes());
        hash.update(value);
    }
    hash.update(body);
    let text = format!("\"{}\"", super::key::hex(&hash.finalize()[..16]));
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("\"\""))
}

/// What a client asked for beside the resource.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) head: bool,
    pub(super) validators: Validators,
}

/// Where an answer came from, for `Cache-Status` (RFC 9211).
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    /// The cache; it lives so much longer.
    Hit(Duration),
    /// The service, after the cache was asked under the key of a variant or not.
    Asked { status: Status, variant: bool, detail: Option<&'static str> },
    /// The service; the cache was not asked.
    Passed { fwd: &'static str, detail: Option<&'static str> },
}

impl Origin {
    fn header(self, name: &str) -> HeaderValue {
        let mut text = name.to_owned();
        let detail = match self {
            Self::Hit(left) => {
                _ = write!(text, "; hit; ttl={}", left.as_secs());
                None
            }
            Self::Passed { fwd, detail } => {
                _ = write!(text, "; fwd={fwd}");
                detail
            }
            Self::Asked { status: Status::Fallback, .. } => {
                text.push_str("; fwd=bypass");
                Some("fallback")
            }
            Self::Asked { status, variant, detail } => {
                text.push_str(if variant { "; fwd=vary-miss" } else { "; fwd=uri-miss" });
                if let Status::Miss { stored, collapsed } = status {
                    text.push_str(if stored && detail.is_none() { "; stored" } else { "" });
                    text.push_str(if collapsed { "; collapsed" } else { "" });
                }
                detail
            }
        };
        if let Some(detail) = detail {
            _ = write!(text, "; detail={detail}");
        }
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("cache-layer"))
    }

    pub(super) fn mark(self, name: &str, headers: &mut HeaderMap) {
        headers.append(CACHE_STATUS, self.header(name));
    }
}

/// The answer to a client out of a record.
pub(super) fn from_record<B: Body>(
    stored: Stored,
    asked: &Asked,
    origin: Origin,
    name: &str,
) -> Response<CacheBody<B>> {
    let age = now_ms().saturating_sub(stored.made_ms) / 1000;
    let fresh = stored.status == StatusCode::OK && asked.validators.has(&stored.headers);
    let mut answer = Response::new(CacheBody::empty());
    if fresh {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        for name in OF_304 {
            for value in stored.headers.get_all(&name) {
                answer.headers_mut().append(name.clone(), value.clone());
            }
        }
    } else {
        *answer.status_mut() = stored.status;
        *answer.headers_mut() = stored.headers;
        if stored.status != StatusCode::NO_CONTENT {
            answer.headers_mut().insert(CONTENT_LENGTH, stored.body.len().into());
        }
        if !asked.head {
            *answer.body_mut() = CacheBody::full(stored.body);
        }
    }
    if matches!(origin, Origin::Hit(_)) {
        answer.headers_mut().insert(AGE, age.into());
    }
    origin.mark(name, answer.headers_mut());
    answer
}

/// The answer of the service as it is. To a `HEAD` that was asked as a `GET`, without its body.
pub(super) fn passed<B: Body>(
    response: Response<CacheBody<B>>,
    head: bool,
    origin: Origin,
    name: &str,
) -> Response<CacheBody<B>> {
    let mut response = response;
    if head {
        let length = response.body().size_hint().exact();
        if let (Some(length), false) = (length, response.headers().contains_key(CONTENT_LENGTH)) {
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        *response.body_mut() = CacheBody::empty();
    }
    origin.mark(name, response.headers_mut());
    response
}
