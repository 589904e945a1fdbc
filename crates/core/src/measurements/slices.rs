//! Slices of time: read from the journal in two resolutions, and joined to longer ones.

use std::collections::BTreeMap;

use super::{Measurements, ResponseKey};
use crate::journal::{CachePath, CoarseSlice, CountCell, Histogram, SendLag, SliceCounts};

/// A gap between two fine slices that is shorter than this comes from their clocks, seconds.
const MAX_GAP: f64 = 0.02;
/// Share of the wanted length that is enough: the journal's slices are some 0.1 s long, give or take a little.
const MIN_LENGTH_SHARE: f64 = 0.95;
/// Share of the wanted length below which what remains at the end is left out.
const MIN_REST_SHARE: f64 = 0.5;

/// A stretch of time, and what came in during it: by default the [`SliceCounts`] of one path.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TimeSlice<C = SliceCounts> {
    /// Its start, seconds since the run began.
    pub from: f64,
    /// Its end.
    pub to: f64,
    /// What came in.
    pub counts: C,
}

impl<C> TimeSlice<C> {
    /// The slice of a journal line: it ends at the line's time.
    pub fn ending_at(to: f64, seconds: f64, counts: C) -> Self {
        Self { from: to - seconds, to, counts }
    }

    /// Its length in seconds.
    pub fn seconds(&self) -> f64 {
        self.to - self.from
    }

    /// The time in its middle.
    pub fn middle(&self) -> f64 {
        f64::midpoint(self.from, self.to)
    }
}

impl TimeSlice {
    /// A slice in which nothing came in.
    pub fn empty(from: f64, to: f64) -> Self {
        Self { from, to, counts: SliceCounts::default() }
    }

    /// Appends the slice that follows.
    pub fn join(&mut self, next: &Self) {
        self.to = self.to.max(next.to);
        self.counts.add(&next.counts);
    }
}

/// Slices that were joined to longer ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JoinedSlices {
    /// The complete ones, in order of time.
    pub complete: Vec<TimeSlice>,
    /// What remains at the end and is not complete.
    pub rest: Option<TimeSlice>,
}

/// Joins neighbouring slices, each until `is_complete` says so of the joined slice; its second argument is the slice
/// that was appended last. A slice also ends at a gap in time.
pub fn join_until(slices: &[TimeSlice], mut is_complete: impl FnMut(&TimeSlice, &TimeSlice) -> bool) -> JoinedSlices {
    let mut complete = Vec::new();
    let mut rest: Option<TimeSlice> = None;
    for slice in slices {
        let joined = match rest.take() {
            Some(mut joined) if (slice.from - joined.to).abs() < MAX_GAP => {
                joined.join(slice);
                joined
            }
            before => {
                complete.extend(before);
                *slice
            }
        };
        if is_complete(&joined, slice) {
            complete.push(joined);
        } else {
            rest = Some(joined);
        }
    }
    JoinedSlices { complete, rest }
}

/// Joins neighbouring slices to slices of at least `seconds`. What remains at the end is left out where it is much
/// shorter than the others.
pub fn join_to_length(slices: &[TimeSlice], seconds: f64) -> Vec<TimeSlice> {
    let JoinedSlices { complete: mut joined, rest } =
        join_until(slices, |joined, _| joined.seconds() >= seconds * MIN_LENGTH_SHARE);
    let is_only = joined.is_empty();
    joined.extend(rest.filter(|rest| is_only || rest.seconds() >= seconds * MIN_REST_SHARE));
    joined
}

/// What is kept of a [`CoarseSlice`]: no histograms, because those of a long run need too much memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DetailedCounts {
    /// Arrivals that were due and waited for a free connection at the slice's end.
    pub backlog: u64,
    /// How late the load generator was.
    pub send_lag: Option<SendLag>,
    /// How many responses of each kind came in.
    pub by_key: Vec<(ResponseKey, u64)>,
    /// Response times of each path, errors among them.
    pub response: BTreeMap<CachePath, Percentiles>,
    /// How many responses of each path were stale, where any were.
    pub stale: BTreeMap<CachePath, u64>,
}

/// Percentiles in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// Number of responses.
    pub count: u64,
    /// Median.
    pub p50: u64,
    /// 95th percentile.
    pub p95: u64,
    /// 99th percentile.
    pub p99: u64,
}

impl DetailedCounts {
    pub(super) fn of(slice: &CoarseSlice) -> Self {
        let mut response: BTreeMap<CachePath, Histogram> = BTreeMap::new();
        let mut stale: BTreeMap<CachePath, u64> = BTreeMap::new();
        for cell in &slice.cells {
            response.entry(cell.path).or_default().merge(&cell.response);
            if cell.stale > 0 {
                *stale.entry(cell.path).or_default() += cell.stale;
            }
        }
        let percentiles = |histogram: Histogram| {
            let at = |q| histogram.quantile(q).unwrap_or(0);
            Percentiles { count: histogram.count(), p50: at(0.5), p95: at(0.95), p99: at(0.99) }
        };
        Self {
            backlog: slice.backlog,
            send_lag: slice.send_lag,
            by_key: slice.cells.iter().map(|cell| (ResponseKey::of(cell), cell.response.count())).collect(),
            response: response.into_iter().map(|(path, histogram)| (path, percentiles(histogram))).collect(),
            stale,
        }
    }

    fn of_path(&self, path: CachePath, cacheable: impl Fn(usize) -> bool) -> SliceCounts {
        let response = self.response.get(&path).copied().unwrap_or_default();
        let mut counts = SliceCounts {
            stale: self.stale.get(&path).copied().unwrap_or(0),
            p50: response.p50,
            p95: response.p95,
            // The largest is not kept.
            max: response.p99,
            ..SliceCounts::default()
        };
        for (key, count) in self.by_key.iter().filter(|(key, _)| key.path == path) {
            counts.count(key.outcome, path, *count, cacheable(key.request));
        }
        counts
    }
}

impl Measurements {
    /// The responses of a path in the finest slices that the journal has, in order of time and without gaps: where no
    /// fine slice was written, nothing came in. A journal without fine slices (cacheproof 0.1) gives one slice a
    /// second. `cacheable`: whether the hit rate counts a request, by its index.
    pub fn slices(&self, path: CachePath, cacheable: impl Fn(usize) -> bool) -> Vec<TimeSlice> {
        if self.fine_slices.is_empty() {
            let counts = |counts: &DetailedCounts| counts.of_path(path, &cacheable);
            return without_gaps(with_counts(&self.coarse_slices, counts));
        }
        let counts = |cells: &Vec<CountCell>| {
            let mut counts = SliceCounts::default();
            cells.iter().filter(|cell| cell.path == path).for_each(|cell| counts.add(&cell.counts));
            counts
        };
        without_gaps(with_counts(&self.fine_slices, counts))
    }
}

fn with_counts<C>(slices: &[TimeSlice<C>], counts: impl Fn(&C) -> SliceCounts) -> impl Iterator<Item = TimeSlice> {
    slices.iter().map(move |slice| TimeSlice { from: slice.from, to: slice.to, counts: counts(&slice.counts) })
}

fn without_gaps(found: impl Iterator<Item = TimeSlice>) -> Vec<TimeSlice> {
    let mut slices: Vec<TimeSlice> = Vec::new();
    for mut slice in found {
        if let Some(before) = slices.last().map(|before| before.to) {
            if slice.from - before > MAX_GAP {
                slices.push(TimeSlice::empty(before, slice.from));
            } else {
                // Clocks that differ a little make neither an overlap nor a gap.
                slice.from = before;
                slice.to = slice.to.max(before);
            }
        }
        slices.push(slice);
    }
    slices
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Event, FineSlice, JournalEntry};

    fn fine(at: f64, seconds: f64, answered: u64) -> JournalEntry {
        let counts = SliceCounts { answered, ..SliceCounts::default() };
        let cell = CountCell { phase: 0, path: CachePath::Cached, counts };
        JournalEntry { at, event: Event::FineSlice(FineSlice { seconds, cells: vec![cell] }) }
    }

    #[test]
    fn a_stretch_without_fine_slices_is_a_slice_without_responses() {
        let measurements = Measurements::of(&[fine(1.0, 0.1, 4), fine(1.101, 0.1, 5), fine(2.0, 0.1, 6)]);
        let slices = measurements.slices(CachePath::Cached, |_| true);
        let answered: Vec<u64> = slices.iter().map(|slice| slice.counts.answered).collect();
        assert_eq!(answered, [4, 5, 0, 6]);
        assert!(slices.windows(2).all(|pair| pair[0].to == pair[1].from), "{slices:?}");
        let other = measurements.slices(CachePath::Uncached, |_| true);
        assert!(other.iter().all(|slice| slice.counts.requests() == 0) && other.len() == 4);
    }

    fn tenths(range: std::ops::Range<u32>) -> Vec<TimeSlice> {
        let counts = SliceCounts { answered: 2, p95: 7, ..SliceCounts::default() };
        range.map(|tenth| TimeSlice::ending_at(f64::from(tenth + 1) / 10.0, 0.1, counts)).collect()
    }

    #[test]
    fn slices_are_joined_until_they_are_complete_and_the_rest_is_known_as_such() {
        let joined = join_until(&tenths(0..8), |joined, _| joined.counts.answered >= 6);
        assert_eq!(joined.complete.iter().map(|slice| slice.counts.answered).collect::<Vec<_>>(), [6, 6]);
        assert_eq!(joined.complete[0].counts.p95, 7, "percentiles are not added");
        assert_eq!(joined.rest.map(|rest| rest.counts.answered), Some(4));
        assert_eq!(join_until(&[], |_, _| true), JoinedSlices::default());
    }

    #[test]
    fn no_slice_reaches_over_a_gap_in_time() {
        let slices = [tenths(0..3), tenths(20..30)].concat();
        let joined = join_to_length(&slices, 0.5);
        let lengths: Vec<f64> = joined.iter().map(|slice| (slice.seconds() * 10.0).round()).collect();
        assert_eq!(lengths, [3.0, 5.0, 5.0]);
    }

    #[test]
    fn a_short_rest_is_left_out_where_it_is_not_all_there_is() {
        let count = |tenths: &[TimeSlice]| join_to_length(tenths, 1.0).len();
        assert_eq!([count(&tenths(0..14)), count(&tenths(0..16)), count(&tenths(0..3))], [1, 2, 1]);
    }
}
