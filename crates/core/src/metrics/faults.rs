//! Metrics of what faults did: the worst of those in the phases.

use super::evidence::which;
use super::{
    Dimension, FaultResult, Measured, MeasuredOn, MetricDefinition, NotWithin, Recovery, Requirement, Scope, Wording,
};
use crate::numbers;

/// What the rows have in common.
const FAULT: MetricDefinition = MetricDefinition {
    dimension: Dimension::Time,
    measured_on: MeasuredOn::Faults,
    requires: &[Requirement::FaultAfterBaseline],
    details: which,
    ..MetricDefinition::COMMON
};

pub(super) static ROWS: &[MetricDefinition] = &[
    MetricDefinition {
        name: "recovery",
        synonyms: &[("recovery_time", "recovery"), ("mttr", "recovery"), ("time_to_recover", "recovery")],
        measure: |scope| {
            let remark = |fault: &FaultResult| match fault.service {
                Recovery::Kept => ": it never left its limits",
                Recovery::After(0.0) => ": as soon as it was undone",
                _ => "",
            };
            worst(scope, |fault| Some(&fault.service), service_is_not_back, remark)
        },
        wording: Wording::Label("service back after"),
        is_timing: true,
        ..FAULT
    },
    MetricDefinition {
        name: "notice",
        measure: |scope| {
            let never = |_| "never noticed: the service stayed inside its limits".to_owned();
            worst(scope, |fault| Some(&fault.notice), never, |_| "")
        },
        wording: Wording::Label("noticed after"),
        is_timing: true,
        ..FAULT
    },
    MetricDefinition {
        name: "hit_rate_recovery",
        requires: &[Requirement::FaultAfterBaseline, Requirement::CachedPath, Requirement::CacheableRequest],
        measure: |scope| {
            let not_back =
                |watched| format!("the hit rate was not back within the {} watched", numbers::moment(watched));
            worst(scope, |fault| Some(&fault.hit_rate), not_back, |_| "")
        },
        wording: Wording::Label("hit rate back after"),
        ..FAULT
    },
    MetricDefinition {
        name: "refill",
        requires: &[Requirement::FaultAfterBaseline, Requirement::CachedPath, Requirement::CacheableRequest],
        measure: |scope| {
            // A bound that only some faults have is still the bound of those.
            let known = |fault: &FaultResult| !matches!(fault.refill, Recovery::Unknown(_));
            let any = scope.faults.iter().any(|fault| scope.phases.contains(&fault.phase) && known(fault));
            worst(scope, |fault| (!any || known(fault)).then_some(&fault.refill), service_is_not_back, |_| "")
        },
        wording: Wording::Label("a cold cache back after"),
        ..FAULT
    },
];

fn service_is_not_back(watched: f64) -> String {
    format!("the service was not back within the {} watched", numbers::moment(watched))
}

/// The longest time over the faults of the phases. `time` picks it (`None`: the fault does not count), `not_back` says
/// that it never came, `remark` is added to the name of the worst fault.
fn worst(
    scope: &Scope<'_>,
    time: impl Fn(&FaultResult) -> Option<&Recovery>,
    not_back: impl Fn(f64) -> String,
    remark: impl Fn(&FaultResult) -> &'static str,
) -> Measured {
    let faults: Vec<&FaultResult> = scope.faults.iter().filter(|fault| scope.phases.contains(&fault.phase)).collect();
    let mut longest: Option<(f64, &FaultResult)> = None;
    let mut missing: Option<(f64, &FaultResult)> = None;
    let (mut unknown, mut uncertainty) = (None, None);
    let mut count = 0;
    for fault in &faults {
        let Some(recovery) = time(fault) else { continue };
        count += 1;
        let after = |why: &str| format!("after {} at {}: {why}", fault.what, numbers::moment(fault.from));
        match recovery {
            Recovery::Unknown(why) => unknown = Some(after(why)),
            Recovery::Undecided(why) => uncertainty = Some(after(why)),
            Recovery::NotWithin(watched) if missing.is_none_or(|(most, _)| *watched > most) => {
                missing = Some((*watched, fault));
            }
            Recovery::NotWithin(_) => {}
            Recovery::Kept if longest.is_none() => longest = Some((0.0, fault)),
            Recovery::Kept => {}
            Recovery::After(took) if longest.is_none_or(|(most, _)| *took > most) => longest = Some((*took, fault)),
            Recovery::After(_) => {}
        }
    }
    let of = missing.or(longest).map(|(_, fault)| fault);
    let which = of.map(|fault| {
        let others = if faults.len() > 1 { format!("; the worst of {} faults", faults.len()) } else { String::new() };
        format!("{}, injected at {}{others}{}", fault.what, numbers::moment(fault.from), remark(fault))
    });
    let missing_reason = unknown.or_else(|| faults.is_empty().then(|| "no fault was injected".to_owned()));
    let is_known = missing_reason.is_none();
    let value = longest.filter(|_| is_known).map(|(took, _)| took);
    let not_within = missing.filter(|_| is_known).map(|(watched, _)| NotWithin { watched, what: not_back(watched) });
    Measured { missing_reason, not_within, which, uncertainty, ..Measured::of(value, count) }
}
