//! One direction of a connection: a queue of the bytes that were read and not yet written, each chunk with the time at which it is
//! due.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;

use super::conditions::Conditions;
use super::event_loop::ProxyContext;
use super::sockets::{Endpoint, ReadOutcome, WriteOutcome};
use super::timers::TimerTarget;

/// The direction in which bytes flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Flow {
    ToServer,
    ToClient,
}

/// The most that is read at once.
pub(super) const READ_BUFFER_BYTES: usize = 64 << 10;
/// How much is queued for a receiver that does not read. Then the sender is not read from either, so TCP flow control stops it.
const MAX_QUEUED_BYTES: usize = READ_BUFFER_BYTES;
/// How much may be delayed at once. Beyond that the sender has to wait, as with a TCP window of this size.
const MAX_DELAYED_BYTES: usize = 4 << 20;
/// The approximate memory that a chunk takes in addition to its bytes.
const CHUNK_OVERHEAD_BYTES: usize = 64;
/// How many chunks one connection may move before it is the others' turn.
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

/// The result of moving bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PumpResult {
    /// It waits for bytes, for the receiver, or for a timer.
    Waiting,
    /// It has more to do at once, after the other connections.
    Reschedule,
    /// The end of the stream has been forwarded.
    Finished,
    /// The sender's RST is due: both ends have to be reset.
    Reset,
    /// The receiver has closed the connection.
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
    /// The receiver has closed the connection: what is read is discarded.
    receiver_gone: bool,
    /// Bytes that the bandwidth faults have granted, and from when on.
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

    /// Whether the sender has ended its stream.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Changes the conditions. Queued chunks keep their due times, unless a fault was removed (`fault_removed`): then they get the due
    /// times that they would have without that fault.
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
            let mut previous = None;
            for item in &mut self.queue {
                let due = item.arrived + self.conditions.draw_delay(&mut self.rng);
                item.due = previous.map_or(due, |previous| due.max(previous));
                previous = Some(item.due);
            }
        }
    }

    /// The sender has reset the connection, possibly after the end of its stream.
    pub(super) fn on_sender_reset(&mut self) {
        self.ended = true;
        if !self.broken {
            self.broken = true;
            self.push(Payload::Reset);
        }
    }

    /// Moves as many bytes as possible now.
    pub(super) fn pump(&mut self, from: &mut Endpoint, to: &mut Endpoint, context: &mut ProxyContext) -> PumpResult {
        for _ in 0..MAX_CHUNKS_PER_PUMP {
            if let Some(result) = self.deliver(to, context) {
                return result;
            }
            if !self.fill(from, to, context) {
                return if self.receiver_gone { PumpResult::Broken } else { PumpResult::Waiting };
            }
        }
        PumpResult::Reschedule
    }

    /// Reads once. False when there was nothing to read, or no room.
    fn fill(&mut self, from: &mut Endpoint, to: &mut Endpoint, context: &mut ProxyContext) -> bool {
        let max_bytes = if self.conditions.delays.is_empty() { MAX_QUEUED_BYTES } else { MAX_DELAYED_BYTES };
        if self.ended || self.conditions.black_hole || !from.is_readable() || self.queued >= max_bytes {
            return false;
        }
        match from.read(&mut context.scratch) {
            ReadOutcome::WouldBlock => return false,
            ReadOutcome::Eof => {
                self.ended = true;
                self.push(Payload::Eof);
            }
            ReadOutcome::Broken => self.on_sender_reset(),
            ReadOutcome::Bytes(_) if self.receiver_gone => {}
            ReadOutcome::Bytes(length) => {
                let mut sent = 0;
                // The fast path without a copy: nothing is queued, and no fault acts on the bytes.
                if self.queue.is_empty() && self.conditions.is_passthrough() {
                    match to.write(&context.scratch[..length]) {
                        WriteOutcome::Bytes(written) => {
                            sent = written;
                            context.counters.add_forwarded(self.flow, written);
                        }
                        WriteOutcome::WouldBlock => {}
                        WriteOutcome::Broken => self.on_receiver_gone(),
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
        // Never before an earlier chunk.
        let due = self.queue.back().map_or(due, |last| due.max(last.due));
        if let Payload::Bytes { bytes, .. } = &payload {
            self.queued += bytes.len() + CHUNK_OVERHEAD_BYTES;
        }
        self.queue.push_back(QueuedItem { arrived, due, payload });
    }

    /// Writes what is due. `None` when it can't write more now, or nothing is queued.
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
                        WriteOutcome::WouldBlock => return None,
                        WriteOutcome::Broken => {
                            self.on_receiver_gone();
                            return None;
                        }
                        WriteOutcome::Bytes(written) => {
                            *sent += written;
                            self.queued -= written;
                            if *sent == bytes.len() {
                                self.queued -= CHUNK_OVERHEAD_BYTES;
                                self.queue.pop_front();
                            }
                            context.counters.add_forwarded(self.flow, written);
                            self.account_written(written, now);
                        }
                    }
                }
            }
        }
        None
    }

    /// Accounts for written bytes in the grant of a bandwidth fault and in the gap of a slice fault.
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

    /// Discards the queued bytes, because the receiver has closed the connection.
    fn on_receiver_gone(&mut self) {
        self.receiver_gone = true;
        self.queued = 0;
        // The end of the sender's stream is still forwarded.
        self.queue.retain(|item| !matches!(item.payload, Payload::Bytes { .. }));
    }

    /// Sets a timer, unless an earlier one is set: a busy link would set too many.
    fn schedule_wakeup(&mut self, when: Instant, now: Instant, context: &mut ProxyContext) {
        if self.next_wakeup.is_none_or(|set| set > when || set <= now) {
            self.next_wakeup = Some(when);
            context.timers.schedule(when, TimerTarget::Link(self.number, self.flow));
        }
    }
}
