//! The combined effect of all faults on one direction of a connection.

use std::time::{Duration, Instant};

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::faults::FaultId;

/// The faults of one direction, combined.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Conditions {
    /// Delay and jitter of each latency fault.
    pub(super) delays: Vec<(Duration, Duration)>,
    /// Nothing is forwarded.
    pub(super) black_hole: bool,
    /// The bandwidth faults. Their buckets are with the faults, because connections share them.
    pub(super) bandwidths: Vec<FaultId>,
    /// Size of a piece, and the gap after it.
    pub(super) slice: Option<(usize, Duration)>,
}

impl Conditions {
    /// Whether bytes are forwarded as they arrive.
    pub(super) fn is_passthrough(&self) -> bool {
        self.delays.is_empty() && !self.black_hole && self.bandwidths.is_empty() && self.slice.is_none()
    }

    /// Draws the delay of one chunk.
    pub(super) fn draw_delay(&self, rng: &mut ChaCha8Rng) -> Duration {
        self.delays.iter().map(|(delay, jitter)| jittered(*delay, *jitter, rng)).sum()
    }
}

/// Uniform between `delay` − `jitter` and `delay` + `jitter`, and never below zero.
fn jittered(delay: Duration, jitter: Duration, rng: &mut ChaCha8Rng) -> Duration {
    if jitter.is_zero() {
        return delay;
    }
    let added = rng.random_range(Duration::ZERO..=jitter * 2);
    (delay + added).saturating_sub(jitter)
}

/// The token bucket of a bandwidth fault, shared by its connections: each reserves time for some bytes and waits until then.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: u64,
    next_free: Option<Instant>,
}

/// How much unused time may be made up for. Timers fire late, and without this the link would be slower than its bandwidth.
const BURST: Duration = Duration::from_millis(10);
/// The longest time on the link that one reservation takes, and so the longest that one connection makes the others wait.
const RESERVATION_DURATION: Duration = Duration::from_millis(4);

impl Bucket {
    /// `rate` is in bytes a second.
    pub(super) fn new(rate: u64) -> Self {
        Self { rate: rate.max(1), next_free: None }
    }

    /// How many bytes can be reserved at once.
    pub(super) fn max_reservation(&self) -> usize {
        let bytes = u128::from(self.rate) * RESERVATION_DURATION.as_micros() / 1_000_000;
        usize::try_from(bytes).unwrap_or(usize::MAX).max(1)
    }

    /// Reserves `bytes`; returns when they may be sent.
    pub(super) fn reserve(&mut self, bytes: usize, now: Instant) -> Instant {
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let start = self.next_free.map_or(now, |next_free| next_free.max(earliest));
        #[expect(clippy::cast_precision_loss, reason = "a reservation is small")]
        let takes = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        self.next_free = Some(start + takes);
        start
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn a_jitter_larger_than_the_delay_stays_in_its_range() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let ms = Duration::from_millis;
        let drawn: Vec<_> = (0..1000).map(|_| jittered(ms(5), ms(20), &mut rng)).collect();
        assert!(drawn.iter().all(|delay| *delay <= ms(25)));
        assert!(drawn.iter().any(Duration::is_zero) && drawn.iter().any(|delay| *delay > ms(20)));
        assert_eq!(jittered(ms(5), Duration::ZERO, &mut rng), ms(5));
    }

    #[test]
    fn a_bucket_keeps_its_rate_with_late_timers_and_allows_no_burst_after_a_pause() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1_000_000);
        // Each sends 1 ms after its time, as with a late timer.
        let mut now = start;
        let mut sent = 0;
        while now < start + Duration::from_secs(1) {
            sent += 4_000;
            now = now.max(bucket.reserve(4_000, now) + Duration::from_millis(1));
        }
        assert!((990_000..=1_012_000).contains(&sent), "{sent}");
        let later = now + Duration::from_secs(60);
        let turns = (0..100).filter(|_| bucket.reserve(4_000, later) <= later).count();
        assert!(turns <= 4, "{turns} turns at once after a pause");
    }
}
