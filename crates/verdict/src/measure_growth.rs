//! What grew over phases, as a rule's term: a leak, or a log.

use cacheproof_core::observe::{Measurements, Outcome, Sample};
use cacheproof_core::scenario::Scenario;

use super::Unit;
use super::growth::{FEWEST, growth};
use super::measure::Measured;

/// The largest growth of a resource over one of the phases, each by itself.
pub(super) fn grown(
    scenario: &Scenario,
    seen: &Measurements,
    phases: &[usize],
    unit: Unit,
    reading: impl Fn(&Sample) -> Option<f64>,
    why_not: &str,
) -> Measured {
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
    let why_not = worst.is_none().then(|| why_not.to_owned());
    let measured = Measured::of(worst.map(|(more, _)| more), unit, samples);
    Measured { needs: FEWEST as u64, why_not, which, ..measured }
}

/// How much the app's log grew for each request, answered or not.
pub(super) fn log_per_request(seen: &Measurements, phases: &[usize]) -> Measured {
    let requests = seen.count(|key| phases.contains(&key.phase));
    let failed = seen.count(|key| phases.contains(&key.phase) && key.outcome == Outcome::Error);
    let bytes: Option<u64> = phases.iter().map(|phase| seen.log_bytes(*phase)).sum();
    let value = bytes.filter(|_| requests > 0).map(|bytes| bytes as f64 / requests as f64);
    let why_not = bytes.is_none().then(|| "the size of the app's log is not known at the phase's edges".to_owned());
    let which = (failed > 0).then(|| format!("{failed} of them failed"));
    Measured { events: bytes, why_not, which, ..Measured::of(value, Unit::Bytes, requests) }
}
