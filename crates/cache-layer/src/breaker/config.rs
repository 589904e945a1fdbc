use std::time::Duration;

const SLOW_CALL: Duration = Duration::from_millis(30);

/// When the breaker opens and how it closes.
#[derive(Clone, Debug)]
pub struct BreakerConfig {
    /// How far back calls count.
    pub window: Duration,
    /// Fewer calls than this in the window do not open it by a share.
    pub min_calls: u32,
    /// Failures ÷ calls that opens it, 0 to 1; above 1: never.
    pub failure_share: f64,
    /// A call that took at least this long is slow, whatever its answer. `None`: 30 ms, or three fifths of
    /// [`command_timeout`](crate::RedisConfig::command_timeout) where that is more, for who waits longer has a longer way.
    pub slow_call: Option<Duration>,
    /// Slow calls ÷ calls that opens it, 0 to 1; above 1: never.
    pub slow_share: f64,
    /// Failures in a row that open it.
    pub consecutive: u32,
    /// The first time it stays open.
    pub open_for: Duration,
    /// The longest time it stays open.
    pub open_for_at_most: Duration,
    /// Calls that may try at the same time when half-open.
    pub probes: u32,
    /// Successes, none of them slow, that close it.
    pub probes_to_close: u32,
}

impl BreakerConfig {
    /// From when on a call is slow, where one is given up after so long.
    #[must_use]
    pub fn slow_from(&self, command_timeout: Duration) -> Duration {
        self.slow_call.unwrap_or_else(|| SLOW_CALL.max(command_timeout * 3 / 5))
    }
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(2),
            min_calls: 10,
            failure_share: 0.5,
            slow_call: None,
            slow_share: 0.8,
            consecutive: 5,
            open_for: Duration::from_millis(100),
            open_for_at_most: Duration::from_millis(500),
            probes: 2,
            probes_to_close: 2,
        }
    }
}

/// What the breaker does with the next call. The number is the value of the metric `cache_breaker_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

    pub(super) const fn from_bits(bits: u64) -> Self {
        match bits & 3 {
            0 => Self::Closed,
            1 => Self::Open,
            _ => Self::HalfOpen,
        }
    }
}
