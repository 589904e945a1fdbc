//! Evidence: what was measured, in a sentence with its numbers.

use cacheproof_core::metrics::{Evidence, Measured, Metric, Wording};
use cacheproof_core::scenario::Rule;

use super::{RuleResult, Ruling, Unit, numbers};

/// `P95 4.2 ms (n = 5 981, 0 above 150 ms)`.
pub(super) fn evidence(rule: &Rule, measured: &Measured, value: f64, limit: f64, result: &RuleResult) -> String {
    let (metric, unit) = (rule.term.metric, result.unit);
    let shown = numbers::quantity(value, unit);
    let mut text = named(metric, &shown, unit);
    if result.ruling == Ruling::Fail && !(unit == Unit::Count && limit == 0.0) {
        text += &format!(", limit {}", numbers::quantity(limit, unit));
    }
    text + &match result.over {
        Some(over) => above_limit(measured, over, limit),
        None => (metric.definition().details)(&Evidence { measured, unit, limit }),
    }
}

/// ` (n = 1 200, 15 above 150 ms = 1.25 %, 3 of them errors)`
fn above_limit(measured: &Measured, over: u64, limit: f64) -> String {
    let share =
        if over > 0 { format!(" = {}", numbers::share(over as f64 / measured.samples as f64)) } else { String::new() };
    let errors = if measured.errors > 0 {
        format!(", {} of them errors", numbers::count(measured.errors))
    } else {
        String::new()
    };
    let (n, over) = (numbers::count(measured.samples), numbers::count(over));
    format!(" (n = {n}, {over} above {}{share}{errors})", numbers::time(limit))
}

/// A number with what it is of: `hit rate 61.3 %`, `3 errors`. `number` may be two: `4.1 → 0.35 queries a request`.
pub(super) fn named(metric: Metric, number: &str, unit: Unit) -> String {
    match (metric.label(unit == Unit::Share), metric.definition().wording) {
        (None, Wording::Noun(noun)) => format!("{number} {noun}"),
        (label, _) => format!("{} {number}", label.unwrap_or_default()),
    }
}

/// Why there is no value: nothing to measure, or too many errors.
pub(super) fn no_value(metric: Metric, unit: Unit, measured: &Measured) -> String {
    if measured.beyond_any_limit {
        let share = numbers::share(measured.errors as f64 / measured.samples as f64);
        let errors = errors_of(measured.errors, measured.samples);
        let label = metric.label(unit == Unit::Share).unwrap_or_default();
        return format!("{label} beyond any limit: {errors} = {share}");
    }
    measured.missing_reason.as_ref().map_or_else(|| "no samples".to_owned(), |why| format!("no samples: {why}"))
}

/// `1 error`, `3 errors of n = 1 200`.
pub(super) fn errors_of(errors: u64, of: u64) -> String {
    let word = if errors == 1 { "error" } else { "errors" };
    let of = if of > 0 { format!(" of n = {}", numbers::count(of)) } else { String::new() };
    format!("{} {word}{of}", numbers::count(errors))
}
