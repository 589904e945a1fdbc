//! Whether the faults broke what they should: their effect was observed, and they touched what the app uses.

use std::collections::BTreeSet;

use cacheproof_core::journal::{CachePath, FaultStage};
use cacheproof_core::measurements::Measurements;
use cacheproof_core::scenario::{FaultAction, LinkFaultKind, Scenario, Victim};

use super::validity::{Findings, ValidityIssues, name};
use super::{FaultOutcome, LimitViolation, numbers};

/// Requests before a fault that show whether the app uses a server.
const MIN_REQUESTS: u64 = 50;

/// Bytes to Redis per request on the cached path, below which the app does not use it: a look-up has 20 and more, and a
/// pool that only keeps its connections alive sends some each second.
const MIN_REDIS_BYTES: f64 = 0.5;

/// The same for Postgres, which only misses and writes need.
const MIN_POSTGRES_BYTES: f64 = 0.1;

/// Looks at each fault: whether its effect was observed, and whether it touched what the app uses.
pub(super) fn check_fault_effects(
    scenario: &Scenario,
    measurements: &Measurements,
    outcomes: &[FaultOutcome],
    findings: &mut Findings,
    issues: &mut ValidityIssues,
) {
    for (index, phase) in scenario.phases.iter().enumerate() {
        for (number, fault) in phase.faults.iter().enumerate() {
            let what = fault.describe();
            let rounds = |stage| -> BTreeSet<u32> {
                measurements
                    .faults
                    .iter()
                    .filter(|(_, event)| event.phase == index && event.fault == number && event.stage == stage)
                    .map(|(_, event)| event.round)
                    .collect()
            };
            let injected = rounds(FaultStage::Injected);
            // Without a check, the effect of a command shows in the answers or not at all.
            let is_unchecked = matches!(&fault.action, FaultAction::Command { check: None, .. });
            let is_noticed = |outcome: &&FaultOutcome| {
                let is_this = (outcome.window.phase, outcome.window.fault) == (index, number);
                // Slow answers may come from anything on the machine, and some errors from chance.
                is_this
                    && outcome.noticed_by.is_some_and(|limit| limit != LimitViolation::Slow)
                    && (outcome.noticed_by == Some(LimitViolation::Silent)
                        || is_worse_than_before(scenario, measurements, outcome))
            };
            // What several faults did at the same time shows nothing about one of them.
            let alone = phase.faults.len() == 1;
            let noticed = outcomes.iter().filter(|outcome| is_unchecked && alone && is_noticed(outcome));
            let noticed: BTreeSet<u32> = noticed.map(|outcome| outcome.window.round).collect();
            // A round that did nothing proves nothing, whatever the others did.
            let without = |stage| {
                let mut seen = rounds(stage);
                if stage == FaultStage::Seen {
                    seen.extend(&noticed);
                }
                let missing = injected.difference(&seen).count();
                let which = match injected.len() {
                    1 => String::new(),
                    all => format!(" in {missing} of {all} rounds"),
                };
                (missing > 0).then_some(which)
            };
            let over = measurements.phases.contains_key(&index) && !issues.incomplete.contains(&index);
            if injected.is_empty() {
                if over {
                    issues.ineffective_faults.insert(index);
                    findings.blocking(format!("The fault '{what}' in '{}' was never injected.", phase.name));
                }
            } else if let Some(which) = without(FaultStage::Seen) {
                issues.ineffective_faults.insert(index);
                let help = if is_unchecked {
                    " Say how to see it: check = \"a command that ends with exit status 0 while the effect is there\"."
                } else {
                    ""
                };
                findings.blocking(format!(
                    "The fault '{what}' in '{}' was injected, but no effect was observed{which}. So this phase \
                     proves nothing about it.{help}",
                    phase.name
                ));
            } else if let Some(which) = without(FaultStage::SeenUndone).filter(|_| over) {
                findings.informational(format!(
                    "After '{what}' in '{}', it was not observed that the victim worked again{which}.",
                    phase.name
                ));
            }
        }
    }
    check_victims_are_used(scenario, measurements, findings, issues);
    check_connections_were_hit(scenario, outcomes, findings, issues);
}

/// Whether more answers were errors, wrong or stale while a fault lasted than chance allows by the share before it.
fn is_worse_than_before(scenario: &Scenario, measurements: &Measurements, outcome: &FaultOutcome) -> bool {
    let slices = measurements.slices(outcome.path, |request| scenario.is_cacheable(request));
    let sum = |from: f64, to: f64| {
        let inside = slices.iter().filter(|slice| slice.middle() > from && slice.middle() <= to);
        inside.fold((0_u64, 0_u64), |(bad, all), slice| {
            let counts = &slice.counts;
            (bad + counts.errors + counts.wrong + counts.stale, all + counts.requests())
        })
    };
    let (before, all_before) = sum(f64::NEG_INFINITY, outcome.window.from);
    let (bad, all) = sum(outcome.window.from, outcome.watched_to);
    let usual = (before as f64 + 1.0) / (all_before as f64 + 2.0);
    let expected = all as f64 * usual;
    bad as f64 > expected + 4.0 * (expected * (1.0 - usual)).sqrt() + 1.0
}

/// Whether the app used the server before it was broken: a fault on a server that it does without proves nothing.
fn check_victims_are_used(
    scenario: &Scenario,
    measurements: &Measurements,
    findings: &mut Findings,
    issues: &mut ValidityIssues,
) {
    let slices = measurements.slices(CachePath::Cached, |request| scenario.is_cacheable(request));
    // Probes of the first fault go through the proxy too: what was unused before it counts as unused.
    let mut unused: BTreeSet<&'static str> = BTreeSet::new();
    for window in measurements.fault_windows() {
        let spec = scenario.phases.get(window.phase).and_then(|phase| phase.faults.get(window.fault));
        let (server, min_bytes) = match spec.map(|spec| spec.victim) {
            Some(Victim::Redis | Victim::RedisReplica) => ("Redis", MIN_REDIS_BYTES),
            // Hits need no database.
            Some(Victim::Postgres) => ("Postgres", MIN_POSTGRES_BYTES),
            _ => continue,
        };
        let Some(bytes) = window.app_bytes else { continue };
        let before = slices.iter().filter(|slice| slice.to <= window.from);
        let requests: u64 = before.map(|slice| slice.counts.requests()).sum();
        // After few requests, or none, it must have been used all the same.
        let is_unused = (bytes as f64) < requests.max(MIN_REQUESTS) as f64 * min_bytes;
        if !is_unused && !unused.contains(server) {
            continue;
        }
        issues.ineffective_faults.insert(window.phase);
        if unused.insert(server) {
            let not_used = if requests >= MIN_REQUESTS { "did not use" } else { "was not seen to use" };
            findings.blocking(format!(
                "The app {not_used} {server} before '{}' in '{}': it sent {} to it in {} requests through the cache. So \
                 the fault may have touched nothing that the app needs, and its phase proves nothing. Let a phase without a fault \
                 come before it. Does the app get its address from cacheproof \
                 ({})?",
                window.what,
                name(scenario, window.phase),
                numbers::bytes(bytes as f64),
                numbers::count(requests),
                if server == "Redis" { "REDIS_URL" } else { "DATABASE_URL" }
            ));
        }
    }
}

/// Whether a fault on connections hit one of the app's.
fn check_connections_were_hit(
    scenario: &Scenario,
    outcomes: &[FaultOutcome],
    findings: &mut Findings,
    issues: &mut ValidityIssues,
) {
    for outcome in outcomes {
        let window = &outcome.window;
        let spec = scenario.phases.get(window.phase).and_then(|phase| phase.faults.get(window.fault));
        let Some(FaultAction::Link(link)) = spec.map(|spec| &spec.action) else { continue };
        // Of a `refuse`: how many of the app's open connections had ended when it was removed.
        let hit = [window.connections, window.connections_at_end];
        let is_felt = match link.kind {
            // Slow answers may come from anything on the machine, and an app that keeps its connections gets none.
            LinkFaultKind::Refuse => outcome.noticed_by.is_some_and(|limit| limit != LimitViolation::Slow),
            _ => outcome.notice().is_some(),
        };
        if hit == [Some(0), Some(0)] && !is_felt {
            issues.ineffective_faults.insert(window.phase);
            let (did, help) = match link.kind {
                LinkFaultKind::Refuse => (
                    "touched nothing: the app went on with the connections that it had, and no answer was worse for it",
                    "Let a `reset` in the same phase begin before it and end after it has begun",
                ),
                _ => (
                    "hit no connection of the app, and no answer was slower or worse for it",
                    "Let it hit a larger share of the connections",
                ),
            };
            findings.blocking(format!(
                "The fault '{}' in '{}' {did}. So its phase proves nothing about it. {help}.",
                window.what,
                name(scenario, window.phase)
            ));
        }
    }
}
