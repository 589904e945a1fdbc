//! What measuring gives.

use crate::measurements::Totals;

/// A metric, measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// The value, in the unit of the metric. `None`: there was nothing to measure it on.
    pub value: Option<f64>,
    /// How many samples it comes from.
    pub samples: u64,
    /// The events that a count or a share counts: errors, stale answers…
    pub events: Option<u64>,
    /// Errors among the samples of a time: an error is slower than any limit.
    pub errors: u64,
    /// Whether there were so many errors that no limit on the time can hold.
    pub beyond_any_limit: bool,
    /// The answers, where the response times above each limit of the run were counted exactly. See [`Self::above`].
    pub exact: Option<Totals>,
    /// Why there is no value, where that is not plain.
    pub missing_reason: Option<String>,
    /// Why a limit that looks kept may not be.
    pub uncertainty: Option<String>,
    /// The largest that the value can be, where it is known from below and from above.
    pub at_most: Option<f64>,
    /// Something was waited for and did not come.
    pub not_within: Option<NotWithin>,
    /// How much of what the metric speaks about could be judged; `None`: all of it.
    pub coverage: Option<Coverage>,
    /// How many answers the metric speaks about, where more than the samples: those in which the event cannot happen by
    /// their nature are no events either.
    pub opportunities: Option<u64>,
    /// Whether the samples are all that there is, and not some of many.
    pub is_census: bool,
    /// What the value is of, where it is the worst of several.
    pub which: Option<String>,
}

/// How much of what a metric speaks about could be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// What could be judged.
    pub judged: u64,
    /// All that the metric speaks about.
    pub scope: u64,
    /// What the judged ones did, in words: `reads said whether they were hits`.
    pub what: &'static str,
}

impl Coverage {
    /// What could not be judged.
    pub fn unknown(&self) -> u64 {
        self.scope.saturating_sub(self.judged)
    }

    /// The share that could be judged; all of nothing.
    pub fn share(&self) -> f64 {
        if self.scope == 0 { 1.0 } else { self.judged as f64 / self.scope as f64 }
    }
}

/// Something was waited for and did not come.
#[derive(Clone, Debug)]
pub struct NotWithin {
    /// The longest time that was waited, seconds; infinite where it will never come.
    pub watched: f64,
    /// That it did not come, in words.
    pub what: String,
}

impl Measured {
    /// A value with its number of samples.
    pub fn of(value: Option<f64>, samples: u64) -> Self {
        Self { value, samples, ..Self::default() }
    }

    /// How many response times were above `limit` nanoseconds, counted exactly, with the errors. `limits` are those
    /// that the run counted by; `None` where `limit` is not among them.
    pub fn above(&self, limits: &[u64], limit: u64) -> Option<u64> {
        let index = limits.iter().position(|known| *known == limit)?;
        Some(self.exact.as_ref()?.over.get(index).copied().unwrap_or(0) + self.errors)
    }
}
