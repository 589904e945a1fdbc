//! One request and its response: built, sent through goose, read completely, judged.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use goose::goose::{GooseRequest, GooseUser};

use super::body_hash::{distinctive_hash, whole_hash};
use super::freshness::{FinishedRequest, FreshnessJudgement};
use super::request::{Answer, RequestFailure, build, read_response, redirected_write, url_of_write};
use super::{Call, FreshnessMonitor, TrafficPlan};
use crate::ResponseRecord;
use crate::response::{ClassifiedResponse, ResponseClassifier, UnreadCacheWords, UsedConnections};
use cacheproof_core::journal::CachePath;
use cacheproof_core::journal::{Event, Example, NotSentReason, Outcome};
use cacheproof_core::scenario::Scenario;

/// How many examples of each kind of error a phase keeps.
const EXAMPLES: usize = 3;

/// How many connections that a user keeps may be at their end when a read needs one.
const MAX_RECONNECTS: u64 = 3;

/// Whether a redirect led to a page that does not name the item that was asked for.
fn is_led_away(final_url: &str, call: &Call) -> bool {
    let Some(name) = &call.expected.name else { return false };
    let path = final_url.splitn(4, '/').nth(3).unwrap_or_default();
    let key = name.key.to_string();
    let has_key = path.split(|c: char| !c.is_alphanumeric()).any(|part| part == key);
    let has_segment = name.segment.as_deref().is_some_and(|segment| path.contains(segment));
    call.path.trim_start_matches('/') != path && !has_key && !has_segment
}

/// What the goose users share to send and judge requests.
#[derive(Debug)]
pub struct Exchange {
    /// The scenario.
    pub scenario: Arc<Scenario>,
    /// The request of each arrival.
    pub plan: Arc<TrafficPlan>,
    /// Judges the freshness of the responses.
    pub freshness: Arc<FreshnessMonitor>,
    /// Counts the cache headers that nobody understood.
    pub unread: Arc<UnreadCacheWords>,
    /// One for each instance of the app.
    base_urls: Vec<String>,
    /// Whether an item's answer is compared with that from before its first write.
    compares_bodies: bool,
    classifier: ResponseClassifier,
    uncached_classifier: ResponseClassifier,
    examples: Mutex<Vec<Example>>,
    example_counts: Mutex<std::collections::BTreeMap<(usize, &'static str), usize>>,
}

/// The result of one exchange.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeResult {
    /// The outcome of the request.
    pub outcome: Outcome,
    /// Whether the response was older than the last acknowledged write.
    pub stale: bool,
    /// Whether its freshness could be checked: a read with a version, of an item with an acknowledged write.
    pub judged_fresh: bool,
    /// When it was sent.
    pub sent: Instant,
    /// When the last byte was received.
    pub done: Instant,
    /// No connection could be made.
    pub unreachable: bool,
    /// cacheproof itself could not send it: no result of the app.
    pub client_failure: Option<NotSentReason>,
    /// How often it was sent once more, because the connection in use had been closed.
    pub reconnects: u64,
}

/// Sends a request through goose.
async fn send(
    user: &mut GooseUser,
    name: &str,
    builder: reqwest::RequestBuilder,
) -> Result<reqwest::Response, RequestFailure> {
    let goose_request = GooseRequest::builder().name(name).set_request_builder(builder).build();
    match user.request(goose_request).await {
        Ok(answer) => answer.response.map_err(|error| RequestFailure::of(&error)),
        Err(error) => Err(RequestFailure { why: error.to_string(), ..RequestFailure::default() }),
    }
}

impl Exchange {
    /// For the app whose instances are at `base_urls`, of which there must be one. The instances take turns.
    pub fn new(scenario: Scenario, base_urls: Vec<String>) -> Self {
        let plan = Arc::new(TrafficPlan::new(&scenario));
        let scenario = Arc::new(scenario);
        let classifier = ResponseClassifier::new(&scenario.target);
        Self {
            compares_bodies: scenario.compares_at_quiescence(),
            uncached_classifier: classifier.past_cache(),
            classifier,
            freshness: Arc::new(FreshnessMonitor::new(Arc::clone(&scenario), Arc::clone(&plan), base_urls.clone())),
            unread: Arc::default(),
            plan,
            scenario,
            base_urls,
            examples: Mutex::default(),
            example_counts: Mutex::default(),
        }
    }

    /// Sends request `index` of `phase` and judges the response.
    pub async fn run(&self, user: &mut GooseUser, phase: usize, index: u64) -> (usize, ExchangeResult) {
        let (call, write) = self.freshness.call(phase, index).await;
        let request = &self.scenario.traffic.requests[call.request];
        let uncached = self.scenario.phases[phase].path == CachePath::Uncached && request.method.is_read();
        let instance = (index % self.base_urls.len() as u64) as usize;
        let builder = build(&user.client, &self.scenario, &self.base_urls[instance], &call, uncached);
        let url_of_write = url_of_write(&builder, &self.scenario, request.method);
        // Taken before the request is sent: it may or may not see a write that is acknowledged later.
        let before = self.freshness.snapshot_before(&call);
        let sent = Instant::now();
        let again = builder.try_clone().filter(|_| request.method.is_read());
        let mut reconnects = 0;
        let mut response = send(user, &request.name, builder).await;
        // A server may close an idle connection at any time. A read that met that end is sent once more, as browsers do
        // (RFC 9110, 9.2.2), and a write never. On a connection that was made for it, the app dropped the request. A further
        // idle connection may be at its end as well.
        while reconnects < MAX_RECONNECTS
            && let Some(dropped_on) = response.as_ref().err().and_then(|failure| failure.dropped_on)
            && user.get_session_data_mut::<UsedConnections>().is_some_and(|used| used.forget(dropped_on))
            && let Some(again) = again.as_ref().and_then(reqwest::RequestBuilder::try_clone)
        {
            reconnects += 1;
            response = send(user, &request.name, again).await;
        }
        if let (Ok(response), Some(used)) = (&response, user.get_session_data_mut::<UsedConnections>()) {
            used.remember(response);
        }
        let answer = match response {
            Ok(response) => match redirected_write(url_of_write.as_ref(), &response) {
                Some(failure) => Err(failure),
                None => read_response(response, &self.scenario, call.request).await,
            },
            Err(failure) => Err(failure),
        };
        let body_hash = answer.as_ref().ok().and_then(|answer| distinctive_hash(&answer.body));
        let whole_body = answer.as_ref().ok().filter(|_| self.compares_bodies).map(|answer| whole_hash(&answer.body));
        let final_url = answer.as_ref().ok().and_then(|answer| answer.final_url.as_ref());
        let is_led_away = final_url.is_some_and(|url| is_led_away(url.as_str(), &call));
        let client_failure = answer.as_ref().err().and_then(|failure| failure.client);
        let (status, done, mut reading, unreachable) = match answer {
            Ok(Answer { status, headers, body, done, .. }) => {
                let classifier = if uncached { &self.uncached_classifier } else { &self.classifier };
                (Some(status), done, classifier.classify(request, &call.expected, status, &headers, &body), false)
            }
            Err(RequestFailure { why, unreachable, .. }) => (
                None,
                Instant::now(),
                ClassifiedResponse {
                    outcome: Outcome::Error,
                    error_detail: Some(why),
                    ..ClassifiedResponse::default()
                },
                unreachable,
            ),
        };
        // A redirect that was followed to a page that does not name the item.
        reading.is_substitute |= is_led_away && request.method.is_read();
        reading.unread.iter().for_each(|value| self.unread.record(value));
        if reading.is_assumed || (request.cacheable && reading.outcome.is_served_from_cache().is_some()) {
            self.unread.count_label(reading.is_assumed);
        }
        let ended = FinishedRequest {
            phase,
            instance,
            call: &call,
            write,
            before,
            status,
            body: body_hash,
            whole_body,
            unreachable,
            reading: &reading,
            sent,
            done,
        };
        let FreshnessJudgement { stale, judged, wrong, trouble } = self.freshness.record_response(&ended);
        if wrong {
            reading.outcome = Outcome::Wrong;
        }
        let line = || format!("{} {}", request.method.as_str(), call.path);
        if let Some(error_detail) = trouble {
            self.example(phase, if stale { "stale" } else { "wrong" }, line, error_detail);
        } else if let Some(error_detail) = reading.error_detail.filter(|_| client_failure.is_none()) {
            self.example(phase, if reading.outcome == Outcome::Wrong { "wrong" } else { "error" }, line, error_detail);
        }
        (
            call.request,
            ExchangeResult {
                outcome: reading.outcome,
                stale,
                judged_fresh: judged,
                sent,
                done,
                unreachable,
                client_failure,
                reconnects,
            },
        )
    }

    /// The record of an arrival that was never sent: an error with its waiting time as response time.
    pub fn unsent(&self, phase: usize, index: u64, waited: Duration) -> ResponseRecord {
        let call = self.plan.call(phase, index);
        let line = || format!("{} {}", self.scenario.traffic.requests[call.request].method.as_str(), call.path);
        self.example(phase, "error", line, "never sent: no connection came free before the run ended".into());
        ResponseRecord {
            phase: u16::try_from(phase).unwrap_or(u16::MAX),
            path: self.scenario.phases[phase].path,
            request: u16::try_from(call.request).unwrap_or(u16::MAX),
            outcome: Outcome::Error,
            response: u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX),
            service: 0,
            judged_fresh: false,
            stale: false,
            lag: None,
        }
    }

    /// The examples since the last call.
    pub fn take_examples(&self) -> Vec<Event> {
        let mut examples = self.examples.lock().unwrap_or_else(PoisonError::into_inner);
        examples.drain(..).map(Event::Example).chain(self.freshness.take_events()).collect()
    }

    fn example(&self, phase: usize, kind: &'static str, request: impl Fn() -> String, detail: String) {
        let mut example_counts = self.example_counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = example_counts.entry((phase, kind)).or_default();
        if *count < EXAMPLES {
            *count += 1;
            let example = Example { phase, kind: kind.into(), request: request(), detail };
            self.examples.lock().unwrap_or_else(PoisonError::into_inner).push(example);
        }
    }
}
