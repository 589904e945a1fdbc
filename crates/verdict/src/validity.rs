//! What makes a run valid or not, before any rule is looked at.

use std::collections::BTreeSet;

use cacheproof_core::journal::{AtQuiescence, Outcome, RunStatus, Sample};
use cacheproof_core::measurements::Measurements;
use cacheproof_core::metrics::{ScenarioFacts, phases_without_db_queries};
use cacheproof_core::scenario::Scenario;

use super::answers::check_answers;
use super::bypass::check_bypass;
use super::fault_effects::check_fault_effects;
use super::machine::Stall;
use super::sending::{check_client_failures, check_unsendable, counts, generator, rates};
use super::stalls::check_stalls;
use super::{FaultOutcome, Finding, numbers};

/// Most notes of the run that are repeated: a report that lists thousands is not read.
const MAX_NOTES: usize = 200;

/// What weakens the rules on certain phases.
#[derive(Debug, Default)]
pub(super) struct ValidityIssues {
    /// Judged phases that did not run to their end.
    pub incomplete: BTreeSet<usize>,
    /// Phases in which the generator was saturated.
    pub saturated: BTreeSet<usize>,
    /// Phases of which some arrivals were never sent, because the generator or its machine could not.
    pub unsendable: BTreeSet<usize>,
    /// Phases in which cacheproof itself could not send some requests.
    pub client_failures: BTreeSet<usize>,
    /// Phases whose fault was never seen to work.
    pub ineffective_faults: BTreeSet<usize>,
    /// Phases whose answers were not the items that were asked for.
    pub no_items: BTreeSet<usize>,
    /// Judged phases of a run whose acknowledged writes changed nothing.
    pub unchanged_writes: BTreeSet<usize>,
    /// Uncached phases whose answers came from the cache.
    pub not_bypassed: BTreeSet<usize>,
    /// Phases in which the app did not use the Redis of the scenario: this weakens only rules about the cache.
    pub redis_unused: BTreeSet<usize>,
    /// Servers of the scenario that the app never connected to.
    pub unconnected: BTreeSet<&'static str>,
    /// Our count of the requests and goose's differ.
    pub count_mismatch: bool,
    /// When the machine stalled.
    pub stalls: Vec<Stall>,
}

/// Looks at what was seen for whatever makes it doubtful.
pub(super) fn check_validity(
    scenario: &Scenario,
    facts: &ScenarioFacts,
    measurements: &Measurements,
    outcomes: &[FaultOutcome],
) -> (Vec<Finding>, ValidityIssues) {
    let mut findings = Findings(Vec::new());
    let mut issues = ValidityIssues::default();
    check_completion(scenario, measurements, &mut findings, &mut issues);
    check_client_failures(scenario, measurements, &mut findings, &mut issues);
    generator(scenario, measurements, &mut findings, &mut issues);
    check_stalls(scenario, measurements, &mut findings, &mut issues);
    check_unsendable(scenario, measurements, &mut findings, &mut issues);
    rates(scenario, measurements, &mut findings);
    counts(scenario, measurements, &mut findings, &mut issues);
    for phase in judged(scenario) {
        let ran = measurements.phases.contains_key(&phase) && !issues.incomplete.contains(&phase);
        if ran && measurements.count(|key| key.phase == phase) == 0 {
            findings.blocking(format!("No request was answered or failed in '{}'.", name(scenario, phase)));
        }
    }
    check_fault_effects(scenario, measurements, outcomes, &mut findings, &mut issues);
    check_steady_after(measurements, &mut findings);
    statistics(scenario, measurements, &mut findings);
    check_db_silence(scenario, facts, measurements, &mut findings);
    freshness(scenario, measurements, &mut findings);
    for phase in judged(scenario) {
        check_bypass(scenario, measurements, phase, &mut findings, &mut issues);
    }
    check_answers(scenario, measurements, &mut findings, &mut issues);
    proxy(measurements, &mut findings);
    for note in measurements.notes.iter().take(MAX_NOTES) {
        findings.informational(note.clone());
    }
    if let Some(more) = measurements.notes.len().checked_sub(MAX_NOTES).filter(|more| *more > 0) {
        findings.informational(format!("{} more notes are in events.jsonl.", numbers::count(more as u64)));
    }
    (findings.0, issues)
}

pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn blocking(&mut self, text: String) {
        self.0.push(Finding { blocking: true, text });
    }

    pub(super) fn informational(&mut self, text: String) {
        self.0.push(Finding { blocking: false, text });
    }
}

pub(super) fn judged(scenario: &Scenario) -> impl Iterator<Item = usize> + '_ {
    (0..scenario.phases.len()).filter(|phase| scenario.is_judged(*phase))
}

pub(super) fn name(scenario: &Scenario, phase: usize) -> &str {
    scenario.phases.get(phase).map_or("?", |phase| &phase.name)
}

fn check_completion(
    scenario: &Scenario,
    measurements: &Measurements,
    findings: &mut Findings,
    issues: &mut ValidityIssues,
) {
    if measurements.complete() {
        return;
    }
    let why = match &measurements.end {
        None => "cacheproof itself was killed or crashed".to_owned(),
        Some(end) => end.why.clone().unwrap_or_else(|| match end.how {
            RunStatus::Interrupted => "the user stopped it".to_owned(),
            _ => "the environment failed".to_owned(),
        }),
    };
    let last = measurements.phases.keys().next_back().copied();
    for phase in judged(scenario) {
        let whole = measurements.phases.get(&phase).is_some_and(|span| {
            // The last phase that began may have been ended by force: then it is shorter than planned.
            let planned = scenario.phases[phase].lasts.as_secs_f64();
            span.to.is_some_and(|to| Some(phase) != last || to - span.from >= planned * 0.99)
        });
        if !whole {
            issues.incomplete.insert(phase);
        }
    }
    let at = numbers::moment(measurements.last_at);
    let missing: Vec<String> = issues.incomplete.iter().map(|phase| format!("'{}'", name(scenario, *phase))).collect();
    let missing = match missing.as_slice() {
        [] => "All judged phases were complete by then.".to_owned(),
        names => format!("These phases were not complete: {}.", names.join(", ")),
    };
    let why = why.trim_end().trim_end_matches('.');
    findings.blocking(format!("The run is incomplete. It ended after {at}: {why}. {missing}"));
}

/// Whether the system was steady again after the last fault.
fn check_steady_after(measurements: &Measurements, findings: &mut Findings) {
    let Some(after) = measurements.end.as_ref().and_then(|end| end.steady_after.as_ref()) else {
        if !measurements.faults.is_empty() && measurements.complete() {
            findings.informational(
                "Whether the system was steady again after the last fault was not checked. That needs 6 s and 20 requests after \
                 it, in a phase with the path of one that was judged before the first fault, and with its rate if [safety] has \
                 rules on the steady state."
                    .to_owned(),
            );
        }
        return;
    };
    if let Some(broken) = &after.broken {
        findings.blocking(format!(
            "After the last fault the system was not steady again. In the last {} of the run ({} requests), this did not hold: \
             {broken}. If it needs longer to recover, let the last phase last longer.",
            numbers::moment(after.seconds),
            numbers::count(after.requests)
        ));
    }
}

/// How far what is said about freshness reaches.
fn freshness(scenario: &Scenario, measurements: &Measurements, findings: &mut Findings) {
    if !measurements.at_quiescence.is_empty() {
        let sum = |of: fn(&AtQuiescence) -> u64| -> String {
            numbers::count(measurements.at_quiescence.iter().map(of).sum())
        };
        findings.informational(format!(
            "Answers carry no version, so {} written items were compared on both paths while no request was in flight, at the \
             end of each cached phase: {} differed, {} change with every answer and show nothing. This does not find \
             answers that were stale only for a while. For that, answers must carry a version (target.version).",
            sum(|at_quiescence| at_quiescence.compared),
            sum(|at_quiescence| at_quiescence.differ),
            sum(|at_quiescence| at_quiescence.incomparable),
        ));
    }
    let indeterminate = measurements.freshness(|key| scenario.is_judged(key.phase));
    if indeterminate.indeterminate > 0 {
        findings.informational(format!(
            "{} reads returned the value of a write with unknown outcome, which may have been stored late. They count \
             neither as fresh nor as stale.",
            numbers::count(indeterminate.indeterminate)
        ));
    }
}

/// What the measuring itself costs the app.
fn proxy(measurements: &Measurements, findings: &mut Findings) {
    let Some(cost) = measurements.proxy else { return };
    let time = |nanoseconds: u64| numbers::time(nanoseconds as f64 / 1e9);
    findings.informational(format!(
        "The proxy before Redis adds {} to the median round trip ({} without it; {} PINGs each way, before the load). \
         Both paths reach the servers through proxies.",
        time(cost.added),
        time(cost.direct),
        numbers::count(cost.round_trips)
    ));
}

/// A database that counts nothing while the app answers past its cache is not the app's, or does not count.
fn check_db_silence(scenario: &Scenario, facts: &ScenarioFacts, measurements: &Measurements, findings: &mut Findings) {
    if scenario.stack.postgres.is_none() {
        return;
    }
    for phase in phases_without_db_queries(facts, measurements) {
        let answered = measurements.count(|key| key.phase == phase && key.outcome != Outcome::Error);
        findings.blocking(format!(
            "Postgres counted 0 queries in '{}', although {} requests that should bypass the cache were answered \
             there. Is this the app's database? [stack.postgres] must name it. Check also that the bypass works.",
            name(scenario, phase),
            numbers::count(answered)
        ));
    }
}

fn statistics(scenario: &Scenario, measurements: &Measurements, findings: &mut Findings) {
    let any = |has: fn(&Sample) -> bool| measurements.samples.iter().any(|(_, sample)| has(sample));
    if scenario.stack.redis.is_some() && !any(|sample| sample.redis.is_some()) {
        findings.informational("Redis gave no statistics: its memory, keys and evictions are not known.".to_owned());
    }
    if scenario.stack.postgres.is_some() {
        if !any(|sample| sample.postgres.is_some()) {
            findings.informational("Postgres gave no statistics: the database's work is not known.".to_owned());
        } else if !any(|sample| sample.postgres.as_ref().is_some_and(|postgres| postgres.exact)) {
            findings.informational(
                "Database work is counted in transactions, not in queries: pg_stat_statements is not installed there."
                    .to_owned(),
            );
        }
    }
}
