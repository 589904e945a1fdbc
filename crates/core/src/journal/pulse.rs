//! Pulses: ten times a second, how many answers of each kind came in, and how slow they were. Finer than
//! windows, so that a recovery is timed to a tenth of a second, and small, because no histogram is kept.

use serde::{Deserialize, Serialize};

use super::CachePath;

/// The answers of about 100 ms. A pulse without answers is not written: the time between one pulse's end and the
/// next one's start was empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pulse {
    /// How long it was, in seconds; it ends at its line's time.
    pub seconds: f64,
    /// What came in, by phase and path.
    pub cells: Vec<PulseCell>,
}

/// Answers of one phase and path in one pulse. Counts of 0 are left out of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PulseCell {
    /// Phase that the requests were meant for.
    pub phase: usize,
    /// Way they took.
    pub path: CachePath,
    /// How many were answered, rightly or wrongly.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub answered: u64,
    /// How many failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub errors: u64,
    /// Answers for something else than was asked for, among those answered.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wrong: u64,
    /// Answers older than the last write acknowledged before they were asked for, among those answered.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stale: u64,
    /// Cacheable reads answered from the cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hits: u64,
    /// Cacheable reads that the cache did not have.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub misses: u64,
    /// Reads answered past a cache that could not be reached.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fallbacks: u64,
    /// Median response time of those answered, nanoseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub p50: u64,
    /// Its 95th percentile, nanoseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub p95: u64,
    /// Its largest, nanoseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl PulseCell {
    /// Nothing yet, for a phase and path.
    pub fn new(phase: usize, path: CachePath) -> Self {
        Self {
            phase,
            path,
            answered: 0,
            errors: 0,
            wrong: 0,
            stale: 0,
            hits: 0,
            misses: 0,
            fallbacks: 0,
            p50: 0,
            p95: 0,
            max: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pulse_is_short_in_the_journal_and_survives_it() {
        let cell =
            PulseCell { answered: 41, hits: 38, misses: 2, p50: 1_180_000, ..PulseCell::new(2, CachePath::Cached) };
        let pulse = Pulse { seconds: 0.1, cells: vec![cell] };
        let text = serde_json::to_string(&pulse).expect("it serialises");
        assert!(text.len() < 120, "{text}");
        assert_eq!(serde_json::from_str::<Pulse>(&text).expect("it is read back"), pulse);
    }
}
