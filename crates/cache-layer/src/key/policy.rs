//! How values of a class live: lifetimes and what may happen around their end, as data.

use std::time::Duration;

/// Keys that share a lifetime and a line in the metrics.
///
/// A class says everything about the life of its values; the call sites say only which class a key belongs to. Only the TTL
/// must be given: with the rest left out, a value is served until its TTL ends and then loaded by the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyClass {
    /// What the metrics call it; by habit also what its keys begin with.
    pub name: &'static str,
    /// How long a value of this class may be served as fresh.
    pub ttl: Duration,
    /// TTLs are shortened at random by up to this many percent, so that what was stored together does not end together.
    pub jitter_percent: u8,
    /// How much longer a value is kept past its TTL, to be served as stale where [`KeyClass::serve_stale`] allows it.
    pub stale_for: Duration,
    /// When a value past its TTL may be served, marked as stale.
    pub serve_stale: ServeStale,
    /// How long "there is no such thing" is kept; zero: not at all.
    pub absent_for: Duration,
    /// Whether values are loaded anew before their TTL ends.
    pub refresh: Refresh,
    /// When a load takes longer, a stale value is served (if one may be) and the load goes on in the background; zero: never.
    pub soft_timeout: Duration,
    /// When a load takes longer, it is given up, for all who share it; zero: never.
    pub hard_timeout: Duration,
    /// Values are never kept in the memory of one process in front of a shared cache: what is deleted is gone everywhere at once.
    pub shared_only: bool,
    /// Values are encrypted before they leave this process: see [`KeyClass::sealed`].
    pub sealed: bool,
}

/// When a value past its TTL may be served, marked as stale. Values that were invalidated are gone and never served.
///
/// Where a promise ([`crate::promise`]) cannot be kept, no value is fresh: when its load fails as well, one that is there is served as one
/// past its TTL would be ([`crate::StaleReason::Untrusted`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServeStale {
    /// Never.
    Never,
    /// When its load fails or times out (fail-safe).
    OnError,
    /// At once, while it is loaded anew in the background (stale-while-revalidate); also when that fails.
    WhileRevalidating,
}

/// Whether values are loaded anew before their TTL ends, by a request that finds them near it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refresh {
    /// They are not.
    Never,
    /// By the first request after this share of the TTL, in percent (refresh-ahead).
    Ahead {
        /// 1 to 99.
        percent: u8,
    },
    /// By chance that rises towards the end: when `now - load_time * beta * ln(random) >= end`
    /// (XFetch; Vattani, Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede Prevention, VLDB 2015).
    Early {
        /// `beta` in percent; 100 is the paper's choice, more refreshes earlier.
        beta_percent: u16,
    },
}

impl KeyClass {
    /// A class whose values live for `ttl`, without anything special.
    #[must_use]
    pub const fn new(name: &'static str, ttl: Duration) -> Self {
        Self {
            name,
            ttl,
            jitter_percent: 0,
            stale_for: Duration::ZERO,
            serve_stale: ServeStale::Never,
            absent_for: Duration::ZERO,
            refresh: Refresh::Never,
            soft_timeout: Duration::ZERO,
            hard_timeout: Duration::ZERO,
            shared_only: false,
            sealed: false,
        }
    }

    /// TTLs shortened at random by up to so many percent.
    #[must_use]
    pub const fn jittered(mut self, percent: u8) -> Self {
        self.jitter_percent = percent;
        self
    }

    /// Values are kept `longer` than their TTL and served as stale when `when` says so.
    #[must_use]
    pub const fn stale(mut self, when: ServeStale, longer: Duration) -> Self {
        self.serve_stale = when;
        self.stale_for = longer;
        self
    }

    /// "There is no such thing" is kept for so long.
    #[must_use]
    pub const fn absent(mut self, for_so_long: Duration) -> Self {
        self.absent_for = for_so_long;
        self
    }

    /// Values are loaded anew before their TTL ends.
    #[must_use]
    pub const fn refreshed(mut self, when: Refresh) -> Self {
        self.refresh = when;
        self
    }

    /// Limits of a load: after `soft` a stale value is served if there is one, after `hard` the load is given up.
    #[must_use]
    pub const fn timeouts(mut self, soft: Duration, hard: Duration) -> Self {
        self.soft_timeout = soft;
        self.hard_timeout = hard;
        self
    }

    /// Values are not kept in a first tier: see [`KeyClass::shared_only`].
    #[must_use]
    pub const fn shared_only(mut self) -> Self {
        self.shared_only = true;
        self
    }

    /// Values are encrypted (AES-256-GCM) before they leave this process, with the keys of the cache, and authenticated with their class
    /// and key: one that was changed, copied to another key or written by somebody without the keys is a miss. Without keys they are not
    /// kept at all. Names of keys, TTLs and counters are not encrypted.
    #[must_use]
    pub const fn sealed(mut self) -> Self {
        self.sealed = true;
        self
    }

    /// The TTL for one value, shortened by chance as [`KeyClass::jitter_percent`] has it. `chance` is uniform in 0 to 1; it is
    /// given so that a test can say it.
    #[must_use]
    pub fn jittered_ttl(&self, chance: f64) -> Duration {
        jittered(self.ttl, self.jitter_percent, chance)
    }
}

/// `ttl` shortened by up to so many percent, by chance (uniform in 0 to 1). Never lengthened: a TTL is a promise.
#[must_use]
pub fn jittered(ttl: Duration, percent: u8, chance: f64) -> Duration {
    let chance = if chance.is_nan() { 0.0 } else { chance.clamp(0.0, 1.0) };
    ttl.mul_f64(1.0 - f64::from(percent.min(100)) / 100.0 * chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_shortens_by_no_more_than_it_says() {
        let class = KeyClass::new("c", Duration::from_secs(100)).jittered(10);
        assert_eq!(class.jittered_ttl(0.0), Duration::from_secs(100));
        assert_eq!(class.jittered_ttl(0.5), Duration::from_secs(95));
        assert_eq!(class.jittered_ttl(1.0), Duration::from_secs(90));
        assert_eq!(KeyClass::new("c", Duration::from_secs(100)).jittered_ttl(0.7), Duration::from_secs(100));
        assert_eq!(jittered(Duration::from_secs(1), 200, 2.0), Duration::ZERO);
        assert_eq!(jittered(Duration::from_secs(1), 50, f64::NAN), Duration::from_secs(1));
    }
}
