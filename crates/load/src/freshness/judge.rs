//! The judge: writes and reads with their times in, verdicts out. Synchronous, without clock or network of its own,
//! so that a simulated deployment with known truth can be held against it.
//!
//! A read takes the floor of its item before it is sent: the highest version that a write was acknowledged with, or
//! that an earlier read brought. An answer below an acknowledged version is stale, whatever the clocks say; times only
//! tell how stale. One that is only below what an earlier read brought is no acknowledged write's loss, but reads that
//! went back in time: counted apart. A write whose outcome is not known raises nothing, and where the harness numbers the versions it exempts
//! its own (it may be stored late, over a newer one). So what is judged stale is stale.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::history::{History, ReadRecord, RecheckResult, WriteRecord};
use cacheproof_core::journal::WrongKind;

/// Nanoseconds on the run's monotonic clock.
pub type RunNanos = u64;

/// One item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemKey {
    /// Which kind of item: an index into what [`Judge::new`] was given.
    pub space: usize,
    /// Its id, from 1.
    pub id: u64,
}

/// What a write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteKind {
    /// Makes or changes the item.
    Put,
    /// Removes it.
    Delete,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It is stored. The version is the database's, where it numbers them.
    Acked {
        /// The item's new version, where the answer carries one.
        version: Option<u64>,
    },
    /// It is not stored and never will be.
    Refused,
    /// Nobody knows; it may also be stored later.
    Unknown,
}

/// A write in flight.
#[derive(Clone, Copy, Debug)]
pub struct WriteTicket {
    /// What it writes.
    pub key: ItemKey,
    /// What it does.
    pub kind: WriteKind,
    /// Which write of this item, from 1.
    pub number: u64,
    /// Its version, where the harness numbers them.
    pub version: Option<u64>,
}

/// What was known before a read was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadSnapshot {
    /// The lowest version that the answer may carry; 0: nothing is known.
    pub floor: u64,
    /// Whether a write stands behind it (and not only what an earlier read brought).
    pub written: bool,
    /// How many acknowledgements there had been.
    pub sequence: u64,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadResult {
    /// The item.
    Item {
        /// Its version, where the answer carries one.
        version: Option<u64>,
    },
    /// "Not found".
    Missing,
}

/// What is to be said about a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadVerdict {
    /// There was nothing to hold it against.
    NotJudged,
    /// As new as every write acknowledged before it was sent.
    Fresh {
        /// Time from the last of them to the read's start.
        since_ack: Option<RunNanos>,
    },
    /// Older than an acknowledged write.
    Stale(Staleness),
    /// Older than what an earlier read brought, but than no acknowledged write: reads were not monotonic.
    NonMonotonic(Staleness),
    /// It may be the late effect of a write whose outcome is not known. Counted, never held against the app.
    Indeterminate,
    /// Wrong: never written, or lost.
    Wrong(WrongKind),
}

/// How stale an answer was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staleness {
    /// The lowest version that would have been right.
    pub floor: u64,
    /// The version it carried.
    pub version: Option<u64>,
    /// The item had been deleted.
    pub gone: bool,
    /// Which life of the item it was.
    pub generation: u64,
    /// Time from the last acknowledged write to the read's start.
    pub since_ack: Option<RunNanos>,
    /// It had been superseded so long when the read was sent, at least.
    pub at_least: RunNanos,
    /// And at most so long when the answer was in.
    pub at_most: RunNanos,
}

/// What is known of an item's last writes and reads, oldest first.
#[derive(Clone, Debug, Default)]
pub struct RecentHistory {
    pub(super) writes: Vec<WriteRecord>,
    pub(super) reads: Vec<ReadRecord>,
}

/// Marks a floor that a write stands behind; versions stay below it.
const WRITTEN: u64 = 1 << 63;

/// The floor of one item: 8 bytes.
#[derive(Debug, Default)]
pub(super) struct Floor(AtomicU64);

impl Floor {
    pub(super) fn version(&self) -> u64 {
        self.0.load(Ordering::SeqCst) & !WRITTEN
    }

    pub(super) fn acknowledge(&self, version: u64) {
        self.0.fetch_or(WRITTEN, Ordering::SeqCst);
        self.0.fetch_max(version.min(WRITTEN - 1) | WRITTEN, Ordering::SeqCst);
    }

    pub(super) fn reset_to(&self, version: u64) {
        self.0.store(version.min(WRITTEN - 1) | WRITTEN, Ordering::SeqCst);
    }

    /// Raises the floor to what a read brought.
    pub(super) fn observe(&self, version: u64) {
        let version = version.min(WRITTEN - 1);
        let raise = |now: u64| (now & !WRITTEN < version).then_some(now & WRITTEN | version);
        let _was_as_high = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, raise);
    }
}

const SHARDS: usize = 64;

#[derive(Debug)]
struct KeySpace {
    /// Whether the harness numbers the versions.
    assigns_versions: bool,
    /// By id; 0 is nobody's.
    floors: Vec<Floor>,
    histories: Vec<Mutex<HashMap<u64, History>>>,
}

/// Judges the reads of all items that are written.
#[derive(Debug, Default)]
pub struct Judge {
    spaces: Vec<KeySpace>,
    /// Counts acknowledgements: what a read knew is everything numbered up to when it was sent.
    sequence: AtomicU64,
}

impl Judge {
    /// For kinds of items: how many there are of each, and whether the harness numbers their versions.
    pub fn new(spaces: impl IntoIterator<Item = (u64, bool)>) -> Self {
        let space = |(size, assigns_versions)| KeySpace {
            assigns_versions,
            floors: (0..=size).map(|_| Floor::default()).collect(),
            histories: (0..SHARDS).map(|_| Mutex::default()).collect(),
        };
        Self { spaces: spaces.into_iter().map(space).collect(), sequence: AtomicU64::new(0) }
    }

    /// Whether the harness numbers the versions of this kind of item.
    pub fn assigns_versions(&self, space: usize) -> bool {
        self.spaces.get(space).is_some_and(|space| space.assigns_versions)
    }

    /// A write is about to leave. `None`: the harness numbers the versions, and one of this item is in flight
    /// already; two could be stored in either order.
    pub fn begin_write(&self, key: ItemKey, kind: WriteKind, at: RunNanos) -> Option<WriteTicket> {
        let space = self.spaces.get(key.space)?;
        let mut histories = lock(shard(space, key.id));
        let history = histories.entry(key.id).or_insert_with(|| History::new(space.assigns_versions));
        let (number, version) = history.begin(kind, at, &self.sequence)?;
        Some(WriteTicket { key, kind, number, version })
    }

    /// Its answer is in, or will never come.
    pub fn end_write(&self, write: WriteTicket, end: WriteOutcome, at: RunNanos) {
        let Some(space) = self.spaces.get(write.key.space) else { return };
        let mut histories = lock(shard(space, write.key.id));
        let Some(history) = histories.get_mut(&write.key.id) else { return };
        let what = (write.number, write.kind, write.version);
        history.end(what, end, at, &self.sequence, floor(space, write.key.id));
    }

    /// An item was made whose id nobody could know before: it is there from now on.
    pub fn created(&self, key: ItemKey, version: Option<u64>, at: RunNanos) {
        if let Some(write) = self.begin_write(key, WriteKind::Put, at) {
            self.end_write(write, WriteOutcome::Acked { version }, at);
        }
    }

    /// A read is about to leave.
    pub fn begin_read(&self, key: ItemKey) -> ReadSnapshot {
        let known = self.spaces.get(key.space).and_then(|space| floor(space, key.id));
        let value = known.map_or(0, |floor| floor.0.load(Ordering::SeqCst));
        ReadSnapshot { floor: value & !WRITTEN, written: value & WRITTEN != 0, sequence: self.now() }
    }

    /// How many acknowledgements there have been: what a list that leaves now knows.
    pub fn now(&self) -> u64 {
        self.sequence.load(Ordering::SeqCst)
    }

    /// Judges what a read brought, and takes note of it.
    pub fn end_read(
        &self,
        key: ItemKey,
        before: &ReadSnapshot,
        seen: ReadResult,
        sent: RunNanos,
        done: RunNanos,
    ) -> ReadVerdict {
        let Some(space) = self.spaces.get(key.space) else { return ReadVerdict::NotJudged };
        let floor = floor(space, key.id);
        let mut histories = lock(shard(space, key.id));
        if let Some(history) = histories.get_mut(&key.id) {
            let verdict = history.judge(before, seen, sent, done);
            history.read(seen, sent, done, floor);
            return verdict;
        }
        // Never written: only what earlier reads brought can be held against it.
        let (ReadResult::Item { version: Some(version) }, Some(floor)) = (seen, floor) else {
            return ReadVerdict::NotJudged;
        };
        if space.assigns_versions {
            return ReadVerdict::NotJudged;
        }
        if version < before.floor {
            let staleness = Staleness {
                floor: before.floor,
                version: Some(version),
                gone: false,
                generation: 0,
                since_ack: None,
                at_least: 0,
                at_most: done,
            };
            return ReadVerdict::NonMonotonic(staleness);
        }
        floor.observe(version);
        ReadVerdict::NotJudged
    }

    /// Judges what a list showed of an item. `sequence`: [`Self::now`] before the list was asked for.
    pub fn judge_listed(
        &self,
        key: ItemKey,
        sequence: u64,
        seen: ReadResult,
        sent: RunNanos,
        done: RunNanos,
    ) -> ReadVerdict {
        let Some(space) = self.spaces.get(key.space) else { return ReadVerdict::NotJudged };
        let histories = lock(shard(space, key.id));
        let Some(history) = histories.get(&key.id) else { return ReadVerdict::NotJudged };
        // Where the list shows no version, it can only be seen that the item was deleted.
        let shows_version = matches!(seen, ReadResult::Item { version: Some(_) });
        let floor = history.floor_at(sequence).filter(|_| shows_version).unwrap_or(0);
        history.judge(&ReadSnapshot { floor, written: floor > 0, sequence }, seen, sent, done)
    }

    /// Whether a write with this token's number was ever sent.
    pub fn was_issued(&self, key: ItemKey, number: u64) -> bool {
        let Some(space) = self.spaces.get(key.space) else { return true };
        lock(shard(space, key.id)).get(&key.id).is_some_and(|history| history.was_begun(number))
    }

    /// What a second look at a stale item says. `floor`: the lowest version that would have been right, in the life `generation`;
    /// `None`: the item had been deleted.
    pub(super) fn recheck(&self, key: ItemKey, generation: u64, floor: Option<u64>, seen: ReadResult) -> RecheckResult {
        let Some(space) = self.spaces.get(key.space) else { return RecheckResult::Unknown };
        let histories = lock(shard(space, key.id));
        let Some(history) = histories.get(&key.id) else { return RecheckResult::Unknown };
        match floor {
            Some(floor) => history.recheck(generation, floor, seen),
            None => history.recheck_deleted(seen),
        }
    }

    /// The item's last writes and reads.
    pub fn recent_history(&self, key: ItemKey) -> RecentHistory {
        let Some(space) = self.spaces.get(key.space) else { return RecentHistory::default() };
        lock(shard(space, key.id)).get(&key.id).map_or_else(RecentHistory::default, |history| RecentHistory {
            writes: history.writes.iter().copied().collect(),
            reads: history.reads.iter().copied().collect(),
        })
    }

    /// Ids of the items of a kind that were written, in order.
    pub fn written(&self, space: usize) -> Vec<u64> {
        let Some(space) = self.spaces.get(space) else { return Vec::new() };
        let mut ids: Vec<u64> =
            space.histories.iter().flat_map(|shard| lock(shard).keys().copied().collect::<Vec<_>>()).collect();
        ids.sort_unstable();
        ids
    }
}

fn floor(space: &KeySpace, id: u64) -> Option<&Floor> {
    space.floors.get(usize::try_from(id).ok()?)
}

fn shard(space: &KeySpace, id: u64) -> &Mutex<HashMap<u64, History>> {
    &space.histories[(id % SHARDS as u64) as usize]
}

fn lock(shard: &Mutex<HashMap<u64, History>>) -> MutexGuard<'_, HashMap<u64, History>> {
    // Whoever panicked left a history that is whole: every change of one is a few assignments.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
