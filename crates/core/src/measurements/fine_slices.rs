//! The fine slices of a run in some forty bytes each: there are 36,000 of them in an hour.

use super::TimeSlice;
use crate::journal::{CachePath, CountCell, SliceCounts};

/// Fine slices, in the order of the journal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FineSlices {
    bytes: Vec<u8>,
    count: usize,
}

impl FineSlices {
    pub(super) fn push(&mut self, from: f64, to: f64, cells: &[CountCell]) {
        self.bytes.extend(from.to_le_bytes());
        self.bytes.extend(to.to_le_bytes());
        self.put(cells.len() as u64);
        for cell in cells {
            self.put(cell.phase as u64);
            self.put(u64::from(cell.path == CachePath::Cached));
            let mut counts = cell.counts;
            for count in fields(&mut counts) {
                self.put(*count);
            }
        }
        self.count += 1;
    }

    /// LEB128: most counts are 0.
    fn put(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Each slice, with what came in by phase and path.
    pub fn iter(&self) -> impl Iterator<Item = TimeSlice<Vec<CountCell>>> + '_ {
        let mut rest = Rest(&self.bytes);
        (0..self.count).map(move |_| {
            let (from, to) = (rest.time(), rest.time());
            let cells = (0..rest.take()).map(|_| {
                let phase = rest.take() as usize;
                let path = if rest.take() == 1 { CachePath::Cached } else { CachePath::Uncached };
                let mut counts = SliceCounts::default();
                for count in fields(&mut counts) {
                    *count = rest.take();
                }
                CountCell { phase, path, counts }
            });
            TimeSlice { from, to, counts: cells.collect() }
        })
    }
}

/// Every number of the counts, in an order of its own.
fn fields(counts: &mut SliceCounts) -> [&mut u64; 11] {
    let SliceCounts { answered, errors, wrong, stale, hits, misses, passed, fallbacks, p50, p95, max } = counts;
    [answered, errors, wrong, stale, hits, misses, passed, fallbacks, p50, p95, max]
}

/// What was not read yet. Only what [`FineSlices::push`] wrote is read.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn time(&mut self) -> f64 {
        let (bytes, rest) = self.0.split_first_chunk().expect("a time was written");
        self.0 = rest;
        f64::from_le_bytes(*bytes)
    }

    fn take(&mut self) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let (byte, rest) = self.0.split_first().expect("a number was written");
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return value;
            }
            shift += 7;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_come_out_as_they_went_in_and_take_few_bytes() {
        let usual = SliceCounts {
            answered: 41,
            hits: 38,
            p50: 1_180_000,
            p95: 9_000_000,
            max: 9_500_000,
            ..SliceCounts::default()
        };
        let cell = |phase, path, counts| CountCell { phase, path, counts };
        let most = SliceCounts {
            answered: u64::MAX,
            errors: 1,
            wrong: 127,
            stale: 128,
            hits: 1 << 40,
            misses: 2,
            passed: 3,
            fallbacks: 4,
            p50: 5,
            p95: u64::MAX - 1,
            max: 300,
        };
        let slices = [
            (0.0, 0.1, vec![cell(2, CachePath::Cached, usual)]),
            (0.1, 0.200_001, vec![]),
            (-0.5, 1e8, vec![cell(0, CachePath::Uncached, most), cell(usize::MAX, CachePath::Cached, usual)]),
        ];
        let mut fine = FineSlices::default();
        slices.iter().for_each(|(from, to, cells)| fine.push(*from, *to, cells));
        let read: Vec<_> = fine.iter().map(|slice| (slice.from, slice.to, slice.counts)).collect();
        assert_eq!(read, slices);
        assert_eq!(fine.len(), 3);
        let mut usual_only = FineSlices::default();
        usual_only.push(0.0, 0.1, &[cell(2, CachePath::Cached, usual)]);
        assert!(usual_only.bytes.len() <= 45, "{}", usual_only.bytes.len());
    }
}
