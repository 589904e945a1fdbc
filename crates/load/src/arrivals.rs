//! Arrival times: an endless, seeded stream of offsets from the start of a phase.

use std::time::Duration;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp1};

use cacheproof_core::scenario::Arrivals;

/// Offsets of the arrivals of one phase, in order, without end.
#[derive(Clone, Debug)]
pub struct ArrivalTimes {
    arrivals: Arrivals,
    gap: f64,
    count: u64,
    at: f64,
    random: ChaCha8Rng,
}

impl ArrivalTimes {
    /// `rate`: mean arrivals a second, above 0. `stream`: the phase, so that phases differ under one seed.
    pub fn new(arrivals: Arrivals, rate: f64, seed: u64, stream: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(stream);
        Self { arrivals, gap: 1.0 / rate, count: 0, at: 0.0, random }
    }
}

impl Iterator for ArrivalTimes {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.count += 1;
        self.at = match self.arrivals {
            // Multiplied, not added, so that rounding errors do not accumulate.
            Arrivals::Constant => self.count as f64 * self.gap,
            Arrivals::Poisson => {
                let gap: f64 = Exp1.sample(&mut self.random);
                self.at + gap * self.gap
            }
        };
        Some(Duration::from_secs_f64(self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(arrivals: Arrivals, seed: u64, n: usize) -> Vec<f64> {
        let times: Vec<f64> =
            ArrivalTimes::new(arrivals, 400.0, seed, 0).take(n).map(|time| time.as_secs_f64()).collect();
        std::iter::once(times[0]).chain(times.windows(2).map(|pair| pair[1] - pair[0])).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_times_and_another_seed_others() {
        assert_eq!(gaps(Arrivals::Poisson, 31, 1000), gaps(Arrivals::Poisson, 31, 1000));
        assert_ne!(gaps(Arrivals::Poisson, 31, 1000), gaps(Arrivals::Poisson, 32, 1000));
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_spread_of_an_exponential() {
        let gaps = gaps(Arrivals::Poisson, 7, 100_000);
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // 400/s: mean 2.5 ms; the standard error of the mean is 0.3 %.
        assert!((mean / 0.0025 - 1.0).abs() < 0.02, "mean gap {mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.03, "coefficient of variation {}", variance.sqrt() / mean);
        // Memorylessness: the share of gaps above the mean is 1/e.
        let above = gaps.iter().filter(|gap| **gap > mean).count() as f64 / gaps.len() as f64;
        assert!((above - (-1.0f64).exp()).abs() < 0.01, "{above}");
    }

    #[test]
    fn constant_arrivals_keep_their_rate_for_hours() {
        let last = ArrivalTimes::new(Arrivals::Constant, 300.0, 1, 0).nth(300 * 3600 - 1).unwrap();
        assert!((last.as_secs_f64() - 3600.0).abs() < 1e-6, "{last:?}");
    }
}
