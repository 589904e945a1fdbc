//! Waiting longer after each failure, at random, so that many clients do not knock at once.

use std::time::Duration;

/// Full jitter: each wait is uniform between zero and a limit that doubles from `base` up to `cap`.
#[derive(Debug)]
pub(crate) struct Backoff {
    base: Duration,
    cap: Duration,
    limit: Duration,
}

impl Backoff {
    pub(crate) fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, limit: base }
    }

    pub(crate) fn next_wait(&mut self) -> Duration {
        let wait = self.limit.mul_f64(rand::random::<f64>());
        self.limit = (self.limit * 2).min(self.cap);
        wait
    }

    pub(crate) fn reset(&mut self) {
        self.limit = self.base;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_differ() {
        let (base, cap) = (Duration::from_millis(50), Duration::from_millis(500));
        let mut backoff = Backoff::new(base, cap);
        assert!(backoff.next_wait() <= base);
        let waits: Vec<_> = (0..200).map(|_| backoff.next_wait()).collect();
        assert!(waits.iter().all(|w| *w <= cap));
        assert!(waits.iter().any(|w| *w > cap / 2), "the limit grows");
        assert!(waits.iter().any(|w| *w < cap / 10), "jitter reaches down to zero");
        backoff.reset();
        assert!(backoff.next_wait() <= base);
    }
}
