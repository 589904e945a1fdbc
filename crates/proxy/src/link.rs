//! One direction of a connection: what was read and not yet written, each chunk with the time at which it is due.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;

use super::conditions::Conditions;
use super::event_loop::ProxyContext;
use super::sockets::{Endpoint, ReadResult, WriteResult};
use super::timers::TimerTarget;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Flow {
    ToServer,
    ToClient,
}

/// What is read at once.
pub(super) const READ_BUFFER_BYTES: usize = 64 << 10;
/// What may wait for a receiver that does not read. Then the sender is not read from either, and its kernel tells it so.
const MAX_QUEUED_BYTES: usize = READ_BUFFER_BYTES;
/// What may wait for its time. More than that in flight, and the sender is held back, as by a TCP window of this size.
const MAX_DELAYED_BYTES: usize = 4 << 20;
/// What a chunk of one byte takes in memory, roughly.
const CHUNK_OVERHEAD_BYTES: usize = 64;
/// Chunks that one connection may move before the others have their turn.
const MAX_CHUNKS_PER_PUMP: usize = 16;

#[derive(Debug)]
enum Payload {
    Bytes { bytes: Vec<u8>, sent: usize },
    Eof,
    Reset,
}

#[derive(Debug)]
struct QueuedItem {
    arrived: Instant,
    due: Instant,
    payload: Payload,
}

/// How far a link came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PumpResult {
    /// It waits: for bytes, for room, for its time.
    Waiting,
    /// It has more to do at once, after the others.
    Reschedule,
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
    flow: Flow,
    conditions: Conditions,
    queue: VecDeque<QueuedItem>,
    queued: usize,
    /// The sender's FIN or RST has been read.
    ended: bool,
    broken: bool,
    finished: bool,
    /// The receiver is gone: what is read is lost.
    receiver_gone: bool,
    /// Bytes that a bandwidth has granted, and from when.
    grant: Option<(usize, Instant)>,
    next_piece: Option<Instant>,
    next_wakeup: Option<Instant>,
    rng: ChaCha8Rng,
}

impl Link {
    pub(super) fn new(number: u64, flow: Flow, conditions: Conditions, rng: ChaCha8Rng) -> Self {
        Self {
            number,
            flow,
            conditions,
            queue: VecDeque::new(),
            queued: 0,
            ended: false,
            broken: false,
            finished: false,
            receiver_gone: false,
            grant: None,
            next_piece: None,
            next_wakeup: None,
            rng,
        }
    }

    pub(super) fn is_black_hole(&self) -> bool {
        self.conditions.black_hole
    }

    /// Whether the sender has sent its last.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Puts it under other conditions. What is on its way keeps its time, unless something was removed (`fault_removed`): then it gets
    /// the time that it would have without what was removed.
    pub(super) fn set_conditions(&mut self, conditions: Conditions, fault_removed: bool) {
        if self.conditions == conditions {
            return;
        }
        self.conditions = conditions;
        self.grant = None;
        if self.conditions.slice.is_none() {
            self.next_piece = None;
        }
        if fault_removed {
            let mut before = None;
            for item in &mut self.queue {
                let due = item.arrived + self.conditions.draw_delay(&mut self.rng);
                item.due = before.map_or(due, |before| due.max(before));
                before = Some(item.due);
            }
        }
    }

    /// The sender turned out to be gone, after it had sent its last.
    pub(super) fn on_sender_reset(&mut self) {
        self.ended = true;
        if !self.broken {
            self.broken = true;
            self.push(Payload::Reset);
        }
    }

    /// Moves what can be moved now.
    pub(super) fn pump(&mut self, from: &mut Endpoint, to: &mut Endpoint, context: &mut ProxyContext) -> PumpResult {
        for _ in 0..MAX_CHUNKS_PER_PUMP {
            if let Some(step) = self.deliver(to, context) {
                return step;
            }
            if !self.fill(from, to, context) {
                return if self.receiver_gone { PumpResult::Broken } else { PumpResult::Waiting };
            }
        }
        PumpResult::Reschedule
    }

    /// Reads once. Whether that was worth it.
    fn fill(&mut self, from: &mut Endpoint, to: &mut Endpoint, context: &mut ProxyContext) -> bool {
        let max_bytes = if self.conditions.delays.is_empty() { MAX_QUEUED_BYTES } else { MAX_DELAYED_BYTES };
        if self.ended || self.conditions.black_hole || !from.is_readable() || self.queued >= max_bytes {
            return false;
        }
        match from.read(&mut context.scratch) {
            ReadResult::WouldBlock => return false,
            ReadResult::Eof => {
                self.ended = true;
                self.push(Payload::Eof);
            }
            ReadResult::Broken => self.on_sender_reset(),
            ReadResult::Bytes(_) if self.receiver_gone => {}
            ReadResult::Bytes(length) => {
                let mut sent = 0;
                // The usual way, with no copy: nothing waits and nothing is to be done to it.
                if self.queue.is_empty() && self.conditions.is_passthrough() {
                    match to.write(&context.scratch[..length]) {
                        WriteResult::Bytes(written) => {
                            sent = written;
                            context.counters.passed(self.flow, written);
                        }
                        WriteResult::WouldBlock => {}
                        WriteResult::Broken => self.on_receiver_gone(),
                    }
                }
                if sent < length && !self.receiver_gone {
                    self.push(Payload::Bytes { bytes: context.scratch[sent..length].to_vec(), sent: 0 });
                }
            }
        }
        true
    }

    fn push(&mut self, payload: Payload) {
        let arrived = Instant::now();
        let due = arrived + self.conditions.draw_delay(&mut self.rng);
        // Never before what came before it.
        let due = self.queue.back().map_or(due, |last| due.max(last.due));
        if let Payload::Bytes { bytes, .. } = &payload {
            self.queued += bytes.len() + CHUNK_OVERHEAD_BYTES;
        }
        self.queue.push_back(QueuedItem { arrived, due, payload });
    }

    /// Writes what is due. `None`: as far as it goes now.
    fn deliver(&mut self, to: &mut Endpoint, context: &mut ProxyContext) -> Option<PumpResult> {
        while !self.conditions.black_hole {
            let head = self.queue.front_mut()?;
            let now = Instant::now();
            if head.due > now {
                let due = head.due;
                self.schedule_wakeup(due, now, context);
                return None;
            }
            match &mut head.payload {
                Payload::Reset => return Some(PumpResult::Reset),
                Payload::Eof => {
                    to.finish();
                    self.finished = true;
                    self.queue.clear();
                    return Some(PumpResult::Finished);
                }
                Payload::Bytes { bytes, sent } => {
                    if let Some(next) = self.next_piece.filter(|next| *next > now) {
                        self.schedule_wakeup(next, now, context);
                        return None;
                    }
                    let mut allowed = bytes.len() - *sent;
                    if let Some((size, _)) = self.conditions.slice {
                        allowed = allowed.min(size);
                    }
                    if !self.conditions.bandwidths.is_empty() {
                        let (granted, when) = *self.grant.get_or_insert_with(|| {
                            context.faults.reserve(&self.conditions.bandwidths, self.flow, allowed, now)
                        });
                        if when > now {
                            self.schedule_wakeup(when, now, context);
                            return None;
                        }
                        allowed = allowed.min(granted);
                    }
                    match to.write(&bytes[*sent..*sent + allowed]) {
                        WriteResult::WouldBlock => return None,
                        WriteResult::Broken => {
                            self.on_receiver_gone();
                            return None;
                        }
                        WriteResult::Bytes(written) => {
                            *sent += written;
                            self.queued -= written;
                            if *sent == bytes.len() {
                                self.queued -= CHUNK_OVERHEAD_BYTES;
                                self.queue.pop_front();
                            }
                            context.counters.passed(self.flow, written);
                            self.account_written(written, now);
                        }
                    }
                }
            }
        }
        None
    }

    /// Accounts for bytes that were written under a bandwidth or in pieces.
    fn account_written(&mut self, written: usize, now: Instant) {
        self.grant = self
            .grant
            .take()
            .filter(|(granted, _)| *granted > written)
            .map(|(granted, when)| (granted - written, when));
        if let Some((_, gap)) = self.conditions.slice.filter(|(_, gap)| *gap > Duration::ZERO) {
            self.next_piece = Some(now + gap);
        }
    }

    /// The receiver is gone.
    fn on_receiver_gone(&mut self) {
        self.receiver_gone = true;
        self.queued = 0;
        // The sender's own end still has to come through.
        self.queue.retain(|item| !matches!(item.payload, Payload::Bytes { .. }));
    }

    /// Once for each time: more would fill the timers of a busy link.
    fn schedule_wakeup(&mut self, when: Instant, now: Instant, context: &mut ProxyContext) {
        if self.next_wakeup.is_none_or(|set| set > when || set <= now) {
            self.next_wakeup = Some(when);
            context.timers.schedule(when, TimerTarget::Link(self.number, self.flow));
        }
    }
}
