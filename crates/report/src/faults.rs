//! What was promised about each fault and what happened, gathered once for every format.

use serde::Serialize;

use cacheproof_core::journal::CachePath;
use cacheproof_core::measurements::Measurements;
use cacheproof_core::numbers;
use cacheproof_core::scenario::{Scenario, Term};
use cacheproof_verdict::{FaultOutcome, Recovery, RuleResult, Ruling, Verdict};

use super::{ReportInput, path_comparison};

/// A fault as the tables show it. Everything in words but what programs read.
pub(super) struct FaultSummary<'a> {
    pub outcome: &'a FaultOutcome,
    /// From 1, as the charts number them.
    pub number: usize,
    pub phase: &'a str,
    /// What was done, to how many connections: `sent SIGKILL to redis-server (pid 4702)`.
    pub done: String,
    /// `10 s`, `to the end`, `at once`.
    pub lasted: String,
    /// What a probe saw and when, or that nothing was seen.
    pub seen: String,
    pub noticed: String,
    pub recovered: String,
    pub hit_rate: String,
    pub availability: String,
    /// `3 errors`, `2 stale`, `0`.
    pub bad: String,
    /// Ruling and text of the rules that speak of its phase.
    pub promised: Vec<(Ruling, &'a str)>,
}

/// Every fault, in the order in which they were injected.
pub(super) fn fault_summaries<'a>(view: &'a ReportInput<'_>) -> Vec<FaultSummary<'a>> {
    let faults = &view.verdict.faults;
    faults.iter().enumerate().map(|(index, outcome)| summarize_fault(view, index + 1, outcome)).collect()
}

fn summarize_fault<'a>(view: &'a ReportInput<'_>, number: usize, outcome: &'a FaultOutcome) -> FaultSummary<'a> {
    let window = &outcome.window;
    let connections = match window.connections {
        Some(1) => "; 1 open connection".to_owned(),
        Some(count) => format!("; {} open connections", numbers::count(count)),
        None => String::new(),
    };
    let seen = match (window.seen, &window.observation) {
        (Some(at), Some(observation)) => format!("{observation}, after {}", numbers::time(at - window.from)),
        (Some(at), None) => format!("after {}", numbers::time(at - window.from)),
        (None, _) => "never seen to work".to_owned(),
    };
    let lasted = match (window.undone, outcome.over) {
        (Some(undone), _) => numbers::moment(undone - window.from),
        (None, Some(_)) => "over at once".to_owned(),
        (None, None) => "never undone".to_owned(),
    };
    let impact = &outcome.impact;
    let bad: Vec<String> =
        [("error", impact.counts.errors), ("wrong", impact.counts.wrong), ("stale", impact.counts.stale)]
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(what, count)| {
                let plural = if what == "error" && count != 1 { "s" } else { "" };
                format!("{} {what}{plural}", numbers::count(count))
            })
            .collect();
    FaultSummary {
        outcome,
        number,
        phase: view.phase_name(window.phase),
        done: format!("{}{connections}", window.done),
        lasted,
        seen,
        noticed: match (outcome.notice(), outcome.noticed_by, &outcome.limits) {
            (Some(after), Some(why), _) => format!("{}: {why}", format_to_tenths(after)),
            (_, _, Some(_)) => "never".to_owned(),
            (_, _, None) => "–".to_owned(),
        },
        recovered: recovery(&outcome.service, "never gone"),
        hit_rate: hit_rate(outcome),
        availability: outcome.availability().map_or_else(|| "–".to_owned(), numbers::share),
        bad: if bad.is_empty() { "0".to_owned() } else { bad.join(", ") },
        promised: applied_rules(view, window.phase),
    }
}

fn recovery(recovery: &Recovery, kept: &str) -> String {
    match recovery {
        Recovery::Kept => kept.to_owned(),
        Recovery::After(seconds) => format_to_tenths(*seconds),
        Recovery::NotWithin(watched) => format!("not within {}", numbers::moment(*watched)),
        Recovery::Unknown(_) => "–".to_owned(),
        Recovery::InsufficientLoad(_) => "too few requests to tell".to_owned(),
    }
}

/// Pulses are a tenth of a second long: more digits would say more than is known.
fn format_to_tenths(seconds: f64) -> String {
    if seconds < 0.05 { "at once".to_owned() } else { format!("after {}", numbers::moment(seconds)) }
}

fn hit_rate(outcome: &FaultOutcome) -> String {
    let Some(hit_rate) = &outcome.hit_rate else { return "–".to_owned() };
    let bound = match hit_rate.bound {
        Some(bound) => format!(" (a cold cache at best {})", format_to_tenths(bound)),
        None => String::new(),
    };
    let kept = hit_rate.lowest.is_some_and(|lowest| lowest >= hit_rate.target);
    match &hit_rate.back {
        Recovery::After(0.0) if kept => "never gone".to_owned(),
        back => recovery(back, "never gone") + &bound,
    }
}

/// The rules that speak of this phase by name, and those on faults that speak of all.
fn applied_rules<'a>(view: &'a ReportInput<'_>, phase: usize) -> Vec<(Ruling, &'a str)> {
    let speaks = |term: &Term| {
        term.phase == Some(phase)
            || term.phase.is_none()
                && term.metric.is_fault_metric()
                && term.path.is_none_or(|path| view.scenario.phases.get(phase).is_some_and(|phase| phase.path == path))
    };
    let results = view.verdict.criteria.iter().map(|criterion| &criterion.rules);
    let rules = view.scenario.criteria.iter().map(|criterion| &criterion.rules);
    let pairs = rules.zip(results).flat_map(|(rules, results)| rules.iter().zip(results));
    pairs
        .filter(|(rule, _)| speaks(&rule.term))
        .map(|(_, result): (_, &RuleResult)| (result.ruling, result.text.as_str()))
        .collect()
}

/// Each fault in a line for the terminal, and what it looks like.
pub fn fault_lines(scenario: &Scenario, seen: &Measurements, verdict: &Verdict) -> Vec<(String, Vec<String>)> {
    let view = ReportInput { scenario, seen, verdict, path_comparison: path_comparison(scenario, seen) };
    let line = |fault: FaultSummary<'_>| {
        let window = &fault.outcome.window;
        let text = format!(
            "{} in '{}' at {} ({}): noticed {}; {} available; bad answers: {}; service back: {}; hit rate back: {}",
            window.what,
            fault.phase,
            numbers::moment(window.from),
            fault.lasted,
            fault.noticed,
            fault.availability,
            fault.bad,
            fault.recovered,
            fault.hit_rate
        );
        (text, fault.outcome.hints.clone())
    };
    fault_summaries(&view).into_iter().map(line).collect()
}

/// The steady limits in a sentence; empty where there are none.
pub(super) fn limits(view: &ReportInput<'_>) -> Vec<String> {
    let mut told: Vec<(CachePath, String)> = Vec::new();
    for outcome in &view.verdict.faults {
        let Some(limits) = &outcome.limits else { continue };
        if told.iter().any(|(path, _)| *path == outcome.path) {
            continue;
        }
        let few = if limits.requests > 0.0 {
            format!(", or less than {} requests a second", numbers::plain(limits.requests))
        } else {
            String::new()
        };
        let text = format!(
            "Out of the ordinary on the {} path, by {}: in {} more than {} of the requests failed, more than {} of the \
             answers wrong or stale, a P95 above {}{few}. Back: {} such steps in a row without.",
            outcome.path.as_str(),
            limits.phases.join(", "),
            numbers::time(limits.slice_seconds),
            numbers::share(limits.errors),
            numbers::share(limits.incorrect),
            numbers::time(limits.p95),
            limits.in_a_row
        );
        told.push((outcome.path, text));
    }
    told.into_iter().map(|(_, text)| text).collect()
}

/// A fault for summary.json.
#[derive(Serialize)]
pub(super) struct FaultJson<'a> {
    phase: &'a str,
    what: &'a str,
    round: u32,
    done: &'a str,
    connections: Option<u64>,
    begun: f64,
    injected: Option<f64>,
    seen: Option<f64>,
    undone: Option<f64>,
    back: Option<f64>,
    noticed: Option<f64>,
    noticed_by: Option<cacheproof_verdict::LimitViolation>,
    service: &'a Recovery,
    recovered: Option<f64>,
    absorbed: Option<f64>,
    over: Option<f64>,
    timed_from: Option<f64>,
    watched_to: f64,
    trouble: f64,
    relapse: f64,
    requests: u64,
    availability: Option<f64>,
    errors: u64,
    wrong: u64,
    stale: u64,
    fallbacks: u64,
    hit_rate: Option<HitRateJson<'a>>,
    limits: Option<&'a cacheproof_verdict::SteadyLimits>,
    hints: &'a [String],
    promised: Vec<AppliedRule<'a>>,
}

#[derive(Serialize)]
struct HitRateJson<'a> {
    back: &'a Recovery,
    steady: f64,
    target: f64,
    lowest: Option<f64>,
    emptied: bool,
    bound: Option<f64>,
}

#[derive(Serialize)]
struct AppliedRule<'a> {
    rule: &'a str,
    ruling: Ruling,
}

/// Every fault for summary.json.
pub(super) fn json_faults<'a>(view: &'a ReportInput<'_>) -> Vec<FaultJson<'a>> {
    let promise = |(ruling, rule)| AppliedRule { rule, ruling };
    let faults = view.verdict.faults.iter();
    faults
        .map(|outcome| FaultJson {
            phase: view.phase_name(outcome.window.phase),
            what: &outcome.window.what,
            round: outcome.window.round,
            done: &outcome.window.done,
            connections: outcome.window.connections,
            begun: outcome.window.from,
            injected: outcome.window.injected,
            seen: outcome.window.seen,
            undone: outcome.window.undone,
            back: outcome.window.back,
            noticed: outcome.noticed,
            noticed_by: outcome.noticed_by,
            service: &outcome.service,
            recovered: outcome.recovered_at(),
            absorbed: outcome.absorbed,
            over: outcome.over,
            timed_from: outcome.base,
            watched_to: outcome.watched_to,
            trouble: outcome.trouble,
            relapse: outcome.relapse,
            requests: outcome.impact.counts.requests(),
            availability: outcome.availability(),
            errors: outcome.impact.counts.errors,
            wrong: outcome.impact.counts.wrong,
            stale: outcome.impact.counts.stale,
            fallbacks: outcome.impact.counts.fallbacks,
            hit_rate: outcome.hit_rate.as_ref().map(|hit_rate| HitRateJson {
                back: &hit_rate.back,
                steady: hit_rate.steady,
                target: hit_rate.target,
                lowest: hit_rate.lowest,
                emptied: hit_rate.emptied,
                bound: hit_rate.bound,
            }),
            limits: outcome.limits.as_ref(),
            hints: &outcome.hints,
            promised: applied_rules(view, outcome.window.phase).into_iter().map(promise).collect(),
        })
        .collect()
}
