//! Counts the answers of the 100 ms that are under way.

use cacheproof_core::journal::{Outcome, Pulse, PulseCell};

use super::ResponseRecord;

/// Counts the answers of the pulse that is under way.
#[derive(Debug, Default)]
pub(super) struct ResponseAccumulator {
    /// Few: answers of the phase under way, and late ones of the phase before.
    cells: Vec<(PulseCell, Vec<u64>)>,
}

impl ResponseAccumulator {
    /// Counts one answer. `cacheable`: whether the hit rate counts its request.
    pub fn add(&mut self, answer: &ResponseRecord, cacheable: bool) {
        let (phase, path) = (usize::from(answer.phase), answer.path);
        let known = self.cells.iter().position(|(cell, _)| cell.phase == phase && cell.path == path);
        let index = known.unwrap_or_else(|| {
            self.cells.push((PulseCell::new(phase, path), Vec::new()));
            self.cells.len() - 1
        });
        let (cell, times) = &mut self.cells[index];
        match answer.outcome {
            Outcome::Error => {
                cell.errors += 1;
                return;
            }
            Outcome::Hit => cell.hits += u64::from(cacheable),
            Outcome::Miss => cell.misses += u64::from(cacheable),
            Outcome::Fallback => cell.fallbacks += 1,
            Outcome::Wrong => cell.wrong += 1,
            Outcome::StaleServed | Outcome::Bypass | Outcome::Plain => {}
        }
        cell.answered += 1;
        cell.stale += u64::from(answer.stale);
        times.push(answer.response);
    }

    /// The pulse, and a tally that starts anew.
    pub fn take(&mut self, seconds: f64) -> Pulse {
        let mut cells: Vec<PulseCell> = std::mem::take(&mut self.cells)
            .into_iter()
            .map(|(cell, mut times)| {
                let p95 = percentile(&mut times, 0.95);
                PulseCell {
                    p95,
                    p50: percentile(&mut times, 0.5),
                    max: round_up_to_micros(times.iter().copied().max().unwrap_or(0)),
                    ..cell
                }
            })
            .collect();
        cells.sort_unstable_by_key(|cell| (cell.phase, cell.path));
        Pulse { seconds, cells }
    }
}

/// The value that the share `q` of all does not exceed, to a microsecond: longer numbers make a longer journal and
/// say no more.
fn percentile(times: &mut [u64], q: f64) -> u64 {
    if times.is_empty() {
        return 0;
    }
    let rank = ((q * times.len() as f64).ceil() as usize).clamp(1, times.len()) - 1;
    round_up_to_micros(*times.select_nth_unstable(rank).1)
}

fn round_up_to_micros(nanoseconds: u64) -> u64 {
    nanoseconds.div_ceil(1_000) * 1_000
}

#[cfg(test)]
mod tests {
    use cacheproof_core::journal::CachePath;

    use super::*;

    fn answer(outcome: Outcome, response: u64) -> ResponseRecord {
        ResponseRecord {
            phase: 1,
            path: CachePath::Cached,
            request: 0,
            outcome,
            response,
            service: response,
            stale: false,
            judged_fresh: false,
            lag: None,
        }
    }

    #[test]
    fn a_quick_error_does_not_make_a_pulse_look_fast() {
        let mut accumulator = ResponseAccumulator::default();
        for response in 1..=100 {
            accumulator.add(&answer(Outcome::Hit, response * 1_000_000), true);
            accumulator.add(&answer(Outcome::Error, 1), true);
        }
        let cell = accumulator.take(0.1).cells[0];
        assert_eq!((cell.answered, cell.errors, cell.hits), (100, 100, 100));
        assert_eq!((cell.p50, cell.p95, cell.max), (50_000_000, 95_000_000, 100_000_000));
    }

    #[test]
    fn what_the_hit_rate_does_not_count_is_no_hit_of_a_pulse() {
        let mut accumulator = ResponseAccumulator::default();
        accumulator.add(&answer(Outcome::Hit, 1), false);
        accumulator.add(&answer(Outcome::Miss, 1), true);
        accumulator.add(&ResponseRecord { stale: true, ..answer(Outcome::Plain, 1) }, true);
        let cell = accumulator.take(0.1).cells[0];
        assert_eq!((cell.answered, cell.hits, cell.misses, cell.stale), (3, 0, 1, 1));
        assert!(accumulator.take(0.1).cells.is_empty(), "an answer belongs to one pulse");
    }
}
