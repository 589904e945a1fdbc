//! What was promised about each fault and what happened.

use cacheproof_core::journal::{CachePath, FaultEvent};
use cacheproof_core::numbers;
use cacheproof_core::scenario::Term;
use cacheproof_verdict::{FaultOutcome, Recovery, RuleResult, Ruling};

use super::{ReportInput, or_dash, plural};

/// The faults of a run.
pub(crate) struct FaultsView<'a> {
    /// In the order in which they were injected.
    pub rows: Vec<FaultRow<'a>>,
    /// The steady limits, a sentence for each path.
    pub limits: Vec<String>,
    /// What was done step by step, with the time of each step.
    pub steps: Vec<(String, &'a FaultEvent)>,
}

/// A fault as the tables show it.
pub(crate) struct FaultRow<'a> {
    pub outcome: &'a FaultOutcome,
    /// From 1, as the charts number them.
    pub number: usize,
    pub what: &'a str,
    pub phase: &'a str,
    /// When it was injected.
    pub at: String,
    /// What was done, to how many connections: `sent SIGKILL to redis-server (pid 4702)`.
    pub done: String,
    /// `10 s`, `over at once`, `never undone`.
    pub lasted: String,
    /// What a probe saw and when, or that nothing was seen.
    pub seen: String,
    pub noticed: String,
    pub recovered: String,
    pub hit_rate: String,
    pub availability: String,
    /// `3 errors`, `2 stale`, `0`.
    pub bad: String,
    /// Ruling and text of the rules about its phase.
    pub promised: Vec<(Ruling, &'a str)>,
}

impl<'a> FaultsView<'a> {
    pub(super) fn of(input: ReportInput<'a>) -> Self {
        let steps = input.measurements.faults.iter().map(|(at, event)| (numbers::moment(*at), event));
        Self { rows: rows(input), limits: limits(input), steps: steps.collect() }
    }

    /// The hints of the first `most` faults: what each looks like.
    pub fn hints(&self, most: usize) -> impl Iterator<Item = (&FaultRow<'a>, &'a str)> {
        let rows = self.rows.iter().take(most);
        rows.flat_map(|fault| fault.outcome.hints.iter().map(move |hint| (fault, hint.as_str())))
    }
}

impl FaultRow<'_> {
    /// `for 5 s`, `over at once`, `never undone`.
    pub fn lasted_phrase(&self) -> String {
        let is_time = self.lasted.starts_with(|letter: char| letter.is_ascii_digit());
        if is_time { format!("for {}", self.lasted) } else { self.lasted.clone() }
    }
}

fn rows(input: ReportInput<'_>) -> Vec<FaultRow<'_>> {
    let faults = input.verdict.faults.iter();
    faults.enumerate().map(|(index, outcome)| row(input, index + 1, outcome)).collect()
}

fn row<'a>(input: ReportInput<'a>, number: usize, outcome: &'a FaultOutcome) -> FaultRow<'a> {
    let window = &outcome.window;
    let connections =
        window.connections.map_or_else(String::new, |count| format!("; {}", plural(count, "open connection")));
    let seen = match (window.seen, &window.observation) {
        (Some(at), Some(observation)) => format!("{observation}, after {}", numbers::time(at - window.from)),
        (Some(at), None) => format!("after {}", numbers::time(at - window.from)),
        (None, _) => "none observed".to_owned(),
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
            .map(|(what, count)| match what {
                "error" => plural(count, what),
                what => format!("{} {what}", numbers::count(count)),
            })
            .collect();
    FaultRow {
        outcome,
        number,
        what: &window.what,
        phase: input.phase_name(window.phase),
        at: numbers::moment(window.from),
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
        availability: or_dash(outcome.availability(), numbers::share),
        bad: if bad.is_empty() { "0".to_owned() } else { bad.join(", ") },
        promised: applied_rules(input, window.phase),
    }
}

fn recovery(recovery: &Recovery, kept: &str) -> String {
    match recovery {
        Recovery::Kept => kept.to_owned(),
        Recovery::After(seconds) => format_to_tenths(*seconds),
        Recovery::NotWithin(watched) => format!("not within {}", numbers::moment(*watched)),
        Recovery::Unknown(_) => "–".to_owned(),
        Recovery::Undecided(_) => "too few requests to tell".to_owned(),
    }
}

/// Pulses are a tenth of a second long: more digits would claim more than was measured.
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

/// The rules about this phase, and those about the faults of all phases.
fn applied_rules(input: ReportInput<'_>, phase: usize) -> Vec<(Ruling, &str)> {
    let applies = |term: &Term| {
        term.phase == Some(phase)
            || term.phase.is_none()
                && term.metric.is_fault_metric()
                && term.path.is_none_or(|path| input.scenario.phases.get(phase).is_some_and(|phase| phase.path == path))
    };
    let results = input.verdict.criteria.iter().map(|criterion| &criterion.rules);
    let rules = input.scenario.criteria.iter().map(|criterion| &criterion.rules);
    let pairs = rules.zip(results).flat_map(|(rules, results)| rules.iter().zip(results));
    pairs
        .filter(|(rule, _)| applies(&rule.term))
        .map(|(_, result): (_, &RuleResult)| (result.ruling, result.text.as_str()))
        .collect()
}

/// Each fault in a line for the terminal, with its hints.
pub fn fault_lines(input: ReportInput<'_>) -> Vec<(String, Vec<String>)> {
    let line = |fault: FaultRow<'_>| {
        let FaultRow { what, phase, at, lasted, noticed, availability, bad, recovered, hit_rate, .. } = fault;
        let text = format!(
            "{what} in '{phase}' at {at} ({lasted}): noticed {noticed}; {availability} available; bad answers: {bad}; \
             service back: {recovered}; hit rate back: {hit_rate}"
        );
        (text, fault.outcome.hints.clone())
    };
    rows(input).into_iter().map(line).collect()
}

/// The steady limits of each path in a sentence.
fn limits(input: ReportInput<'_>) -> Vec<String> {
    let mut limits_by_path: Vec<(CachePath, String)> = Vec::new();
    for outcome in &input.verdict.faults {
        let Some(limits) = &outcome.limits else { continue };
        if limits_by_path.iter().any(|(path, _)| *path == outcome.path) {
            continue;
        }
        let few = if limits.requests > 0.0 {
            format!(", at least {} requests per second", numbers::plain(limits.requests))
        } else {
            String::new()
        };
        let text = format!(
            "Steady limits of the {} path in each {}, taken from {}: at most {} of the requests failed, at most {} of the \
             answers wrong or stale, P95 at most {}{few}. The service is back once {} such steps in a row are within them.",
            outcome.path.as_str(),
            numbers::time(limits.slice_seconds),
            limits.phases.join(", "),
            numbers::share(limits.errors),
            numbers::share(limits.incorrect),
            numbers::time(limits.p95),
            limits.in_a_row
        );
        limits_by_path.push((outcome.path, text));
    }
    limits_by_path.into_iter().map(|(_, text)| text).collect()
}
