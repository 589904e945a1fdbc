//! Whether an uncached phase was uncached: by what its answers say, or by the work of Redis and of the database.

use cacheproof_core::journal::{CachePath, Outcome};
use cacheproof_core::measurements::{Measurements, ResponseKey};
use cacheproof_core::scenario::Scenario;

use super::answers::MIN_ANSWERS;
use super::numbers;
use super::validity::{Findings, ValidityIssues, judged, name};

/// Share of the answers to a request of an uncached phase that may say that they came from the cache.
const MAX_UNCACHED_HITS: f64 = 0.01;

/// Share of the answers to a request that must say where they came from, so that nothing else is asked.
const MIN_TOLD: f64 = 0.5;

/// Share of the look-ups of a cached read that an uncached one may cause, where the cache is in Redis.
const MAX_LOOKUPS: f64 = 0.9;

/// How many times the look-ups without a result of a cached read an uncached one may cause. Who goes past the cache misses
/// nothing in it; look-ups for something else miss on both paths.
const MAX_MISSES: f64 = 1.1;

/// Work for a cacheable read, below which Redis or the database is not used for it.
const MIN_WORK: f64 = 0.05;

/// How many times the queries of a cached read an uncached one must cause, and how many at least, so that look-ups for
/// something else than the cache (sessions) do not matter.
const MANY_QUERIES: (f64, f64) = (2.0, 0.5);

/// How many times the queries of a cached read an uncached one must cause, where no Redis is used.
const MORE_QUERIES: f64 = 1.05;

/// Whether the requests of an uncached phase went past the cache.
pub(super) fn check_bypass(
    scenario: &Scenario,
    measurements: &Measurements,
    phase: usize,
    findings: &mut Findings,
    issues: &mut ValidityIssues,
) {
    if scenario.phases.get(phase).is_none_or(|phase| phase.path != CachePath::Uncached) {
        return;
    }
    let cacheable = (0..scenario.traffic.requests.len()).filter(|request| scenario.is_cacheable(*request));
    let of_request: Vec<Told> = cacheable
        .map(|request| {
            let count = |served: &dyn Fn(Option<bool>) -> bool| {
                let is_of = |phase_of: usize, request_of: usize| (phase_of, request_of) == (phase, request);
                measurements.count(|key| is_of(key.phase, key.request) && served(key.outcome.is_served_from_cache()))
            };
            Told { request, hits: count(&|served| served == Some(true)), all: count(&|served| served.is_some()) }
        })
        .collect();
    let is_cached = |hits: u64, told: u64| hits as f64 > told as f64 * MAX_UNCACHED_HITS;
    let is_phase_cached =
        is_cached(of_request.iter().map(|told| told.hits).sum(), of_request.iter().map(|told| told.all).sum());
    let from_cache: Vec<String> = of_request
        .iter()
        .filter(|told| is_cached(told.hits, told.all) && (is_phase_cached || told.all >= MIN_ANSWERS))
        .map(|told| {
            let request = &scenario.traffic.requests[told.request].name;
            format!("{} of {} answers to '{request}'", numbers::count(told.hits), numbers::count(told.all))
        })
        .collect();
    if !from_cache.is_empty() {
        issues.not_bypassed.insert(phase);
        findings.blocking(format!(
            "The phase '{}' was not uncached: {} said that they came from the cache. The app or a cache in front of it \
             ignores [target] bypass, or keeps what it asks for. Comparisons with this phase show nothing.",
            name(scenario, phase),
            from_cache.join(", ")
        ));
        return;
    }
    let is_untold = of_request.iter().any(|told| {
        let is_answer =
            |of: &ResponseKey| (of.phase, of.request) == (phase, told.request) && of.outcome != Outcome::Error;
        let answered = measurements.count(is_answer);
        answered >= MIN_ANSWERS && (told.all as f64) < answered as f64 * MIN_TOLD
    });
    if let Some(why) = is_untold.then(|| unchanged_work(scenario, measurements, phase)).flatten() {
        issues.not_bypassed.insert(phase);
        // Only comparisons are in doubt: the work for a read is weaker evidence than what an answer says.
        findings.informational(format!(
            "Nothing shows that the phase '{}' was uncached. Not all its answers say where they came from, and {why}. So \
             comparisons with this phase are inconclusive. Check that the app honours [target] bypass, or let its answers say \
             whether the cache was used ([target.hit]).",
            name(scenario, phase)
        ));
    }
}

/// What the answers to a request say about where they came from.
struct Told {
    request: usize,
    /// How many came from the cache.
    hits: u64,
    /// How many say it.
    all: u64,
}

/// What one cacheable read caused in a cached and in an uncached phase, on average.
#[derive(Clone, Copy, Debug)]
struct Work {
    cached: f64,
    uncached: f64,
}

/// Where an uncached phase caused the same work as a cached one: that, in words.
fn unchanged_work(scenario: &Scenario, measurements: &Measurements, uncached: usize) -> Option<String> {
    let cached = judged(scenario).find(|phase| {
        let is_cached = scenario.phases[*phase].path == CachePath::Cached && scenario.phases[*phase].faults.is_empty();
        is_cached && measurements.count(|key| key.phase == *phase) >= MIN_ANSWERS
    })?;
    let per_read = |phase: usize, work: Option<u64>| {
        let is_read = |request| scenario.is_cacheable(request);
        let reads =
            measurements.count(|key| key.phase == phase && is_read(key.request) && key.outcome != Outcome::Error);
        work.filter(|_| reads > 0).map(|work| work as f64 / reads as f64)
    };
    let both = |work: &dyn Fn(usize) -> Option<u64>| {
        Some(Work { cached: per_read(cached, work(cached))?, uncached: per_read(uncached, work(uncached))? })
    };
    let words = |what: &str, work: Work| {
        format!(
            "{what} {} for each cacheable read there and {} in '{}'",
            numbers::plain(work.uncached),
            numbers::plain(work.cached),
            name(scenario, cached)
        )
    };
    let queries = both(&|phase| measurements.db_queries(phase));
    let misses = both(&|phase| measurements.redis_lookups(phase).map(|(_, misses)| misses));
    if let Some(misses) = misses.filter(|misses| misses.uncached > misses.cached * MAX_MISSES + MIN_WORK) {
        return Some(words("in Redis more look-ups had no result, as in a cache that fills:", misses));
    }
    let lookups = both(&|phase| measurements.redis_lookups(phase).map(|(hits, misses)| hits + misses));
    let has_many_queries = queries.is_some_and(|queries| {
        queries.uncached >= queries.cached * MANY_QUERIES.0 && queries.uncached >= MANY_QUERIES.1
    });
    if let Some(lookups) = lookups.filter(|lookups| lookups.cached >= MIN_WORK) {
        let is_same = lookups.uncached >= lookups.cached * MAX_LOOKUPS;
        return (is_same && !has_many_queries).then(|| words("Redis counted as many look-ups:", lookups));
    }
    let Some(queries) = queries else {
        let is_known = lookups.is_some() || misses.is_some();
        return (!is_known).then(|| "no server is known whose work could show it".to_owned());
    };
    // A database of which no phase needs anything is not the app's, or the reads do not need it.
    let is_used = queries.cached > 0.0 || queries.uncached > 0.0;
    let is_idle = queries.uncached < MIN_WORK;
    let is_same = queries.uncached <= queries.cached * MORE_QUERIES;
    (is_used && (is_idle || is_same)).then(|| words("the database executed no more queries:", queries))
}
