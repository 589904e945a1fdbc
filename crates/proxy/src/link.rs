//! One direction of a connection: what was read and not yet written, each chunk with the time at which it is due.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;

use super::conditions::Conditions;
use super::engine::Shared;
use super::sockets::{End, Put, Taken};
use super::timers::Wake;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    ToServer,
    ToClient,
}

/// What is read at once.
pub(super) const CHUNK: usize = 64 << 10;
/// What may wait for a receiver that does not read. Then the sender is not read from either, and its kernel tells it so.
const ROOM: usize = CHUNK;
/// What may wait for its time. More than that in flight, and the sender is held back, as by a TCP window of this size.
const DELAYED_ROOM: usize = 4 << 20;
/// What a chunk of one byte takes in memory, roughly.
const CHUNK_COST: usize = 64;
/// Chunks that one connection may move before the others have their turn.
const TURNS: usize = 16;

#[derive(Debug)]
enum What {
    Bytes { bytes: Vec<u8>, sent: usize },
    End,
    Reset,
}

#[derive(Debug)]
struct Item {
    arrived: Instant,
    due: Instant,
    what: What,
}

/// How far a link came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It waits: for bytes, for room, for its time.
    Waiting,
    /// It has more to do at once, after the others.
    Again,
    /// The end of the stream has been passed on.
    Finished,
    /// The sender's RST has arrived: both ends are to be reset.
    Reset,
    /// The receiver is gone.
    Broken,
}

#[derive(Debug)]
pub(super) struct Link {
    number: u64,
    side: Side,
    conditions: Conditions,
    queue: VecDeque<Item>,
    queued: usize,
    /// The sender's FIN or RST has been read.
    ended: bool,
    broken: bool,
    finished: bool,
    /// The receiver is gone: what is read is lost.
    lost: bool,
    /// Bytes that a bandwidth has granted, and from when.
    turn: Option<(usize, Instant)>,
    next_piece: Option<Instant>,
    wake: Option<Instant>,
    rng: ChaCha8Rng,
}

impl Link {
    pub(super) fn new(number: u64, side: Side, conditions: Conditions, rng: ChaCha8Rng) -> Self {
        Self {
            number,
            side,
            conditions,
            queue: VecDeque::new(),
            queued: 0,
            ended: false,
            broken: false,
            finished: false,
            lost: false,
            turn: None,
            next_piece: None,
            wake: None,
            rng,
        }
    }

    pub(super) fn is_hole(&self) -> bool {
        self.conditions.hole
    }

    /// Whether the sender has sent its last.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Puts it under other conditions. What is on its way keeps its time, unless something was removed (`lifted`): then it gets
    /// the time that it would have without what was removed.
    pub(super) fn set(&mut self, conditions: Conditions, lifted: bool) {
        if self.conditions == conditions {
            return;
        }
        self.conditions = conditions;
        self.turn = None;
        if self.conditions.slice.is_none() {
            self.next_piece = None;
        }
        if lifted {
            let mut before = None;
            for item in &mut self.queue {
                let due = item.arrived + self.conditions.draw_delay(&mut self.rng);
                item.due = before.map_or(due, |before| due.max(before));
                before = Some(item.due);
            }
        }
    }

    /// The sender turned out to be gone, after it had sent its last.
    pub(super) fn break_off(&mut self) {
        self.ended = true;
        if !self.broken {
            self.broken = true;
            self.push(What::Reset);
        }
    }

    /// Moves what can be moved now.
    pub(super) fn pump(&mut self, from: &mut End, to: &mut End, shared: &mut Shared) -> Step {
        for _ in 0..TURNS {
            if let Some(step) = self.deliver(to, shared) {
                return step;
            }
            if !self.fill(from, to, shared) {
                return if self.lost { Step::Broken } else { Step::Waiting };
            }
        }
        Step::Again
    }

    /// Reads once. Whether that was worth it.
    fn fill(&mut self, from: &mut End, to: &mut End, shared: &mut Shared) -> bool {
        let room = if self.conditions.delays.is_empty() { ROOM } else { DELAYED_ROOM };
        if self.ended || self.conditions.hole || !from.is_readable() || self.queued >= room {
            return false;
        }
        match from.read(&mut shared.scratch) {
            Taken::Nothing => return false,
            Taken::End => {
                self.ended = true;
                self.push(What::End);
            }
            Taken::Broken => self.break_off(),
            Taken::Bytes(_) if self.lost => {}
            Taken::Bytes(length) => {
                let mut sent = 0;
                // The usual way, with no copy: nothing waits and nothing is to be done to it.
                if self.queue.is_empty() && self.conditions.are_clear() {
                    match to.write(&shared.scratch[..length]) {
                        Put::Bytes(written) => {
                            sent = written;
                            shared.counters.passed(self.side, written);
                        }
                        Put::Full => {}
                        Put::Broken => self.lose(),
                    }
                }
                if sent < length && !self.lost {
                    self.push(What::Bytes { bytes: shared.scratch[sent..length].to_vec(), sent: 0 });
                }
            }
        }
        true
    }

    fn push(&mut self, what: What) {
        let arrived = Instant::now();
        let due = arrived + self.conditions.draw_delay(&mut self.rng);
        // Never before what came before it.
        let due = self.queue.back().map_or(due, |last| due.max(last.due));
        if let What::Bytes { bytes, .. } = &what {
            self.queued += bytes.len() + CHUNK_COST;
        }
        self.queue.push_back(Item { arrived, due, what });
    }

    /// Writes what is due. `None`: as far as it goes now.
    fn deliver(&mut self, to: &mut End, shared: &mut Shared) -> Option<Step> {
        while !self.conditions.hole {
            let head = self.queue.front_mut()?;
            let now = Instant::now();
            if head.due > now {
                let due = head.due;
                self.wake(due, now, shared);
                return None;
            }
            match &mut head.what {
                What::Reset => return Some(Step::Reset),
                What::End => {
                    to.finish();
                    self.finished = true;
                    self.queue.clear();
                    return Some(Step::Finished);
                }
                What::Bytes { bytes, sent } => {
                    if let Some(next) = self.next_piece.filter(|next| *next > now) {
                        self.wake(next, now, shared);
                        return None;
                    }
                    let mut allowed = bytes.len() - *sent;
                    if let Some((size, _)) = self.conditions.slice {
                        allowed = allowed.min(size);
                    }
                    if !self.conditions.bandwidths.is_empty() {
                        let (granted, when) = *self.turn.get_or_insert_with(|| {
                            shared.faults.reserve(&self.conditions.bandwidths, self.side, allowed, now)
                        });
                        if when > now {
                            self.wake(when, now, shared);
                            return None;
                        }
                        allowed = allowed.min(granted);
                    }
                    match to.write(&bytes[*sent..*sent + allowed]) {
                        Put::Full => return None,
                        Put::Broken => {
                            self.lose();
                            return None;
                        }
                        Put::Bytes(written) => {
                            *sent += written;
                            self.queued -= written;
                            if *sent == bytes.len() {
                                self.queued -= CHUNK_COST;
                                self.queue.pop_front();
                            }
                            shared.counters.passed(self.side, written);
                            self.spend(written, now);
                        }
                    }
                }
            }
        }
        None
    }

    /// Accounts for bytes that were written under a bandwidth or in pieces.
    fn spend(&mut self, written: usize, now: Instant) {
        self.turn =
            self.turn.take().filter(|(granted, _)| *granted > written).map(|(granted, when)| (granted - written, when));
        if let Some((_, gap)) = self.conditions.slice.filter(|(_, gap)| *gap > Duration::ZERO) {
            self.next_piece = Some(now + gap);
        }
    }

    /// The receiver is gone.
    fn lose(&mut self) {
        self.lost = true;
        self.queued = 0;
        // The sender's own end still has to come through.
        self.queue.retain(|item| !matches!(item.what, What::Bytes { .. }));
    }

    /// Once for each time: more would fill the timers of a busy link.
    fn wake(&mut self, when: Instant, now: Instant, shared: &mut Shared) {
        if self.wake.is_none_or(|set| set > when || set <= now) {
            self.wake = Some(when);
            shared.timers.at(when, Wake::Link(self.number, self.side));
        }
    }
}
