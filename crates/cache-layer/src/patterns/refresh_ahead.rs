//! Values are loaded anew before their TTL ends, by a read that finds them near it and does not wait.
//!
//! **Promises**: a key that is read often is never missing. Loads in the background take a lease, so an invalidation during one
//! voids it; one at a time for each key, in this process and across processes.
//!
//! **Gives up**: loads for readers that may never come. [`Refresh::Ahead`] refreshes after a fixed share of the TTL: simple,
//! and right for keys that are read many times in a TTL. [`Refresh::Early`] (XFetch) draws lots: the nearer the end, and the longer the
//! load, the more likely. It needs no setting for each class, and the refreshes of many processes spread by themselves.
//!
//! The rule of XFetch: refresh when `now - load_time * beta * ln(random) >= end`, `random` uniform in (0, 1]. So at a distance `d` before
//! the end, a read refreshes with probability `exp(-d / (load_time * beta))`. Source: Vattani, Chierichetti, Lowenstein: Optimal
//! Probabilistic Cache Stampede Prevention, VLDB 2015.

use crate::key::Refresh;
use crate::value::Envelope;

/// The times of a cached value, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// When it was loaded, Unix time.
    pub made_ms: u64,
    /// How long its load took.
    pub load_ms: u32,
    /// When its TTL ends, Unix time.
    pub fresh_until_ms: u64,
}

impl Life {
    pub(crate) fn of(envelope: &Envelope) -> Self {
        Self { made_ms: envelope.made_ms, load_ms: envelope.load_ms, fresh_until_ms: envelope.fresh_until_ms }
    }
}

/// Whether a fresh value is due to be loaded anew at `now_ms`. `chance` gives a number uniform in [0, 1) and is asked at most once.
#[must_use]
pub fn due(when: Refresh, life: Life, now_ms: u64, chance: impl FnOnce() -> f64) -> bool {
    match when {
        Refresh::Never => false,
        Refresh::Ahead { percent } => {
            let ttl = life.fresh_until_ms.saturating_sub(life.made_ms);
            now_ms >= life.made_ms + ttl / 100 * u64::from(percent) + ttl % 100 * u64::from(percent) / 100
        }
        Refresh::Early { beta_percent } => {
            // A load of less than the clock's step took some time all the same.
            let load_ms = f64::from(life.load_ms.max(1));
            let ahead = load_ms * f64::from(beta_percent) / 100.0 * -(1.0 - chance()).ln();
            life.fresh_until_ms.saturating_sub(now_ms) as f64 <= ahead
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    const LIFE: Life = Life { made_ms: 1_000, load_ms: 200, fresh_until_ms: 61_000 };

    #[test]
    fn ahead_begins_at_its_share_of_the_ttl() {
        let when = Refresh::Ahead { percent: 80 };
        assert!(!due(when, LIFE, 48_999, || 0.5));
        assert!(due(when, LIFE, 49_000, || 0.5));
        assert!(!due(Refresh::Never, LIFE, 60_999, || 0.999));
    }

    /// Each share lies within four standard deviations of the formula's probability, and they grow towards the end.
    #[test]
    fn early_refreshes_follow_the_papers_distribution() {
        let mut random = StdRng::seed_from_u64(31);
        const READS: u32 = 100_000;
        for beta_percent in [50, 100, 300] {
            let when = Refresh::Early { beta_percent };
            let scale = f64::from(LIFE.load_ms) * f64::from(beta_percent) / 100.0;
            let mut shares = Vec::new();
            for distance in [4.0, 2.0, 1.0, 0.5, 0.1].map(|times| (times * scale).round()) {
                let now = LIFE.fresh_until_ms - distance as u64;
                let refreshed = (0..READS).filter(|_| due(when, LIFE, now, || random.random())).count();
                let share = refreshed as f64 / f64::from(READS);
                let expected = (-distance / scale).exp();
                let deviation = (expected * (1.0 - expected) / f64::from(READS)).sqrt();
                assert!((share - expected).abs() < 4.0 * deviation, "beta {beta_percent}: {share} of {expected}");
                shares.push(share);
            }
            assert!(shares.is_sorted(), "more likely towards the end: {shares:?}");
            assert!(due(when, LIFE, LIFE.fresh_until_ms, || random.random()), "certain at the end");
        }
    }

    #[test]
    fn longer_loads_are_refreshed_earlier() {
        let mut random = StdRng::seed_from_u64(31);
        let when = Refresh::Early { beta_percent: 100 };
        let mut refreshed = |load_ms| {
            let life = Life { load_ms, ..LIFE };
            (0..10_000).filter(|_| due(when, life, 60_500, || random.random())).count()
        };
        let counts = [1, 100, 1_000, 10_000].map(&mut refreshed);
        assert!(counts.is_sorted() && counts[0] == 0 && counts[3] > 9_000, "{counts:?}");
    }
}
