//! One request and its answer: built, sent through goose, read whole, judged.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use goose::goose::{GooseRequest, GooseUser};
use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode};

use super::{Call, TrafficPlan, Versions};
use crate::observe::{Answer, Event, Example, Outcome};
use crate::scenario::{BypassSpec, Method, Path, Scenario};
use crate::target::{Reader, Reading, root_cause, with_bypass};

/// A body longer than this is an error: it would measure the network, not the cache.
const BODY_LIMIT: usize = 8 * 1024 * 1024;

/// How many examples of each kind of trouble a phase keeps.
const EXAMPLES: usize = 3;

/// Everything that the goose users share in order to send and judge requests.
#[derive(Debug)]
pub struct Exchange {
    /// The scenario.
    pub scenario: Scenario,
    /// What each arrival asks for.
    pub plan: TrafficPlan,
    base_url: String,
    reader: Reader,
    versions: Versions,
    examples: Mutex<Vec<Example>>,
    kept: Mutex<std::collections::BTreeMap<(usize, &'static str), usize>>,
}

/// What one exchange gave.
#[derive(Clone, Copy, Debug)]
pub struct Exchanged {
    /// What became of the request.
    pub outcome: Outcome,
    /// Whether the answer was older than the last acknowledged write.
    pub stale: bool,
    /// Whether it could be: a read with a version, of an item with an acknowledged write.
    pub judged_fresh: bool,
    /// When it was sent.
    pub sent: Instant,
    /// When the last byte was in.
    pub done: Instant,
    /// No connection could be made at all.
    pub unreachable: bool,
}

impl Exchange {
    /// For the app at `base_url`.
    pub fn new(scenario: Scenario, base_url: &str) -> Self {
        let plan = TrafficPlan::new(&scenario);
        let floors =
            if scenario.target.version.is_some() { plan.written_items(&scenario.traffic.requests) } else { Vec::new() };
        Self {
            reader: Reader::new(&scenario.target),
            versions: Versions::new(floors),
            plan,
            scenario,
            base_url: base_url.to_owned(),
            examples: Mutex::default(),
            kept: Mutex::default(),
        }
    }

    /// Sends request `index` of `phase` and judges the answer.
    pub async fn run(&self, user: &mut GooseUser, phase: usize, index: u64) -> (usize, Exchanged) {
        let call = self.plan.call(phase, index);
        let request = &self.scenario.traffic.requests[call.request];
        let template = self.plan.template(call.request);
        let uncached = self.scenario.phases[phase].path == Path::Uncached && request.method.is_read();
        let builder = self.build(user, &call, request.method, uncached);
        // Taken before the request leaves: a write acknowledged later may or may not be seen by it.
        let floor = call.item.map_or(0, |item| self.versions.floor(template, item));
        let sent = Instant::now();
        let goose_request = GooseRequest::builder().name(request.name.as_str()).set_request_builder(builder).build();
        let answer = match user.request(goose_request).await {
            Ok(answer) => match answer.response {
                Ok(response) => read_whole(response).await,
                Err(error) => Err(Failed::of(&error)),
            },
            Err(error) => Err(Failed { why: error.to_string(), unreachable: false }),
        };
        let done = Instant::now();
        let (reading, unreachable) = match answer {
            Ok((status, headers, body)) => (self.reader.read(request, call.item, status, &headers, &body), false),
            Err(failed) => {
                (Reading { outcome: Outcome::Error, version: None, trouble: Some(failed.why) }, failed.unreachable)
            }
        };
        let answered = !matches!(reading.outcome, Outcome::Error | Outcome::Wrong);
        let judged_fresh = answered && request.method.is_read() && floor > 0 && reading.version.is_some();
        let stale = judged_fresh && reading.version.is_some_and(|version| version < floor);
        if let (true, Some(item), Some(version), Method::Put | Method::Patch) =
            (answered, call.item, reading.version, request.method)
        {
            self.versions.acknowledge(template, item, version);
        }
        let line = || format!("{} {}", request.method.as_str(), call.path);
        if let Some(trouble) = reading.trouble {
            self.example(phase, if reading.outcome == Outcome::Wrong { "wrong" } else { "error" }, line, trouble);
        } else if stale {
            let version = reading.version.unwrap_or_default();
            let detail = format!("version {version} after a write was acknowledged with version {floor}");
            self.example(phase, "stale", line, detail);
        }
        (call.request, Exchanged { outcome: reading.outcome, stale, judged_fresh, sent, done, unreachable })
    }

    /// What is recorded of an arrival that was never sent: an error that took as long as it waited.
    pub fn unsent(&self, phase: usize, index: u64, waited: Duration) -> Answer {
        let call = self.plan.call(phase, index);
        let line = || format!("{} {}", self.scenario.traffic.requests[call.request].method.as_str(), call.path);
        self.example(phase, "error", line, "never sent: no connection came free before the run ended".into());
        Answer {
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

    /// The examples kept since the last call.
    pub fn take_examples(&self) -> Vec<Event> {
        let mut examples = self.examples.lock().unwrap_or_else(PoisonError::into_inner);
        examples.drain(..).map(Event::Example).collect()
    }

    fn build(&self, user: &GooseUser, call: &Call, method: Method, uncached: bool) -> reqwest::RequestBuilder {
        let bypass = self.scenario.target.bypass.as_ref().filter(|_| uncached);
        let url = with_bypass(&format!("{}{}", self.base_url, call.path), bypass);
        let method = match method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
            Method::Patch => reqwest::Method::PATCH,
            Method::Delete => reqwest::Method::DELETE,
        };
        let mut builder = user.client.request(method, url);
        if let Some(BypassSpec::Header(name, value)) = bypass {
            builder = builder.header(name, value);
        }
        if let Some(body) = &call.body {
            builder = builder.header("content-type", "application/json").body(body.clone());
        }
        builder
    }

    fn example(&self, phase: usize, kind: &'static str, request: impl Fn() -> String, detail: String) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let count = kept.entry((phase, kind)).or_default();
        if *count < EXAMPLES {
            *count += 1;
            let example = Example { phase, kind: kind.into(), request: request(), detail };
            self.examples.lock().unwrap_or_else(PoisonError::into_inner).push(example);
        }
    }
}

struct Failed {
    why: String,
    unreachable: bool,
}

impl Failed {
    fn of(error: &reqwest::Error) -> Self {
        let why = if error.is_timeout() { "no answer in time".to_owned() } else { root_cause(error) };
        Self { why, unreachable: error.is_connect() }
    }
}

async fn read_whole(mut response: Response) -> Result<(StatusCode, HeaderMap, Bytes), Failed> {
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let mut body = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > BODY_LIMIT => {
                return Err(Failed { why: format!("the body is longer than {BODY_LIMIT} bytes"), unreachable: false });
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok((status, headers, body.freeze())),
            Err(error) => {
                return Err(Failed {
                    why: format!("the body broke off: {}", Failed::of(&error).why),
                    unreachable: false,
                });
            }
        }
    }
}
