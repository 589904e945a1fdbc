//! The requests of `cacheproof init`: three GETs, each with a timeout, without following redirects.

use std::time::Duration;

use reqwest::header::HeaderMap;

use crate::load::response::{BodyError, client_builder, read_body, unpack};

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Longer bodies are not read to their end.
const MAX_BODY_BYTES: u64 = 1 << 20;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error("it took longer than {} s", ANSWER_TIMEOUT.as_secs())]
    Slow,
    #[error("nothing accepts connections there")]
    Refused,
    #[error("{0}")]
    Other(String),
}

/// What a scenario needs to know of one answer.
#[derive(Clone, Debug, Default)]
pub(super) struct ProbeAnswer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// The body, if it is JSON.
    pub(super) json: Option<serde_json::Value>,
}

/// Sends the request twice, so that the second answer can come from the cache, and once past the cache.
pub(super) async fn probe(url: &reqwest::Url) -> Result<Vec<ProbeAnswer>, ProbeError> {
    let client = client_builder(ANSWER_TIMEOUT, false).build().map_err(|error| ProbeError::Other(error.to_string()))?;
    let mut answers = Vec::new();
    for past_the_cache in [false, false, true] {
        let mut request = client.get(url.clone());
        if past_the_cache {
            request = request.header("cache-control", "no-store");
        }
        answers.push(ask(request).await.map_err(|error| explain(&error))?);
    }
    Ok(answers)
}

async fn ask(request: reqwest::RequestBuilder) -> Result<ProbeAnswer, reqwest::Error> {
    let mut response = request.send().await?;
    let headers = response.headers().clone();
    let status = response.status().as_u16();
    let body = match read_body(&mut response, MAX_BODY_BYTES).await {
        Ok(body) => unpack(&headers, body, MAX_BODY_BYTES).ok(),
        Err(BodyError::EndedEarly(error)) => return Err(error),
        // A long body shows nothing that its headers do not.
        Err(_) => None,
    };
    Ok(ProbeAnswer { status, headers, json: body.and_then(|body| serde_json::from_slice(&body).ok()) })
}

/// The root cause. The errors above it repeat the URL, password included.
fn explain(error: &reqwest::Error) -> ProbeError {
    if error.is_timeout() {
        return ProbeError::Slow;
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
        Some(std::io::ErrorKind::ConnectionRefused) => ProbeError::Refused,
        _ => ProbeError::Other(cause.to_string()),
    }
}
