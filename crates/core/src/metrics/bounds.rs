//! Bounds of a true share, from the events seen in a sample.

/// The upper end of the one-sided 95 % confidence interval of a share (Clopper and Pearson 1934): the share at which
/// `events` or fewer of `n` would be seen one time in twenty. With none seen it is close to 3 ÷ n.
pub fn clopper_pearson_upper_bound(events: u64, n: u64) -> f64 {
    if n == 0 || events >= n {
        return 1.0;
    }
    let (mut low, mut high) = (events as f64 / n as f64, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if binomial_cdf(events, n, middle) > 0.05 { low = middle } else { high = middle }
    }
    high
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
}
