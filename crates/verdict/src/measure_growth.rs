//! What grew over phases, as a rule's term: a leak, or a log.

use cacheproof_core::journal::{Outcome, Sample};
use cacheproof_core::measurements::Measurements;
use cacheproof_core::scenario::Scenario;

use super::Unit;
use super::growth::{MIN_READINGS, growth};
use super::measure::MeasuredTerm;

/// The largest growth of a resource over one of the phases, each by itself.
pub(super) fn measure_growth(
    scenario: &Scenario,
    seen: &Measurements,
    phases: &[usize],
    unit: Unit,
    reading: impl Fn(&Sample) -> Option<f64>,
    missing_reason: &str,
) -> MeasuredTerm {
    let mut worst: Option<(f64, usize)> = None;
    let mut fewest = u64::MAX;
    for phase in phases {
        let Some(span) = seen.phases.get(phase) else { continue };
        let inside = |at: f64| at >= span.from && at <= span.to.unwrap_or(seen.last_at);
        let values: Vec<f64> =
            seen.samples.iter().filter(|(at, _)| inside(*at)).filter_map(|(_, sample)| reading(sample)).collect();
        let Some((more, first)) = growth(&values) else { continue };
        let more = if unit == Unit::Share { more / first.max(1.0) } else { more };
        fewest = fewest.min(values.len() as u64);
        if worst.is_none_or(|(most, _)| more > most) {
            worst = Some((more, *phase));
        }
    }
    let which = match worst {
        Some((_, phase)) if phases.len() > 1 => scenario.phases.get(phase).map(|phase| format!("in '{}'", phase.name)),
        _ => None,
    };
    let samples = if worst.is_some() { fewest } else { 0 };
    let missing_reason = worst.is_none().then(|| missing_reason.to_owned());
    let measured = MeasuredTerm::of(worst.map(|(more, _)| more), unit, samples);
    MeasuredTerm { needs: MIN_READINGS as u64, missing_reason, which, ..measured }
}

/// How much the app's log grew for each request, answered or not.
pub(super) fn log_per_request(seen: &Measurements, phases: &[usize]) -> MeasuredTerm {
    let requests = seen.count(|key| phases.contains(&key.phase));
    let failed = seen.count(|key| phases.contains(&key.phase) && key.outcome == Outcome::Error);
    let bytes: Option<u64> = phases.iter().map(|phase| seen.log_bytes(*phase)).sum();
    let value = bytes.filter(|_| requests > 0).map(|bytes| bytes as f64 / requests as f64);
    let missing_reason =
        bytes.is_none().then(|| "the size of the app's log is not known at the phase's edges".to_owned());
    let which = (failed > 0).then(|| format!("{failed} of them failed"));
    MeasuredTerm { events: bytes, missing_reason, which, ..MeasuredTerm::of(value, Unit::Bytes, requests) }
}
