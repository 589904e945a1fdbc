use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Lets something through at most once in ten seconds: a line of log for each request would be a flood.
#[derive(Debug)]
pub(super) struct Seldom {
    born: Instant,
    last: AtomicU64,
}

const PAUSE: Duration = Duration::from_secs(10);

impl Seldom {
    pub(super) fn new() -> Self {
        Self { born: Instant::now(), last: AtomicU64::new(0) }
    }

    pub(super) fn now(&self) -> bool {
        // One pause later than it is: the first one is let through.
        let now = (self.born.elapsed() + PAUSE).as_secs();
        let last = self.last.load(Ordering::Relaxed);
        now >= last + PAUSE.as_secs()
            && self.last.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_and_then_not_for_a_while() {
        let seldom = Seldom::new();
        assert!(seldom.now());
        assert!((0..100).all(|_| !seldom.now()));
    }
}
