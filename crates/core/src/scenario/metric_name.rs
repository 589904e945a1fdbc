//! The metric that a word names, or what to write instead.

use super::problem::nearest;
use crate::metrics::{Metric, MetricDefinition, MetricNameError, PERCENTILE_RANGE, definitions};

/// A metric by its name; otherwise what to write instead.
pub(super) fn metric(word: &str) -> Result<Metric, String> {
    match Metric::find(word) {
        Ok(metric) => return Ok(metric),
        Err(MetricNameError::NotAPercentile(Some(meant))) => {
            return Err(format!("write {meant}; percentiles are {PERCENTILE_RANGE}"));
        }
        Err(MetricNameError::NotAPercentile(None)) => {
            return Err(format!("percentiles are {PERCENTILE_RANGE}, e.g. p95 for the 95th"));
        }
        Err(MetricNameError::Unknown) => {}
    }
    let all = definitions().map(MetricDefinition::listed_name).collect::<Vec<_>>().join(", ");
    Err(match meant(word) {
        Some(meant) => format!("did you mean {meant}? metrics: {all}"),
        None => format!("metrics: {all}"),
    })
}

/// The metrics that a word may stand for: those that it is a synonym of, or else the one with the nearest name.
fn meant(word: &str) -> Option<String> {
    let synonyms = definitions().flat_map(|definition| definition.synonyms);
    let meant: Vec<&str> = synonyms.filter(|(synonym, _)| *synonym == word).map(|(_, name)| *name).collect();
    match meant.as_slice() {
        [] => {
            let names = definitions().filter(|definition| !definition.is_percentile()).map(|one| one.name);
            nearest(word, names).map(str::to_owned)
        }
        [one] => Some((*one).to_owned()),
        [first @ .., last] => Some(format!("{} or {last}", first.join(", "))),
    }
}
