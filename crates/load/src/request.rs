//! HTTP requests and their complete responses: for the load, and for cacheproof's own reads.

use bytes::{Bytes, BytesMut};
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, Response, StatusCode};

use super::Call;
use crate::response::{root_cause, with_bypass};
use cacheproof_core::scenario::{BypassSpec, Method, Scenario};

/// A longer body is an error: it would measure the network, not the cache.
const BODY_LIMIT: usize = 8 * 1024 * 1024;

/// The HTTP request for a call.
pub(super) fn build(
    client: &Client,
    scenario: &Scenario,
    base_url: &str,
    call: &Call,
    past_cache: bool,
) -> RequestBuilder {
    let bypass = scenario.target.bypass.as_ref().filter(|_| past_cache);
    let url = with_bypass(&format!("{base_url}{}", call.path), bypass);
    let method = match scenario.traffic.requests[call.request].method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
        Method::Patch => reqwest::Method::PATCH,
        Method::Delete => reqwest::Method::DELETE,
    };
    let mut builder = client.request(method, url);
    if let Some(BypassSpec::Header(name, value)) = bypass {
        builder = builder.header(name, value);
    }
    for (name, value) in &call.headers {
        builder = builder.header(name, value);
    }
    if let Some(body) = &call.body {
        builder = builder.header("content-type", "application/json").body(body.clone());
    }
    builder
}

/// Why there was no response.
pub(super) struct RequestFailure {
    pub(super) why: String,
    /// No connection could be made: nothing was sent.
    pub(super) unreachable: bool,
}

impl RequestFailure {
    pub(super) fn of(error: &reqwest::Error) -> Self {
        let why = if error.is_timeout() { "no answer in time".to_owned() } else { root_cause(error) };
        Self { why, unreachable: error.is_connect() }
    }
}

/// A response with its complete body.
pub(super) async fn read_response(mut response: Response) -> Result<(StatusCode, HeaderMap, Bytes), RequestFailure> {
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let mut body = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > BODY_LIMIT => {
                return Err(RequestFailure {
                    why: format!("the body is longer than {BODY_LIMIT} bytes"),
                    unreachable: false,
                });
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok((status, headers, body.freeze())),
            Err(error) => {
                let why = format!("the body ended early: {}", RequestFailure::of(&error).why);
                return Err(RequestFailure { why, unreachable: false });
            }
        }
    }
}
