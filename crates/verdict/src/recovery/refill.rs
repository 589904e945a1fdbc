//! How fast a cold cache can fill: h(n) = Σ pᵢ (1 − e^(−qᵢ n)) over the keys i, after n requests, of which qᵢ read or write
//! key i, with pᵢ of all cacheable reads. A read can hit if its key was read or written before since the cache was
//! emptied.
//!
//! It is a bound for a cache that lost everything at that time. TTLs, deletes and invalidations keep a real one below it.
//! What the app reads while a server is down counts: it can keep it, and store it when the server is back.

use std::collections::BTreeMap;
use std::fmt;

use cacheproof_core::scenario::{Popularity, Request, Scenario, placeholders};

/// Ranks up to this one are computed one by one; beyond, ranks within 1 % are treated as equal.
const EXACT_RANKS: u64 = 256;
/// Longest time considered, seconds.
const MAX_REFILL_SECONDS: f64 = 86_400.0;

/// Keys of equal popularity: their share of the cacheable reads, and how often each is used per request.
#[derive(Clone, Copy, Debug, PartialEq)]
struct KeyClass {
    share: f64,
    use_rate: f64,
}

/// The refill curve of a scenario's reads, by the time since a fault was over.
#[derive(Clone, PartialEq)]
pub struct RefillCurve {
    classes: Vec<KeyClass>,
    /// Requests since the cache was emptied, by the time since the fault was over, both in ascending order.
    requests: Vec<(f64, f64)>,
    /// Requests per second after the last of these.
    rate: f64,
}

impl fmt::Debug for RefillCurve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Refill({:.3} after 1 s, {:.3} after 10 s)", self.hit_rate(1.0), self.hit_rate(10.0))
    }
}

impl RefillCurve {
    /// The curve for `rate` requests per second of all kinds, of a cache that is empty at 0. `None` where it is not known
    /// how often each key is read: a path with two keys, or nothing cacheable.
    pub fn of(scenario: &Scenario, rate: f64) -> Option<Self> {
        let requests = &scenario.traffic.requests;
        let all: f64 = requests.iter().map(|request| request.weight).sum();
        let cacheable: f64 = requests.iter().filter(|one| one.cacheable).map(|one| one.weight).sum();
        if cacheable <= 0.0 || all <= 0.0 || rate <= 0.0 {
            return None;
        }
        // Two requests with the same path share its cache entry.
        let mut reads: BTreeMap<&str, f64> = BTreeMap::new();
        for request in requests.iter().filter(|request| request.cacheable) {
            *reads.entry(&request.path).or_default() += request.weight;
        }
        // A write may fill the cache. cacheproof's own reads do as well.
        let writes = |path: &str| -> f64 {
            let fills = |request: &&Request| !request.method.is_read() && request.path == path;
            requests.iter().filter(fills).map(|request| request.weight).sum()
        };
        let own_reads = 1.0 + scenario.freshness.probes;
        let mut classes = Vec::new();
        for (path, weight) in reads {
            let (share, use_rate) = (weight / cacheable, own_reads * (weight + writes(path)) / all);
            let mut names: Vec<&str> =
                placeholders(path).into_iter().map(|place| &path[place.start + 1..place.end - 1]).collect();
            names.sort_unstable();
            names.dedup();
            match names.as_slice() {
                [] => classes.push(KeyClass { share, use_rate }),
                // Never read twice.
                names if names.contains(&"random") => classes.push(KeyClass { share, use_rate: 0.0 }),
                [name] => {
                    let (_, size) = scenario.key_space(name)?;
                    classes.extend(popularity_classes(size, scenario.traffic.popularity).into_iter().map(
                        |(popularity, keys)| KeyClass {
                            share: share * popularity * keys,
                            use_rate: use_rate * popularity,
                        },
                    ));
                }
                _ => return None,
            }
        }
        Some(Self { classes, requests: vec![(0.0, 0.0)], rate })
    }

    /// The same by the requests that were counted: how many had come since the cache was emptied, at each time.
    pub fn with_requests(self, requests: Vec<(f64, f64)>) -> Self {
        if requests.is_empty() { self } else { Self { requests, ..self } }
    }

    /// Requests since the cache was emptied.
    fn requests_by(&self, after: f64) -> f64 {
        let next = self.requests.partition_point(|(at, _)| *at <= after);
        match (next.checked_sub(1).map(|last| self.requests[last]), self.requests.get(next)) {
            (None, _) => 0.0,
            (Some((from, count)), Some((to, more))) => count + (more - count) * (after - from) / (to - from),
            (Some((from, count)), None) => count + self.rate * (after - from),
        }
    }

    /// Share of the cacheable reads that can hit, `after` seconds from the fault's end.
    pub fn hit_rate(&self, after: f64) -> f64 {
        let requests = self.requests_by(after);
        self.classes
            .iter()
            .map(|class| class.share * -(-class.use_rate * requests).exp_m1())
            .sum::<f64>()
            .clamp(0.0, 1.0)
    }

    /// Seconds from the fault's end until the hit rate can be `target`. `None`: not within a day.
    pub fn time_to(&self, target: f64) -> Option<f64> {
        if target <= self.hit_rate(0.0) {
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
        // 1 − e^(−τ/10), of which 1 % are cacheproof's own reads
        assert!((curve.hit_rate(10.0) - (1.0 - (-1.01f64).exp())).abs() < 1e-9);
        let half = curve.time_to(0.5).expect("it gets there");
        assert!((half - 10.0 / 1.01 * 2f64.ln()).abs() < 1e-6, "{half}");
        assert_eq!(curve.time_to(0.0), Some(0.0));
    }

    #[test]
    fn what_came_before_the_fault_was_over_counts() {
        let curve = refill("1_000", "\"uniform\"", 100.0);
        let counted = curve.clone().with_requests(vec![(-3.0, 0.0), (0.0, 300.0), (2.0, 700.0)]);
        for (after, requests) in [(-9.0, 0.0), (-1.0, 200.0), (0.0, 300.0), (1.0, 500.0), (4.0, 900.0)] {
            let same = curve.hit_rate(requests / 100.0);
            assert!((counted.hit_rate(after) - same).abs() < 1e-9, "{after}: {requests}");
        }
        assert_eq!(counted.time_to(curve.hit_rate(2.9)), Some(0.0), "it can be there at once");
    }
}
