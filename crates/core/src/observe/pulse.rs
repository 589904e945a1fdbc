//! Pulses: ten times a second, how many answers of each kind came in, and how slow they were. Finer than
//! windows, so that a recovery is timed to a tenth of a second, and small, because no histogram is kept.

use serde::{Deserialize, Serialize};

use super::{Outcome, ResponseRecord};
use crate::scenario::CachePath;

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
