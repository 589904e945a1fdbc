//! Counters that every hit raises.

use prometheus_client::metrics::counter::{Atomic, Counter};
use std::sync::atomic::{AtomicU64, Ordering};
use thread_local::ThreadLocal;

/// Each thread counts by itself, and reading adds up: an addition that all threads see costs as much as a tenth of a hit in memory, and
/// many times that when two threads count at once. Not to be raised by a destructor of a thread-local variable: the thread has no counter any
/// more then.
pub(super) type HotCounter = Counter<u64, PerThread>;

#[derive(Debug, Default)]
pub(super) struct PerThread(ThreadLocal<Own>);

/// On a line of the processor's cache by itself: a neighbour's writes would take it away.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Own(AtomicU64);

impl Atomic<u64> for PerThread {
    fn inc(&self) -> u64 {
        self.inc_by(1)
    }

    /// What this thread had counted before.
    fn inc_by(&self, by: u64) -> u64 {
        let Own(own) = self.0.get_or_default();
        // Nobody else writes it: read and written, it need not be locked in between.
        let before = own.load(Ordering::Relaxed);
        own.store(before.wrapping_add(by), Ordering::Relaxed);
        before
    }

    fn get(&self) -> u64 {
        self.0.iter().map(|Own(own)| own.load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_when_threads_count_at_once_and_end() {
        let counter = HotCounter::default();
        for _ in 0..3 {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..10_000 {
                            counter.inc();
                        }
                    });
                }
            });
        }
        counter.inc_by(7);
        assert_eq!(counter.get(), 120_007);
    }
}
