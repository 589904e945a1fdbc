use std::time::{Duration, Instant};

const BUCKETS: usize = 10;

/// How calls went lately, in a ring of ten buckets: what is older than the window goes a tenth of it at a time.
#[derive(Debug)]
pub(super) struct Window {
    buckets: [Tally; BUCKETS],
    newest: u64,
    started: Instant,
    step_nanos: u128,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) calls: u32,
    pub(super) failures: u32,
    pub(super) slow: u32,
}

impl Window {
    pub(super) fn new(length: Duration, now: Instant) -> Self {
        let step_nanos = (length.as_nanos() / BUCKETS as u128).max(1);
        Self { buckets: [Tally::default(); BUCKETS], newest: 0, started: now, step_nanos }
    }

    pub(super) fn count(&mut self, failed: bool, slow: bool, now: Instant) {
        let at = now.saturating_duration_since(self.started).as_nanos() / self.step_nanos;
        let at = u64::try_from(at).unwrap_or(u64::MAX);
        let outdated = at.saturating_sub(self.newest).min(BUCKETS as u64);
        for i in 0..outdated {
            self.buckets[((at - i) % BUCKETS as u64) as usize] = Tally::default();
        }
        self.newest = self.newest.max(at);
        let bucket = &mut self.buckets[(self.newest % BUCKETS as u64) as usize];
        bucket.calls += 1;
        bucket.failures += u32::from(failed);
        bucket.slow += u32::from(slow);
    }

    pub(super) fn tally(&self) -> Tally {
        self.buckets.iter().fold(Tally::default(), |sum, bucket| Tally {
            calls: sum.calls + bucket.calls,
            failures: sum.failures + bucket.failures,
            slow: sum.slow + bucket.slow,
        })
    }

    pub(super) fn forget(&mut self) {
        self.buckets = [Tally::default(); BUCKETS];
    }
}
