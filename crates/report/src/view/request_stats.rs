//! The numbers of a selection of requests.

use serde::Serialize;

use cacheproof_core::journal::{CachePath, Outcome};
use cacheproof_core::measurements::{Measurements, ResponseKey};
use cacheproof_core::scenario::Scenario;

/// What was measured over some phases. Times are in seconds and of answers (errors left out), shares are of 1, rates are per
/// second. `None`: not measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RequestStats {
    /// Requests sent and answered, errors included.
    pub requests: u64,
    /// How long the phases lasted together.
    pub seconds: f64,
    /// Answers per second.
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
    /// The same per request.
    pub db_queries_per_request: Option<f64>,
    /// Requests that failed.
    pub errors: u64,
    /// Their share.
    pub error_share: Option<f64>,
    /// Answers past a cache that could not be reached.
    pub fallbacks: u64,
    /// Answers with something other than what was asked for.
    pub wrong_answers: u64,
    /// Answers older than the last write acknowledged before.
    pub stale: u64,
}

/// The figures of the requests of some phases that are wanted. Database work is that of whole phases.
pub(crate) fn request_stats(
    scenario: &Scenario,
    measurements: &Measurements,
    phases: &[usize],
    wanted: impl Fn(&ResponseKey) -> bool,
) -> RequestStats {
    let selected = |key: &ResponseKey| phases.contains(&key.phase) && wanted(key);
    let totals = measurements.total(selected);
    let requests = totals.count();
    let outcome = |outcome| measurements.count(|key| selected(key) && key.outcome == outcome);
    let cacheable = |wanted: Outcome| {
        measurements.count(|key| selected(key) && key.outcome == wanted && scenario.is_cacheable(key.request))
    };
    // Errors are left out: a quick refusal would make the app look fast.
    let answered = measurements.total(|key| selected(key) && key.outcome != Outcome::Error);
    let at = |q| answered.response.quantile(q).map(|nanoseconds| nanoseconds as f64 / 1e9);
    let seconds: f64 = phases.iter().map(|phase| measurements.phase_seconds(*phase)).sum();
    let errors = outcome(Outcome::Error);
    let (hits, misses) = (cacheable(Outcome::Hit), cacheable(Outcome::Miss));
    let cached_reads = |counted: &dyn Fn(Option<bool>) -> bool| {
        measurements.count(|key| {
            let is_cached_read = key.path == CachePath::Cached && scenario.is_cacheable(key.request);
            selected(key) && is_cached_read && counted(key.outcome.is_served_from_cache())
        })
    };
    let (served, known) = (cached_reads(&|served| served == Some(true)), cached_reads(&|served| served.is_some()));
    let db_queries =
        if phases.is_empty() { None } else { phases.iter().map(|phase| measurements.db_queries(*phase)).sum() };
    let in_phases = measurements.count(|key| phases.contains(&key.phase) && key.outcome != Outcome::Error);
    let share = |part: u64, of: u64| (of > 0).then(|| part as f64 / of as f64);
    RequestStats {
        requests,
        seconds,
        throughput: measurements.throughput(phases, selected).filter(|_| requests > 0),
        p50: at(0.5),
        p95: at(0.95),
        p99: at(0.99),
        p999: at(0.999),
        mean: answered.mean().map(|mean| mean / 1e9),
        max: answered.response.max().map(|max| max as f64 / 1e9),
        service_p95: answered.service.quantile(0.95).map(|nanoseconds| nanoseconds as f64 / 1e9),
        hit_rate: share(served, known),
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
