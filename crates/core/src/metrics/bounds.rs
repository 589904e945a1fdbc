//! Bounds of a true share, from the events seen in a sample.

/// Most terms that are summed.
const MAX_TERMS: u64 = 100_000;
/// One value in twenty of a normal distribution is so many standard deviations above its mean, or more.
const Z95: f64 = 1.644_853_626_951_472_7;

/// The upper end of the one-sided 95 % confidence interval of a share (Clopper and Pearson 1934): the share at which
/// `events` or fewer of `n` would be seen one time in twenty. With none seen it is close to 3 ÷ n.
pub fn clopper_pearson_upper_bound(events: u64, n: u64) -> f64 {
    if n == 0 || events >= n {
        return 1.0;
    }
    // The rarer of the two is summed term by term; where both are many, the normal approximation is as good.
    let others = n - events;
    if events.min(others) > MAX_TERMS {
        return wilson_upper_bound(events, n);
    }
    let (mut low, mut high) = (events as f64 / n as f64, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        let is_likely = if events <= MAX_TERMS {
            binomial_cdf(events, n, middle) > 0.05
        } else {
            // So many or fewer events are at least so many others.
            binomial_cdf(others - 1, n, 1.0 - middle) < 0.95
        };
        if is_likely { low = middle } else { high = middle }
    }
    high
}

/// The same by Wilson (1927), for many of both: they are within a thousandth of each other.
fn wilson_upper_bound(events: u64, n: u64) -> f64 {
    let (share, n) = (events as f64 / n as f64, n as f64);
    let z2 = Z95 * Z95;
    (share + z2 / (2.0 * n) + Z95 * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt()) / (1.0 + z2 / n)
}

/// P(X <= k) of a binomial, summed downwards from its largest term in logarithms, so that nothing underflows.
fn binomial_cdf(k: u64, n: u64, p: f64) -> f64 {
    let (n, odds) = (n as f64, p / (1.0 - p));
    let mut log_term = n * (-p).ln_1p();
    let mut logs = vec![log_term];
    for i in 0..k {
        let i = i as f64;
        log_term += ((n - i) / (i + 1.0) * odds).ln();
        logs.push(log_term);
    }
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest.exp() * logs.iter().map(|log| (log - largest).exp()).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::clopper_pearson_upper_bound;

    #[test]
    fn the_bound_is_that_of_clopper_and_pearson() {
        // From tables: the exact one-sided 95 % limits.
        for (events, n, wanted) in [(0, 10, 0.2589), (1, 10, 0.3942), (5, 100, 0.1023), (0, 30_000, 9.985e-5)] {
            let bound = clopper_pearson_upper_bound(events, n);
            assert!((bound / wanted - 1.0).abs() < 2e-3, "{events} of {n}: {bound} for {wanted}");
        }
        assert_eq!((clopper_pearson_upper_bound(0, 0), clopper_pearson_upper_bound(7, 7)), (1.0, 1.0));
        let many = clopper_pearson_upper_bound(20_000, 1_000_000);
        assert!(many > 0.02 && many < 0.0203, "{many}");
    }

    #[test]
    fn the_bound_of_very_many_is_found_at_once_and_goes_on_from_that_of_fewer() {
        let billion = 1_000_000_000;
        for (fewer, more, n) in [(100_000, 100_001, billion), (100_000, 100_001, 300_000)] {
            let (summed, approximated) = (clopper_pearson_upper_bound(fewer, n), clopper_pearson_upper_bound(more, n));
            assert!((approximated / summed - 1.0).abs() < 1e-4, "{summed} and {approximated}");
        }
        let nearly_all = clopper_pearson_upper_bound(billion - 7, billion);
        assert!(nearly_all > 1.0 - 7.0 / billion as f64 && nearly_all < 1.0 - 3.0 / billion as f64, "{nearly_all}");
        let half = clopper_pearson_upper_bound(u64::MAX / 2, u64::MAX);
        assert!((half - 0.5).abs() < 1e-9, "{half}");
    }
}
