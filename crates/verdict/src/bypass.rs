//! Whether an uncached phase was uncached: by what its answers say, or by the work of Redis and of the database.

use cacheproof_core::journal::{CachePath, Outcome};
use cacheproof_core::measurements::Measurements;
use cacheproof_core::scenario::Scenario;

use super::answers::MIN_ANSWERS;
use super::numbers;
use super::validity::{Findings, ValidityIssues, judged, name};

/// Share of the answers to a request of an uncached phase that may say that they came from the cache.
const MAX_UNCACHED_HITS: f64 = 0.01;

/// Share of the answers that must say where they came from, so that nothing else is asked.
const MIN_TOLD: f64 = 0.5;

/// How far the work for a request on both paths may be apart and still be the same.
const SAME_WORK: f64 = 0.1;

/// Work for a request, below which Redis or the database is not used: there is nothing to compare.
const MIN_WORK: f64 = 0.05;

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
    let of_request: Vec<(usize, u64, u64)> = cacheable
        .map(|request| {
            let count = |served: &dyn Fn(Option<bool>) -> bool| {
                let is_of = |phase_of: usize, request_of: usize| (phase_of, request_of) == (phase, request);
                measurements.count(|key| is_of(key.phase, key.request) && served(key.outcome.is_served_from_cache()))
            };
            (request, count(&|served| served == Some(true)), count(&|served| served.is_some()))
        })
        .collect();
    let sum = |of: fn(&(usize, u64, u64)) -> u64| -> u64 { of_request.iter().map(of).sum() };
    let is_cached = |hits: u64, told: u64| hits as f64 > told as f64 * MAX_UNCACHED_HITS;
    let is_phase_cached = is_cached(sum(|of| of.1), sum(|of| of.2));
    let from_cache: Vec<String> = of_request
        .iter()
        .filter(|(_, hits, told)| is_cached(*hits, *told) && (is_phase_cached || *told >= MIN_ANSWERS))
        .map(|(request, hits, told)| {
            let request = &scenario.traffic.requests[*request].name;
            format!("{} of {} answers to '{request}'", numbers::count(*hits), numbers::count(*told))
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
    let answered = measurements
        .count(|key| key.phase == phase && scenario.is_cacheable(key.request) && key.outcome != Outcome::Error);
    if answered < MIN_ANSWERS || sum(|of| of.2) as f64 >= answered as f64 * MIN_TOLD {
        return;
    }
    if let Some(why) = unchanged_work(scenario, measurements, phase) {
        issues.not_bypassed.insert(phase);
        findings.blocking(format!(
            "Nothing shows that the phase '{}' was uncached. Its answers do not say where they came from, and {why}. Check \
             that the app honours [target] bypass, or let its answers say whether the cache was used ([target.hit]). Until \
             then, comparisons with this phase show nothing.",
            name(scenario, phase)
        ));
    }
}

/// Where an uncached phase caused the same work as a cached one: that, in words.
fn unchanged_work(scenario: &Scenario, measurements: &Measurements, uncached: usize) -> Option<String> {
    let cached = judged(scenario).find(|phase| {
        let is_cached = scenario.phases[*phase].path == CachePath::Cached && scenario.phases[*phase].faults.is_empty();
        is_cached && measurements.count(|key| key.phase == *phase) >= MIN_ANSWERS
    })?;
    let per_request = |phase: usize, work: Option<u64>| {
        let answered = measurements.count(|key| key.phase == phase && key.outcome != Outcome::Error);
        work.filter(|_| answered > 0).map(|work| work as f64 / answered as f64)
    };
    let both = |work: &dyn Fn(usize) -> Option<u64>| {
        let (cached, uncached) = (per_request(cached, work(cached))?, per_request(uncached, work(uncached))?);
        Some((cached, uncached)).filter(|_| cached >= MIN_WORK)
    };
    let words = |what: &str, (cached_work, uncached_work): (f64, f64)| {
        format!(
            "{what} {} a request there and {} in '{}'",
            numbers::plain(uncached_work),
            numbers::plain(cached_work),
            name(scenario, cached)
        )
    };
    // More work for the database is what a bypass is for.
    if let Some(queries) = both(&|phase| measurements.db_queries(phase)) {
        let is_same = queries.1 <= queries.0 * (1.0 + SAME_WORK);
        return is_same.then(|| words("the database executed", queries));
    }
    let hits = both(&|phase| measurements.redis_lookups(phase).map(|(hits, _)| hits))?;
    (hits.1 >= hits.0 * (1.0 - SAME_WORK)).then(|| words("Redis counted as many hits:", hits))
}
