use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What time it is; a parameter, so that tests need not wait. Freshness is judged by it where a class keeps values past their TTL
/// or refreshes them before; processes that share a cache should agree on it to a fraction of their TTLs.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Milliseconds since 1970-01-01 UTC.
    fn now_ms(&self) -> u64;
}

/// This machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
