//! What was seen where no rule looks: stale and wrong answers, lost writes and errors of a warm-up, and those of a judged
//! phase about which no rule speaks. They decide nothing, and are told under the verdict.

use cacheproof_core::metrics::Metric;
use cacheproof_core::scenario::{Scenario, Term};

use super::defaults::{LOST_ITEMS, WRONG_ANSWERS};
use super::measure::{JudgeContext, scope_of};
use super::numbers;

/// The metrics, and what one of their events is called.
const SEEN: [(&str, &str, &str); 5] = [
    (WRONG_ANSWERS, "wrong answer", "wrong answers"),
    (LOST_ITEMS, "item not found that a write made", "items not found that a write made"),
    ("stale", "stale answer", "stale answers"),
    ("lost_updates", "lost write", "lost writes"),
    ("errors", "error", "errors"),
];

/// What was seen outside the rules, as a sentence; `None`: nothing.
pub(super) fn seen_outside(context: &JudgeContext<'_>) -> Option<String> {
    let phases: Vec<String> = (0..context.scenario.phases.len())
        .filter_map(|phase| {
            let seen: Vec<String> = SEEN
                .iter()
                .filter(|(metric, ..)| !is_ruled(context.scenario, metric, phase))
                .filter_map(|(metric, one, several)| {
                    let events = events(context, metric, phase)?;
                    Some(format!("{} {}", numbers::count(events), if events == 1 { one } else { several }))
                })
                .collect();
            let name = &context.scenario.phases[phase].name;
            (!seen.is_empty()).then(|| format!("{} in '{name}'", numbers_and(&seen)))
        })
        .collect();
    (!phases.is_empty()).then(|| format!("Seen where no rule looks: {}.", phases.join("; ")))
}

/// How often it was seen in a phase; `None`: never, or it could not be seen.
fn events(context: &JudgeContext<'_>, metric: &str, phase: usize) -> Option<u64> {
    let metric = Metric::find(metric).ok()?;
    let term = Term { metric, path: None, request: None, phase: Some(phase) };
    let measured = metric.measure(&scope_of(context, &term));
    measured.events.filter(|events| *events > 0)
}

/// Whether some rule is on the whole of this in a phase. Of a judged phase, wrong answers and lost writes fail the run
/// without a rule, but for items that are gone; of a warm-up, these are among the wrong answers.
fn is_ruled(scenario: &Scenario, metric: &str, phase: usize) -> bool {
    let is_judged = scenario.is_judged(phase);
    match (metric, is_judged) {
        (WRONG_ANSWERS | "lost_updates", true) | (LOST_ITEMS, false) => return true,
        _ => {}
    }
    let mut terms = scenario.criteria.iter().flat_map(|criterion| &criterion.rules).map(|rule| &rule.term);
    terms.any(|term| {
        let name = term.metric.definition().name;
        let is_about = name == metric
            || (metric == "errors" && name == "availability")
            || (metric == LOST_ITEMS && name == WRONG_ANSWERS);
        let is_whole = term.request.is_none() && term.path.is_none_or(|path| path == scenario.phases[phase].path);
        is_about && is_whole && term.phase.map_or(is_judged, |named| named == phase)
    })
}

/// `a, b and c`
fn numbers_and(parts: &[String]) -> String {
    match parts {
        [all @ .., last] if !all.is_empty() => format!("{} and {last}", all.join(", ")),
        _ => parts.concat(),
    }
}
