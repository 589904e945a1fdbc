//! What is to happen later, in the order of its time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::link::Side;

/// What is looked at when its time has come. To be woken for nothing does no harm: whoever is woken looks at the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wake {
    /// The port: accept, or listen again.
    Listener,
    /// Whether the server accepts.
    Upstream,
    /// One direction of a connection.
    Link(u64, Side),
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Wake)>>,
}

impl Timers {
    pub(super) fn at(&mut self, when: Instant, wake: Wake) {
        self.heap.push(Reverse((when, wake)));
    }

    /// When the next is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((when, _))| *when)
    }

    /// One that is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<Wake> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, wake))| wake)
    }
}
