//! The circuit breaker: when too many calls fail, stop calling; let a few through to see whether it is over.
//!
//! *Closed*: calls pass. It opens when, within the window, there were at least `min_calls` calls and the share of
//! failures reached `failure_share`, or when `consecutive` calls in a row failed (a freeze shows at once,
//! however many successes the window still remembers). *Open*: calls are refused. After a wait, longer
//! each time and jittered by half, it is *half-open*: `probes` calls at a time pass; `probes_to_close` successes close it, one
//! failure opens it again.

use prometheus_client::metrics::gauge::Gauge;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const BUCKETS: usize = 10;

/// When the breaker opens and how it closes.
#[derive(Clone, Debug)]
pub struct BreakerConfig {
    /// How far back calls count.
    pub window: Duration,
    /// Fewer calls than this in the window do not open it by their share.
    pub min_calls: u32,
    /// Failures ÷ calls that opens it, 0 to 1.
    pub failure_share: f64,
    /// Failures in a row that open it.
    pub consecutive: u32,
    /// The first time it stays open.
    pub open_for: Duration,
    /// The longest time it stays open.
    pub open_for_at_most: Duration,
    /// Calls that may try at the same time when half-open.
    pub probes: u32,
    /// Successes that close it.
    pub probes_to_close: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(2),
            min_calls: 10,
            failure_share: 0.5,
            consecutive: 5,
            open_for: Duration::from_millis(100),
            open_for_at_most: Duration::from_millis(500),
            probes: 2,
            probes_to_close: 2,
        }
    }
}

/// What the breaker does with the next call. The number is the value of the metric `cache_breaker_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls pass.
    Closed = 0,
    /// Calls are refused.
    Open = 1,
    /// A few calls pass, to see.
    HalfOpen = 2,
}

impl BreakerState {
    /// `closed`, `open` or `half-open`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// A circuit breaker. Time comes in as a parameter.
#[derive(Debug)]
pub struct Breaker {
    config: BreakerConfig,
    inner: Mutex<Inner>,
    gauge: Gauge,
}

#[derive(Debug)]
struct Inner {
    state: BreakerState,
    /// Rises with each change of state, so that an answer from before the change is not counted after it.
    epoch: u64,
    buckets: [(u32, u32); BUCKETS],
    newest: u64,
    started: Instant,
    failures_in_a_row: u32,
    open_until: Instant,
    open_for: Duration,
    probing: u32,
    probes_passed: u32,
}

/// Leave to make one call. Give it back with [`Permit::record`]; a dropped permit counts as no call.
#[derive(Debug)]
pub struct Permit<'a> {
    breaker: &'a Breaker,
    epoch: u64,
    probe: bool,
}

impl Breaker {
    /// A closed breaker whose state shows in `gauge`.
    #[must_use]
    pub fn new(config: BreakerConfig, gauge: Gauge, now: Instant) -> Self {
        gauge.set(BreakerState::Closed as i64);
        let inner = Inner {
            state: BreakerState::Closed,
            epoch: 0,
            buckets: [(0, 0); BUCKETS],
            newest: 0,
            started: now,
            failures_in_a_row: 0,
            open_until: now,
            open_for: config.open_for,
            probing: 0,
            probes_passed: 0,
        };
        Self { config, inner: Mutex::new(inner), gauge }
    }

    /// Leave to call, or `None` when the call should not be made.
    #[must_use]
    pub fn permit(&self, now: Instant) -> Option<Permit<'_>> {
        let mut inner = self.lock();
        if inner.state == BreakerState::Open && now >= inner.open_until {
            self.turn(&mut inner, BreakerState::HalfOpen);
        }
        let probe = match inner.state {
            BreakerState::Closed => false,
            BreakerState::HalfOpen if inner.probing < self.config.probes => {
                inner.probing += 1;
                true
            }
            BreakerState::HalfOpen | BreakerState::Open => return None,
        };
        Some(Permit { breaker: self, epoch: inner.epoch, probe })
    }

    /// The state as of the last call.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.lock().state
    }

    /// Something outside saw the server answer: an open breaker need not wait any longer to try.
    pub fn try_now(&self) {
        let mut inner = self.lock();
        if inner.state == BreakerState::Open {
            self.turn(&mut inner, BreakerState::HalfOpen);
        }
    }

    fn record(&self, epoch: u64, success: bool, now: Instant) {
        let mut inner = self.lock();
        if epoch != inner.epoch {
            return;
        }
        match (inner.state, success) {
            (BreakerState::HalfOpen, true) => {
                inner.probes_passed += 1;
                if inner.probes_passed >= self.config.probes_to_close {
                    inner.open_for = self.config.open_for;
                    self.turn(&mut inner, BreakerState::Closed);
                }
            }
            (BreakerState::HalfOpen, false) => self.open(&mut inner, now),
            (BreakerState::Closed, success) => {
                inner.count(success, now, self.config.window);
                if self.too_many_failures(&inner) {
                    self.open(&mut inner, now);
                }
            }
            (BreakerState::Open, _) => {}
        }
    }

    fn too_many_failures(&self, inner: &Inner) -> bool {
        if inner.failures_in_a_row >= self.config.consecutive {
            return true;
        }
        let (calls, failures) = inner.buckets.iter().fold((0, 0), |(c, f), b| (c + b.0, f + b.1));
        calls >= self.config.min_calls && f64::from(failures) >= self.config.failure_share * f64::from(calls)
    }

    fn open(&self, inner: &mut Inner, now: Instant) {
        inner.open_until = now + inner.open_for.mul_f64(0.5 + rand::random::<f64>() / 2.0);
        inner.open_for = (inner.open_for * 2).min(self.config.open_for_at_most);
        self.turn(inner, BreakerState::Open);
    }

    fn turn(&self, inner: &mut Inner, to: BreakerState) {
        match to {
            BreakerState::Open if inner.state == BreakerState::Closed => {
                tracing::warn!("cache breaker opens: too many cache calls fail, requests go to the database");
            }
            BreakerState::Closed => tracing::info!("cache breaker closes: the cache answers again"),
            BreakerState::Open | BreakerState::HalfOpen => {}
        }
        inner.state = to;
        inner.epoch += 1;
        inner.buckets = [(0, 0); BUCKETS];
        inner.failures_in_a_row = 0;
        inner.probing = 0;
        inner.probes_passed = 0;
        self.gauge.set(to as i64);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn count(&mut self, success: bool, now: Instant, window: Duration) {
        let step = (window.as_nanos() / BUCKETS as u128).max(1);
        let at = u64::try_from(now.saturating_duration_since(self.started).as_nanos() / step).unwrap_or(u64::MAX);
        let outdated = at.saturating_sub(self.newest).min(BUCKETS as u64);
        for i in 0..outdated {
            self.buckets[((at - i) % BUCKETS as u64) as usize] = (0, 0);
        }
        self.newest = self.newest.max(at);
        let bucket = &mut self.buckets[(self.newest % BUCKETS as u64) as usize];
        bucket.0 += 1;
        bucket.1 += u32::from(!success);
        self.failures_in_a_row = if success { 0 } else { self.failures_in_a_row + 1 };
    }
}

impl Permit<'_> {
    /// Says how the call went.
    pub fn record(self, success: bool, now: Instant) {
        self.breaker.record(self.epoch, success, now);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.probe {
            let mut inner = self.breaker.lock();
            if inner.epoch == self.epoch {
                inner.probing = inner.probing.saturating_sub(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> (Breaker, Instant) {
        let now = Instant::now();
        (Breaker::new(BreakerConfig::default(), Gauge::default(), now), now)
    }

    fn call(breaker: &Breaker, success: bool, now: Instant) {
        breaker.permit(now).expect("a permit").record(success, now);
    }

    fn opened() -> (Breaker, Instant) {
        let (breaker, now) = breaker();
        (0..5).for_each(|_| call(&breaker, false, now));
        assert_eq!(breaker.state(), BreakerState::Open);
        (breaker, now)
    }

    #[test]
    fn breaker_opens_and_closes() {
        let (breaker, now) = opened();
        assert!(breaker.permit(now).is_none(), "open refuses");
        let later = now + Duration::from_millis(100);
        let first = breaker.permit(later).expect("a probe");
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        let second = breaker.permit(later).expect("a second probe");
        assert!(breaker.permit(later).is_none(), "no third probe at the same time");
        first.record(true, later);
        assert_eq!(breaker.state(), BreakerState::HalfOpen, "one success is not enough");
        second.record(true, later);
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert_eq!(breaker.gauge.get(), 0);
    }

    #[test]
    fn a_share_of_failures_opens_it_only_with_enough_calls() {
        let (breaker, now) = breaker();
        for i in 0..9 {
            call(&breaker, i % 2 == 0, now);
        }
        assert_eq!(breaker.state(), BreakerState::Closed, "nine calls are too few");
        call(&breaker, false, now);
        assert_eq!(breaker.state(), BreakerState::Open, "five of ten failed");
    }

    #[test]
    fn failures_older_than_the_window_are_forgotten() {
        let (breaker, now) = breaker();
        for i in 0..9 {
            call(&breaker, i % 2 == 0, now);
        }
        let later = now + Duration::from_secs(3);
        for i in 0..9 {
            call(&breaker, i % 3 != 0, later);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_failed_probe_opens_it_for_longer_up_to_the_cap() {
        let (breaker, mut now) = opened();
        for _ in 0..8 {
            now += Duration::from_millis(500);
            call(&breaker, false, now);
            assert_eq!(breaker.state(), BreakerState::Open);
            let wait = breaker.lock().open_until - now;
            assert!(wait <= Duration::from_millis(500));
        }
        assert!(breaker.lock().open_until - now >= Duration::from_millis(250), "half of the cap at least");
    }

    #[test]
    fn a_dropped_probe_makes_room_for_another() {
        let (breaker, now) = opened();
        breaker.try_now();
        let _first = breaker.permit(now).expect("a probe");
        drop(breaker.permit(now).expect("a second probe"));
        assert!(breaker.permit(now).is_some());
    }

    #[test]
    fn an_answer_from_before_the_change_does_not_count() {
        let (breaker, now) = breaker();
        let slow = breaker.permit(now).expect("a permit");
        (0..5).for_each(|_| call(&breaker, false, now));
        breaker.try_now();
        slow.record(false, now);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
    }
}
