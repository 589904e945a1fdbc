//! When the service was gone, and when it was back.

use cacheproof_core::measurements::{Beat, Measurements};
use cacheproof_core::scenario::{LoadModel, Scenario};

use super::super::numbers;
use super::limits::{MIN_EXPECTED_REQUESTS, steps};
use super::{FaultOutcome, LimitViolation, MAX_NOTICE_DELAY, Recovery, SteadyLimits};

/// A step, judged.
struct Step {
    from: f64,
    to: f64,
    violation: Option<LimitViolation>,
    requests: u64,
    /// How many should have come in.
    expected: f64,
}

pub(super) fn measure_service_recovery(
    scenario: &Scenario,
    seen: &Measurements,
    beats: &[Beat],
    outcome: &mut FaultOutcome,
) {
    let Some(limits) = outcome.limits.clone() else { return };
    let injected = outcome.window.from;
    let judge = |from: f64, to: f64| judged_steps(scenario, seen, beats, &limits, from, to);
    let until = outcome.base.unwrap_or(outcome.watched_to);
    let mut during = judge(injected, until.max(injected));
    let mut after = outcome.base.map(|base| judge(base, outcome.watched_to)).unwrap_or_default();
    mark_silent_steps(during.iter_mut().chain(&mut after));
    let (during, after) = (during, after);
    let first = during
        .iter()
        .chain(&after)
        .find(|step| step.violation.is_some())
        .filter(|step| step.from <= until + MAX_NOTICE_DELAY);
    outcome.noticed = first.map(|step| step.from.max(injected));
    outcome.noticed_by = first.and_then(|step| step.violation);
    outcome.absorbed = outcome.noticed.and_then(|noticed| settled(&during, noticed, limits.in_a_row));
    let Some(base) = outcome.base else {
        outcome.service =
            Recovery::Unknown("it, or what else was broken then, was never undone: the run broke off before".into());
        outcome.trouble = seconds_outside_limits(&during, f64::INFINITY);
        return;
    };
    let Some(noticed) = outcome.noticed else {
        // While it lasted; what is over at once shows behind it.
        let stretch = if during.is_empty() { &after } else { &during };
        outcome.service = if lacks_expected_load(stretch) {
            Recovery::InsufficientLoad(insufficient_load_reason(stretch))
        } else {
            Recovery::Kept
        };
        // Trouble that is too late to be this fault's is told all the same.
        outcome.relapse = seconds_outside_limits(&after, f64::INFINITY);
        return;
    };
    // What heals itself may take a while to bite: before that, all being well is no recovery.
    let heals_itself = base <= injected;
    let begin = if heals_itself { base.max(noticed) } else { base };
    let back = first_steady_run(&after, begin, limits.in_a_row).map(|from| from.max(base));
    outcome.service = match back {
        Some(at) => Recovery::After(at - base),
        None if lacks_expected_load(&after) => Recovery::InsufficientLoad(insufficient_load_reason(&after)),
        None => Recovery::NotWithin(outcome.watched_to - base),
    };
    // Requests that hang are not among the answers: quiet that ends in a wave of late ones was no recovery.
    if !heals_itself && back.is_none_or(|at| at - base > 2.0 * limits.step) {
        outcome.absorbed = None;
    }
    let end = back.unwrap_or(f64::INFINITY);
    outcome.trouble = seconds_outside_limits(&during, end) + seconds_outside_limits(&after, end);
    outcome.relapse = seconds_outside_limits(&after, f64::INFINITY) - seconds_outside_limits(&after, end);
}

/// The steps of a stretch of time, from the first beat that ends in it.
fn judged_steps(
    scenario: &Scenario,
    seen: &Measurements,
    beats: &[Beat],
    limits: &SteadyLimits,
    from: f64,
    to: f64,
) -> Vec<Step> {
    let inside = beats.iter().filter(|beat| beat.to > from + 1e-9 && beat.from < to - 1e-9).filter_map(|beat| {
        // Nothing can be parted anywhere; what came in belongs to the stretch that holds the beat's end, so that
        // none is counted twice.
        if beat.requests() == 0 {
            Some(Beat::empty(beat.from.max(from), beat.to.min(to)))
        } else {
            (beat.to <= to + 1e-9).then_some(*beat)
        }
    });
    let mut inside: Vec<Beat> = inside.collect();
    // No pulse is written where nothing comes in.
    let last = inside.last().map_or(from, |beat| beat.to);
    if to - last >= limits.step {
        inside.push(Beat::empty(last, to));
    }
    steps(&inside, limits.step)
        .into_iter()
        .map(|step| {
            let expected = limits.expected * relative_rate(scenario, seen, limits, step.from) * step.seconds();
            let violation = limits.violation(&step, expected);
            Step { from: step.from.max(from), to: step.to, violation, requests: step.requests(), expected }
        })
        .collect()
}

/// Where the load is too thin for one step to say whether anything is missing, several in a row do: a stretch without
/// any answer is outside as soon as enough were to be expected in it.
fn mark_silent_steps<'a>(steps: impl Iterator<Item = &'a mut Step>) {
    let mut steps: Vec<&mut Step> = steps.collect();
    for stretch in steps.chunk_by_mut(|one, next| one.requests == 0 && next.requests == 0) {
        let silent = stretch.iter().all(|step| step.requests == 0);
        if silent && stretch.iter().map(|step| step.expected).sum::<f64>() >= MIN_EXPECTED_REQUESTS {
            stretch.iter_mut().for_each(|step| step.violation = Some(LimitViolation::Silent));
        }
    }
}

/// Whether nothing came in, and too little was to be expected for that to mean anything.
fn lacks_expected_load(steps: &[Step]) -> bool {
    !steps.is_empty() && steps.iter().all(|step| step.requests == 0 && step.violation.is_none())
}

fn insufficient_load_reason(steps: &[Step]) -> String {
    let expected: f64 = steps.iter().map(|step| step.expected).sum();
    format!(
        "nothing came in, but no more than {} requests were to be expected: the load is too thin to tell",
        numbers::plain(expected.ceil())
    )
}

/// How the rate at a moment compares with that of the steady phases.
fn relative_rate(scenario: &Scenario, seen: &Measurements, limits: &SteadyLimits, at: f64) -> f64 {
    let LoadModel::Open { rate, .. } = scenario.traffic.load_model else { return 1.0 };
    let phase = seen.phases.iter().rev().find(|(_, span)| span.from <= at + 0.05).map(|(index, _)| *index);
    let rate_now = phase.and_then(|phase| scenario.phases.get(phase)).and_then(|phase| phase.rate).unwrap_or(rate);
    // The plan, not what came in: an app that answers nothing must not lower what is expected of it.
    (rate_now / limits.usual.max(1e-9)).min(1.0)
}

/// Start of the first run of `in_a_row` steps inside the limits, looked for from `begin` on. Steps in which nothing came in
/// and little was to be expected are none the worse for it, but alone they prove nothing.
fn first_steady_run(steps: &[Step], begin: f64, in_a_row: usize) -> Option<f64> {
    let from = steps.iter().position(|step| step.to > begin + 1e-9)?;
    let steps = &steps[from..];
    steps
        .windows(in_a_row)
        .find(|run| run.iter().all(|step| step.violation.is_none()) && run.iter().any(|step| step.requests > 0))
        .and_then(|run| run.first())
        .map(|step| step.from)
}

/// When the service settled although the fault lasted: after the last step outside, where enough steps follow.
fn settled(during: &[Step], noticed: f64, in_a_row: usize) -> Option<f64> {
    let last = during.iter().rposition(|step| step.violation.is_some())?;
    let quiet = &during[last + 1..];
    (quiet.len() >= in_a_row && quiet.iter().any(|step| step.requests > 0)).then(|| during[last].to.max(noticed))
}

/// Seconds that steps before `end` were outside.
fn seconds_outside_limits(steps: &[Step], end: f64) -> f64 {
    steps
        .iter()
        .filter(|step| step.violation.is_some() && step.from < end)
        .map(|step| step.to - step.from)
        .fold(0.0, |sum, one| sum + one)
}
