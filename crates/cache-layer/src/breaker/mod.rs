//! The circuit breaker: when too many calls fail or are slow, stop calling; let a few through to see whether it is over.
//!
//! *Closed*: calls pass. It opens when, within the window, there were at least `min_calls` calls and the share of
//! failures reached `failure_share` or that of slow calls `slow_share`, or when `consecutive` calls in a row failed (a
//! freeze shows at once, however many successes the window still remembers). *Open*: calls are refused. After a wait, longer
//! each time and jittered by half, it is *half-open*: `probes` calls at a time pass; `probes_to_close` successes close it, one
//! failure or slow call opens it again.
//!
//! Refusing and letting pass take no lock; only the outcome of a call does.

mod config;
#[cfg(test)]
mod tests;
mod window;

pub use config::{BreakerConfig, BreakerState};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use window::{Tally, Window};

/// A circuit breaker. Time comes in as a parameter.
#[derive(Debug)]
pub struct Breaker {
    config: BreakerConfig,
    slow_call: Duration,
    started: Instant,
    /// State in the two low bits, epoch above: what the next call needs to know, without the lock.
    gate: AtomicU64,
    /// Nanoseconds since `started`; written before the gate shows open.
    open_until: AtomicU64,
    inner: Mutex<Inner>,
    instruments: Instruments,
}

/// Where a breaker shows what it does.
#[derive(Clone, Debug, Default)]
pub struct Instruments {
    /// Its state, as the number of [`BreakerState`].
    pub state: Gauge,
    /// How often it opened after having been closed.
    pub opened: Counter,
    /// Calls it refused.
    pub refused: Counter,
}

impl From<Gauge> for Instruments {
    fn from(state: Gauge) -> Self {
        Self { state, ..Self::default() }
    }
}

#[derive(Debug)]
struct Inner {
    state: BreakerState,
    /// Rises with each change of state, so that an answer from before the change is not counted after it.
    epoch: u64,
    window: Window,
    failures_in_a_row: u32,
    open_for: Duration,
    probing: u32,
    probes_passed: u32,
}

/// A change worth a line, written once the lock is given back.
enum News {
    Opened { why: &'static str, tally: Tally, wait: Duration },
    Closed,
}

/// Leave to make one call. Give it back with [`Permit::record`]; a dropped permit counts as no call.
#[derive(Debug)]
pub struct Permit<'a> {
    breaker: &'a Breaker,
    epoch: u64,
    probe: bool,
    began: Instant,
}

impl Breaker {
    /// A closed breaker. A plain gauge will do for the instruments.
    #[must_use]
    pub fn new(config: BreakerConfig, instruments: impl Into<Instruments>, now: Instant) -> Self {
        let instruments = instruments.into();
        instruments.state.set(BreakerState::Closed as i64);
        let inner = Inner {
            state: BreakerState::Closed,
            epoch: 0,
            window: Window::new(config.window, now),
            failures_in_a_row: 0,
            open_for: config.open_for,
            probing: 0,
            probes_passed: 0,
        };
        let (gate, open_until) = (AtomicU64::new(gate(BreakerState::Closed, 0)), AtomicU64::new(0));
        let slow_call = config.slow_from(Duration::ZERO);
        Self { config, slow_call, started: now, gate, open_until, inner: Mutex::new(inner), instruments }
    }

    /// Leave to call, or `None` when the call should not be made.
    #[must_use]
    pub fn permit(&self, now: Instant) -> Option<Permit<'_>> {
        let gate = self.gate.load(Ordering::Acquire);
        let permit = match BreakerState::from_bits(gate) {
            BreakerState::Closed => Some(Permit { breaker: self, epoch: gate >> 2, probe: false, began: now }),
            BreakerState::Open if self.nanos(now) < self.open_until.load(Ordering::Acquire) => None,
            BreakerState::Open | BreakerState::HalfOpen => self.permit_probe(now),
        };
        if permit.is_none() {
            self.instruments.refused.inc();
        }
        permit
    }

    /// The state as of the last call.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        BreakerState::from_bits(self.gate.load(Ordering::Acquire))
    }

    /// Something outside saw the server answer: an open breaker need not wait any longer to try.
    pub fn try_now(&self) {
        let mut inner = self.lock();
        if inner.state == BreakerState::Open {
            self.turn(&mut inner, BreakerState::HalfOpen);
        }
    }

    fn permit_probe(&self, now: Instant) -> Option<Permit<'_>> {
        let mut inner = self.lock();
        if inner.state == BreakerState::Open && self.nanos(now) >= self.open_until.load(Ordering::Acquire) {
            self.turn(&mut inner, BreakerState::HalfOpen);
        }
        let probe = match inner.state {
            BreakerState::Closed => false,
            BreakerState::HalfOpen if inner.probing < self.config.probes.max(1) => {
                inner.probing += 1;
                true
            }
            BreakerState::HalfOpen | BreakerState::Open => return None,
        };
        Some(Permit { breaker: self, epoch: inner.epoch, probe, began: now })
    }

    fn record(&self, permit: &Permit<'_>, success: bool, now: Instant) {
        let slow = now.saturating_duration_since(permit.began) >= self.slow_call;
        let news = self.count(permit.epoch, success, slow, now);
        match news {
            Some(News::Opened { why, tally: Tally { calls, failures, slow }, wait }) => {
                self.instruments.opened.inc();
                let wait_ms = wait.as_millis();
                tracing::warn!(why, calls, failures, slow, wait_ms, "cache breaker opens: requests go to the database");
            }
            Some(News::Closed) => tracing::info!("cache breaker closes: the cache answers again"),
            None => {}
        }
    }

    fn count(&self, epoch: u64, success: bool, slow: bool, now: Instant) -> Option<News> {
        let mut inner = self.lock();
        if epoch != inner.epoch {
            return None;
        }
        match inner.state {
            BreakerState::HalfOpen if success && !slow => {
                inner.probes_passed += 1;
                if inner.probes_passed < self.config.probes_to_close {
                    return None;
                }
                inner.open_for = self.config.open_for;
                self.turn(&mut inner, BreakerState::Closed);
                Some(News::Closed)
            }
            BreakerState::HalfOpen => {
                self.open(&mut inner, now);
                None
            }
            BreakerState::Closed => {
                inner.window.count(!success, slow, now);
                inner.failures_in_a_row = if success { 0 } else { inner.failures_in_a_row + 1 };
                if success && !slow {
                    return None;
                }
                let tally = inner.window.tally();
                let why = self.too_bad(tally, inner.failures_in_a_row)?;
                let wait = self.open(&mut inner, now);
                Some(News::Opened { why, tally, wait })
            }
            BreakerState::Open => None,
        }
    }

    fn too_bad(&self, tally: Tally, failures_in_a_row: u32) -> Option<&'static str> {
        if failures_in_a_row >= self.config.consecutive {
            return Some("failures in a row");
        }
        if tally.calls < self.config.min_calls {
            return None;
        }
        let reaches = |part: u32, share: f64| f64::from(part) >= share * f64::from(tally.calls);
        if reaches(tally.failures, self.config.failure_share) {
            return Some("share of failures");
        }
        reaches(tally.slow, self.config.slow_share).then_some("share of slow calls")
    }

    fn open(&self, inner: &mut Inner, now: Instant) -> Duration {
        let wait = inner.open_for.mul_f64(0.5 + rand::random::<f64>() / 2.0);
        inner.open_for = (inner.open_for * 2).min(self.config.open_for_at_most);
        self.open_until.store(self.nanos(now + wait), Ordering::Release);
        self.turn(inner, BreakerState::Open);
        wait
    }

    fn turn(&self, inner: &mut Inner, to: BreakerState) {
        inner.state = to;
        inner.epoch += 1;
        inner.window.forget();
        inner.failures_in_a_row = 0;
        inner.probing = 0;
        inner.probes_passed = 0;
        self.gate.store(gate(to, inner.epoch), Ordering::Release);
        self.instruments.state.set(to as i64);
    }

    fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_nanos()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn gate(state: BreakerState, epoch: u64) -> u64 {
    epoch << 2 | state as u64
}

impl Permit<'_> {
    /// Says how the call went. It took from the permit to `now`.
    pub fn record(self, success: bool, now: Instant) {
        self.breaker.record(&self, success, now);
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
