//! When a warm-up is over: when the hit rate is level.

use cacheproof_core::journal::{Outcome, Window};
use cacheproof_core::scenario::Scenario;

/// Windows on each side of the comparison.
const WINDOWS_PER_SIDE: usize = 3;

/// Shares of 1 by which the two sides may differ: a point.
const MAX_HIT_RATE_CHANGE: f64 = 0.01;

/// Watches the hit rate of one warm-up phase, window by window.
#[derive(Clone, Debug, Default)]
pub struct WarmUp {
    windows: Vec<(u64, u64)>,
}

impl WarmUp {
    /// Takes one more window. Gives the reason to end when the hit rate of the last three windows is within a
    /// point of that of the three before.
    pub fn add_window(&mut self, scenario: &Scenario, phase: usize, window: &Window) -> Option<String> {
        let count = |outcome| -> u64 {
            window
                .cells
                .iter()
                .filter(|cell| cell.phase == phase && cell.outcome == outcome)
                .filter(|cell| scenario.traffic.requests.get(cell.request).is_some_and(|request| request.cacheable))
                .map(|cell| cell.response.count())
                .sum()
        };
        let (hits, misses) = (count(Outcome::Hit), count(Outcome::Miss));
        if hits + misses == 0 {
            return None;
        }
        self.windows.push((hits, misses));
        let (before, after) = self.windows.split_at(self.windows.len().checked_sub(WINDOWS_PER_SIDE)?);
        let before = hit_rate(&before[before.len().checked_sub(WINDOWS_PER_SIDE)?..]);
        let after = hit_rate(after);
        ((after - before).abs() < MAX_HIT_RATE_CHANGE)
            .then(|| format!("the hit rate was level at {:.1} %", after * 100.0))
    }
}

fn hit_rate(windows: &[(u64, u64)]) -> f64 {
    let (hits, all) = windows.iter().fold((0, 0), |(hits, all), (hit, miss)| (hits + hit, all + hit + miss));
    hits as f64 / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::hit_rate;

    #[test]
    fn the_rate_weighs_windows_by_their_reads() {
        assert_eq!(hit_rate(&[(1, 1), (98, 0)]), 0.99);
        assert_eq!(hit_rate(&[]), 0.0);
    }
}
