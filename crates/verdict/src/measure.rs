//! A term of a rule, measured: the metric's row does it, over the scope that the term names.

use cacheproof_core::measurements::Measurements;
use cacheproof_core::metrics::{Comparison, ErrorTreatment, FaultResult, Measured, ScenarioFacts, Scope};
use cacheproof_core::scenario::{Limit, Quantity, Rule, Scenario, Term};

use super::validity::ValidityIssues;
use super::{FaultOutcome, Recovery};

/// What rules are judged on.
pub(super) struct JudgeContext<'a> {
    pub scenario: &'a Scenario,
    pub facts: &'a ScenarioFacts,
    pub measurements: &'a Measurements,
    pub faults: &'a [FaultResult],
    pub issues: &'a ValidityIssues,
}

/// The phases that a term covers, by index.
pub(super) fn phases_of(scenario: &Scenario, term: &Term) -> Vec<usize> {
    match term.phase {
        Some(phase) => vec![phase],
        None => scenario
            .phases
            .iter()
            .enumerate()
            .filter(|(_, phase)| !phase.warm_up && term.path.is_none_or(|path| path == phase.path))
            .map(|(index, _)| index)
            .collect(),
    }
}

/// Whether a rule asks for a share where its metric can be one: of the requests, of maxmemory, of the start.
pub(super) fn wants_share(rule: &Rule) -> bool {
    match rule.limit {
        Limit::Value(value) => matches!(value, Quantity::Share(_)),
        Limit::Of { .. } => rule.term.metric.definition().comparison == Comparison::ShareOfRequests,
    }
}

/// Measures a term of a rule.
pub(super) fn measure(context: &JudgeContext<'_>, rule: &Rule, term: &Term, errors: ErrorTreatment) -> Measured {
    term.metric.measure(&Scope { as_share: wants_share(rule), errors, ..scope_of(context, term) })
}

/// What a term is measured on, as a number and without errors.
pub(super) fn scope_of<'a>(context: &JudgeContext<'a>, term: &Term) -> Scope<'a> {
    Scope {
        measurements: context.measurements,
        facts: context.facts,
        faults: context.faults,
        phases: phases_of(context.scenario, term),
        path: term.path,
        request: term.request,
        percentile: term.metric.percentile().unwrap_or(1.0),
        as_share: false,
        errors: ErrorTreatment::Exclude,
    }
}

/// What the metrics of faults have to know of one.
pub(super) fn fault_result(fault: &FaultOutcome) -> FaultResult {
    let notice = match &fault.limits {
        Some(_) => fault.notice().map_or(Recovery::NotWithin(f64::INFINITY), Recovery::After),
        // Without limits neither is known, for the same reason.
        None => fault.service.clone(),
    };
    let hit_rate = match &fault.hit_rate {
        Some(hit_rate) => hit_rate.back.clone(),
        None if fault.over.is_none() => fault.service.clone(),
        None => Recovery::Unknown("there was no hit rate before it to compare with".to_owned()),
    };
    let refill = match fault.hit_rate.as_ref().map(|hit_rate| (hit_rate.bound, hit_rate.is_kept_elsewhere)) {
        Some((Some(bound), _)) => Recovery::After(bound),
        Some((None, true)) => Recovery::Undecided(
            "the app kept values, or what it read while the server was down, so it has no cold cache".to_owned(),
        ),
        _ => Recovery::Unknown("no fault emptied the cache, or its reads are not known by key".to_owned()),
    };
    FaultResult {
        phase: fault.window.phase,
        what: fault.window.what.clone(),
        from: fault.window.from,
        notice,
        service: fault.service.clone(),
        hit_rate,
        refill,
    }
}
