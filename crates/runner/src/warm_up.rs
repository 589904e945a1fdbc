//! The end of a warm-up: when the hit rate is stable.

use cacheproof_core::journal::{CoarseSlice, SliceCounts};
use cacheproof_core::scenario::Scenario;

/// Slices on each side of the comparison.
const SLICES_PER_SIDE: usize = 3;

/// Largest difference between the two sides, as a share of 1: one percentage point.
const MAX_HIT_RATE_CHANGE: f64 = 0.01;

/// Watches the hit rate of one warm-up phase, slice by slice.
#[derive(Clone, Debug, Default)]
pub struct WarmUp {
    /// Those with reads.
    slices: Vec<SliceCounts>,
}

impl WarmUp {
    /// Adds one slice. Returns the reason to end the phase when the hit rate of the last three slices is within a
    /// percentage point of that of the three before.
    pub fn add_slice(&mut self, scenario: &Scenario, phase: usize, slice: &CoarseSlice) -> Option<String> {
        let cacheable = |request: usize| scenario.is_cacheable(request);
        let counts = slice.counts(|cell| cell.phase == phase, cacheable);
        if counts.reads() == 0 {
            return None;
        }
        self.slices.push(counts);
        let (before, after) = self.slices.split_at(self.slices.len().checked_sub(SLICES_PER_SIDE)?);
        let before = hit_rate(&before[before.len().checked_sub(SLICES_PER_SIDE)?..]);
        let after = hit_rate(after);
        ((after - before).abs() < MAX_HIT_RATE_CHANGE)
            .then(|| format!("the hit rate was stable at {:.1} %", after * 100.0))
    }
}

fn hit_rate(slices: &[SliceCounts]) -> f64 {
    let mut total = SliceCounts::default();
    slices.iter().for_each(|counts| total.add(counts));
    total.hit_rate().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hit_rate_weighs_slices_by_their_reads() {
        let reads = |hits, misses| SliceCounts { hits, misses, ..SliceCounts::default() };
        assert_eq!(hit_rate(&[reads(1, 1), reads(98, 0)]), 0.99);
        assert_eq!(hit_rate(&[]), 0.0);
    }
}
