//! The scenario as the other crates see it: parsed, checked, with every default filled in.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{EvidenceSpec, FaultSpec, FreshnessSpec, Quantity, Rule, SafetySpec, StackSpec, TargetSpec, Traffic};
use crate::journal::CachePath;
use crate::metrics::MeasuredOn;

/// A scenario: what to bring up, what to send, what to break, what must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The file's title.
    pub title: String,
    /// Seed of every random choice: the same seed gives the same keys, order and arrival times.
    pub seed: u64,
    /// The servers.
    pub stack: StackSpec,
    /// The app under test.
    pub target: TargetSpec,
    /// Key spaces by name and size: `posts = 10_000` lets a path say `{post}`, an id from 1 to 10,000.
    pub data: BTreeMap<String, u64>,
    /// What is sent.
    pub traffic: Traffic,
    /// How stale answers are investigated.
    pub freshness: FreshnessSpec,
    /// How much evidence a pass needs.
    pub evidence: EvidenceSpec,
    /// The timeline, in order.
    pub phases: Vec<Phase>,
    /// What keeps faults in bounds.
    pub safety: SafetySpec,
    /// JUnit files with the results of the tests that criteria name; paths as seen from the project's root.
    pub proofs: Vec<String>,
    /// The story's criteria.
    pub criteria: Vec<Criterion>,
}

/// One stretch of the timeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// Its name in rules and reports.
    pub name: String,
    /// Which way its requests take.
    pub path: CachePath,
    /// How long it lasts; for a warm-up the longest it may last.
    pub lasts: Duration,
    /// A warm-up is not judged and ends when the hit rate is level.
    pub warm_up: bool,
    /// Arrival rate of this phase, where it differs (open loop only).
    pub rate: Option<f64>,
    /// What is broken in it, each on its own schedule.
    pub faults: Vec<FaultSpec>,
}

/// One acceptance criterion of the story.
#[derive(Clone, Debug, PartialEq)]
pub struct Criterion {
    /// The story's own words.
    pub says: String,
    /// What must hold, all of it.
    pub rules: Vec<Rule>,
    /// The tests that prove it where no measurement can, all of them.
    pub proved_by: Vec<String>,
}

impl Scenario {
    /// Whether the hit rate counts this request, by its index; an unknown one is not counted.
    pub fn is_cacheable(&self, request: usize) -> bool {
        self.traffic.requests.get(request).is_some_and(|request| request.cacheable)
    }

    /// Every latency limit in the rules, in nanoseconds, sorted: the recorder counts samples above each exactly.
    pub fn latency_limits(&self) -> Vec<u64> {
        let mut limits: Vec<u64> = self
            .criteria
            .iter()
            .flat_map(|criterion| &criterion.rules)
            .filter(|rule| rule.term.metric.definition().measured_on != MeasuredOn::Faults)
            .filter_map(|rule| match rule.limit {
                super::Limit::Value(Quantity::Time(limit)) => u64::try_from(limit.as_nanos()).ok(),
                _ => None,
            })
            .collect();
        limits.sort_unstable();
        limits.dedup();
        limits
    }

    /// How long the timeline lasts at most.
    pub fn planned_length(&self) -> Duration {
        self.phases.iter().map(|phase| phase.lasts).sum()
    }
}
