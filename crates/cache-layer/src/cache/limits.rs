//! How long a request waits: for the cache, and for the database.

use crate::store::CacheError;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// What one request may still wait for the cache.
#[derive(Debug)]
pub(crate) struct Budget(pub(super) Duration);

impl Budget {
    pub(crate) async fn wait<T>(&mut self, what: impl Future<Output = Result<T, CacheError>>) -> Result<T, CacheError> {
        self.wait_all(what).await.unwrap_or(Err(CacheError::Timeout))
    }

    /// `None`: it did not end in time.
    pub(crate) async fn wait_all<T>(&mut self, what: impl Future<Output = T>) -> Option<T> {
        if self.0.is_zero() {
            return None;
        }
        let mut what = pin!(what);
        // Memory answers at once: then neither clock nor timer is needed.
        if let Poll::Ready(answer) = poll_fn(|context| Poll::Ready(what.as_mut().poll(context))).await {
            return Some(answer);
        }
        let start = Instant::now();
        let answer = timeout_at(start + self.0, what).await.ok();
        self.0 = self.0.saturating_sub(start.elapsed());
        answer
    }

    /// [`Budget::wait`] that began at `start`, and how long it took: who times the call anyway spares the clock. What ends by itself
    /// `within` the budget spares the timer.
    pub(super) async fn wait_since<T>(
        &mut self,
        start: Instant,
        within: Option<Duration>,
        what: impl Future<Output = Result<T, CacheError>>,
    ) -> (Result<T, CacheError>, Duration) {
        if self.0.is_zero() {
            return (Err(CacheError::Timeout), Duration::ZERO);
        }
        let mut what = pin!(what);
        // What is answered at once was not waited for, however long the processor took: memory never exhausts the budget.
        if let Poll::Ready(answer) = poll_fn(|context| Poll::Ready(what.as_mut().poll(context))).await {
            return (answer, start.elapsed());
        }
        let answer = match within {
            Some(within) if within <= self.0 => what.await,
            _ => timeout_at(start + self.0, what).await.unwrap_or(Err(CacheError::Timeout)),
        };
        let took = start.elapsed();
        self.0 = self.0.saturating_sub(took);
        (answer, took)
    }
}

/// Until when a load, or waiting for another's, is worth it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    /// So long from now; zero: never.
    pub(crate) fn after(limit: Duration) -> Self {
        let at = || Instant::now().checked_add(limit);
        Self(if limit.is_zero() { None } else { at() })
    }

    /// `None`: too late.
    pub(crate) async fn within<T>(self, what: impl Future<Output = T>) -> Option<T> {
        match self.0 {
            Some(at) => timeout_at(at, what).await.ok(),
            None => Some(what.await),
        }
    }

    /// The earlier one of this and `other`.
    pub(super) fn or(self, other: Instant) -> Instant {
        self.0.map_or(other, |at| at.min(other))
    }
}
