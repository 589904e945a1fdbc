//! Counts the responses of the current fine slice.

use cacheproof_core::journal::{CountCell, FineSlice, Outcome, SliceCounts};

use super::ResponseRecord;

/// Counts the responses of the current fine slice.
#[derive(Debug, Default)]
pub(super) struct ResponseAccumulator {
    /// Counts and response times. There are few cells: those of the current phase, and late responses of the one
    /// before.
    cells: Vec<(CountCell, Vec<u64>)>,
}

impl ResponseAccumulator {
    /// Counts one response. `cacheable`: whether the hit rate counts its request.
    pub fn add(&mut self, response: &ResponseRecord, cacheable: bool) {
        let (phase, path) = (usize::from(response.phase), response.path);
        let known = self.cells.iter().position(|(cell, _)| cell.phase == phase && cell.path == path);
        let index = known.unwrap_or_else(|| {
            self.cells.push((CountCell { phase, path, counts: SliceCounts::default() }, Vec::new()));
            self.cells.len() - 1
        });
        let (cell, times) = &mut self.cells[index];
        cell.counts.count(response.outcome, path, 1, cacheable);
        if response.outcome != Outcome::Error {
            cell.counts.stale += u64::from(response.stale);
            times.push(response.response);
        }
    }

    /// The slice so far; the next one starts empty.
    pub fn take(&mut self, seconds: f64) -> FineSlice {
        let mut cells: Vec<CountCell> = std::mem::take(&mut self.cells)
            .into_iter()
            .map(|(mut cell, mut times)| {
                cell.counts.p95 = percentile(&mut times, 0.95);
                cell.counts.p50 = percentile(&mut times, 0.5);
                cell.counts.max = round_up_to_micros(times.iter().copied().max().unwrap_or(0));
                cell
            })
            .collect();
        cells.sort_unstable_by_key(|cell| (cell.phase, cell.path));
        FineSlice { seconds, cells }
    }
}

/// The value that the share `q` of all does not exceed, rounded up to a microsecond: more digits only make the journal
/// longer.
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

    fn record(outcome: Outcome, response: u64) -> ResponseRecord {
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
    fn quick_errors_do_not_make_a_slice_look_fast() {
        let mut accumulator = ResponseAccumulator::default();
        for response in 1..=100 {
            accumulator.add(&record(Outcome::Hit, response * 1_000_000), true);
            accumulator.add(&record(Outcome::Error, 1), true);
        }
        let counts = accumulator.take(0.1).cells[0].counts;
        assert_eq!((counts.answered, counts.errors, counts.hits), (100, 100, 100));
        assert_eq!((counts.p50, counts.p95, counts.max), (50_000_000, 95_000_000, 100_000_000));
    }

    #[test]
    fn a_request_that_is_not_cacheable_is_neither_hit_nor_miss() {
        let mut accumulator = ResponseAccumulator::default();
        accumulator.add(&record(Outcome::Hit, 1), false);
        accumulator.add(&record(Outcome::Miss, 1), true);
        accumulator.add(&ResponseRecord { stale: true, ..record(Outcome::Plain, 1) }, true);
        let counts = accumulator.take(0.1).cells[0].counts;
        assert_eq!((counts.answered, counts.hits, counts.misses, counts.stale), (3, 0, 1, 1));
        assert!(accumulator.take(0.1).cells.is_empty(), "a response belongs to one slice");
    }
}
