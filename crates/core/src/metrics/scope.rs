//! What a metric is measured over: the journal's measurements, the part of them that a rule selects, and what the
//! measuring has to know of the scenario and of the faults. All of it plain data, handed in from outside.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Measured;
use crate::journal::{CachePath, FreshnessKey, Outcome, Sample, WrongKind};
use crate::measurements::{Measurements, ResponseKey, Totals};

/// What a metric is measured over.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    /// What the journal says.
    pub measurements: &'a Measurements,
    /// What the scenario says.
    pub facts: &'a ScenarioFacts,
    /// What each fault did, in the order of their injection.
    pub faults: &'a [FaultResult],
    /// The phases, by index.
    pub phases: Vec<usize>,
    /// The path; `None`: both.
    pub path: Option<CachePath>,
    /// The request, by index; `None`: all.
    pub request: Option<usize>,
    /// The percentile as a share of 1; 1 for metrics that are none.
    pub percentile: f64,
    /// Whether a share is asked for where the metric can be one: of the requests, of maxmemory, of the start.
    pub as_share: bool,
    /// What errors do to a time.
    pub errors: ErrorTreatment,
}

/// What errors do to a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorTreatment {
    /// They count as slower than any limit: the rule sets an upper limit.
    CountAsSlowest,
    /// They are left out, unless they are too many for a percentile: the rule sets a lower limit.
    Exclude,
    /// They are left out, however many they are: for the steady state, which has its own rule on errors.
    Ignore,
}

/// What measuring has to know of a scenario.
#[derive(Clone, Debug, Default)]
pub struct ScenarioFacts {
    /// Its phases.
    pub phases: Vec<PhaseFacts>,
    /// Its requests.
    pub requests: Vec<RequestFacts>,
    /// Whether answers carry a version.
    pub has_versions: bool,
}

/// What measuring has to know of a phase.
#[derive(Clone, Debug)]
pub struct PhaseFacts {
    /// Its name.
    pub name: String,
    /// The path of its requests.
    pub path: CachePath,
    /// Whether cached and uncached answers are compared at its end.
    pub is_compared: bool,
}

/// What measuring has to know of a request.
#[derive(Clone, Debug)]
pub struct RequestFacts {
    /// Whether it may be answered from the cache.
    pub is_cacheable: bool,
    /// In which ways its answers can be seen to be wrong.
    pub can_be_wrong: BTreeSet<WrongKind>,
}

/// What one injection of a fault did.
#[derive(Clone, Debug)]
pub struct FaultResult {
    /// The phase that the fault belongs to.
    pub phase: usize,
    /// `kill redis`.
    pub what: String,
    /// When its injection began, seconds since the run's start.
    pub from: f64,
    /// Time to the first sign of it in the answers; `NotWithin(infinity)` where there was none.
    pub notice: Recovery,
    /// Time until the service was back.
    pub service: Recovery,
    /// Time until the hit rate was back.
    pub hit_rate: Recovery,
    /// Time that the emptied cache needs at least; `Unknown` where it was not emptied.
    pub refill: Recovery,
}

/// How something came back after a fault.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Recovery {
    /// It was never gone.
    Kept,
    /// It was back so many seconds after the fault was undone (or injected, where it heals itself).
    After(f64),
    /// It was not back within the seconds that were watched.
    NotWithin(f64),
    /// This is not known, and why.
    Unknown(String),
    /// It could not be decided, in words: too few requests came, for example.
    #[serde(rename = "unknown")]
    Undecided(String),
}

impl Recovery {
    /// Seconds that it took; `None` where it did not come back, or nothing is known.
    pub fn seconds(&self) -> Option<f64> {
        match self {
            Self::Kept => Some(0.0),
            Self::After(seconds) => Some(*seconds),
            Self::NotWithin(_) | Self::Unknown(_) | Self::Undecided(_) => None,
        }
    }
}

impl Scope<'_> {
    /// Whether an answer belongs to it.
    pub fn selects(&self, key: &ResponseKey) -> bool {
        self.phases.contains(&key.phase)
            && self.path.is_none_or(|path| path == key.path)
            && self.request.is_none_or(|request| request == key.request)
    }

    /// Whether what was judged of freshness belongs to it.
    pub fn selects_freshness(&self, key: &FreshnessKey) -> bool {
        self.selects(&ResponseKey { phase: key.phase, path: key.path, request: key.request, outcome: Outcome::Plain })
    }

    /// How many of its requests pass.
    pub fn count(&self, mut wanted: impl FnMut(&ResponseKey) -> bool) -> u64 {
        self.measurements.count(|key| self.selects(key) && wanted(key))
    }

    /// How many requests were sent.
    pub fn requests(&self) -> u64 {
        self.count(|_| true)
    }

    /// How many requests ended so.
    pub fn outcomes(&self, outcome: Outcome) -> u64 {
        self.count(|key| key.outcome == outcome)
    }

    /// Those of its requests that pass, put together.
    pub fn total(&self, mut wanted: impl FnMut(&ResponseKey) -> bool) -> Totals {
        self.measurements.total(|key| self.selects(key) && wanted(key))
    }

    /// The requests that were answered.
    pub fn answered(&self) -> Totals {
        self.total(|key| key.outcome != Outcome::Error)
    }

    /// Whether a request may be answered from the cache.
    pub fn is_cacheable(&self, key: &ResponseKey) -> bool {
        self.facts.requests.get(key.request).is_some_and(|request| request.is_cacheable)
    }

    /// The states of servers and processes while its phases lasted.
    pub fn samples(&self) -> impl Iterator<Item = &Sample> {
        let spans: Vec<_> = self.phases.iter().filter_map(|phase| self.measurements.phases.get(phase)).collect();
        let last_at = self.measurements.last_at;
        let inside = move |at: f64| spans.iter().any(|span| at >= span.from && at <= span.to.unwrap_or(last_at));
        self.measurements.samples.iter().filter(move |(at, _)| inside(*at)).map(|(_, sample)| sample)
    }

    /// A number of events, or their share, as the rule asks.
    pub fn events(&self, events: u64, of: u64) -> Measured {
        let value = if self.as_share { events as f64 / of as f64 } else { events as f64 };
        Measured { events: Some(events), ..Measured::of((of > 0).then_some(value), of) }
    }

    /// A reason, where requests were sent but none of them could be judged.
    pub fn if_none_judged(&self, judged: u64, why: &str) -> Option<String> {
        (judged == 0 && self.requests() > 0).then(|| why.to_owned())
    }
}
