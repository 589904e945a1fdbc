//! The numbers of a selection of requests, gathered once for every format.

use serde::Serialize;

use cacheproof_core::journal::CachePath;
use cacheproof_core::journal::Outcome;
use cacheproof_core::measurements::{Measurements, ResponseKey};
use cacheproof_core::numbers;
use cacheproof_core::scenario::Scenario;

/// What was measured over some phases. Times in seconds, of answers (errors left out), shares of 1, rates a
/// second. `None`: not measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RequestStats {
    /// Requests sent and answered, errors included.
    pub requests: u64,
    /// How long the phases lasted together.
    pub seconds: f64,
    /// Answers a second.
    pub throughput: Option<f64>,
    /// Median response time.
    pub p50: Option<f64>,
    /// 95th percentile of response time.
    pub p95: Option<f64>,
    /// 99th percentile of response time.
    pub p99: Option<f64>,
    /// 99.9th percentile of response time.
    pub p999: Option<f64>,
    /// Mean response time.
    pub mean: Option<f64>,
    /// Longest response time.
    pub max: Option<f64>,
    /// 95th percentile of service time.
    pub service_p95: Option<f64>,
    /// Share of cacheable reads answered from the cache.
    pub hit_rate: Option<f64>,
    /// Cacheable reads answered from the cache.
    pub hits: u64,
    /// Cacheable reads that the cache did not have.
    pub misses: u64,
    /// Statements that the database ran.
    pub db_queries: Option<u64>,
    /// The same by request.
    pub db_queries_per_request: Option<f64>,
    /// Requests that failed.
    pub errors: u64,
    /// Their share.
    pub error_share: Option<f64>,
    /// Answers past a cache that could not be reached.
    pub fallbacks: u64,
    /// Answers for something else than was asked for.
    pub wrong_answers: u64,
    /// Answers older than the last write acknowledged before.
    pub stale: u64,
}

/// The figures of all requests of some phases whose key passes. Database work is that of whole phases.
pub(crate) fn request_stats(
    scenario: &Scenario,
    seen: &Measurements,
    phases: &[usize],
    wanted: impl Fn(&ResponseKey) -> bool,
) -> RequestStats {
    let selected = |key: &ResponseKey| phases.contains(&key.phase) && wanted(key);
    let totals = seen.total(selected);
    let requests = totals.count();
    let outcome = |outcome| seen.count(|key| selected(key) && key.outcome == outcome);
    let cacheable = |wanted: Outcome| {
        seen.count(|key| {
            selected(key)
                && key.outcome == wanted
                && scenario.traffic.requests.get(key.request).is_some_and(|request| request.cacheable)
        })
    };
    // An error has no time of an answer: a quick refusal would make the app look fast.
    let answered = seen.total(|key| selected(key) && key.outcome != Outcome::Error);
    let at = |q| answered.response.quantile(q).map(|nanoseconds| nanoseconds as f64 / 1e9);
    let seconds: f64 = phases.iter().map(|phase| seen.phase_seconds(*phase)).sum();
    let errors = outcome(Outcome::Error);
    let (hits, misses) = (cacheable(Outcome::Hit), cacheable(Outcome::Miss));
    let db_queries = if phases.is_empty() { None } else { phases.iter().map(|phase| seen.db_queries(*phase)).sum() };
    let in_phases = seen.count(|key| phases.contains(&key.phase) && key.outcome != Outcome::Error);
    let share = |part: u64, of: u64| (of > 0).then(|| part as f64 / of as f64);
    RequestStats {
        requests,
        seconds,
        throughput: seen.throughput(phases, selected).filter(|_| requests > 0),
        p50: at(0.5),
        p95: at(0.95),
        p99: at(0.99),
        p999: at(0.999),
        mean: answered.mean().map(|mean| mean / 1e9),
        max: answered.response.max().map(|max| max as f64 / 1e9),
        service_p95: answered.service.quantile(0.95).map(|nanoseconds| nanoseconds as f64 / 1e9),
        hit_rate: share(hits, hits + misses),
        hits,
        misses,
        db_queries,
        db_queries_per_request: db_queries.and_then(|queries: u64| share(queries, in_phases)),
        errors,
        error_share: share(errors, requests),
        fallbacks: outcome(Outcome::Fallback),
        wrong_answers: outcome(Outcome::Wrong),
        stale: totals.stale,
    }
}

/// The phases of a path that are fair to compare: judged, begun, before anything was broken; where there is
/// none, those without a fault of their own; where there is none either, all judged.
pub(crate) fn compared_phases(scenario: &Scenario, seen: &Measurements, path: CachePath) -> Vec<usize> {
    let first_fault = scenario.phases.iter().position(|phase| !phase.faults.is_empty()).unwrap_or(usize::MAX);
    let of = |fair: &dyn Fn(usize) -> bool| -> Vec<usize> {
        scenario
            .phases
            .iter()
            .enumerate()
            .filter(|(index, phase)| {
                phase.path == path && !phase.warm_up && seen.phases.contains_key(index) && fair(*index)
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

/// One line of the table that sets cached beside uncached.
#[derive(Clone, Debug)]
pub struct ComparisonRow {
    /// What is compared: `P95`.
    pub name: &'static str,
    /// As shown for the uncached path; a dash where it was not measured.
    pub uncached: String,
    /// The same for the cached path.
    pub cached: String,
    /// `2.8 times faster`, empty where it says nothing.
    pub change: String,
}

/// Cached beside uncached: the phases and figures of both. `None` where neither way was taken.
#[derive(Clone, Debug, Serialize)]
pub struct PathComparison {
    /// Names of the phases that took the uncached path.
    pub uncached_phases: Vec<String>,
    /// Names of those that took the cached path.
    pub cached_phases: Vec<String>,
    /// What was measured on the uncached path.
    pub uncached: Option<RequestStats>,
    /// What was measured on the cached path.
    pub cached: Option<RequestStats>,
}

/// Measures both sides.
pub fn path_comparison(scenario: &Scenario, seen: &Measurements) -> PathComparison {
    let side = |path| {
        let phases = compared_phases(scenario, seen, path);
        let request_stats = request_stats(scenario, seen, &phases, |key| key.path == path);
        let names = phases.iter().map(|phase| scenario.phases[*phase].name.clone()).collect();
        (names, (request_stats.requests > 0).then_some(request_stats))
    };
    let (uncached_phases, uncached) = side(CachePath::Uncached);
    let (cached_phases, cached) = side(CachePath::Cached);
    PathComparison { uncached_phases, cached_phases, uncached, cached }
}

impl PathComparison {
    /// The table's lines.
    pub fn lines(&self) -> Vec<ComparisonRow> {
        let show = |side: &Option<RequestStats>, value: &dyn Fn(&RequestStats) -> Option<String>| {
            side.as_ref().and_then(value).unwrap_or_else(|| "–".to_owned())
        };
        let line = |name, value: &dyn Fn(&RequestStats) -> Option<String>, change: String| ComparisonRow {
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
            // In an open loop both sides are sent the same: two per cent apart is the draw of the arrivals.
            .filter(|ratio| (ratio - 1.0).abs() > 0.02)
            .map_or_else(String::new, |ratio| format!("{} times", numbers::plain(ratio)));
        let time = |value: Option<f64>| value.map(numbers::time);
        let mut lines = vec![
            line("P50", &|request_stats| time(request_stats.p50), faster(&|request_stats| request_stats.p50)),
            line("P95", &|request_stats| time(request_stats.p95), faster(&|request_stats| request_stats.p95)),
            line("P99", &|request_stats| time(request_stats.p99), faster(&|request_stats| request_stats.p99)),
            line("mean", &|request_stats| time(request_stats.mean), faster(&|request_stats| request_stats.mean)),
            line("throughput", &|request_stats| request_stats.throughput.map(numbers::rate), times),
            line("hit rate", &|request_stats| request_stats.hit_rate.map(numbers::share), String::new()),
            line("queries a request", &|request_stats| request_stats.db_queries_per_request.map(numbers::plain), fewer),
            line("errors", &|request_stats| Some(errors(request_stats)), String::new()),
            line("requests (n)", &|request_stats| Some(numbers::count(request_stats.requests)), String::new()),
        ];
        lines.retain(|line| line.uncached != "–" || line.cached != "–");
        lines
    }
}

/// What Redis itself counted in each judged cached phase, beside what the answers said; a sentence each. Redis counts look-ups of keys,
/// and a read may look up more than one: its value and the tags it is invalidated by.
pub(crate) fn redis_lookups(scenario: &Scenario, seen: &Measurements) -> Vec<(usize, String)> {
    let judged = seen.phases.keys().filter_map(|index| Some((*index, scenario.phases.get(*index)?)));
    judged
        .filter(|(_, phase)| phase.path == CachePath::Cached && !phase.warm_up)
        .filter_map(|(index, _)| {
            let (hits, misses) = seen.redis_lookups(index)?;
            let said = |wanted| numbers::count(seen.count(|key| key.phase == index && key.outcome == wanted));
            let text = format!(
                "answers said {} hits, {} misses; Redis found {} keys and missed {} (keyspace_hits, keyspace_misses: of every \
                 look-up, those for tags and for the cache's own upkeep among them).",
                said(Outcome::Hit),
                said(Outcome::Miss),
                numbers::count(hits),
                numbers::count(misses)
            );
            Some((index, text))
        })
        .collect()
}

/// `12 (0.12 %)`, or `0`.
pub(crate) fn errors(request_stats: &RequestStats) -> String {
    match request_stats.error_share {
        Some(share) if request_stats.errors > 0 => {
            format!("{} ({})", numbers::count(request_stats.errors), numbers::share(share))
        }
        _ => "0".to_owned(),
    }
}

/// A value in words, or a dash where it was not measured.
pub(crate) fn or_dash(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), show)
}
