//! What is to happen later, in the order of its time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::link::Flow;

/// What is looked at when its time has come. To be woken for nothing does no harm: whoever is woken looks at the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TimerTarget {
    /// The port: accept, or listen again.
    Listener,
    /// Whether the server accepts.
    Upstream,
    /// One direction of a connection.
    Link(u64, Flow),
}

/// All of them.
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

    /// One that is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<TimerTarget> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, target))| target)
    }
}
