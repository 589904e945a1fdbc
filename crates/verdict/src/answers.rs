//! Whether the answers are good for a judgement at all: whether items were read, whether they carry what the scenario
//! declares, whether an uncached answer was uncached. What is wrong with a phase's answers weakens every rule on it.

use std::collections::BTreeSet;

use cacheproof_core::journal::{AnswerCounts, CachePath, FreshnessKey, Outcome};
use cacheproof_core::measurements::Measurements;
use cacheproof_core::scenario::{CacheKind, Request, Scenario, TargetKind, Topology};

use super::measure::phases_of;
use super::numbers;
use super::rule::needs_redis;
use super::validity::{Findings, ValidityIssues, judged, name};

/// Fewer answers than this show nothing about the others.
pub(super) const MIN_ANSWERS: u64 = 20;

/// Share of the reads of items that may be answered with a status of `expect`.
const MAX_ABSENT_SHARE: f64 = 0.75;

/// Share of the items that may look like an error page or a sign-in page.
const MAX_SUBSTITUTE_SHARE: f64 = 0.1;

/// How much larger the share of such answers may be in a phase with a fault.
const MAX_MORE_ABSENT: f64 = 0.2;

/// Samples of a server that show whether it has connections.
const MIN_SAMPLES: usize = 3;

/// Share of the answers that may be the same as the answer before, which was of another item.
const MAX_SAME_SHARE: f64 = 0.9;

/// Share of the acknowledged writes that may leave the version as it was.
const MAX_UNCHANGED_SHARE: f64 = 0.05;

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
    }
    check_version(scenario, measurements, findings, issues);
    check_labels(measurements, findings);
    check_updates(scenario, measurements, findings, issues);
    check_redis_is_used(scenario, measurements, findings, issues);
    check_connections(scenario, measurements, findings, issues);
    check_compared(measurements, findings);
    check_unchecked_requests(scenario, findings);
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
    let request_index = request;
    let request = scenario.traffic.requests.get(request).map_or("?", |request| request.name.as_str());
    let of = |part: u64, all: u64| {
        format!("{} of {} ({})", numbers::count(part), numbers::count(all), numbers::share(part as f64 / all as f64))
    };
    let reads = answers.items + answers.others + answers.absent;
    let found = answers.items + answers.others;
    if reads >= MIN_ANSWERS && answers.absent as f64 > reads as f64 * MAX_ABSENT_SHARE {
        issues.no_items.insert(phase);
        findings.blocking(format!(
            "In '{}', {} answers to '{request}' had a status that `expect` allows instead of the item. That shows nothing \
             about the items. Read items that exist.",
            name(scenario, phase),
            of(answers.absent, reads)
        ));
    }
    if found >= MIN_ANSWERS && answers.substitutes as f64 > found as f64 * MAX_SUBSTITUTE_SHARE {
        issues.no_items.insert(phase);
        findings.blocking(format!(
            "In '{}', {} answers to '{request}' look like an error page or a sign-in page: their title, a field or the page \
             that a redirect led to says so, and the item's key is not in them. If the app answers with JSON, say in [target] \
             where the key is: identity = \"id\".",
            name(scenario, phase),
            of(answers.substitutes, found)
        ));
    }
    // An outage that is answered with "not found" is one.
    let has_fault = scenario.phases.get(phase).is_some_and(|phase| !phase.faults.is_empty());
    // The largest of the other phases: items that are deleted for good become more and more.
    let usual = || {
        let calm = judged(scenario).filter(|phase| scenario.phases[*phase].faults.is_empty());
        let share_in = |phase| {
            let answers = answers_of(measurements, |key| key.phase == phase && key.request == request_index);
            answers.absent as f64 / (answers.items + answers.others + answers.absent).max(1) as f64
        };
        calm.map(share_in).fold(0.0, f64::max)
    };
    let share = answers.absent as f64 / reads.max(1) as f64;
    if has_fault && reads >= MIN_ANSWERS && share > usual() + MAX_MORE_ABSENT && !issues.no_items.contains(&phase) {
        issues.no_items.insert(phase);
        findings.blocking(format!(
            "In '{}', {} answers to '{request}' had a status that `expect` allows instead of the item, far more than without \
             the fault. These items exist, so the fault made them unavailable.",
            name(scenario, phase),
            of(answers.absent, reads)
        ));
    }
    // Where answers are checked, another item's answer is wrong, and told as such. Tokens are only in what was written.
    let is_checked = scenario.target.identity.is_some();
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
    let (without, all) = (numbers::count(answers.unversioned), numbers::count(answers.items));
    if answers.unversioned < answers.items || lists > 0 {
        findings.informational(format!("{without} of {all} answers with an item carried no version ({version})."));
        return;
    }
    let phases: BTreeSet<usize> = judged(scenario).collect();
    issues.no_items.extend(phases);
    findings.blocking(format!(
        "None of the {all} answers with an item carried the version that [target] declares ({version}), or it was neither a \
         whole number nor a time. Either the answers are not the items, or the version is elsewhere."
    ));
}

/// Whether Redis saw anything of the reads through the cache: an app without a cache, or with one that Redis refuses, also
/// sends bytes to it. With several servers the look-ups of one of them say nothing.
fn check_redis_is_used(
    scenario: &Scenario,
    measurements: &Measurements,
    findings: &mut Findings,
    issues: &mut ValidityIssues,
) {
    let caches_elsewhere = scenario.target.kind == TargetKind::Reference && scenario.target.cache != CacheKind::Redis;
    let is_single = scenario
        .stack
        .redis
        .as_ref()
        .is_some_and(|redis| redis.topology == Topology::Standalone && redis.replicas == 0);
    if caches_elsewhere || !is_single {
        return;
    }
    let phases: Vec<(usize, u64, u64)> = judged(scenario)
        .map(|phase| {
            let count = |wanted: &dyn Fn(&Outcome) -> bool| {
                measurements.count(|key| {
                    let is_cached_read = key.path == CachePath::Cached && scenario.is_cacheable(key.request);
                    key.phase == phase && is_cached_read && wanted(&key.outcome)
                })
            };
            let hits = count(&|outcome| outcome.is_served_from_cache() == Some(true));
            (phase, hits, count(&|outcome| *outcome == Outcome::Miss))
        })
        .filter(|(_, hits, misses)| hits + misses >= MIN_ANSWERS)
        .collect();
    // A cache in front of Redis may answer a whole phase; one that answers the whole run makes Redis idle.
    if phases.is_empty() || phases.iter().any(|(phase, ..)| measurements.redis_lookups(*phase) != Some((0, 0))) {
        return;
    }
    for (phase, hits, misses) in phases {
        issues.redis_unused.insert(phase);
        let answered = if hits > 0 {
            format!("{} answers said that they came from the cache", numbers::count(hits))
        } else {
            format!("{} answers said that the cache did not have them", numbers::count(misses))
        };
        let text = format!(
            "In '{}', {answered}, and Redis counted no look-up of a key in the whole run. So the app does not use this Redis, \
             and what is measured on it shows nothing about the cache.",
            name(scenario, phase),
        );
        let mut rules = scenario.criteria.iter().flat_map(|criterion| &criterion.rules);
        if rules.any(|rule| phases_of(scenario, &rule.term).contains(&phase) && needs_redis(scenario, rule, phase)) {
            findings.blocking(text);
        } else {
            findings.informational(text);
        }
    }
}

/// Whether the app ever connected to the servers of the scenario. A sample a second may miss a connection, a count of what was
/// executed does not.
fn check_connections(
    scenario: &Scenario,
    measurements: &Measurements,
    findings: &mut Findings,
    issues: &mut ValidityIssues,
) {
    let samples = || measurements.samples.iter().map(|(_, sample)| sample);
    let has_at_most =
        |clients: Vec<u64>, own: u64| clients.len() >= MIN_SAMPLES && clients.iter().all(|clients| *clients <= own);
    let phases: Vec<usize> = judged(scenario).collect();
    // cacheproof's own connection to Redis is among its clients.
    let redis = has_at_most(samples().filter_map(|sample| sample.redis.as_ref()?.clients).collect(), 1)
        && phases.iter().all(|phase| measurements.redis_lookups(*phase) == Some((0, 0)));
    let postgres = has_at_most(samples().filter_map(|sample| sample.postgres.as_ref()?.connections).collect(), 0)
        && phases.iter().all(|phase| measurements.db_queries(*phase) == Some(0));
    for (server, is_unconnected) in [("Redis", redis), ("Postgres", postgres)] {
        if is_unconnected && phases.iter().any(|phase| measurements.count(|key| key.phase == *phase) >= MIN_ANSWERS) {
            issues.unconnected.insert(server);
            findings.informational(format!(
                "The app never had a connection to {server}. Rules about {server} are inconclusive. Does the app get its address \
                 from cacheproof ({})?",
                if server == "Redis" { "REDIS_URL" } else { "DATABASE_URL" }
            ));
        }
    }
}

/// Whether the comparison at rest could show anything.
fn check_compared(measurements: &Measurements, findings: &mut Findings) {
    let unchanged: u64 = measurements.at_quiescence.iter().map(|one| one.unchanged).sum();
    if unchanged > 0 {
        findings.informational(format!(
            "{} answers were the same past the cache as before their item was written. Either the writes show in none of these \
             answers, or the app ignores [target] bypass. They do not count as compared.",
            numbers::count(unchanged)
        ));
    }
}

/// Which reads nobody can see to be wrong, although the scenario says how answers are checked.
fn check_unchecked_requests(scenario: &Scenario, findings: &mut Findings) {
    if scenario.target.identity.is_none() {
        return;
    }
    let reads_that = |wanted: &dyn Fn(&Request) -> bool| -> Vec<String> {
        let reads = scenario.traffic.requests.iter().filter(|request| request.method.is_read() && wanted(request));
        reads.map(|request| format!("'{}'", request.name)).collect()
    };
    let unchecked = reads_that(&|request| !scenario.can_be_wrong(request, None));
    if !unchecked.is_empty() {
        findings.informational(format!(
            "Answers to {} were not checked for being another item's: the requests name no item (item = \"…\" would).",
            unchecked.join(", ")
        ));
    }
    let nested = reads_that(&|request| request.item.as_ref().is_some_and(|item| item.keys.len() > 1));
    if !nested.is_empty() {
        findings.informational(format!(
            "Of {} the last key is checked by the identity: an answer of the same key below another one would not be noticed.",
            nested.join(", ")
        ));
    }
}

/// Whether any answer said where it came from, where `absent` says what no word means.
fn check_labels(measurements: &Measurements, findings: &mut Findings) {
    let Some(labels) = measurements.end.as_ref().and_then(|end| end.labels) else { return };
    let (told, assumed) = (numbers::count(labels.told), numbers::count(labels.assumed));
    if labels.told == 0 && labels.assumed > 0 {
        findings.blocking(format!(
            "No answer said where it came from, so all {assumed} are what `absent` in [target.hit] says, and nothing was \
             measured. Is the name of the header or field right? Does something between the app and cacheproof remove it?"
        ));
    } else if labels.assumed > 0 {
        findings.informational(format!(
            "{told} answers said where they came from. {assumed} said nothing, and are what `absent` in [target.hit] says."
        ));
    }
}

/// Whether acknowledged writes changed anything.
fn check_updates(
    scenario: &Scenario,
    measurements: &Measurements,
    findings: &mut Findings,
    issues: &mut ValidityIssues,
) {
    let answers = answers_of(measurements, |key| scenario.is_judged(key.phase));
    if answers.behind_at_end > 0 {
        issues.unchanged_writes.extend(judged(scenario));
        findings.blocking(format!(
            "{} written items did not show their last acknowledged write when they were read past the cache at the end, and the \
             answers did not say where they came from. Either the writes are lost, or the app ignores [target] bypass. Let \
             answers say whether the cache was used.",
            numbers::count(answers.behind_at_end)
        ));
    }
    let writes = answers.updates + answers.unchanged;
    if answers.unchanged == 0 || (answers.unchanged as f64) < writes as f64 * MAX_UNCHANGED_SHARE {
        return;
    }
    issues.unchanged_writes.extend(judged(scenario));
    findings.blocking(format!(
        "{} of {} acknowledged writes left the version of their item as it was. They are lost, or they send what is there \
         already, or the version is a time so coarse that two writes have the same. Let each write send something new: \
         body = '{{\"title\": \"{{random}}\"}}'.",
        numbers::count(answers.unchanged),
        numbers::count(writes)
    ));
}
