//! What a row of the table holds.

use super::evidence::{Evidence, counted};
use super::{Measured, PERCENTILE_RANGE, Scope};
use crate::journal::WrongKind;
use crate::numbers::Unit;

/// One row of the table: everything that is particular to a metric.
#[derive(Clone, Copy, Debug)]
pub struct MetricDefinition {
    /// Its name in a rule. `{}` at the end stands for a percentile: `service.p{}` is written `service.p95`.
    pub name: &'static str,
    /// Words that people write for it, each with the name to write instead.
    pub synonyms: &'static [(&'static str, &'static str)],
    /// What kind of number it is.
    pub dimension: Dimension,
    /// Where its samples come from.
    pub measured_on: MeasuredOn,
    /// What the scenario must have for a rule on it to mean something. The first that is missing is reported.
    pub requires: &'static [Requirement],
    /// How many samples it needs before it says anything.
    pub min_samples: MinSamples,
    /// How it is measured.
    pub measure: fn(&Scope<'_>) -> Measured,
    /// How it is called in evidence.
    pub wording: Wording,
    /// What follows the number in evidence: ` (n = 12 400)`. With a space in front, or empty.
    pub details: fn(&Evidence<'_>) -> String,
    /// Whether a value that is over its limit stays over it, however the run goes on: true of counts and maxima.
    pub only_grows: bool,
    /// What it is when a rule compares it with another metric.
    pub comparison: Comparison,
    /// Whether a load generator that is too slow falsifies it.
    pub is_timing: bool,
    /// Whether it is the growth of readings over a phase.
    pub is_growth: bool,
    /// Whether `safety.steady` may use it: it can be measured before the first fault, while the run goes on.
    pub can_be_steady: bool,
}

impl MetricDefinition {
    /// What most rows have in common. A row names at least `name`, `dimension`, `measure` and `wording` itself.
    pub(super) const COMMON: Self = Self {
        name: "",
        synonyms: &[],
        dimension: Dimension::Count,
        measured_on: MeasuredOn::Responses,
        requires: &[],
        min_samples: MinSamples::AtLeast(0),
        measure: |_| Measured::default(),
        wording: Wording::Noun(""),
        details: counted,
        only_grows: false,
        comparison: Comparison::Value,
        is_timing: false,
        is_growth: false,
        can_be_steady: false,
    };

    /// Whether its name takes a percentile.
    pub fn is_percentile(&self) -> bool {
        self.name.ends_with("{}")
    }

    /// Whether it speaks about the cache or its servers, or about what the cache saves the database.
    pub fn is_about_cache(&self) -> bool {
        let requires = |what| self.requires.contains(&what);
        requires(Requirement::Cache)
            || requires(Requirement::CacheableRequest)
            || requires(Requirement::Redis)
            || self.measured_on == MeasuredOn::DatabaseQueries
    }

    /// Its name for lists: `service.p50 … p99.99` for a percentile.
    pub fn listed_name(&self) -> String {
        if self.is_percentile() { self.name.replace("p{}", PERCENTILE_RANGE) } else { self.name.to_owned() }
    }
}

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// A time.
    Time,
    /// A share of the requests.
    Share,
    /// A whole number of things.
    Count,
    /// A whole number of requests, or a share of them where the rule gives a percentage.
    CountOrShare,
    /// A plain number that need not be whole: so many for each request.
    Ratio,
    /// Events a second.
    Rate,
    /// Bytes.
    Bytes,
    /// Bytes, or a share of Redis's maxmemory.
    BytesOrShare,
    /// Bytes, or a share of the value at the start.
    Growth,
}

impl Dimension {
    /// Its unit; `as_share`: the rule asks for a share where the metric can be one.
    pub fn unit(self, as_share: bool) -> Unit {
        match self {
            Self::Time => Unit::Seconds,
            Self::Share => Unit::Share,
            Self::Rate => Unit::PerSecond,
            _ if as_share => Unit::Share,
            Self::Count | Self::CountOrShare | Self::Ratio => Unit::Count,
            Self::Bytes | Self::BytesOrShare | Self::Growth => Unit::Bytes,
        }
    }

    /// Whether two metrics of these dimensions can be compared with each other.
    pub fn is_comparable_with(self, other: Self) -> bool {
        let plain = |dimension| match dimension {
            Self::CountOrShare => Self::Count,
            Self::BytesOrShare | Self::Growth => Self::Bytes,
            plain => plain,
        };
        plain(self) == plain(other)
    }

    /// What a rule compares it with, in words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Time => "a time, e.g. 150ms",
            Self::Share => "a percentage, e.g. 60%",
            Self::Count => "a plain number, e.g. 0",
            Self::CountOrShare => "a number or a percentage of the requests, e.g. 0 or 1%",
            Self::Ratio => "a plain number, e.g. 0.4",
            Self::Rate => "a rate, e.g. 400/s",
            Self::Bytes => "a size, e.g. 64mb",
            Self::BytesOrShare => "a size or a percentage of maxmemory, e.g. 64mb or 80%",
            Self::Growth => "a size or a percentage of the size at the start, e.g. 20mb or 20%",
        }
    }
}

/// Where the samples of a metric come from. Only answers can be told apart by request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeasuredOn {
    /// Answers to requests, and requests that failed.
    Responses,
    /// The database's own count of queries.
    DatabaseQueries,
    /// Samples of the servers and processes, which serve all requests together.
    Resources,
    /// The faults, so that a phase with one is needed.
    Faults,
}

/// How many samples a metric needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinSamples {
    /// So many.
    AtLeast(u64),
    /// For a percentile: so many that ten are to be expected beyond it.
    TenBeyond,
}

/// What a metric is when a rule compares it with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The value itself.
    Value,
    /// A share of the requests, whether or not a fixed limit would be a count: counts of unequal phases say nothing.
    ShareOfRequests,
    /// A total, which grows with the length of the phase: comparable only over phases of equal length. The text says
    /// what to do otherwise.
    Total(&'static str),
}

/// How a metric is called in evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wording {
    /// Before the number: `hit rate 61.3 %`. `{}` stands for the percentile.
    Label(&'static str),
    /// Behind a count, and before a share: `3 errors`, `errors 0.1 %`.
    Noun(&'static str),
}

/// What a scenario must have for a metric to mean something. The scenario's own checks say whether it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Redis.
    Redis,
    /// Postgres.
    Postgres,
    /// An app that cacheproof starts, so that its process is known.
    StartedApp,
    /// A target with a cache.
    Cache,
    /// Requests through the cache.
    CachedPath,
    /// A request that may be cached.
    CacheableRequest,
    /// A fault, and before the first one a phase that says what is normal.
    FaultAfterBaseline,
    /// Answers that carry a version, or a way past the cache to compare them with.
    VersionOrBypass,
    /// Answers that carry a version.
    Version,
    /// Answers that carry a version, or the token of the write that they show.
    VersionOrTokens,
    /// A way past the cache.
    Bypass,
    /// How long the app keeps an answer, and a timeline that is longer.
    Ttl,
    /// An item that is both read and written.
    WrittenItem,
    /// A request that writes such an item.
    Write,
    /// Answers that can be seen to be wrong in this way; `None`: in any.
    CheckedAnswers(Option<WrongKind>),
}
