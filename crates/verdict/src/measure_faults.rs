//! What faults did, as a rule's term: the worst of those in its phases.

use cacheproof_core::scenario::Metric;

use super::measure::MeasuredTerm;
use super::{FaultOutcome, Recovery, Unit, numbers};

/// The longest of `recovery`, `notice`, `hit_rate_recovery` or `refill` over the faults of some phases.
pub(super) fn measure_fault_metric(metric: Metric, phases: &[usize], faults: &[FaultOutcome]) -> MeasuredTerm {
    let faults: Vec<&FaultOutcome> = faults.iter().filter(|fault| phases.contains(&fault.window.phase)).collect();
    let mut worst: Option<(f64, &FaultOutcome)> = None;
    let mut missing: Option<(f64, &FaultOutcome)> = None;
    let mut unknown: Option<(String, &FaultOutcome)> = None;
    let mut thin: Option<(String, &FaultOutcome)> = None;
    let mut count = 0;
    for fault in &faults {
        let recovery = match metric {
            Metric::Notice if fault.limits.is_some() => {
                fault.notice().map_or(Recovery::NotWithin(f64::INFINITY), Recovery::After)
            }
            Metric::HitRateRecovery => match &fault.hit_rate {
                Some(hit_rate) => hit_rate.back.clone(),
                None if fault.over.is_none() => fault.service.clone(),
                None => Recovery::Unknown("there was no hit rate before it to compare with".to_owned()),
            },
            Metric::Refill => match fault.hit_rate.as_ref().and_then(|hit_rate| hit_rate.bound) {
                Some(bound) => Recovery::After(bound),
                None => Recovery::Unknown("no fault emptied the cache, or its reads are not known by key".to_owned()),
            },
            _ => fault.service.clone(),
        };
        match recovery {
            Recovery::Unknown(_) if metric == Metric::Refill && worst.is_some() => continue,
            Recovery::Unknown(why) => unknown = Some((why, fault)),
            Recovery::InsufficientLoad(why) => thin = Some((why, fault)),
            Recovery::NotWithin(watched) if missing.as_ref().is_none_or(|(most, _)| watched > *most) => {
                missing = Some((watched, fault));
            }
            Recovery::NotWithin(_) => {}
            Recovery::Kept if worst.is_none() => worst = Some((0.0, fault)),
            Recovery::Kept => {}
            Recovery::After(took) if worst.as_ref().is_none_or(|(most, _)| took > *most) => {
                worst = Some((took, fault));
            }
            Recovery::After(_) => {}
        }
        count += 1;
    }
    // A bound that only some faults have is still the bound of those.
    if metric == Metric::Refill && worst.is_some() {
        unknown = None;
    }
    let of = missing.as_ref().map(|(_, fault)| *fault).or(worst.as_ref().map(|(_, fault)| *fault));
    let which = of.map(|fault| {
        let others = if faults.len() > 1 { format!("; the worst of {} faults", faults.len()) } else { String::new() };
        let how = match (metric, &fault.service) {
            (Metric::Recovery, Recovery::Kept) => ": it never left its limits",
            (Metric::Recovery, Recovery::After(0.0)) => ": as soon as it was undone",
            _ => "",
        };
        format!("{}, injected at {}{others}{how}", fault.window.what, numbers::moment(fault.window.from))
    });
    let after = |(why, fault): (String, &FaultOutcome)| {
        format!("after {} at {}: {why}", fault.window.what, numbers::moment(fault.window.from))
    };
    let uncertainty = thin.map(after);
    let missing_reason = match unknown {
        Some(unknown) => Some(after(unknown)),
        None if faults.is_empty() => Some("no fault was injected".to_owned()),
        None => None,
    };
    let value = if missing_reason.is_some() { None } else { worst.map(|(took, _)| took) };
    let not_within = if missing_reason.is_some() { None } else { missing.map(|(watched, _)| watched) };
    MeasuredTerm { missing_reason, not_within, which, uncertainty, ..MeasuredTerm::of(value, Unit::Seconds, count) }
}
