//! Whether the answers are good for a judgement at all: whether items were read, whether they carry what the scenario
//! declares, whether an uncached answer was uncached. What is wrong with a phase's answers weakens every rule on it.

use std::collections::BTreeSet;

use cacheproof_core::journal::{AnswerCounts, CachePath, FreshnessKey};
use cacheproof_core::measurements::Measurements;
use cacheproof_core::scenario::{CacheKind, Scenario, TargetKind, Topology, VersionSpec};

use super::numbers;
use super::validity::{Findings, ValidityIssues, judged, name};

/// Fewer answers than this show nothing about the others.
const MIN_ANSWERS: u64 = 20;

/// Share of the reads of items that may be answered with a status of `expect`.
const MAX_ABSENT_SHARE: f64 = 0.5;

/// Share of the answers that may be the same as the answer before, which was of another item.
const MAX_SAME_SHARE: f64 = 0.9;

/// Share of the answers of an uncached phase that may say that they came from the cache.
const MAX_UNCACHED_HITS: f64 = 0.01;

/// Looks for answers that no rule can be judged on.
pub(super) fn check_answers(
    scenario: &Scenario,
    measurements: &Measurements,
    findings: &mut Findings,
    issues: &mut ValidityIssues,
) {
    for phase in judged(scenario) {
        for request in 0..scenario.traffic.requests.len() {
            check_items(scenario, measurements, (phase, request), findings, issues);
        }
        check_bypass(scenario, measurements, phase, findings, issues);
    }
    check_version(scenario, measurements, findings, issues);
    check_redis_is_used(scenario, measurements, findings, issues);
}

fn answers_of(measurements: &Measurements, wanted: impl Fn(&FreshnessKey) -> bool) -> AnswerCounts {
    measurements.freshness(wanted).answers
}

/// Whether a request's answers were items, and of the items that it asked for.
fn check_items(
    scenario: &Scenario,
    measurements: &Measurements,
    (phase, request): (usize, usize),
    findings: &mut Findings,
    issues: &mut ValidityIssues,
) {
    let answers = answers_of(measurements, |key| key.phase == phase && key.request == request);
    let request = scenario.traffic.requests.get(request).map_or("?", |request| request.name.as_str());
    let of = |part: u64, all: u64| {
        format!("{} of {} ({})", numbers::count(part), numbers::count(all), numbers::share(part as f64 / all as f64))
    };
    let reads = answers.items + answers.absent;
    if reads >= MIN_ANSWERS && answers.absent as f64 > reads as f64 * MAX_ABSENT_SHARE {
        issues.no_items.insert(phase);
        findings.blocking(format!(
            "In '{}', {} answers to '{request}' had a status that `expect` allows instead of the item. That shows nothing \
             about the items. Read items that exist.",
            name(scenario, phase),
            of(answers.absent, reads)
        ));
    }
    // Where answers are checked, another item's answer is wrong, and told as such.
    let is_checked = scenario.target.identity.is_some() || !scenario.target.tokens.is_empty();
    let is_same = answers.same as f64 > answers.compared as f64 * MAX_SAME_SHARE;
    if !is_checked && answers.compared >= MIN_ANSWERS && is_same {
        issues.no_items.insert(phase);
        findings.blocking(format!(
            "In '{}', {} answers to '{request}' were the same, byte for byte, as the answer before, which was of another \
             item: an error page or a login page looks like that. Say in [target] where an item's key is: identity = \"id\".",
            name(scenario, phase),
            of(answers.same, answers.compared)
        ));
    }
}

/// Whether the requests of an uncached phase went past the cache.
fn check_bypass(
    scenario: &Scenario,
    measurements: &Measurements,
    phase: usize,
    findings: &mut Findings,
    issues: &mut ValidityIssues,
) {
    if scenario.phases.get(phase).is_none_or(|phase| phase.path != CachePath::Uncached) {
        return;
    }
    let count = |wanted: &dyn Fn(Option<bool>) -> bool| {
        measurements.count(|key| {
            key.phase == phase && scenario.is_cacheable(key.request) && wanted(key.outcome.is_served_from_cache())
        })
    };
    let (hits, told) = (count(&|served| served == Some(true)), count(&|served| served.is_some()));
    if hits as f64 > told as f64 * MAX_UNCACHED_HITS {
        issues.not_bypassed.insert(phase);
        findings.blocking(format!(
            "The phase '{}' was not uncached: {} of {} answers said that they came from the cache. The app or a cache in \
             front of it ignores [target] bypass, or keeps what it asks for. Comparisons with this phase show nothing.",
            name(scenario, phase),
            numbers::count(hits),
            numbers::count(told)
        ));
    }
}

/// Whether any answer carried the version that the scenario declares.
fn check_version(
    scenario: &Scenario,
    measurements: &Measurements,
    findings: &mut Findings,
    issues: &mut ValidityIssues,
) {
    let Some(version) = &scenario.target.version else { return };
    let answers = answers_of(measurements, |key| scenario.is_judged(key.phase));
    let lists = measurements.total(|key| scenario.is_judged(key.phase)).judged_fresh;
    if answers.items < MIN_ANSWERS || answers.unversioned == 0 {
        return;
    }
    let place = match version {
        VersionSpec::Header(name) => format!("header {name}"),
        VersionSpec::Json(path) => format!("field \"{path}\""),
    };
    let (without, all) = (numbers::count(answers.unversioned), numbers::count(answers.items));
    if answers.unversioned < answers.items || lists > 0 {
        findings.informational(format!("{without} of {all} answers with an item carried no version ({place})."));
        return;
    }
    let phases: BTreeSet<usize> = judged(scenario).collect();
    issues.no_items.extend(phases);
    findings.blocking(format!(
        "None of the {all} answers with an item carried the version that [target] declares ({place}), or it was not a whole \
         number. Either the answers are not the items, or the version is elsewhere."
    ));
}

/// Whether Redis saw anything of the hits that the answers claim. With several servers the look-ups of one of them say
/// nothing.
fn check_redis_is_used(
    scenario: &Scenario,
    measurements: &Measurements,
    findings: &mut Findings,
    issues: &mut ValidityIssues,
) {
    let caches_elsewhere = scenario.target.kind == TargetKind::Reference
        && matches!(scenario.target.cache, CacheKind::Memory | CacheKind::None);
    let is_single = scenario
        .stack
        .redis
        .as_ref()
        .is_some_and(|redis| redis.topology == Topology::Standalone && redis.replicas == 0);
    if caches_elsewhere || !is_single {
        return;
    }
    for phase in judged(scenario) {
        let hits = measurements.count(|key| {
            let is_cached_read =
                key.phase == phase && key.path == CachePath::Cached && scenario.is_cacheable(key.request);
            is_cached_read && key.outcome.is_served_from_cache() == Some(true)
        });
        if hits >= MIN_ANSWERS && measurements.redis_lookups(phase) == Some((0, 0)) {
            issues.redis_unused.insert(phase);
            findings.blocking(format!(
                "In '{}', {} answers said that they came from the cache, and Redis counted no look-up of a key. So the app \
                 does not use this Redis, and what is measured on it shows nothing about the cache.",
                name(scenario, phase),
                numbers::count(hits)
            ));
        }
    }
}
