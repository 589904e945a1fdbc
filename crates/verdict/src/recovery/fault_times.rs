//! When faults were in effect, for questions about thousands of them.

use cacheproof_core::measurements::FaultWindow;
use cacheproof_core::scenario::Scenario;

/// The faults of a run in the order of their injection.
pub(super) struct FaultTimes {
    /// When each was injected.
    from: Vec<f64>,
    /// For each, the latest end of those up to it.
    latest_end: Vec<f64>,
    /// For each, the end of the last fault of those that overlap with it or with one that does.
    together_until: Vec<f64>,
}

impl FaultTimes {
    pub fn of(scenario: &Scenario, windows: &[FaultWindow]) -> Self {
        let end = |window: &FaultWindow| super::fault_end(scenario, window).unwrap_or(f64::INFINITY);
        let mut spans: Vec<(f64, f64)> = windows.iter().map(|window| (window.from, end(window))).collect();
        spans.sort_by(|a, b| a.0.total_cmp(&b.0));
        let latest_end: Vec<f64> = spans
            .iter()
            .scan(f64::NEG_INFINITY, |latest, (_, end)| {
                *latest = latest.max(*end);
                Some(*latest)
            })
            .collect();
        let mut together_until = latest_end.clone();
        for index in (0..spans.len().saturating_sub(1)).rev() {
            if spans[index + 1].0 < latest_end[index] {
                together_until[index] = together_until[index + 1];
            }
        }
        Self { from: spans.into_iter().map(|(from, _)| from).collect(), latest_end, together_until }
    }

    /// The end of the last fault in effect at `moment` or overlapping with one that was: a service can't recover while
    /// another fault lasts. `None`: one of them was never undone.
    pub fn last_end(&self, moment: f64) -> Option<f64> {
        let before = self.from.partition_point(|from| *from < moment);
        let Some(last) = before.checked_sub(1).filter(|last| self.latest_end[*last] > moment) else {
            return Some(moment);
        };
        Some(self.together_until[last]).filter(|end| end.is_finite())
    }

    /// When the next fault after `moment` was injected.
    pub fn next(&self, moment: f64) -> Option<f64> {
        self.from.get(self.from.partition_point(|from| *from <= moment)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(spans: &[(f64, f64)]) -> FaultTimes {
        let scenario = cacheproof_simulated::scenario(&cacheproof_simulated::SimulationPlan::default());
        let window = |(from, undone): &(f64, f64)| FaultWindow {
            // No fault of the scenario: its end is its undo.
            phase: usize::MAX,
            fault: 0,
            round: 0,
            what: String::new(),
            done: String::new(),
            connections: None,
            connections_at_end: None,
            app_bytes: None,
            observation: None,
            from: *from,
            injected: None,
            seen: None,
            undone: undone.is_finite().then_some(*undone),
            back: None,
        };
        FaultTimes::of(&scenario, &spans.iter().map(window).collect::<Vec<_>>())
    }

    /// As it is defined: again and again over all of them.
    fn last_end(spans: &[(f64, f64)], moment: f64) -> Option<f64> {
        let mut base = moment;
        loop {
            let lasting = spans.iter().filter(|(from, _)| *from < base).map(|(_, end)| *end).fold(base, f64::max);
            if lasting.is_infinite() {
                return None;
            }
            if lasting <= base {
                return Some(base);
            }
            base = lasting;
        }
    }

    #[test]
    fn the_last_end_is_that_of_all_faults_that_overlap() {
        let sets = [
            vec![],
            vec![(1.0, 3.0), (2.0, 5.0), (4.0, 4.5), (5.0, 6.0), (8.0, 9.0)],
            vec![(4.0, 4.5), (1.0, 10.0), (2.0, 3.0), (9.0, 12.0), (12.0, 13.0)],
            vec![(1.0, 2.0), (3.0, f64::INFINITY), (4.0, 5.0)],
            vec![(1.0, 1.0), (1.0, 1.0), (1.0, 4.0)],
        ];
        for spans in sets {
            let times = times(&spans);
            for tenth in 0..150 {
                let moment = f64::from(tenth) / 10.0;
                assert_eq!(times.last_end(moment), last_end(&spans, moment), "{spans:?} at {moment}");
                let next = spans.iter().map(|(from, _)| *from).filter(|from| *from > moment).reduce(f64::min);
                assert_eq!(times.next(moment), next, "{spans:?} after {moment}");
            }
        }
    }
}
