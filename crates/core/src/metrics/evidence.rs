//! What follows the number in evidence: the samples behind it. Rows choose one of these, or bring their own.

use super::{Measured, clopper_pearson_upper_bound};
use crate::numbers::{self, Unit};

/// What evidence is worded from.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// What was measured.
    pub measured: &'a Measured,
    /// Its unit.
    pub unit: Unit,
    /// What it was compared with, in the same unit.
    pub limit: f64,
}

impl Evidence<'_> {
    /// The number of samples, for people.
    pub fn samples(&self) -> String {
        numbers::count(self.measured.samples)
    }

    /// The number of events, 0 where none are counted.
    pub fn events(&self) -> u64 {
        self.measured.events.unwrap_or(0)
    }
}

/// ` of n = 1 200`, ` (3 of 1 200)` or ` (n = 1 200)`; where none was seen and none is allowed, the bound as well.
pub(super) fn counted(evidence: &Evidence<'_>) -> String {
    let n = evidence.samples();
    match (evidence.unit, evidence.measured.events) {
        (Unit::Count, Some(0)) if evidence.limit == 0.0 => {
            // Rule of three: with none seen in n, the true share is below 3/n with 95 % confidence.
            let bound = numbers::share((3.0 / evidence.measured.samples as f64).min(1.0));
            format!(" of n = {n} (true share below {bound} with 95 % confidence)")
        }
        (Unit::Count, _) => format!(" of n = {n}"),
        (_, Some(events)) => format!(" ({} of {n})", numbers::count(events)),
        (_, None) => format!(" (n = {n})"),
    }
}

/// As [`counted`], with the bound of the true share where some were seen.
pub(super) fn counted_with_bound(evidence: &Evidence<'_>) -> String {
    let events = evidence.events();
    // Where all were, the true share may be anything up to 100 %: that says nothing.
    if events == 0 || events >= evidence.measured.samples {
        return counted(evidence);
    }
    let n = evidence.samples();
    let bound = numbers::share(clopper_pearson_upper_bound(events, evidence.measured.samples));
    let of = match evidence.unit {
        Unit::Share => format!(" ({} of {n}, ", numbers::count(events)),
        _ => format!(" of n = {n} ("),
    };
    format!("{of}true share below {bound} with 95 % confidence)")
}

/// Nothing: the number says it all.
pub(super) fn nothing(_: &Evidence<'_>) -> String {
    String::new()
}

/// ` (15 readings)`
pub(super) fn readings(evidence: &Evidence<'_>) -> String {
    format!(" ({} readings)", evidence.samples())
}

/// ` (kill redis, injected at 33.2 s)`
pub(super) fn which(evidence: &Evidence<'_>) -> String {
    format!(" ({})", evidence.measured.which.as_deref().unwrap_or("?"))
}
