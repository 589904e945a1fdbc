//! The timers of the event loop, ordered by time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::link::Flow;

/// What a timer wakes. A timer may fire too early: what it wakes checks the time again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TimerTarget {
    /// The port: try again to accept or listen.
    Listener,
    /// The check whether the server accepts connections.
    Upstream,
    /// One direction of a connection.
    Link(u64, Flow),
}

/// All timers.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, TimerTarget)>>,
}

impl Timers {
    pub(super) fn schedule(&mut self, when: Instant, target: TimerTarget) {
        self.heap.push(Reverse((when, target)));
    }

    /// When the next is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((when, _))| *when)
    }

    /// Removes and returns a timer that is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<TimerTarget> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, target))| target)
    }
}
