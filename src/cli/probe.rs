//! A polite look at an app: at most three GETs, each with a time limit, no redirect followed.

use std::time::Duration;

use crate::load::response::client_builder;

/// No answer within this time: the app is not there.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// As much of a body as is looked at.
const MAX_BODY_BYTES: usize = 1 << 20;

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

/// One answer, as far as a scenario is concerned.
#[derive(Clone, Debug, Default)]
pub(super) struct ProbeAnswer {
    pub(super) status: u16,
    /// Names in lower case, in the order in which they came; values that are no plain text are left out.
    pub(super) headers: Vec<(String, String)>,
    /// The body where it is JSON.
    pub(super) json: Option<serde_json::Value>,
}

impl ProbeAnswer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Asks twice, so that the second answer may come from the cache, and once past the cache.
pub(super) async fn probe(url: &reqwest::Url) -> Result<Vec<ProbeAnswer>, ProbeError> {
    let client = client_builder(ANSWER_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| ProbeError::Other(error.to_string()))?;
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
    let text = |value: &reqwest::header::HeaderValue| value.to_str().ok().map(str::to_owned);
    let headers = response.headers().iter();
    let headers = headers.filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?))).collect();
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BODY_BYTES {
            break;
        }
    }
    Ok(ProbeAnswer { status, headers, json: serde_json::from_slice(&body).ok() })
}

/// The deepest cause says what happened; what stands above it repeats the URL, password and all.
fn explain(error: &reqwest::Error) -> ProbeError {
    if error.is_timeout() {
        return ProbeError::Slow;
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    match cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
        Some(std::io::ErrorKind::ConnectionRefused) => ProbeError::Refused,
        _ => ProbeError::Other(cause.to_string()),
    }
}
