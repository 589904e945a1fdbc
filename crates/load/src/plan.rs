//! The request of each arrival: its kind, keys, URL and body.

use std::collections::BTreeMap;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::KeySampler;
use crate::response::{ExpectedIdentity, ItemName};
use cacheproof_core::scenario::{Request, Scenario, placeholders};

/// Maps (phase, index) to a request, always the same one for the same seed.
#[derive(Debug)]
pub struct TrafficPlan {
    seed: u64,
    requests: Vec<PlannedRequest>,
    /// Cumulative weights, for drawing.
    weights: Vec<f64>,
    keys: BTreeMap<String, KeySampler>,
}

/// A kind of request with its templates parsed.
#[derive(Debug)]
struct PlannedRequest {
    path: Template,
    body: Option<Template>,
    headers: Vec<(String, Template)>,
    /// Key space of the user in the headers, where responses are checked for it.
    owner: Option<String>,
    /// The item that it names, where it names one.
    item: Option<PlannedItem>,
}

/// How a request names its item.
#[derive(Debug)]
struct PlannedItem {
    /// Key spaces of the keys that name it; the last is its own.
    keys: Vec<String>,
    /// What of the path names it, where that is more than its key.
    segment: Option<Template>,
}

/// One request to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Index into the scenario's requests.
    pub request: usize,
    /// Path and query.
    pub path: String,
    /// Its body.
    pub body: Option<String>,
    /// Headers with their values.
    pub headers: Vec<(String, String)>,
    /// The item that it names (`None` for lists and creates), and the user it is sent as.
    pub expected: ExpectedIdentity,
    /// The key of each key space that it names.
    pub keys: BTreeMap<String, u64>,
}

/// Streams of the seed: arrivals use the number of the phase, and these are larger than any.
const KEYS_STREAM: u64 = 1 << 32;
const CALLS_STREAM: u64 = 1 << 33;

impl TrafficPlan {
    /// For a checked scenario: every placeholder has its key space.
    pub fn new(scenario: &Scenario) -> Self {
        let keys = scenario
            .data
            .iter()
            .zip(KEYS_STREAM..)
            .map(|((name, size), stream)| {
                (name.clone(), KeySampler::new(*size, scenario.traffic.popularity, scenario.seed, stream))
            })
            .collect();
        let mut sum = 0.0;
        let weights = scenario
            .traffic
            .requests
            .iter()
            .map(|request| {
                sum += request.weight;
                sum
            })
            .collect();
        let requests = scenario.traffic.requests.iter().map(|request| plan_request(request, scenario)).collect();
        Self { seed: scenario.seed, requests, weights, keys }
    }

    /// Request `index` of a phase.
    pub fn call(&self, phase: usize, index: u64) -> Call {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed ^ index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        random.set_stream(CALLS_STREAM + phase as u64);
        let total = self.weights.last().copied().unwrap_or(0.0);
        let point = random.random_range(0.0..total.max(f64::MIN_POSITIVE));
        let request = self.weights.partition_point(|weight| *weight <= point).min(self.requests.len() - 1);
        self.fill(request, BTreeMap::new(), &mut random)
    }

    /// The same request for another item: `shift` ids further, wrapping around after the last.
    pub fn shifted(&self, phase: usize, index: u64, shift: u64) -> Call {
        let call = self.call(phase, index);
        let Some((item, keys)) = call.expected.item.zip(self.items(call.request)) else { return call };
        self.call_for_item(call.request, (item - 1 + shift) % keys + 1)
    }

    /// A request of this kind for this item.
    pub fn call_for_item(&self, request: usize, id: u64) -> Call {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed ^ id.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let item = self.requests[request].item.as_ref().map(|item| self.keys_of(&item.keys, id)).unwrap_or_default();
        self.fill(request, item, &mut random)
    }

    /// How many items this kind of request can name.
    pub fn items(&self, request: usize) -> Option<u64> {
        let item = self.requests[request].item.as_ref()?;
        Some(item.keys.iter().map(|space| self.size(space)).product())
    }

    fn size(&self, space: &str) -> u64 {
        self.keys.get(space).map_or(1, KeySampler::size)
    }

    /// The number of the item that these keys name, from 1. `None`: a key is missing, or beyond its key space where that
    /// makes it the number of another item.
    pub fn item_of(&self, spaces: &[String], keys: &BTreeMap<String, u64>) -> Option<u64> {
        let (own, others) = spaces.split_last()?;
        let mut before = 0;
        for space in others {
            before = before * self.size(space) + (keys.get(space)?.checked_sub(1)?);
        }
        let own_key = *keys.get(own)?;
        let fits = others.is_empty() || (1..=self.size(own)).contains(&own_key);
        fits.then_some(before * self.size(own) + own_key).filter(|_| own_key > 0)
    }

    /// The keys of an item: the reverse of [`Self::item_of`].
    pub fn keys_of(&self, spaces: &[String], item: u64) -> BTreeMap<String, u64> {
        let mut keys = BTreeMap::new();
        let mut rest = item.max(1) - 1;
        for (place, space) in spaces.iter().enumerate().rev() {
            // The first has what is left: where it is the only one, the app may have made items beyond its key space.
            let key = if place == 0 { rest } else { rest % self.size(space) };
            rest /= self.size(space);
            keys.insert(space.clone(), key + 1);
        }
        keys
    }

    fn fill(&self, request: usize, mut drawn: BTreeMap<String, u64>, random: &mut ChaCha8Rng) -> Call {
        let planned = &self.requests[request];
        let path = planned.path.fill(&self.keys, &mut drawn, random);
        let body = planned.body.as_ref().map(|body| body.fill(&self.keys, &mut drawn, random));
        let mut header =
            |(name, value): &(String, Template)| (name.clone(), value.fill(&self.keys, &mut drawn, random));
        let headers = planned.headers.iter().map(&mut header).collect();
        let owner = planned.owner.as_ref().and_then(|space| drawn.get(space).copied());
        let item = planned.item.as_ref().and_then(|item| self.item_of(&item.keys, &drawn));
        let name = planned.item.as_ref().and_then(|item| {
            let segment = item.segment.as_ref().map(|segment| segment.fill(&self.keys, &mut drawn, random));
            Some(ItemName { key: *drawn.get(item.keys.last()?)?, segment })
        });
        let expected = ExpectedIdentity { item, name, owner };
        Call { request, path, body, headers, expected, keys: drawn }
    }

    /// One request of this kind for item 1 of every key space, to check the app before the load begins.
    pub fn first_call(&self, request: usize) -> Call {
        let drawn = self.keys.keys().map(|space| (space.clone(), 1)).collect();
        self.fill(request, drawn, &mut ChaCha8Rng::seed_from_u64(self.seed))
    }
}

fn plan_request(request: &Request, scenario: &Scenario) -> PlannedRequest {
    let path = Template::of(&request.path, scenario);
    let item = request.item.as_ref().map(|item| PlannedItem {
        keys: item.keys.clone(),
        segment: item.segment.as_ref().map(|segment| Template::of(segment, scenario)),
    });
    let headers = request.headers.iter().map(|(name, value)| (name.clone(), Template::of(value, scenario))).collect();
    let owner = request.owner.as_ref().and_then(|_| request.owner_key());
    let owner = owner.and_then(|key| Some(scenario.key_space(key)?.0.to_owned()));
    let body = request.body.as_ref().map(|body| Template::of(body, scenario));
    PlannedRequest { path, body, headers, owner, item }
}

/// Text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Key(String),
    Random,
}

impl Template {
    fn of(text: &str, scenario: &Scenario) -> Self {
        let mut parts = Vec::new();
        let mut done = 0;
        for place in placeholders(text) {
            let name = &text[place.start + 1..place.end - 1];
            let part = match scenario.key_space(name) {
                Some((space, _)) => Part::Key(space.to_owned()),
                None if name == "random" => Part::Random,
                None => continue,
            };
            parts.extend([Part::Text(text[done..place.start].to_owned()), part]);
            done = place.end;
        }
        parts.push(Part::Text(text[done..].to_owned()));
        Self(parts)
    }

    /// A key space has one id per request: path and body name the same item.
    fn fill(
        &self,
        keys: &BTreeMap<String, KeySampler>,
        drawn: &mut BTreeMap<String, u64>,
        random: &mut ChaCha8Rng,
    ) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Random => {
                    let word: u64 = random.random();
                    text.push_str(&format!("{word:016x}"));
                }
                Part::Key(space) => {
                    let id = match drawn.get(space) {
                        Some(id) => *id,
                        None => keys.get(space).map_or(1, |keys| keys.draw(random)),
                    };
                    drawn.insert(space.clone(), id);
                    text.push_str(&id.to_string());
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> (Scenario, TrafficPlan) {
        let scenario = cacheproof_core::scenario::parse(
            "test.toml",
            r#"
title = "plan"
seed = 31
[target]
kind = "http"
url = "http://127.0.0.1:1"
identity = "id"
version = "version"
[data]
posts = 50
pages = 5
[traffic]
rate = "10/s"
[[traffic.request]]
name = "read"
get = "/posts/{post}"
weight = 80
[[traffic.request]]
name = "list"
get = "/posts?page={page}"
weight = 10
[[traffic.request]]
name = "update"
put = "/posts/{post}?by={post}"
body = '{"title": "{random}", "post": {post}}'
weight = 10
[[phase]]
name = "steady"
lasts = "1s"
"#,
        )
        .unwrap();
        let plan = TrafficPlan::new(&scenario);
        (scenario, plan)
    }

    #[test]
    fn the_same_arrival_is_the_same_call_in_every_run() {
        let ((_, one), (_, two)) = (plan(), plan());
        for index in 0..500 {
            assert_eq!(one.call(0, index), two.call(0, index));
        }
        assert!((0..50).any(|index| one.call(0, index) != one.call(1, index)), "phases differ");
    }

    #[test]
    fn requests_come_by_their_weights_and_speak_of_one_item() {
        let (_, plan) = plan();
        let calls: Vec<Call> = (0..20_000).map(|index| plan.call(0, index)).collect();
        for (request, share) in [(0, 0.8), (1, 0.1), (2, 0.1)] {
            let found = calls.iter().filter(|call| call.request == request).count() as f64 / 20_000.0;
            assert!((found - share).abs() < 0.02, "request {request}: {found}");
        }
        let list = calls.iter().find(|call| call.request == 1).unwrap();
        assert_eq!(list.expected.item, None, "a page is no item: {list:?}");
        let update = calls.iter().find(|call| call.request == 2).unwrap();
        let id = update.expected.item.unwrap();
        assert_eq!(update.path, format!("/posts/{id}?by={id}"));
        let body: serde_json::Value = serde_json::from_str(update.body.as_ref().unwrap()).unwrap();
        assert_eq!(body["post"], id);
    }

    #[test]
    fn a_write_and_a_read_of_one_item_find_each_other() {
        let (scenario, _) = plan();
        let requests = &scenario.traffic.requests;
        assert_eq!(requests[0].template(), Some("/posts/{post}"));
        assert_eq!(requests[0].template(), requests[2].template());
    }

    #[test]
    fn a_write_that_has_to_go_elsewhere_goes_to_the_next_item_behind_the_last_to_the_first() {
        let (_, plan) = plan();
        let (index, update) =
            (0..).map(|index| (index, plan.call(0, index))).find(|(_, call)| call.request == 2).unwrap();
        let id = update.expected.item.unwrap();
        let other = plan.shifted(0, index, 51 - id);
        assert_eq!(other.path, "/posts/1?by=1", "from {id}");
        assert_eq!(other, plan.shifted(0, index, 51 - id), "always the same");
        assert_eq!(other.request, 2);
    }
}
