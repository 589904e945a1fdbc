//! Rules: `METRIC [on PATH] [for REQUEST] [in PHASE] OP VALUE`, or two metrics compared:
//! `p95 on cached in steady <= 40% of p95 on uncached in uncached`.

use crate::journal::CachePath;
use crate::metrics::{Metric, Quantity};

/// A metric and what it is taken over. `None` means "all".
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// What is measured.
    pub metric: Metric,
    /// `on cached` / `on uncached`.
    pub path: Option<CachePath>,
    /// `for 'read post'`: an index into [`super::Traffic::requests`].
    pub request: Option<usize>,
    /// `in steady`: an index into [`super::Scenario::phases`]. `None`: all judged phases.
    pub phase: Option<usize>,
}

/// How a rule compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>=`
    AtLeast,
    /// `>`
    More,
}

impl Op {
    /// Whether the comparison holds.
    pub fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Less => value < limit,
            Self::AtMost => value <= limit,
            Self::Equal => value == limit,
            Self::NotEqual => value != limit,
            Self::AtLeast => value >= limit,
            Self::More => value > limit,
        }
    }
}

/// What a rule compares with.
#[derive(Clone, Debug, PartialEq)]
pub enum Limit {
    /// A fixed value.
    Value(Quantity),
    /// A multiple of another term: `40% of p95 on uncached` has factor 0.4, `2.5x throughput on uncached` 2.5.
    Of {
        /// What the other term is multiplied with.
        factor: f64,
        /// The other term.
        term: Term,
    },
}

/// One rule of a criterion.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The rule as the user wrote it.
    pub text: String,
    /// What is measured.
    pub term: Term,
    /// How it compares.
    pub op: Op,
    /// With what.
    pub limit: Limit,
}
