//! cacheproof's own reads, separate from the load.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use reqwest::StatusCode;

use crate::Call;
use crate::request::{Answer, build, read_response};
use crate::response::{ClassifiedResponse, ResponseClassifier, client};
use cacheproof_core::scenario::Scenario;

/// Sends them, with a separate HTTP client.
#[derive(Debug)]
pub(super) struct ProbeClient {
    scenario: Arc<Scenario>,
    client: reqwest::Client,
    base_urls: Vec<String>,
    classifier: ResponseClassifier,
    uncached_classifier: ResponseClassifier,
}

/// The response to such a read.
#[derive(Clone, Debug)]
pub(super) struct ProbeResponse {
    pub(super) status: StatusCode,
    pub(super) reading: ClassifiedResponse,
    pub(super) body: Bytes,
    pub(super) sent: Instant,
    pub(super) done: Instant,
}

impl ProbeClient {
    pub(super) fn new(scenario: Arc<Scenario>, base_urls: Vec<String>) -> Self {
        let client = client(scenario.traffic.timeout, scenario.target.follow_redirects);
        let classifier = ResponseClassifier::new(&scenario.target);
        Self { scenario, client, base_urls, uncached_classifier: classifier.past_cache(), classifier }
    }

    /// How many instances the app has.
    pub(super) fn instances(&self) -> usize {
        self.base_urls.len().max(1)
    }

    /// Reads once. `None`: no response.
    pub(super) async fn fetch(&self, call: &Call, instance: usize, past_cache: bool) -> Option<ProbeResponse> {
        let base_url = self.base_urls.get(instance % self.instances())?;
        let request = build(&self.client, &self.scenario, base_url, call, past_cache);
        let sent = Instant::now();
        let answer = read_response(request.send().await.ok()?, &self.scenario, call.request).await.ok()?;
        let Answer { status, headers, body, done, .. } = answer;
        let asked = &self.scenario.traffic.requests[call.request];
        let classifier = if past_cache { &self.uncached_classifier } else { &self.classifier };
        let reading = classifier.classify(asked, &call.expected, status, &headers, &body);
        Some(ProbeResponse { status, reading, body, sent, done })
    }
}
