//! Slices of time: read from the journal in two resolutions, and joined to longer ones.

use super::{Measurements, ResponseKey};
use crate::journal::{CachePath, CoarseSlice, Histogram, Outcome, ResponseCell, SendLag, SliceCounts};

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

/// What is kept of a [`CoarseSlice`], in some hundred bytes: a long run has many.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DetailedCounts {
    /// Arrivals that were due and waited for a free connection at the slice's end.
    pub backlog: u64,
    /// How late the load generator was.
    pub send_lag: Option<SendLag>,
    by_key: Box<[KeyCount]>,
    cached: PathCounts,
    uncached: PathCounts,
}

/// How many responses of one kind came in. As small as can be: there are dozens in each second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct KeyCount {
    phase: u16,
    request: u16,
    path: CachePath,
    outcome: Outcome,
    count: u32,
}

/// The responses of one path, errors among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct PathCounts {
    response: Percentiles,
    stale: u64,
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
        let of_path = |path| {
            let (mut response, mut stale) = (Histogram::default(), 0);
            for cell in slice.cells.iter().filter(|cell| cell.path == path) {
                response.merge(&cell.response);
                stale += cell.stale;
            }
            let at = |q| response.quantile(q).unwrap_or(0);
            let response = Percentiles { count: response.count(), p50: at(0.5), p95: at(0.95), p99: at(0.99) };
            PathCounts { response, stale }
        };
        let key = |cell: &ResponseCell| KeyCount {
            phase: cell.phase.try_into().unwrap_or(u16::MAX),
            request: cell.request.try_into().unwrap_or(u16::MAX),
            path: cell.path,
            outcome: cell.outcome,
            count: cell.response.count().try_into().unwrap_or(u32::MAX),
        };
        Self {
            backlog: slice.backlog,
            send_lag: slice.send_lag,
            by_key: slice.cells.iter().map(key).collect(),
            cached: of_path(CachePath::Cached),
            uncached: of_path(CachePath::Uncached),
        }
    }

    /// How many responses of each kind came in.
    pub fn by_key(&self) -> impl Iterator<Item = (ResponseKey, u64)> + '_ {
        self.by_key.iter().map(|KeyCount { phase, request, path, outcome, count }| {
            let (phase, request) = (usize::from(*phase), usize::from(*request));
            (ResponseKey { phase, path: *path, request, outcome: *outcome }, u64::from(*count))
        })
    }

    /// Response times of each path that had any, errors among them.
    pub fn response(&self) -> impl Iterator<Item = (CachePath, Percentiles)> {
        let paths = [CachePath::Cached, CachePath::Uncached].map(|path| (path, self.path(path).response));
        paths.into_iter().filter(|(_, response)| response.count > 0)
    }

    fn path(&self, path: CachePath) -> PathCounts {
        match path {
            CachePath::Cached => self.cached,
            CachePath::Uncached => self.uncached,
        }
    }

    fn of_path(&self, path: CachePath, cacheable: impl Fn(usize) -> bool) -> SliceCounts {
        let PathCounts { response, stale } = self.path(path);
        let mut counts = SliceCounts {
            stale,
            p50: response.p50,
            p95: response.p95,
            // The largest is not kept.
            max: response.p99,
            ..SliceCounts::default()
        };
        for (key, count) in self.by_key().filter(|(key, _)| key.path == path) {
            counts.count(key.outcome, path, count, cacheable(key.request));
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
            return without_gaps(self.coarse_slices.iter().map(|slice| {
                let counts = slice.counts.of_path(path, &cacheable);
                TimeSlice { from: slice.from, to: slice.to, counts }
            }));
        }
        without_gaps(self.fine_slices.iter().map(|slice| {
            let mut counts = SliceCounts::default();
            slice.counts.iter().filter(|cell| cell.path == path).for_each(|cell| counts.add(&cell.counts));
            TimeSlice { from: slice.from, to: slice.to, counts }
        }))
    }
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
    use crate::journal::{CountCell, Event, FineSlice, JournalEntry};

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
