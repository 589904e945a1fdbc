//! Keys of requests: popularity by rank, and a seeded permutation from rank to id.

use rand::seq::SliceRandom as _;
use rand::{Rng, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Zipf};

use cacheproof_core::scenario::Popularity;

/// Draws ids 1 to n of one key space.
#[derive(Clone, Debug)]
pub struct KeySampler {
    /// Id of rank r at r − 1. Popular ids are spread over the table.
    ids: Vec<u32>,
    zipf: Option<Zipf<f64>>,
}

impl KeySampler {
    /// `size`: at least 1, at most `u32::MAX`. `stream` makes key spaces differ under one seed.
    pub fn new(size: u64, popularity: Popularity, seed: u64, stream: u64) -> Self {
        let size = u32::try_from(size).unwrap_or(u32::MAX).max(1);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(stream);
        let mut ids: Vec<u32> = (1..=size).collect();
        ids.shuffle(&mut random);
        let zipf = match popularity {
            Popularity::Zipf(exponent) => Zipf::new(f64::from(size), exponent).ok(),
            Popularity::Uniform => None,
        };
        Self { ids, zipf }
    }

    /// Draws an id.
    pub fn draw(&self, random: &mut impl Rng) -> u64 {
        let rank = match &self.zipf {
            // rand_distr returns 1 ..= n.
            Some(zipf) => (zipf.sample(random) as usize).clamp(1, self.ids.len()) - 1,
            None => random.random_range(0..self.ids.len()),
        };
        self.ids[rank].into()
    }

    /// Number of ids.
    pub fn size(&self) -> u64 {
        self.ids.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn counts(popularity: Popularity, draws: usize) -> Vec<usize> {
        let keys = KeySampler::new(1000, popularity, 31, 0);
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for _ in 0..draws {
            let id = keys.draw(&mut random);
            assert!((1..=1000).contains(&id));
            *counts.entry(id).or_default() += 1;
        }
        let mut counts: Vec<usize> = counts.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts
    }

    #[test]
    fn zipf_draws_fall_off_with_rank_as_they_should() {
        let counts = counts(Popularity::Zipf(0.99), 400_000);
        // Rank 1 over rank r is r^0.99.
        for rank in [2usize, 5, 10, 30] {
            let ratio = counts[0] as f64 / counts[rank - 1] as f64;
            let wanted = (rank as f64).powf(0.99);
            assert!((ratio / wanted - 1.0).abs() < 0.1, "rank {rank}: {ratio} for {wanted}");
        }
    }

    #[test]
    fn uniform_draws_reach_every_key_alike() {
        let counts = counts(Popularity::Uniform, 200_000);
        assert_eq!(counts.len(), 1000);
        // Poisson around 200: five standard deviations.
        assert!(counts[0] < 280 && counts[999] > 125, "{} … {}", counts[0], counts[999]);
    }
}
