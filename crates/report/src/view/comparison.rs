//! The cached path beside the uncached one.

use serde::Serialize;

use cacheproof_core::journal::CachePath;
use cacheproof_core::measurements::Measurements;
use cacheproof_core::numbers;
use cacheproof_core::scenario::Scenario;

use super::request_stats::{RequestStats, request_stats};
use super::tables::errors_in_words;

/// The phases of a path that are fair to compare: judged, begun, before anything was broken; where there is
/// none, those without a fault of their own; where there is none either, all judged.
pub fn compared_phases(scenario: &Scenario, measurements: &Measurements, path: CachePath) -> Vec<usize> {
    let first_fault = scenario.phases.iter().position(|phase| !phase.faults.is_empty()).unwrap_or(usize::MAX);
    let of = |fair: &dyn Fn(usize) -> bool| -> Vec<usize> {
        scenario
            .phases
            .iter()
            .enumerate()
            .filter(|(index, phase)| {
                phase.path == path && !phase.warm_up && measurements.phases.contains_key(index) && fair(*index)
            })
            .map(|(index, _)| index)
            .collect()
    };
    let before = of(&|index| index < first_fault);
    if !before.is_empty() {
        return before;
    }
    let whole = of(&|index| scenario.phases[index].faults.is_empty());
    if whole.is_empty() { of(&|_| true) } else { whole }
}

/// One row of the table that shows cached beside uncached.
#[derive(Clone, Debug)]
pub struct ComparisonRow {
    /// What is compared: `P95`.
    pub name: &'static str,
    /// As shown for the uncached path; a dash where it was not measured.
    pub uncached: String,
    /// The same for the cached path.
    pub cached: String,
    /// `2.8 times faster`; empty where there is nothing to compare.
    pub change: String,
}

/// Cached and uncached: the phases and figures of both paths.
#[derive(Clone, Debug, Serialize)]
pub struct PathComparison {
    /// Names of the phases that took the uncached path.
    pub uncached_phases: Vec<String>,
    /// Names of those that took the cached path.
    pub cached_phases: Vec<String>,
    /// What was measured on the uncached path; `None` where no request took it.
    pub uncached: Option<RequestStats>,
    /// What was measured on the cached path; `None` where no request took it.
    pub cached: Option<RequestStats>,
}

/// Compares both paths.
pub fn path_comparison(scenario: &Scenario, measurements: &Measurements) -> PathComparison {
    let side = |path| {
        let phases = compared_phases(scenario, measurements, path);
        let request_stats = request_stats(scenario, measurements, &phases, |key| key.path == path);
        let names = phases.iter().map(|phase| scenario.phases[*phase].name.clone()).collect();
        (names, (request_stats.requests > 0).then_some(request_stats))
    };
    let (uncached_phases, uncached) = side(CachePath::Uncached);
    let (cached_phases, cached) = side(CachePath::Cached);
    PathComparison { uncached_phases, cached_phases, uncached, cached }
}

impl PathComparison {
    /// Path and phases of the uncached and of the cached column. No phases where the only one is called as its path.
    pub(crate) fn columns(&self) -> [(&'static str, &[String]); 2] {
        [("uncached", &self.uncached_phases), ("cached", &self.cached_phases)].map(|(path, phases)| {
            match phases.as_slice() {
                [only] if only == path => (path, [].as_slice()),
                phases => (path, phases),
            }
        })
    }

    /// The table's rows.
    pub fn lines(&self) -> Vec<ComparisonRow> {
        let show = |side: &Option<RequestStats>, value: &dyn Fn(&RequestStats) -> Option<String>| {
            side.as_ref().and_then(value).unwrap_or_else(|| "–".to_owned())
        };
        let row = |name, value: &dyn Fn(&RequestStats) -> Option<String>, change: String| ComparisonRow {
            name,
            uncached: show(&self.uncached, value),
            cached: show(&self.cached, value),
            change,
        };
        let both = |value: &dyn Fn(&RequestStats) -> Option<f64>| {
            let (uncached, cached) = (value(self.uncached.as_ref()?)?, value(self.cached.as_ref()?)?);
            (uncached > 0.0 && cached > 0.0).then_some((uncached, cached))
        };
        let faster = |value: &dyn Fn(&RequestStats) -> Option<f64>| {
            both(value).map_or_else(String::new, |(uncached, cached)| match uncached / cached {
                ratio if ratio >= 1.0 => format!("{} times faster", numbers::plain(ratio)),
                ratio => format!("{} times slower", numbers::plain(1.0 / ratio)),
            })
        };
        let fewer = both(&|request_stats| request_stats.db_queries_per_request).map_or_else(
            String::new,
            |(uncached, cached)| {
                let change = (cached - uncached) / uncached;
                let word = if change <= 0.0 { "fewer" } else { "more" };
                format!("{} {word}", numbers::share(change.abs()))
            },
        );
        let times = both(&|request_stats| request_stats.throughput)
            .map(|(uncached, cached)| cached / uncached)
            // In an open loop both paths get the same rate: up to two per cent between them is chance.
            .filter(|ratio| (ratio - 1.0).abs() > 0.02)
            .map_or_else(String::new, |ratio| format!("{} times", numbers::plain(ratio)));
        let time = |value: Option<f64>| value.map(numbers::time);
        let mut rows = vec![
            row("P50", &|request_stats| time(request_stats.p50), faster(&|request_stats| request_stats.p50)),
            row("P95", &|request_stats| time(request_stats.p95), faster(&|request_stats| request_stats.p95)),
            row("P99", &|request_stats| time(request_stats.p99), faster(&|request_stats| request_stats.p99)),
            row("mean", &|request_stats| time(request_stats.mean), faster(&|request_stats| request_stats.mean)),
            row("throughput", &|request_stats| request_stats.throughput.map(numbers::rate), times),
            row("hit rate", &|request_stats| request_stats.hit_rate.map(numbers::share), String::new()),
            row(
                "queries per request",
                &|request_stats| request_stats.db_queries_per_request.map(numbers::plain),
                fewer,
            ),
            row("errors", &|request_stats| Some(errors_in_words(request_stats)), String::new()),
            row("requests (n)", &|request_stats| Some(numbers::count(request_stats.requests)), String::new()),
        ];
        rows.retain(|row| row.uncached != "–" || row.cached != "–");
        rows
    }
}
