use std::time::Duration;

/// How fresh, and how often to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromiseConfig {
    /// Δ: every value served as fresh reflects every commit older than this. Also how long reads go on from Redis when the
    /// database or the relay is gone. 2 s unless told otherwise; at least four polls.
    pub delta: Duration,
    /// How often the outbox is read when nobody asks for more, with a jitter of ±40 %. 150 ms unless told otherwise.
    pub poll: Duration,
    /// How long the outbox is kept at least, and so how old an RDB or a replica may be to be caught up with instead of emptied.
    /// 15 min unless told otherwise.
    pub retention: Duration,
}

impl Default for PromiseConfig {
    fn default() -> Self {
        Self {
            delta: Duration::from_secs(2),
            poll: Duration::from_millis(150),
            retention: Duration::from_secs(15 * 60),
        }
    }
}

impl PromiseConfig {
    /// With nothing that cannot work: a poll takes place at all, a watermark outlives several of them.
    pub(super) fn sound(self) -> Self {
        let poll = self.poll.clamp(Duration::from_millis(5), Duration::from_secs(60));
        Self { poll, delta: self.delta.max(poll * 4), retention: self.retention.max(Duration::from_secs(1)) }
    }

    /// A round that empties the cache may take long; it is still bounded, for a server that does not answer.
    pub(super) fn round_at_most(&self) -> Duration {
        (self.delta * 2).max(Duration::from_secs(60))
    }

    pub(super) fn backoff_at_most(&self) -> Duration {
        self.poll * 4
    }

    pub(super) fn next_poll(&self) -> Duration {
        self.poll.mul_f64(0.6 + 0.8 * rand::random::<f64>())
    }
}
