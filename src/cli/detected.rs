//! What the answers to `init` show of the cache and of the items. Nothing that was not seen is assumed.

use reqwest::Url;

use super::probe::ProbeAnswer;
use crate::journal::Outcome;
use crate::load::response::cache_words;
use crate::load::response::{ExpectedIdentity, ResponseClassifier, VersionReading};
use crate::scenario::Scenario;

/// What the answers show.
#[derive(Clone, Debug)]
pub(super) struct DetectedTraits {
    /// How hits show.
    pub(super) hits: HitSign,
    /// Where each answer came from, by that sign.
    pub(super) outcomes: Vec<Option<Outcome>>,
    /// The second answer was a hit, the one with `Cache-Control: no-store` was not.
    pub(super) bypass: bool,
    /// The JSON field with the item's key, and the key.
    pub(super) identity: Option<(&'static str, String)>,
    /// The JSON field with the item's version.
    pub(super) version: Option<&'static str>,
}

/// What differed between answers from the cache and others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HitSign {
    /// This header, which needs no `[target.hit]`.
    Known(String),
    /// This header, with the values that were seen.
    Words(String, SeenValues),
    /// This JSON field: true for a hit.
    Json(&'static str),
    /// Nothing did.
    None,
}

/// The values that were seen, by what they mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SeenValues {
    pub(super) hit: Vec<String>,
    pub(super) miss: Vec<String>,
    pub(super) stale: Vec<String>,
    pub(super) bypass: Vec<String>,
}

impl DetectedTraits {
    pub(super) fn of(url: &Url, answers: &[ProbeAnswer]) -> Self {
        let (hits, outcomes) = header_sign(answers)
            .or_else(|| json_sign(answers))
            .unwrap_or_else(|| (HitSign::None, vec![None; answers.len()]));
        let field = |names: &[&'static str], test: &dyn Fn(&serde_json::Value) -> bool| {
            let body = answers.first()?.json.as_ref()?;
            names.iter().copied().find(|name| body.get(name).is_some_and(test))
        };
        let last = url.path_segments().and_then(|mut segments| segments.next_back()).unwrap_or_default();
        let key = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let identity = field(&["id", "_id", "key", "slug"], &|value| !last.is_empty() && key(value) == last);
        let bypass = matches!(outcomes.as_slice(), [_, Some(second), Some(past)] if served(*second) && !served(*past));
        Self {
            hits,
            outcomes,
            bypass,
            identity: identity.map(|name| (name, last.to_owned())),
            version: field(&["version", "_version", "revision", "rev"], &serde_json::Value::is_u64)
                .or_else(|| field(&["updated_at", "updatedAt", "modified_at", "modifiedAt"], &is_time)),
        }
    }

    /// The same, where the sign does not hold.
    pub(super) fn without_hits(self) -> Self {
        Self { hits: HitSign::None, outcomes: vec![None; self.outcomes.len()], bypass: false, ..self }
    }

    /// Whether a run of this scenario would read the answers as they were read here.
    pub(super) fn hold_for(&self, scenario: &Scenario, answers: &[ProbeAnswer]) -> bool {
        let Some(request) = scenario.traffic.requests.first() else { return false };
        let mut request = request.clone();
        request.expect = answers.iter().map(|answer| answer.status).collect();
        let classifier = ResponseClassifier::new(&scenario.target);
        let outcome = |answer: &ProbeAnswer| {
            let body = answer.json.as_ref().map(serde_json::Value::to_string).unwrap_or_default();
            let status = reqwest::StatusCode::from_u16(answer.status).ok()?;
            let expected = ExpectedIdentity::default();
            Some(classifier.classify(&request, &expected, status, &answer.headers, body.as_bytes()).outcome)
        };
        self.hits == HitSign::None
            || answers.iter().map(outcome).eq(self.outcomes.iter().map(|outcome| Some(outcome.unwrap_or_default())))
    }
}

fn is_time(value: &serde_json::Value) -> bool {
    value.as_str().is_some_and(|text| matches!(VersionReading::of(text), VersionReading::Time(_)))
}

/// Whether the answer came from the cache.
fn served(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Hit | Outcome::StaleServed)
}

/// A sign must have shown both: a value that never changes says nothing.
fn tells(outcomes: &[Option<Outcome>]) -> bool {
    outcomes.iter().flatten().any(|outcome| served(*outcome))
        && outcomes.iter().flatten().any(|outcome| !served(*outcome))
}

/// The first header, in the order in which they are believed, whose words told hits from other answers.
fn header_sign(answers: &[ProbeAnswer]) -> Option<(HitSign, Vec<Option<Outcome>>)> {
    let mut names: Vec<&str> = Vec::new();
    for name in answers.iter().flat_map(|answer| answer.headers.keys()).map(reqwest::header::HeaderName::as_str) {
        // What a cache may do, not what it did: `no-store`, `stale-while-revalidate`.
        let directive = name.ends_with("-control") || name == "pragma";
        if !directive && !names.contains(&name) {
            names.push(name);
        }
    }
    names.sort_by_key(|name| cache_words::rank(name).unwrap_or(usize::MAX));
    let unaided: Vec<Option<Outcome>> =
        answers.iter().map(|answer| cache_words::read(&answer.headers, None).outcome).collect();
    names.into_iter().find_map(|name| {
        let outcomes: Vec<Option<Outcome>> = answers
            .iter()
            .map(|answer| cache_words::lines(&answer.headers, name))
            .map(|lines| if lines.is_empty() { None } else { cache_words::meaning_of(name, &lines).outcome() })
            .collect();
        if !tells(&outcomes) {
            return None;
        }
        let values = SeenValues::of(name, answers, &outcomes);
        let standard = matches!(name, "cache-status" | "x-cache") || !cache_words::holds_words(name);
        if unaided == outcomes && (standard || values.hit.is_empty()) {
            Some((HitSign::Known(name.to_owned()), outcomes))
        } else if cache_words::holds_words(name) && !values.hit.is_empty() {
            Some((HitSign::Words(name.to_owned(), values), outcomes))
        } else {
            None
        }
    })
}

impl SeenValues {
    fn of(name: &str, answers: &[ProbeAnswer], outcomes: &[Option<Outcome>]) -> Self {
        let mut values = Self::default();
        for (answer, outcome) in answers.iter().zip(outcomes) {
            let lines = cache_words::lines(&answer.headers, name);
            let lines: Vec<&str> = lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
            let value = lines.join(", ");
            let list = match outcome {
                Some(Outcome::Hit) => &mut values.hit,
                Some(Outcome::Miss) => &mut values.miss,
                Some(Outcome::StaleServed) => &mut values.stale,
                Some(Outcome::Bypass) => &mut values.bypass,
                _ => continue,
            };
            if !list.contains(&value) {
                list.push(value);
            }
        }
        values
    }
}

/// A JSON boolean that told hits from other answers.
fn json_sign(answers: &[ProbeAnswer]) -> Option<(HitSign, Vec<Option<Outcome>>)> {
    ["cached", "from_cache", "fromCache", "cache"].into_iter().find_map(|name| {
        let value = |answer: &ProbeAnswer| answer.json.as_ref()?.get(name)?.as_bool();
        let outcome = |answer| value(answer).map(|cached| if cached { Outcome::Hit } else { Outcome::Miss });
        let outcomes: Vec<Option<Outcome>> = answers.iter().map(outcome).collect();
        tells(&outcomes).then_some((HitSign::Json(name), outcomes))
    })
}
