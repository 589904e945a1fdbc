//! What a rule can measure: one row for each metric, in the files named after what they are measured on.
//!
//! A row ([`MetricDefinition`]) holds everything that is particular to its metric: name, dimension, how it is
//! measured, how it is worded in evidence, and so on. The grammar, the checks of the scenario, the verdict and the
//! check of the steady state read the rows, so that a new metric is a new row and its documentation (CONTRIBUTING.md):
//! `response_times`, `outcomes`, `freshness`, `resources` or `faults`.

mod bounds;
mod definition;
mod evidence;
mod faults;
mod freshness;
mod growth;
mod measured;
mod outcomes;
mod percentile;
mod quantity;
mod resources;
mod response_times;
mod scope;

use std::fmt;

pub use bounds::clopper_pearson_upper_bound;
pub use definition::{Comparison, Dimension, MeasuredOn, MetricDefinition, MinSamples, Requirement, Wording};
pub use evidence::Evidence;
pub use freshness::stale_reads;
pub use measured::{Coverage, Measured, NotWithin};
pub(crate) use percentile::PERCENTILE_RANGE;
pub(crate) use quantity::as_percent;
pub use quantity::{Quantity, QuantityError};
pub use resources::{no_queries, phases_without_db_queries};
pub use scope::{ErrorTreatment, FaultResult, PhaseFacts, Recovery, RequestFacts, ScenarioFacts, Scope};

/// The rows, in the order in which messages list them.
static TABLE: [&[MetricDefinition]; 5] =
    [response_times::ROWS, outcomes::ROWS, freshness::ROWS, resources::ROWS, faults::ROWS];

/// Every row of the table.
pub fn definitions() -> impl Iterator<Item = &'static MetricDefinition> + Clone {
    TABLE.iter().copied().flatten()
}

/// What a rule measures: a row of the table, with the percentile where the row needs one.
#[derive(Clone, Copy)]
pub struct Metric {
    definition: &'static MetricDefinition,
    percentile: Option<f64>,
}

/// Why a word names no metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricNameError {
    /// No metric has this name.
    Unknown,
    /// A percentile outside p50 … p99.99, or written in another way; with the name that was probably meant.
    NotAPercentile(Option<String>),
}

impl Metric {
    /// Whether it is measured on faults, so that it needs a phase with one.
    pub fn is_fault_metric(self) -> bool {
        self.definition.measured_on == MeasuredOn::Faults
    }

    /// The metric of a row; `percentile` is a share of 1 and is ignored where the row takes none.
    pub fn of(definition: &'static MetricDefinition, percentile: f64) -> Self {
        Self { definition, percentile: definition.is_percentile().then_some(percentile) }
    }

    /// The metric with this name, as a rule writes it.
    ///
    /// # Errors
    /// Why there is none.
    pub fn find(name: &str) -> Result<Self, MetricNameError> {
        for definition in definitions() {
            match definition.name.strip_suffix("{}") {
                None if definition.name == name => return Ok(Self { definition, percentile: None }),
                None => {}
                Some(prefix) => {
                    let digits =
                        name.strip_prefix(prefix).filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
                    if let Some(digits) = digits {
                        let share = percentile::percentile(prefix, digits)?;
                        return Ok(Self { definition, percentile: Some(share) });
                    }
                }
            }
        }
        Err(match percentile::meant_percentile(name) {
            None => MetricNameError::Unknown,
            meant => MetricNameError::NotAPercentile(meant),
        })
    }

    /// Its row.
    pub fn definition(self) -> &'static MetricDefinition {
        self.definition
    }

    /// The percentile as a share of 1: 0.95 for `p95`. `None` for metrics that are none.
    pub fn percentile(self) -> Option<f64> {
        self.percentile
    }

    /// How many samples it needs before it says anything.
    pub fn min_samples(self) -> u64 {
        match self.definition.min_samples {
            MinSamples::AtLeast(samples) => samples,
            MinSamples::TenBeyond => {
                let beyond = 1.0 - self.percentile.unwrap_or(0.0);
                (10.0 / beyond - 1e-6).ceil() as u64
            }
        }
    }

    /// Measures it.
    pub fn measure(self, scope: &Scope<'_>) -> Measured {
        (self.definition.measure)(scope)
    }

    /// How it is called before its number in evidence; `None` where a noun behind the number says it: `3 errors`.
    pub fn label(self, as_share: bool) -> Option<String> {
        match self.definition.wording {
            Wording::Label(label) => {
                let percentile = self.percentile.map(crate::numbers::plain_percentile).unwrap_or_default();
                Some(label.replace("{}", &percentile))
            }
            Wording::Noun(noun) => as_share.then(|| noun.to_owned()),
        }
    }
}

impl PartialEq for Metric {
    fn eq(&self, other: &Self) -> bool {
        self.definition.name == other.definition.name && self.percentile == other.percentile
    }
}

/// As a rule writes it.
impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.percentile {
            Some(share) => f.write_str(&self.definition.name.replace("{}", &as_percent(share))),
            None => f.write_str(self.definition.name),
        }
    }
}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metric({self})")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_is_complete_and_its_name_is_its_own() {
        let mut names = BTreeSet::new();
        for row in definitions() {
            assert!(names.insert(row.name), "{} is there twice", row.name);
            let found = Metric::find(&row.name.replace("{}", "95"));
            assert_eq!(found, Ok(Metric::of(row, 0.95)), "another row takes the name {}", row.name);
            let (Wording::Label(words) | Wording::Noun(words)) = row.wording;
            assert!(!words.is_empty(), "{} has no words for evidence", row.name);
            let percentile = row.min_samples == MinSamples::TenBeyond;
            assert!(row.is_percentile() || !percentile, "{} has no percentile to count samples by", row.name);
            for (word, instead) in row.synonyms {
                assert!(Metric::find(instead).is_ok(), "{word} leads to {instead}, which is not a metric");
            }
        }
    }

    #[test]
    fn a_percentile_needs_ten_samples_beyond_it() {
        let needs = |name: &str| Metric::find(name).expect(name).min_samples();
        assert_eq!([needs("p50"), needs("p95"), needs("p99.9"), needs("mean")], [20, 200, 10_000, 20]);
    }

    #[test]
    fn a_name_that_is_not_a_metric_says_why() {
        for (name, why) in [
            ("p100", MetricNameError::NotAPercentile(Some("max".to_owned()))),
            ("p0", MetricNameError::NotAPercentile(None)),
            ("stale_age.p95x", MetricNameError::NotAPercentile(None)),
            ("p", MetricNameError::Unknown),
            ("p{}", MetricNameError::Unknown),
            ("hit_rat", MetricNameError::Unknown),
        ] {
            assert_eq!(Metric::find(name), Err(why), "{name}");
        }
    }
}
