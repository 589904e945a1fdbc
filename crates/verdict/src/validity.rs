//! What makes a run valid or not, before any rule is looked at.

use std::collections::{BTreeMap, BTreeSet};

use cacheproof_core::journal::{AtQuiescence, Outcome, RunStatus, Sample, SendLag};
use cacheproof_core::measurements::Measurements;
use cacheproof_core::metrics::{ScenarioFacts, phases_without_db_queries};
use cacheproof_core::scenario::{LoadModel, Scenario};

use super::answers::check_answers;
use super::fault_effects::check_fault_effects;
use super::{FaultOutcome, Finding, numbers};

/// The generator's lateness that counts as too late, in nanoseconds.
const MAX_SEND_LAG_NANOS: u64 = 50_000_000;
/// Share of a phase's coarse slices that may be late.
const MAX_LATE_WINDOW_SHARE: f64 = 0.10;
/// Share of all cores above which the generator is saturated.
const MAX_CPU_SHARE: f64 = 0.85;
/// How far our count of requests and goose's may differ.
const MAX_COUNT_DEVIATION: f64 = 0.01;

/// What weakens the rules on certain phases.
#[derive(Debug, Default)]
pub(super) struct ValidityIssues {
    /// Judged phases that did not run to their end.
    pub incomplete: BTreeSet<usize>,
    /// Phases in which the generator was saturated.
    pub saturated: BTreeSet<usize>,
    /// Phases whose fault was never seen to work.
    pub ineffective_faults: BTreeSet<usize>,
    /// Phases whose answers were not the items that were asked for.
    pub no_items: BTreeSet<usize>,
    /// Judged phases of a run whose acknowledged writes changed nothing.
    pub unchanged_writes: BTreeSet<usize>,
    /// Uncached phases whose answers came from the cache.
    pub not_bypassed: BTreeSet<usize>,
    /// Phases in which the app did not use the Redis of the scenario.
    pub redis_unused: BTreeSet<usize>,
    /// Our count of the requests and goose's differ.
    pub count_mismatch: bool,
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
    generator(scenario, measurements, &mut findings, &mut issues);
    rates(scenario, measurements, &mut findings);
    counts(measurements, &mut findings, &mut issues);
    for phase in judged(scenario) {
        let ran = measurements.phases.contains_key(&phase) && !issues.incomplete.contains(&phase);
        if ran && measurements.count(|key| key.phase == phase) == 0 {
            findings.blocking(format!("No request was answered or failed in '{}'.", name(scenario, phase)));
        }
    }
    check_fault_effects(scenario, measurements, outcomes, &mut findings, &mut issues);
    statistics(scenario, measurements, &mut findings);
    check_db_silence(scenario, facts, measurements, &mut findings);
    freshness(scenario, measurements, &mut findings);
    check_answers(scenario, measurements, &mut findings, &mut issues);
    proxy(measurements, &mut findings);
    for note in &measurements.notes {
        findings.informational(note.clone());
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

fn generator(scenario: &Scenario, measurements: &Measurements, findings: &mut Findings, issues: &mut ValidityIssues) {
    let cores = measurements.start.as_ref().map_or(0, |start| start.host.cores);
    for phase in judged(scenario) {
        let Some(span) = measurements.phases.get(&phase) else { continue };
        let to = span.to.unwrap_or(measurements.last_at);
        let cpu: Vec<(f64, f64)> = measurements
            .samples
            .iter()
            .filter(|(at, _)| *at >= span.from && *at <= to)
            .filter_map(|(at, sample)| sample.harness.as_ref().map(|harness| (*at, harness.cpu)))
            .collect();
        if let (Some(first), Some(last)) = (cpu.first(), cpu.last())
            && cores > 0
            && last.0 > first.0
        {
            let share = (last.1 - first.1) / (last.0 - first.0) / cores as f64;
            if share > MAX_CPU_SHARE {
                issues.saturated.insert(phase);
                findings.blocking(format!(
                    "The load generator was saturated in '{}': it used {} of the {cores} cores. Times and throughput \
                     are those of the load generator, not of the app. Lower traffic.rate, or use a larger machine.",
                    name(scenario, phase),
                    numbers::share(share)
                ));
            }
        }
        let lags: Vec<SendLag> = measurements
            .coarse_slices
            .iter()
            .filter(|slice| slice.to > span.from && slice.to <= to)
            .filter_map(|slice| slice.counts.send_lag)
            .collect();
        // One late second is a hiccup of the machine, also in a phase so short that it is a tenth of it.
        let too_many = |late: usize| late > 1 && late as f64 > lags.len() as f64 * MAX_LATE_WINDOW_SHARE;
        // Half of a second's requests late: the generator cannot keep up. A few late: something else took the
        // processor for a moment, from the app as well, which can only make it look slower than it is.
        let behind = lags.iter().filter(|lag| lag.p50 > MAX_SEND_LAG_NANOS).count();
        let paused = lags.iter().filter(|lag| lag.p99 > MAX_SEND_LAG_NANOS).count();
        if too_many(behind) {
            issues.saturated.insert(phase);
            findings.blocking(format!(
                "The load generator was behind in '{}': in {behind} of {} seconds half of its requests were sent more \
                 than 50 ms late, although a connection was free. Lower traffic.rate, or keep the machine free of \
                 other work.",
                name(scenario, phase),
                lags.len()
            ));
        } else if too_many(paused) {
            findings.informational(format!(
                "The machine was not quiet in '{}': in {paused} of {} seconds at least 1 % of the requests were sent more \
                 than 50 ms late. The app was slowed down as well, so its real times may be better than these.",
                name(scenario, phase),
                lags.len()
            ));
        }
    }
}

fn rates(scenario: &Scenario, measurements: &Measurements, findings: &mut Findings) {
    let LoadModel::Open { rate, .. } = scenario.traffic.load_model else { return };
    let planned = |phase: usize| scenario.phases[phase].rate.unwrap_or(rate);
    let sent = |phase: usize| measurements.count(|key| key.phase == phase);
    // Nobody says which phases the unsent were meant for; they are the last in the queue.
    let mut left = measurements.end.as_ref().map_or(0, |end| end.unsent);
    let mut arrivals: BTreeMap<usize, u64> = BTreeMap::new();
    for phase in measurements.phases.keys().rev().filter(|phase| **phase < scenario.phases.len()) {
        let expected = planned(*phase) * measurements.phase_seconds(*phase);
        let unsent = left.min((expected.ceil() as u64).saturating_sub(sent(*phase)));
        left -= unsent;
        arrivals.insert(*phase, sent(*phase) + unsent);
    }
    for phase in judged(scenario) {
        let seconds = measurements.phase_seconds(phase);
        if seconds < 1.0 {
            continue;
        }
        let planned = planned(phase);
        let count = arrivals.get(&phase).copied().unwrap_or(0) as f64;
        let answered = measurements.throughput(&[phase], |_| true).filter(|answered| *answered < count / seconds * 0.9);
        let answered =
            answered.map_or_else(String::new, |answered| format!("; answered in time: {}", numbers::rate(answered)));
        let text = format!(
            "Arrivals in '{}': {} planned, {} achieved{answered}.",
            name(scenario, phase),
            numbers::rate(planned),
            numbers::rate(count / seconds)
        );
        // Poisson arrivals spread by the root of their number; only what is beyond four times that is a lack.
        let expected = planned * seconds;
        if count < expected * 0.9 && expected - count > 4.0 * expected.sqrt() {
            findings.blocking(text);
        } else {
            findings.informational(text);
        }
    }
}

fn counts(measurements: &Measurements, findings: &mut Findings, issues: &mut ValidityIssues) {
    let Some(end) = &measurements.end else { return };
    let ours = measurements.count(|_| true);
    if end.unsent > 0 {
        let share = end.unsent as f64 / (ours + end.unsent) as f64;
        let text = format!(
            "{} arrivals ({}) were due but never sent, because no connection came free before the run ended.",
            numbers::count(end.unsent),
            numbers::share(share)
        );
        if share > MAX_COUNT_DEVIATION { findings.blocking(text) } else { findings.informational(text) }
    }
    if let Some(goose) = end.goose_requests {
        // What was never sent is our error, and none of goose's requests.
        let goose = goose + if end.how == RunStatus::Completed { end.unsent } else { 0 };
        let apart = ours.abs_diff(goose) as f64 / ours.max(goose).max(1) as f64;
        let text = format!(
            "Requests counted: {} by cacheproof, {} by goose ({} apart).",
            numbers::count(ours),
            numbers::count(goose),
            numbers::share(apart)
        );
        if apart > MAX_COUNT_DEVIATION {
            issues.count_mismatch = true;
            findings.blocking(format!("{text} One of them is wrong: please report this."));
        } else {
            findings.informational(text);
        }
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
