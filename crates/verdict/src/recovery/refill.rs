//! How fast a cold cache can fill: h(τ) = Σ pᵢ (1 − e^(−λᵢ τ)) over the keys i, read at λᵢ a second, with pᵢ of all
//! cacheable reads. A read hits if its key was read before since the cache was empty.
//!
//! This bound assumes one cache, filled by its misses, with a TTL longer than τ. Writes that invalidate keep a real
//! cache below it; writes that fill the cache may lift it above.

use std::collections::BTreeMap;
use std::fmt;

use cacheproof_core::scenario::{Popularity, Request, Scenario, placeholders};

/// Ranks up to this one are computed one by one; beyond, ranks within 1 % are treated as equal.
const EXACT_RANKS: u64 = 256;
/// Longest time considered, seconds.
const MAX_REFILL_SECONDS: f64 = 86_400.0;

/// Keys of equal popularity: their share of the cacheable reads, and how often each is read per second.
#[derive(Clone, Copy, Debug, PartialEq)]
struct KeyClass {
    share: f64,
    rate: f64,
}

/// The refill curve of a scenario's reads.
#[derive(Clone, PartialEq)]
pub struct RefillCurve {
    classes: Vec<KeyClass>,
}

impl fmt::Debug for RefillCurve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Refill({:.3} after 1 s, {:.3} after 10 s)", self.hit_rate(1.0), self.hit_rate(10.0))
    }
}

impl RefillCurve {
    /// The curve for `rate` requests per second of all kinds. `None` where it is not known how often each key is read:
    /// a path with two keys, or nothing cacheable.
    pub fn of(scenario: &Scenario, rate: f64) -> Option<Self> {
        let requests = &scenario.traffic.requests;
        let all: f64 = requests.iter().map(|request| request.weight).sum();
        let cacheable: f64 = requests.iter().filter(|one| one.cacheable).map(|one| one.weight).sum();
        if cacheable <= 0.0 || all <= 0.0 || rate <= 0.0 {
            return None;
        }
        // Two requests with the same path share its cache entry.
        let mut reads: BTreeMap<&str, (&Request, f64)> = BTreeMap::new();
        for request in requests.iter().filter(|request| request.cacheable) {
            reads.entry(&request.path).or_insert((request, 0.0)).1 += request.weight;
        }
        let mut classes = Vec::new();
        for (path, (_, weight)) in reads {
            let (share, rate) = (weight / cacheable, rate * weight / all);
            let mut names: Vec<&str> =
                placeholders(path).into_iter().map(|place| &path[place.start + 1..place.end - 1]).collect();
            names.sort_unstable();
            names.dedup();
            match names.as_slice() {
                [] => classes.push(KeyClass { share, rate }),
                // Never read twice.
                names if names.contains(&"random") => classes.push(KeyClass { share, rate: 0.0 }),
                [name] => {
                    let (_, size) = scenario.key_space(name)?;
                    classes.extend(popularity_classes(size, scenario.traffic.popularity).into_iter().map(
                        |(popularity, keys)| KeyClass { share: share * popularity * keys, rate: rate * popularity },
                    ));
                }
                _ => return None,
            }
        }
        Some(Self { classes })
    }

    /// Share of the cacheable reads that can hit `after` seconds from empty.
    pub fn hit_rate(&self, after: f64) -> f64 {
        if after <= 0.0 {
            return 0.0;
        }
        self.classes.iter().map(|class| class.share * -(-class.rate * after).exp_m1()).sum::<f64>().clamp(0.0, 1.0)
    }

    /// Seconds from empty until the hit rate can be `target`. `None`: not within a day.
    pub fn time_to(&self, target: f64) -> Option<f64> {
        if target <= 0.0 {
            return Some(0.0);
        }
        if self.hit_rate(MAX_REFILL_SECONDS) < target {
            return None;
        }
        let (mut low, mut high) = (0.0, MAX_REFILL_SECONDS);
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if self.hit_rate(middle) < target { low = middle } else { high = middle }
        }
        Some(high)
    }
}

/// A key space by popularity: the share of the reads of one key, and how many keys have the same.
fn popularity_classes(size: u64, popularity: Popularity) -> Vec<(f64, f64)> {
    let exponent = match popularity {
        Popularity::Zipf(exponent) => exponent,
        Popularity::Uniform => return vec![(1.0 / size.max(1) as f64, size.max(1) as f64)],
    };
    let mut popularity_classes = Vec::new();
    let mut first = 1u64;
    while first <= size.max(1) {
        let last = if first <= EXACT_RANKS { first } else { (first + first / 100).min(size) };
        // The geometric mean of the ranks, because popularity is a power of the rank.
        let middle = (first as f64 * last as f64).sqrt();
        popularity_classes.push((middle.powf(-exponent), (last - first + 1) as f64));
        first = last + 1;
    }
    let sum: f64 = popularity_classes.iter().map(|(weight, keys)| weight * keys).sum();
    popularity_classes.into_iter().map(|(weight, keys)| (weight / sum, keys)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cacheproof_core::scenario::parse;

    fn refill(posts: &str, popularity: &str, rate: f64) -> RefillCurve {
        let text = format!(
            "title = \"t\"\n[target]\nkind = \"reference\"\n[data]\nposts = {posts}\n[traffic]\nrate = \"1/s\"\n\
             popularity = {popularity}\n[[traffic.request]]\nname = \"r\"\nget = \"/posts/{{post}}\"\n\
             [[phase]]\nname = \"a\"\nlasts = \"1s\"\n"
        );
        RefillCurve::of(&parse("s.toml", &text).expect("the scenario is right"), rate).expect("one key a path")
    }

    /// The figures of study/cache-benchmarks-and-faults.md 4.4.
    #[test]
    fn the_curve_is_that_of_the_study() {
        for (posts, rate, wanted) in [
            ("10_000", 100.0, vec![(1.0, 0.34), (5.0, 0.51), (30.0, 0.69)]),
            ("10_000", 500.0, vec![(1.0, 0.51), (5.0, 0.67), (30.0, 0.85)]),
            ("10_000", 2_000.0, vec![(1.0, 0.65), (5.0, 0.81), (30.0, 0.96)]),
            ("100_000", 500.0, vec![(5.0, 0.52)]),
        ] {
            let curve = refill(posts, "{ zipf = 0.99 }", rate);
            for (after, share) in wanted {
                let got = curve.hit_rate(after);
                assert!((got - share).abs() < 0.006, "{posts} keys, {rate}/s, {after} s: {got} for {share}");
            }
        }
    }

    #[test]
    fn the_time_to_a_hit_rate_is_the_curve_turned_around() {
        let curve = refill("1_000", "\"uniform\"", 100.0);
        // 1 − e^(−τ/10)
        assert!((curve.hit_rate(10.0) - (1.0 - (-1.0f64).exp())).abs() < 1e-9);
        let half = curve.time_to(0.5).expect("it gets there");
        assert!((half - 10.0 * 2f64.ln()).abs() < 1e-6, "{half}");
        assert_eq!(curve.time_to(0.0), Some(0.0));
    }
}
