//! Whether what was planned was sent, and who could not keep up: the app, cacheproof, or its machine.

use std::collections::BTreeMap;

use cacheproof_core::journal::{NotSentReason, SendLag};
use cacheproof_core::measurements::Measurements;
use cacheproof_core::scenario::{LoadModel, Scenario};

use super::numbers;
use super::validity::{Findings, ValidityIssues, judged, name};

/// The generator's lateness that counts as too late, in nanoseconds.
const MAX_SEND_LAG_NANOS: u64 = 50_000_000;
/// Share of a phase's coarse slices that may be late.
const MAX_LATE_WINDOW_SHARE: f64 = 0.10;
/// Share of all cores above which the generator is saturated.
const MAX_CPU_SHARE: f64 = 0.85;
/// How far our count of requests and goose's may differ.
const MAX_COUNT_DEVIATION: f64 = 0.01;
/// The share of arrivals never sent from which it is asked who could not keep up.
const MIN_UNSENT_SHARE: f64 = MAX_COUNT_DEVIATION;

/// Whether the load generator had the processor, and was on time.
pub(super) fn generator(
    scenario: &Scenario,
    measurements: &Measurements,
    findings: &mut Findings,
    issues: &mut ValidityIssues,
) {
    let cores = measurements.start.as_ref().map_or(0, |start| start.host.cores);
    for phase in judged(scenario) {
        let Some(span) = measurements.phases.get(&phase) else { continue };
        let to = span.to.unwrap_or(measurements.last_at);
        if let Some((first, last)) = processor_time(measurements, phase).filter(|_| cores > 0) {
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

/// Requests that cacheproof could not send for want of files, ports or memory. They are no errors of the app; and as the proxies
/// and probes of cacheproof may have lacked the same, nothing else of the phase is certain.
pub(super) fn check_client_failures(
    scenario: &Scenario,
    measurements: &Measurements,
    findings: &mut Findings,
    issues: &mut ValidityIssues,
) {
    for ((phase, reason), count) in measurements.not_sent.iter().filter(|((_, why), _)| why.is_client_failure()) {
        issues.client_failures.insert(*phase);
        let (name, count_shown) = (name(scenario, *phase), numbers::count(*count));
        let what = if reason.is_failed_request() {
            let all = measurements.count(|key| key.phase == *phase)
                + measurements.count_not_sent(|of, why| of == *phase && why.is_failed_request());
            let (of, share) = (numbers::count(all), numbers::share(*count as f64 / all.max(1) as f64));
            format!("cacheproof could not send {count_shown} of {of} requests in '{name}' ({share})")
        } else {
            format!("{count_shown} connections of the app to its servers failed in '{name}'")
        };
        findings.blocking(format!(
            "{what}, because {}. That is no failure of the app. To have this phase judged, {}.",
            reason.as_str(),
            reason.help()
        ));
    }
}

/// Whether the load generator could have sent what it never sent because all connections were waiting for the app. If so, the
/// app could not take the rate, and that is its failure.
pub(super) fn check_unsendable(
    scenario: &Scenario,
    measurements: &Measurements,
    findings: &mut Findings,
    issues: &mut ValidityIssues,
) {
    let LoadModel::Open { rate, .. } = scenario.traffic.load_model else { return };
    let cores = measurements.start.as_ref().map_or(0, |start| start.host.cores);
    for phase in judged(scenario) {
        let unsent = measurements.count_not_sent(|of, why| of == phase && why == NotSentReason::NoConnection);
        let recorded = measurements.count(|key| key.phase == phase);
        if unsent == 0 || (unsent as f64) < recorded as f64 * MIN_UNSENT_SHARE {
            continue;
        }
        if issues.saturated.contains(&phase) {
            issues.unsendable.insert(phase);
            continue;
        }
        let Some((from, to)) = processor_time(measurements, phase) else { continue };
        let sent = recorded.saturating_sub(unsent).max(1) as f64;
        let each = (to.1 - from.1) / sent;
        let rate = scenario.phases[phase].rate.unwrap_or(rate);
        if cores > 0 && rate * each > cores as f64 * MAX_CPU_SHARE {
            issues.unsendable.insert(phase);
            issues.saturated.insert(phase);
            findings.blocking(format!(
                "No app could have been sent {} in '{}' from this machine: a request took {} of cacheproof's processor time, so \
                 that rate needs {} cores, and there are {cores}. What was never sent is not counted against the app. Lower \
                 traffic.rate, or use a larger machine.",
                numbers::rate(rate),
                name(scenario, phase),
                numbers::time(each),
                numbers::plain((rate * each).ceil()),
            ));
        }
    }
}

/// Time and cacheproof's processor time at the first and at the last sample of a phase.
fn processor_time(measurements: &Measurements, phase: usize) -> Option<((f64, f64), (f64, f64))> {
    let span = measurements.phases.get(&phase)?;
    let to = span.to.unwrap_or(measurements.last_at);
    let mut samples = measurements
        .samples
        .iter()
        .filter(|(at, _)| *at >= span.from && *at <= to)
        .filter_map(|(at, sample)| sample.harness.as_ref().map(|harness| (*at, harness.cpu)));
    let first = samples.next()?;
    Some((first, samples.next_back()?)).filter(|(first, last)| last.0 > first.0)
}

pub(super) fn rates(scenario: &Scenario, measurements: &Measurements, findings: &mut Findings) {
    let LoadModel::Open { rate, .. } = scenario.traffic.load_model else { return };
    let planned = |phase: usize| scenario.phases[phase].rate.unwrap_or(rate);
    let sent = |phase: usize| measurements.count(|key| key.phase == phase);
    // Nobody says which phases the unsent were meant for; they are the last in the queue.
    let mut left = measurements.end.as_ref().map_or(0, |end| end.unsent) - measurements.unsent_errors();
    let mut arrivals: BTreeMap<usize, u64> = BTreeMap::new();
    for phase in measurements.phases.keys().rev().filter(|phase| **phase < scenario.phases.len()) {
        let expected = planned(*phase) * measurements.phase_seconds(*phase);
        let unsent = left.min((expected.ceil() as u64).saturating_sub(sent(*phase)));
        left -= unsent;
        let failed = measurements.count_not_sent(|of, why| of == *phase && why.is_failed_request());
        arrivals.insert(*phase, sent(*phase) + unsent + failed);
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

pub(super) fn counts(
    scenario: &Scenario,
    measurements: &Measurements,
    findings: &mut Findings,
    issues: &mut ValidityIssues,
) {
    let Some(end) = &measurements.end else { return };
    // Most arrivals that were never sent are errors of ours as well.
    let recorded = measurements.unsent_errors();
    let failed = measurements.count_not_sent(|_, why| why.is_failed_request());
    let sent = measurements.count(|_| true).saturating_sub(recorded);
    if end.unsent > 0 {
        let share = end.unsent as f64 / (sent + failed + end.unsent) as f64;
        let text = format!(
            "{} arrivals ({}) were due but never sent, because no connection came free before the run ended.",
            numbers::count(end.unsent),
            numbers::share(share)
        );
        if share > MAX_COUNT_DEVIATION { findings.blocking(text) } else { findings.informational(text) }
    }
    for (phase, count) in &measurements.reconnects {
        findings.informational(format!(
            "{} reads in '{}' were sent once more on a new connection, because the app had closed the one in use before a byte of \
             the answer came. Browsers do the same. Each counts as one request, with the time of both.",
            numbers::count(*count),
            name(scenario, *phase)
        ));
    }
    if let Some(goose) = end.goose_requests {
        // goose counts the requests for which there was no file or port, and those that were sent once more.
        let ours = sent + failed + measurements.reconnects.values().sum::<u64>();
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
