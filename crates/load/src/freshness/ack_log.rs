//! The acknowledged writes of one item: which version each gave it, and when. The log keeps the first one, the last ones
//! and ever fewer of those between, so that its size is bounded and it still reaches back to old versions.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use super::judge::RunNanos;

/// How many acknowledgements are kept.
const CAPACITY: usize = 64;

/// The last ones of them, which are never left out.
const RECENT: usize = 32;

/// A counter that is raised by writes of others as well hardly jumps so far.
const MIN_JUMP: u64 = 1_000;

/// One acknowledged write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ack {
    /// The version that it gave the item, where that is known.
    pub(super) version: Option<u64>,
    /// When it was sent, or earlier.
    pub(super) began: RunNanos,
    /// When its response was complete.
    pub(super) ended: RunNanos,
    /// Its number among all acknowledgements.
    pub(super) sequence: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    ack: Ack,
    /// Acknowledgements between the entry before and this one were left out.
    gap_before: bool,
}

#[derive(Debug, Default)]
pub(super) struct AckLog(VecDeque<Entry>);

impl AckLog {
    pub(super) fn push(&mut self, ack: Ack) {
        if self.0.len() == CAPACITY {
            self.thin_out();
        }
        self.0.push_back(Entry { ack, gap_before: false });
    }

    /// Leaves out the entry whose time is best told by its neighbours, as a part of how long ago it was.
    fn thin_out(&mut self) {
        let now = self.0.back().map_or(0, |last| last.ack.ended);
        let gap_without = |index: usize| {
            let (before, after) = (self.0[index - 1].ack.ended, self.0[index + 1].ack.ended);
            after.saturating_sub(before) as f64 / (now.saturating_sub(before) as f64 + 1.0)
        };
        let least = (1..CAPACITY - RECENT).min_by(|a, b| gap_without(*a).total_cmp(&gap_without(*b)));
        if let Some(index) = least.filter(|index| self.0.remove(*index).is_some()) {
            self.0[index].gap_before = true;
        }
    }

    /// Those with these numbers, oldest first.
    pub(super) fn numbered(&self, sequences: RangeInclusive<u64>) -> impl Iterator<Item = &Ack> {
        self.0.iter().map(|entry| &entry.ack).filter(move |ack| sequences.contains(&ack.sequence))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Ack> {
        self.0.iter().map(|entry| &entry.ack)
    }

    /// Whether every acknowledgement that may have given the item a newer version is in the log.
    pub(super) fn has_all_newer_than(&self, version: u64) -> bool {
        let may_be_newer = |entry: &&Entry| entry.ack.version.is_none_or(|other| other > version);
        !self.0.iter().filter(may_be_newer).any(|entry| entry.gap_before)
    }

    /// Whether the versions from this one on are so far apart that nobody counts them: times, for example.
    pub(super) fn is_sparse_from(&self, version: u64) -> bool {
        let newer = self.all().filter_map(|ack| ack.version).filter(|other| *other > version);
        let mut versions: Vec<u64> = newer.chain([version]).collect();
        versions.sort_unstable();
        versions.windows(2).all(|pair| pair[1] - pair[0] >= MIN_JUMP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(acks: u64) -> AckLog {
        let mut log = AckLog::default();
        for number in 1..=acks {
            log.push(Ack { version: Some(number), began: 10 * number, ended: 10 * number + 5, sequence: number });
        }
        log
    }

    #[test]
    fn the_first_and_the_last_are_kept_and_the_size_is_bounded() {
        let log = log(100_000);
        let versions: Vec<u64> = log.all().filter_map(|ack| ack.version).collect();
        assert!(versions.len() <= CAPACITY && versions.is_sorted(), "{versions:?}");
        assert_eq!(versions[0], 1);
        let ages: Vec<u64> = versions.iter().map(|version| 100_001 - version).collect();
        assert!(ages.windows(2).all(|pair| pair[0] <= 2 * pair[1]), "a time is known to a factor of two: {ages:?}");
        assert!(versions.ends_with(&[99_997, 99_998, 99_999, 100_000]), "{versions:?}");
    }

    #[test]
    fn what_was_left_out_is_known() {
        let short = log(CAPACITY as u64);
        assert!(short.has_all_newer_than(0));
        let long = log(1_000);
        assert!(!long.has_all_newer_than(0) && !long.has_all_newer_than(500));
        assert!(long.has_all_newer_than(990));
    }
}
