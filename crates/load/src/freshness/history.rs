//! The history of one item: its last writes and reads, writes of unknown outcome, and whether it exists. Only written
//! items have a history; its size is bounded.
//!
//! A *generation* of an item lasts from its creation to its deletion. An item that is deleted and created again may
//! have the same version numbers again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ack_log::{Ack, AckLog};
use super::judge::{
    Floor, ReadOutcome, ReadSnapshot, ReadVerdict, RunNanos, Staleness, VersionUpdate, WriteKind, WriteOutcome,
};
use cacheproof_core::journal::WrongKind;

/// How many writes, and how many reads, of an item are kept for examples.
const HISTORY_CAPACITY: usize = 8;

/// What a recheck shows of a stale item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecheckResult {
    /// It is still stale.
    Stale,
    /// It is fresh.
    Fresh,
    /// It cannot be decided now.
    Unknown,
    /// It was deleted, or created again, since it was stale: no recheck can decide.
    OtherGeneration,
}

/// One write.
#[derive(Clone, Copy, Debug)]
pub(super) struct WriteRecord {
    number: u64,
    pub(super) kind: WriteKind,
    /// Assigned by the harness, or by the database and returned in the response.
    pub(super) version: Option<u64>,
    pub(super) began: RunNanos,
    /// The version that the item had at least when it was sent; 0: not known.
    floor: u64,
    /// When its response was complete, and the outcome; `None` while it is in flight.
    pub(super) ended: Option<(RunNanos, WriteOutcome)>,
}

impl WriteRecord {
    /// Whether it is known if it is stored.
    fn is_settled(&self) -> bool {
        matches!(self.ended, Some((_, WriteOutcome::Acked { .. } | WriteOutcome::Refused)))
    }
}

/// One read.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadRecord {
    pub(super) result: ReadOutcome,
    pub(super) sent: RunNanos,
    pub(super) done: RunNanos,
}

/// A delete that was acknowledged while no other write was in flight.
#[derive(Clone, Copy, Debug)]
struct Deletion {
    sequence: u64,
    began: RunNanos,
    ended: RunNanos,
    /// A later write may have created the item again.
    maybe_recreated: bool,
}

#[derive(Debug, Default)]
pub(super) struct History {
    /// Whether the harness assigns the versions.
    assigns_versions: bool,
    issued: u64,
    begun: u64,
    first_began: RunNanos,
    in_flight: u32,
    /// Writes overlapped, and not all of them have ended.
    writes_overlap: bool,
    deletes: u64,
    /// Assigned versions of writes of unknown outcome: they may be stored at any time, or never.
    unknown_versions: Vec<u64>,
    unknown_puts: u64,
    unknown_deletes: u64,
    /// A read that began before this may be of an earlier generation.
    settled_at: u64,
    /// Acknowledgements before this are of an earlier generation, whose versions cannot be compared with this one's.
    generation_from: u64,
    /// How often the versions started again.
    version_resets: u64,
    exists_since: Option<u64>,
    gone: Option<Deletion>,
    /// The highest version that a read returned before its write was acknowledged, and when.
    observed: Option<(u64, RunNanos)>,
    /// The highest version of an acknowledged write of this generation; 0: none.
    acked_floor: u64,
    acks: AckLog,
    /// When the last write was sent of those that left `writes` without an acknowledgement, and may be stored.
    forgotten_unacked: Option<RunNanos>,
    pub(super) writes: VecDeque<WriteRecord>,
    pub(super) reads: VecDeque<ReadRecord>,
}

impl History {
    pub(super) fn new(assigns_versions: bool) -> Self {
        Self { assigns_versions, ..Self::default() }
    }

    /// A write is sent. Returns its number and, where the harness assigns them, its version; `None` where it would race
    /// with another write in flight. `floor`: the item's.
    pub(super) fn begin(
        &mut self,
        kind: WriteKind,
        at: RunNanos,
        sequence: &AtomicU64,
        floor: Option<&Floor>,
    ) -> Option<(u64, Option<u64>)> {
        if self.assigns_versions && self.in_flight > 0 {
            return None;
        }
        if self.begun == 0 {
            self.first_began = at;
        }
        self.begun += 1;
        self.writes_overlap |= self.in_flight > 0;
        self.in_flight += 1;
        if kind == WriteKind::Delete {
            self.deletes += 1;
            self.exists_since = None;
            self.settled_at = next_sequence(sequence);
        }
        let version = (self.assigns_versions && kind == WriteKind::Put).then(|| {
            self.issued += 1;
            self.issued
        });
        let floor = floor.map_or(0, Floor::version);
        let record = WriteRecord { number: self.begun, kind, version, began: at, floor, ended: None };
        if let Some(left) = push(&mut self.writes, record).filter(|left| !left.is_settled()) {
            self.forgotten_unacked = self.forgotten_unacked.max(Some(left.began));
        }
        Some((self.begun, version))
    }

    /// What an acknowledged write, which has not ended yet, shows by its version, where the app numbers the versions. `None`:
    /// that cannot be told, also where a deletion lets the versions start again.
    pub(super) fn update_of(&self, number: u64, kind: WriteKind, end: WriteOutcome) -> Option<VersionUpdate> {
        let WriteOutcome::Acked { version: Some(version) } = end else { return None };
        if self.assigns_versions || self.deletes > 0 || kind != WriteKind::Put {
            return None;
        }
        let record = self.writes.iter().find(|record| record.number == number)?;
        let is_acked = |other: &&WriteRecord| matches!(other.ended, Some((_, WriteOutcome::Acked { .. })));
        let mut others = self.writes.iter().filter(is_acked).filter_map(|other| other.version).peekable();
        if record.floor == 0 && others.peek().is_none() {
            return None;
        }
        Some(if version < record.floor {
            VersionUpdate::Older
        } else if version == record.floor || others.any(|other| other == version) {
            VersionUpdate::Same
        } else {
            VersionUpdate::New
        })
    }

    /// A write has ended. Raises `floor`, the item's, or lowers it in a new generation.
    pub(super) fn end(
        &mut self,
        (number, kind, assigned): (u64, WriteKind, Option<u64>),
        end: WriteOutcome,
        at: RunNanos,
        sequence: &AtomicU64,
        floor: Option<&Floor>,
    ) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let alone = !self.writes_overlap && self.in_flight == 0;
        self.writes_overlap &= self.in_flight > 0;
        let stamp = next_sequence(sequence);
        let version = match end {
            WriteOutcome::Acked { version } => assigned.or(version),
            WriteOutcome::Refused | WriteOutcome::Unknown => assigned,
        };
        // With another write in flight, a deletion may have come between: a higher version may be of the generation
        // before.
        let maybe_before = !self.assigns_versions && self.deletes > 0 && !alone;
        let version = version.filter(|version| !maybe_before || floor.is_none_or(|floor| *version <= floor.version()));
        let record = self.writes.iter_mut().rev().find(|record| record.number == number);
        let began = record.as_ref().map_or(self.first_began, |record| record.began);
        if let Some(record) = record {
            record.ended = Some((at, end));
            record.version = version;
        }
        if matches!(end, WriteOutcome::Acked { .. }) {
            self.acks.push(Ack { version, began, ended: at, sequence: stamp });
        }
        match (kind, end) {
            (_, WriteOutcome::Refused) => {}
            (WriteKind::Put, WriteOutcome::Acked { .. }) => {
                self.gone = None;
                self.exists_since = (alone && self.unknown_deletes == 0).then_some(stamp);
                if let (Some(version), Some(floor)) = (version, floor) {
                    self.acknowledged(version, stamp, floor);
                }
            }
            (WriteKind::Put, WriteOutcome::Unknown) => {
                self.unknown_puts += 1;
                self.unknown_versions.extend(assigned);
                if let Some(gone) = &mut self.gone {
                    gone.maybe_recreated = true;
                }
            }
            (WriteKind::Delete, WriteOutcome::Acked { .. }) => {
                let sure = alone && self.unknown_puts == 0;
                self.gone = sure.then_some(Deletion { sequence: stamp, began, ended: at, maybe_recreated: false });
            }
            (WriteKind::Delete, WriteOutcome::Unknown) => self.unknown_deletes += 1,
        }
    }

    fn acknowledged(&mut self, version: u64, stamp: u64, floor: &Floor) {
        if !self.assigns_versions && self.deletes > 0 && version <= floor.version() {
            // Created again, and the database counts from the beginning: older versions cannot be compared any more.
            floor.reset_to(version);
            self.acked_floor = version;
            self.version_resets += 1;
            (self.settled_at, self.generation_from, self.observed) = (stamp, stamp, None);
        } else {
            floor.raise_to(version);
            self.acked_floor = self.acked_floor.max(version);
        }
    }

    /// The highest version of an acknowledged write of this generation; 0: none.
    pub(super) fn acked_floor(&self) -> u64 {
        self.acked_floor
    }

    /// The lowest fresh version of the item in a list that was requested at `sequence`; `None` where it is not known.
    pub(super) fn floor_at(&self, sequence: u64) -> Option<u64> {
        self.acked_by(sequence).filter_map(|ack| ack.version).max()
    }

    fn acked_by(&self, sequence: u64) -> impl Iterator<Item = &Ack> {
        self.acks.numbered(self.generation_from.max(1)..=sequence)
    }

    /// Judges the result of a read.
    pub(super) fn judge(
        &self,
        before: &ReadSnapshot,
        result: ReadOutcome,
        sent: RunNanos,
        done: RunNanos,
    ) -> ReadVerdict {
        let gone = self.gone.filter(|gone| gone.sequence <= before.sequence);
        let acked = self.acked_by(before.sequence).map(|ack| ack.ended).max();
        let since_ack = acked.map(|at| sent.saturating_sub(at));
        let version = match result {
            ReadOutcome::Missing if self.exists_since.is_some_and(|since| since <= before.sequence) => {
                return ReadVerdict::Wrong(WrongKind::Lost);
            }
            ReadOutcome::Missing if gone.is_some() => return ReadVerdict::Fresh { since_ack },
            ReadOutcome::Missing => return ReadVerdict::NotJudged,
            ReadOutcome::Item { version } => version,
        };
        if let Some(gone) = gone {
            if self.in_flight > 0 {
                return ReadVerdict::NotJudged;
            }
            if gone.maybe_recreated || self.unknown_puts > 0 {
                return ReadVerdict::Indeterminate;
            }
            return ReadVerdict::Stale(Staleness {
                floor: before.floor,
                version,
                gone: true,
                generation: self.generation(),
                since_ack,
                at_least: sent.saturating_sub(gone.ended),
                at_most: done.saturating_sub(gone.began),
            });
        }
        // Where the harness assigns the versions, a response without one is from before its first write.
        let version = if self.assigns_versions { version.unwrap_or(0) } else { version.unwrap_or(u64::MAX) };
        if before.floor == 0 || version == u64::MAX {
            return ReadVerdict::NotJudged;
        }
        if self.assigns_versions && version > self.issued {
            return ReadVerdict::Wrong(WrongKind::NeverWritten);
        }
        if version >= before.floor {
            return if before.acked > 0 { ReadVerdict::Fresh { since_ack } } else { ReadVerdict::NotJudged };
        }
        let other_generation = !self.assigns_versions
            && self.deletes > 0
            && (self.in_flight > 0
                || self.unknown_puts + self.unknown_deletes > 0
                || self.settled_at > before.sequence);
        if other_generation || self.unknown_versions.contains(&version) {
            return ReadVerdict::Indeterminate;
        }
        let (at_least, at_most) = self.age(version, before, sent, done);
        let is_stale = version < before.acked;
        let floor = if is_stale { before.acked } else { before.floor };
        let (version, generation, gone) = (Some(version), self.generation(), false);
        let staleness = Staleness { floor, version, gone, generation, since_ack, at_least, at_most };
        if is_stale { ReadVerdict::Stale(staleness) } else { ReadVerdict::NonMonotonic(staleness) }
    }

    /// How old a value was at least and at most.
    fn age(&self, version: u64, before: &ReadSnapshot, sent: RunNanos, done: RunNanos) -> (u64, u64) {
        let newer = |ack: &&Ack| ack.version.is_some_and(|newer| newer > version);
        let acked = self.acked_by(before.sequence).filter(newer).map(|ack| ack.ended);
        let observed = self.observed.filter(|(newer, at)| *newer > version && *at <= sent).map(|(_, at)| at);
        let superseded_by = acked.chain(observed).min().unwrap_or(sent);
        let at_least = sent.saturating_sub(superseded_by);
        // Where the app stores an older version again, the two contradict each other.
        (at_least, done.saturating_sub(self.superseded_from(version)).max(at_least))
    }

    /// The earliest time at which a version can have been superseded.
    fn superseded_from(&self, version: u64) -> RunNanos {
        let mut from = self.first_began;
        // Versions grow in the order in which writes are stored: it was stored after each write with its own version or
        // an older one was sent, and superseded after the write with the next number was.
        if self.assigns_versions || self.deletes == 0 {
            let not_newer = self.acks.all().filter(|ack| ack.version.is_some_and(|other| other <= version));
            let next = self.acks.all().find(|ack| ack.version == version.checked_add(1));
            from = not_newer.chain(next).map(|ack| ack.began).fold(from, RunNanos::max);
        }
        // Where versions are not counted (times, for example), one of the known writes was the first newer one. A count
        // that skips a number was raised by a write that is not known: by others, or by the app, which sent one twice.
        let are_all_known = self.acks.has_all_newer_than(version)
            && self.forgotten_unacked.is_none_or(|began| began <= from)
            && self.acks.is_sparse_from(version);
        if are_all_known {
            let is_newer = |version_of: Option<u64>| version_of.is_none_or(|other| other > version);
            let acked = self.acks.all().filter(|ack| is_newer(ack.version)).map(|ack| ack.began);
            let open = self.writes.iter().filter(|record| record.kind == WriteKind::Put && !record.is_settled());
            let open = open.filter(|record| is_newer(record.version)).map(|record| record.began);
            from = acked.chain(open).min().map_or(from, |first| from.max(first));
        }
        from
    }

    /// The number of the write whose value the item must have now; `None`: several may be stored, or none. Writes that
    /// overlap may have been stored in either order.
    pub(super) fn last_number(&self) -> Option<u64> {
        if self.in_flight > 0 || self.unknown_puts + self.unknown_deletes + self.deletes > 0 {
            return None;
        }
        let is_stored = |record: &&WriteRecord| matches!(record.ended, Some((_, WriteOutcome::Acked { .. })));
        let last = self.writes.iter().filter(is_stored).max_by_key(|record| record.began)?;
        let mut others = self.writes.iter().filter(is_stored).filter(|record| record.number != last.number);
        let is_before = |record: &WriteRecord| record.ended.is_some_and(|(ended, _)| ended < last.began);
        (others.all(is_before) && self.forgotten_unacked.is_none()).then_some(last.number)
    }

    /// The version that the item had at least when the last acknowledged write was sent, if the answer to that write carried none.
    pub(super) fn seen_before_last_write(&self) -> Option<u64> {
        if self.assigns_versions {
            return None;
        }
        let number = self.last_number()?;
        let last = self.writes.iter().find(|record| record.number == number)?;
        let is_silent = last.kind == WriteKind::Put && last.version.is_none();
        (is_silent && last.floor > 0).then_some(last.floor)
    }

    /// Whether the item is certainly deleted: no later write can have created it again.
    pub(super) fn is_gone(&self) -> bool {
        self.in_flight == 0 && self.unknown_puts == 0 && self.gone.is_some_and(|gone| !gone.maybe_recreated)
    }

    /// Different for each generation of the item.
    fn generation(&self) -> u64 {
        self.deletes + self.version_resets
    }

    /// Whether the result of a recheck is still older than `floor`, which is of `generation`.
    pub(super) fn recheck(&self, generation: u64, floor: u64, result: ReadOutcome) -> RecheckResult {
        match result {
            // Versions that the harness assigns continue in the next generation. A database may start again from 1, and
            // its versions cannot be compared with those before.
            _ if !self.assigns_versions && self.generation() != generation => RecheckResult::OtherGeneration,
            // It may be created again at this moment.
            _ if !self.assigns_versions && self.deletes > 0 && self.in_flight > 0 => RecheckResult::Unknown,
            ReadOutcome::Missing => RecheckResult::Fresh,
            ReadOutcome::Item { version: None } if !self.assigns_versions => RecheckResult::Unknown,
            ReadOutcome::Item { version } if version.unwrap_or(0) < floor => RecheckResult::Stale,
            ReadOutcome::Item { .. } => RecheckResult::Fresh,
        }
    }

    /// Whether the result of a recheck is still an item that was deleted.
    pub(super) fn recheck_deleted(&self, result: ReadOutcome) -> RecheckResult {
        match (result, self.gone) {
            (ReadOutcome::Missing, _) => RecheckResult::Fresh,
            (ReadOutcome::Item { .. }, Some(_)) if self.is_gone() => RecheckResult::Stale,
            (ReadOutcome::Item { .. }, Some(gone)) if !gone.maybe_recreated && self.unknown_puts == 0 => {
                RecheckResult::Unknown
            }
            (ReadOutcome::Item { .. }, _) => RecheckResult::OtherGeneration,
        }
    }

    /// Whether a write with this number was sent.
    pub(super) fn was_begun(&self, number: u64) -> bool {
        number <= self.begun
    }

    /// Adds a read, and raises the floor where it returned a newer version.
    pub(super) fn read(&mut self, result: ReadOutcome, sent: RunNanos, done: RunNanos, floor: Option<&Floor>) {
        push(&mut self.reads, ReadRecord { result, sent, done });
        let (ReadOutcome::Item { version: Some(version) }, Some(floor)) = (result, floor) else { return };
        // After a delete a version may be of an earlier generation; a version that was never assigned proves nothing.
        let sure = if self.assigns_versions { version <= self.issued } else { self.deletes == 0 };
        if sure && version > floor.version() {
            floor.raise_to(version);
            self.observed = Some((version, done));
        }
    }
}

/// Returns what had to leave the ring.
fn push<T>(ring: &mut VecDeque<T>, one: T) -> Option<T> {
    let left = (ring.len() == HISTORY_CAPACITY).then(|| ring.pop_front()).flatten();
    ring.push_back(one);
    left
}

fn next_sequence(sequence: &AtomicU64) -> u64 {
    sequence.fetch_add(1, Ordering::SeqCst) + 1
}

#[cfg(test)]
mod tests;
