//! The freshness judge: it takes writes and reads with their times and returns verdicts. It is synchronous and uses
//! neither clock nor network, so that it can be tested against a simulated deployment whose state is known.
//!
//! Before a read is sent, it takes the floor of its item: the highest version of an acknowledged write or of an earlier
//! read. A response below an acknowledged version is stale, independent of all clocks; times only show how stale. A
//! response that is only below the version of an earlier read is counted separately: reads were not monotonic, but no
//! acknowledged write was lost. A write of unknown outcome never raises the floor, and where the harness assigns the
//! versions its own version is exempt, because it may be stored late, over a newer one. So there are no false
//! positives.

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
    /// Creates or changes the item.
    Put,
    /// Removes it.
    Delete,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It is stored. The version is from the database, where that assigns them.
    Acked {
        /// The item's new version, where the response carries one.
        version: Option<u64>,
    },
    /// It is not stored and never will be.
    Refused,
    /// Unknown; it may also be stored later.
    Unknown,
}

/// What the version of an acknowledged write shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionUpdate {
    /// It is a new one.
    New,
    /// The item had it before the write was sent, or another write has it.
    Same,
    /// It is older than what the item had before the write was sent.
    Older,
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
    /// Its version, where the harness assigns them.
    pub version: Option<u64>,
}

/// What was known before a read was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadSnapshot {
    /// The lowest version that the response may carry, by acknowledged writes and by earlier reads; 0: not known.
    pub floor: u64,
    /// The lowest version that is not stale, by acknowledged writes alone; 0: not known.
    pub acked: u64,
    /// Number of acknowledgements so far.
    pub sequence: u64,
}

/// The result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// The item.
    Item {
        /// Its version, where the response carries one.
        version: Option<u64>,
    },
    /// "Not found".
    Missing,
}

/// The verdict on a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadVerdict {
    /// There was nothing to compare it with.
    NotJudged,
    /// As new as every write acknowledged before it was sent.
    Fresh {
        /// Time from the last of them to the read's start.
        since_ack: Option<RunNanos>,
    },
    /// Older than an acknowledged write.
    Stale(Staleness),
    /// Older than an earlier read, but not older than an acknowledged write: reads were not monotonic.
    NonMonotonic(Staleness),
    /// It may be the late effect of a write of unknown outcome. Counted, but never as an error of the app.
    Indeterminate,
    /// Wrong: never written, or lost.
    Wrong(WrongKind),
}

/// How stale a response was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staleness {
    /// The lowest version that would have been fresh.
    pub floor: u64,
    /// The version it carried.
    pub version: Option<u64>,
    /// The item had been deleted.
    pub gone: bool,
    /// The generation of the item.
    pub generation: u64,
    /// Time from the last acknowledged write to the read's start.
    pub since_ack: Option<RunNanos>,
    /// Shortest time for which it had been superseded when the read was sent.
    pub at_least: RunNanos,
    /// Longest time for which it had been superseded when the response was complete.
    pub at_most: RunNanos,
}

/// An item's last writes and reads, oldest first.
#[derive(Clone, Debug, Default)]
pub struct RecentHistory {
    pub(super) writes: Vec<WriteRecord>,
    pub(super) reads: Vec<ReadRecord>,
}

/// The floor of one item: 8 bytes.
#[derive(Debug, Default)]
pub(super) struct Floor(AtomicU64);

impl Floor {
    pub(super) fn version(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(super) fn raise_to(&self, version: u64) {
        self.0.fetch_max(version, Ordering::SeqCst);
    }

    pub(super) fn reset_to(&self, version: u64) {
        self.0.store(version, Ordering::SeqCst);
    }
}

const SHARDS: usize = 64;

#[derive(Debug)]
struct KeySpace {
    /// Whether the harness assigns the versions.
    assigns_versions: bool,
    /// By id; index 0 is not used.
    floors: Vec<Floor>,
    histories: Vec<Mutex<HashMap<u64, History>>>,
}

/// Judges the reads of all items that are written.
#[derive(Debug, Default)]
pub struct Judge {
    spaces: Vec<KeySpace>,
    /// Counts acknowledgements: a read must return every write numbered before it was sent.
    sequence: AtomicU64,
}

impl Judge {
    /// For kinds of items: how many there are of each, and whether the harness assigns their versions.
    pub fn new(spaces: impl IntoIterator<Item = (u64, bool)>) -> Self {
        let space = |(size, assigns_versions)| KeySpace {
            assigns_versions,
            floors: (0..=size).map(|_| Floor::default()).collect(),
            histories: (0..SHARDS).map(|_| Mutex::default()).collect(),
        };
        Self { spaces: spaces.into_iter().map(space).collect(), sequence: AtomicU64::new(0) }
    }

    /// Whether the harness assigns the versions of this kind of item.
    pub fn assigns_versions(&self, space: usize) -> bool {
        self.spaces.get(space).is_some_and(|space| space.assigns_versions)
    }

    /// A write is about to be sent. `None`: the harness assigns the versions, and another write of this item is in
    /// flight already; the two could be stored in either order.
    pub fn begin_write(&self, key: ItemKey, kind: WriteKind, at: RunNanos) -> Option<WriteTicket> {
        let space = self.spaces.get(key.space)?;
        let mut histories = lock(shard(space, key.id));
        let history = histories.entry(key.id).or_insert_with(|| History::new(space.assigns_versions));
        let (number, version) = history.begin(kind, at, &self.sequence, floor(space, key.id))?;
        Some(WriteTicket { key, kind, number, version })
    }

    /// It was answered, or never will be. Returns what its version shows; `None`: there is nothing to compare it with.
    pub fn end_write(&self, write: WriteTicket, end: WriteOutcome, at: RunNanos) -> Option<VersionUpdate> {
        let space = self.spaces.get(write.key.space)?;
        let mut histories = lock(shard(space, write.key.id));
        let history = histories.get_mut(&write.key.id)?;
        let update = history.update_of(write.number, write.kind, end);
        let what = (write.number, write.kind, write.version);
        history.end(what, end, at, &self.sequence, floor(space, write.key.id));
        update
    }

    /// An item was created, with an id that was not known before: it exists from now on.
    pub fn created(&self, key: ItemKey, version: Option<u64>, at: RunNanos) {
        if let Some(write) = self.begin_write(key, WriteKind::Put, at) {
            self.end_write(write, WriteOutcome::Acked { version }, at);
        }
    }

    /// A read is about to be sent.
    pub fn begin_read(&self, key: ItemKey) -> ReadSnapshot {
        let Some(space) = self.spaces.get(key.space) else {
            return ReadSnapshot { sequence: self.now(), ..ReadSnapshot::default() };
        };
        // No write of the item is acknowledged between the two.
        let histories = lock(shard(space, key.id));
        let acked = histories.get(&key.id).map_or(0, History::acked_floor);
        let floor = floor(space, key.id).map_or(0, Floor::version);
        ReadSnapshot { floor, acked, sequence: self.now() }
    }

    /// Number of acknowledgements so far: a list requested now must contain them.
    pub fn now(&self) -> u64 {
        self.sequence.load(Ordering::SeqCst)
    }

    /// Judges the result of a read, and adds it to the history.
    pub fn end_read(
        &self,
        key: ItemKey,
        before: &ReadSnapshot,
        result: ReadOutcome,
        sent: RunNanos,
        done: RunNanos,
    ) -> ReadVerdict {
        let Some(space) = self.spaces.get(key.space) else { return ReadVerdict::NotJudged };
        let floor = floor(space, key.id);
        let mut histories = lock(shard(space, key.id));
        if let Some(history) = histories.get_mut(&key.id) {
            let verdict = history.judge(before, result, sent, done);
            history.read(result, sent, done, floor);
            return verdict;
        }
        // Never written: it can only be compared with earlier reads.
        let (ReadOutcome::Item { version: Some(version) }, Some(floor)) = (result, floor) else {
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
        floor.raise_to(version);
        ReadVerdict::NotJudged
    }

    /// Judges an item in a list. `sequence`: [`Self::now`] before the list was requested.
    pub fn judge_listed(
        &self,
        key: ItemKey,
        sequence: u64,
        result: ReadOutcome,
        sent: RunNanos,
        done: RunNanos,
    ) -> ReadVerdict {
        let Some(space) = self.spaces.get(key.space) else { return ReadVerdict::NotJudged };
        let histories = lock(shard(space, key.id));
        let Some(history) = histories.get(&key.id) else { return ReadVerdict::NotJudged };
        // Where the list carries no version, only a deleted item can be recognized as stale.
        let shows_version = matches!(result, ReadOutcome::Item { version: Some(_) });
        let floor = history.floor_at(sequence).filter(|_| shows_version).unwrap_or(0);
        history.judge(&ReadSnapshot { floor, acked: floor, sequence }, result, sent, done)
    }

    /// Whether a write of an item was sent.
    pub fn is_written(&self, key: ItemKey) -> bool {
        self.spaces.get(key.space).is_some_and(|space| lock(shard(space, key.id)).contains_key(&key.id))
    }

    /// Whether an acknowledged write says which version the item must have at least.
    pub fn has_floor_at(&self, key: ItemKey, sequence: u64) -> bool {
        let Some(space) = self.spaces.get(key.space) else { return false };
        lock(shard(space, key.id)).get(&key.id).is_some_and(|history| history.floor_at(sequence).is_some())
    }

    /// The highest version that an item was seen to have before its last acknowledged write was sent, where the answer to that write
    /// carried none. `None` where it cannot be told what the item must have now.
    pub fn seen_before_last_write(&self, key: ItemKey) -> Option<u64> {
        let space = self.spaces.get(key.space)?;
        lock(shard(space, key.id)).get(&key.id)?.seen_before_last_write()
    }

    /// Whether a write with this token's number was ever sent.
    pub fn was_issued(&self, key: ItemKey, number: u64) -> bool {
        let Some(space) = self.spaces.get(key.space) else { return true };
        lock(shard(space, key.id)).get(&key.id).is_some_and(|history| history.was_begun(number))
    }

    /// Judges a recheck of a stale item. `floor`: the lowest version that would have been fresh, in `generation`;
    /// `None`: the item had been deleted.
    pub(super) fn recheck(
        &self,
        key: ItemKey,
        generation: u64,
        floor: Option<u64>,
        result: ReadOutcome,
    ) -> RecheckResult {
        let Some(space) = self.spaces.get(key.space) else { return RecheckResult::Unknown };
        let histories = lock(shard(space, key.id));
        let Some(history) = histories.get(&key.id) else { return RecheckResult::Unknown };
        match floor {
            Some(floor) => history.recheck(generation, floor, result),
            None => history.recheck_deleted(result),
        }
    }

    /// The number of the write whose value the item must have now; `None`: several may be stored, or none.
    pub fn last_number(&self, key: ItemKey) -> Option<u64> {
        let space = self.spaces.get(key.space)?;
        lock(shard(space, key.id)).get(&key.id)?.last_number()
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
    // A panic leaves every history consistent: each change is a few assignments.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
