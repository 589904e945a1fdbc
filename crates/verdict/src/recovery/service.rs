//! When the service was outside its limits, and when it had recovered.

use cacheproof_core::measurements::{Measurements, TimeSlice, join_to_length};
use cacheproof_core::scenario::{LoadModel, Scenario};

use super::super::numbers;
use super::limits::MIN_EXPECTED_REQUESTS;
use super::{FaultOutcome, LimitViolation, MAX_NOTICE_DELAY, Recovery, SteadyLimits, between};

/// A slice compared with the steady limits.
struct JudgedSlice {
    slice: TimeSlice,
    violation: Option<LimitViolation>,
    /// How many requests should have come in.
    expected: f64,
}

impl JudgedSlice {
    fn is_silent(&self) -> bool {
        self.slice.counts.requests() == 0
    }
}

pub(super) fn measure_service_recovery(
    scenario: &Scenario,
    measurements: &Measurements,
    slices: &[TimeSlice],
    outcome: &mut FaultOutcome,
) {
    let Some(limits) = outcome.limits.clone() else { return };
    let injected = outcome.window.from;
    let judge = |from: f64, to: f64| judged_slices(scenario, measurements, slices, &limits, from, to);
    let until = outcome.base.unwrap_or(outcome.watched_to);
    let mut during = judge(injected, until.max(injected));
    let mut after = outcome.base.map(|base| judge(base, outcome.watched_to)).unwrap_or_default();
    mark_silent_stretches(during.iter_mut().chain(&mut after));
    let (during, after) = (during, after);
    let first = during
        .iter()
        .chain(&after)
        .find(|judged| judged.violation.is_some())
        .filter(|judged| judged.slice.from <= until + MAX_NOTICE_DELAY);
    outcome.noticed = first.map(|judged| judged.slice.from.max(injected));
    outcome.noticed_by = first.and_then(|judged| judged.violation);
    outcome.absorbed = outcome.noticed.and_then(|noticed| settled(&during, noticed, limits.in_a_row));
    let Some(base) = outcome.base else {
        outcome.service = Recovery::Unknown(
            "the fault, or another one at the same time, was never undone: the run ended before".into(),
        );
        outcome.trouble = seconds_outside_limits(&during, f64::INFINITY);
        return;
    };
    let Some(noticed) = outcome.noticed else {
        // The time while it lasted; the effect of an instantaneous fault shows after it.
        let stretch = if during.is_empty() { &after } else { &during };
        outcome.service = if lacks_expected_load(stretch) {
            Recovery::Undecided(insufficient_load_reason(stretch))
        } else {
            Recovery::Kept
        };
        // Time outside the limits that is too late to be an effect of this fault is reported all the same.
        outcome.relapse = seconds_outside_limits(&after, f64::INFINITY);
        return;
    };
    // A fault that heals itself may take a while to have an effect: slices inside the limits before that are no
    // recovery.
    let heals_itself = base <= injected;
    let begin = if heals_itself { base.max(noticed) } else { base };
    let back = first_steady_run(&after, begin, limits.in_a_row).map(|from| from.max(base));
    outcome.service = match back {
        Some(at) => Recovery::After(at - base),
        None if lacks_expected_load(&after) => Recovery::Undecided(insufficient_load_reason(&after)),
        None => Recovery::NotWithin(outcome.watched_to - base),
    };
    // Requests that hang are not among the responses: a quiet time that ends in many late responses was no recovery.
    if !heals_itself && back.is_none_or(|at| at - base > 2.0 * limits.slice_seconds) {
        outcome.absorbed = None;
    }
    let end = back.unwrap_or(f64::INFINITY);
    outcome.trouble = seconds_outside_limits(&during, end) + seconds_outside_limits(&after, end);
    outcome.relapse = seconds_outside_limits(&after, f64::INFINITY) - seconds_outside_limits(&after, end);
}

/// The judged slices of a stretch of time, from the first slice that ends in it.
fn judged_slices(
    scenario: &Scenario,
    measurements: &Measurements,
    slices: &[TimeSlice],
    limits: &SteadyLimits,
    from: f64,
    to: f64,
) -> Vec<JudgedSlice> {
    let overlaps = |slice: &&TimeSlice| slice.to > from + 1e-9 && slice.from < to - 1e-9;
    let inside = between(slices, from, to).iter().filter(overlaps).filter_map(|slice| {
        // An empty slice can be cut anywhere. Responses belong to the stretch in which their slice ends, so that none
        // is counted twice.
        if slice.counts.requests() == 0 {
            Some(TimeSlice::empty(slice.from.max(from), slice.to.min(to)))
        } else {
            (slice.to <= to + 1e-9).then_some(*slice)
        }
    });
    let mut inside: Vec<TimeSlice> = inside.collect();
    // No slice is written where nothing comes in.
    let last = inside.last().map_or(from, |slice| slice.to);
    if to - last >= limits.slice_seconds {
        inside.push(TimeSlice::empty(last, to));
    }
    join_to_length(&inside, limits.slice_seconds)
        .into_iter()
        .map(|slice| {
            let expected =
                limits.expected * relative_rate(scenario, measurements, limits, slice.from) * slice.seconds();
            let violation = limits.violation(&slice.counts, expected);
            JudgedSlice { slice: TimeSlice { from: slice.from.max(from), ..slice }, violation, expected }
        })
        .collect()
}

/// At a low rate one slice is too short to show that anything is missing, but several in a row do: a stretch without
/// any response is outside the limits as soon as enough requests were expected in it.
fn mark_silent_stretches<'a>(slices: impl Iterator<Item = &'a mut JudgedSlice>) {
    let mut slices: Vec<&mut JudgedSlice> = slices.collect();
    for stretch in slices.chunk_by_mut(|one, next| one.is_silent() && next.is_silent()) {
        let silent = stretch.iter().all(|judged| judged.is_silent());
        if silent && expected_requests(stretch.iter().map(|judged| &**judged)) >= MIN_EXPECTED_REQUESTS {
            stretch.iter_mut().for_each(|judged| judged.violation = Some(LimitViolation::Silent));
        }
    }
}

fn expected_requests<'a>(slices: impl IntoIterator<Item = &'a JudgedSlice>) -> f64 {
    slices.into_iter().map(|judged| judged.expected).sum()
}

/// Whether nothing came in, and too few requests were expected for that to mean anything.
fn lacks_expected_load(slices: &[JudgedSlice]) -> bool {
    !slices.is_empty() && slices.iter().all(|judged| judged.is_silent() && judged.violation.is_none())
}

fn insufficient_load_reason(slices: &[JudgedSlice]) -> String {
    format!(
        "there was no answer, but at most {} requests were expected: the load is too low to tell",
        numbers::plain(expected_requests(slices).ceil())
    )
}

/// The planned request rate at a time, as a share of the rate of the steady phases.
fn relative_rate(scenario: &Scenario, measurements: &Measurements, limits: &SteadyLimits, at: f64) -> f64 {
    let LoadModel::Open { rate, .. } = scenario.traffic.load_model else { return 1.0 };
    let phase = measurements.phases.iter().rev().find(|(_, span)| span.from <= at + 0.05).map(|(index, _)| *index);
    let rate_now = phase.and_then(|phase| scenario.phases.get(phase)).and_then(|phase| phase.rate).unwrap_or(rate);
    // The planned rate, not the measured one: an app that does not respond must not lower what is expected of it.
    (rate_now / limits.usual.max(1e-9)).min(1.0)
}

/// Start of the first `in_a_row` slices inside the limits that end after `begin`. Slices in which nothing came in and
/// few requests were expected count as inside, but not if all of them are empty.
fn first_steady_run(slices: &[JudgedSlice], begin: f64, in_a_row: usize) -> Option<f64> {
    let from = slices.iter().position(|judged| judged.slice.to > begin + 1e-9)?;
    slices[from..]
        .windows(in_a_row)
        .find(|run| run.iter().all(|judged| judged.violation.is_none()) && run.iter().any(|judged| !judged.is_silent()))
        .and_then(|run| run.first())
        .map(|judged| judged.slice.from)
}

/// When the service settled although the fault lasted: after the last slice outside the limits, where enough others
/// follow.
fn settled(during: &[JudgedSlice], noticed: f64, in_a_row: usize) -> Option<f64> {
    let last = during.iter().rposition(|judged| judged.violation.is_some())?;
    let quiet = &during[last + 1..];
    (quiet.len() >= in_a_row && quiet.iter().any(|judged| !judged.is_silent()))
        .then(|| during[last].slice.to.max(noticed))
}

/// How many seconds the slices that begin before `end` were outside the limits.
fn seconds_outside_limits(slices: &[JudgedSlice], end: f64) -> f64 {
    slices
        .iter()
        .filter(|judged| judged.violation.is_some() && judged.slice.from < end)
        .map(|judged| judged.slice.seconds())
        .fold(0.0, |sum, one| sum + one)
}
