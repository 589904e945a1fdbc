//! What is counted for rules on stale and wrong answers, and the bounds that go with it.

use cacheproof_core::journal::StaleKind;
use cacheproof_core::journal::{FreshnessKey, Outcome};
use cacheproof_core::measurements::{Measurements, ResponseKey};
use cacheproof_core::scenario::{Metric, Scenario, Term};

/// A freshness key as one of cells, so that one selection serves both.
fn as_response_key(key: &FreshnessKey) -> ResponseKey {
    ResponseKey { phase: key.phase, path: key.path, request: key.request, outcome: Outcome::Plain }
}

/// Wrong answers, and how many could be told to be wrong, probe reads among both.
pub(super) fn wrong(
    scenario: &Scenario,
    seen: &Measurements,
    term: &Term,
    selected: impl Fn(&ResponseKey) -> bool,
) -> (u64, u64) {
    let kind = if let Metric::WrongOf(kind) = term.metric { Some(kind) } else { None };
    let requests = &scenario.traffic.requests;
    let can_be_wrong = |index: usize| requests.get(index).is_some_and(|one| scenario.can_be_wrong(one, kind));
    let answers = seen.count(|key| selected(key) && can_be_wrong(key.request) && key.outcome != Outcome::Error);
    let counts = seen.freshness(|key| selected(&as_response_key(key)) && can_be_wrong(key.request));
    let wrong = match kind {
        Some(kind) => counts.wrong.get(&kind).copied().unwrap_or(0),
        None => seen.count(|key| selected(key) && key.outcome == Outcome::Wrong) + counts.probes_wrong,
    };
    (wrong, answers + counts.probes)
}

/// Stale reads, and those that had something to be held against, probe reads among both; for an app without
/// versions, items whose cached answer differed at rest, and those that were compared.
pub fn stale(
    scenario: &Scenario,
    seen: &Measurements,
    phases: &[usize],
    selected: impl Fn(&ResponseKey) -> bool,
) -> (u64, u64) {
    if !scenario.has_versions() {
        let rested = || seen.at_quiescence.iter().filter(|at_quiescence| phases.contains(&at_quiescence.phase));
        return (
            rested().map(|at_quiescence| at_quiescence.differ).sum(),
            rested().map(|at_quiescence| at_quiescence.compared).sum(),
        );
    }
    let all = seen.total(&selected);
    let counts = seen.freshness(|key| selected(&as_response_key(key)));
    (all.stale + counts.probes_stale, all.judged_fresh + counts.probes - counts.probes_wrong.min(counts.probes))
}

/// Why `stale` of an app without versions may be more than was seen: a phase after which nothing could be compared.
pub(super) fn uncertainty_at_quiescence(scenario: &Scenario, seen: &Measurements, phases: &[usize]) -> Option<String> {
    let over = |phase: &usize| seen.phases.get(phase).is_some_and(|span| span.to.is_some());
    let missing = phases
        .iter()
        .filter(|phase| scenario.compares_after(**phase) && over(phase))
        .find(|phase| !seen.at_quiescence.iter().any(|at_quiescence| at_quiescence.phase == **phase))?;
    Some(format!("after '{}' the app did not come to rest, so nothing was compared", scenario.phases[*missing].name))
}

/// Reads older than an earlier one brought, though than no acknowledged write.
pub(super) fn non_monotonic(seen: &Measurements, selected: impl Fn(&ResponseKey) -> bool) -> u64 {
    seen.freshness(|key| selected(&as_response_key(key))).non_monotonic
}

/// Stale reads of one kind among `stale`, and those that were not sorted.
pub(super) fn of_kind(
    seen: &Measurements,
    kind: StaleKind,
    stale: u64,
    selected: impl Fn(&ResponseKey) -> bool,
) -> (u64, u64) {
    let of = |kind| seen.stale_of_kind(kind, |key| selected(&as_response_key(key)));
    let sorted: u64 = StaleKind::ALL.into_iter().filter(|kind| *kind != StaleKind::Unclassified).map(of).sum();
    (of(kind), stale.saturating_sub(sorted))
}

/// Why there may be more stale reads of a kind than were counted.
pub(super) fn uncertainty_of_kind(
    seen: &Measurements,
    kind: StaleKind,
    unsorted: u64,
    selected: impl Fn(&ResponseKey) -> bool,
) -> Option<String> {
    if unsorted > 0 {
        return Some(format!("{unsorted} stale reads were not sorted: the run ended, or there were too many"));
    }
    let open = seen.stale_that_may_be(kind, |key| selected(&as_response_key(key)));
    let look = match kind {
        StaleKind::BeyondTtl => "a second after the TTL",
        _ => "past the cache",
    };
    (open > 0).then(|| format!("{open} stale reads were not looked at again {look}: the run or the item ended before"))
}

/// The share `q` of stale reads was superseded no longer than this, in seconds, by the lower bound of each; and how
/// many there are.
pub(super) fn age(seen: &Measurements, q: f64, selected: impl Fn(&ResponseKey) -> bool) -> (Option<f64>, u64) {
    let ages = seen.freshness(|key| selected(&as_response_key(key))).age_at_least.unwrap_or_default();
    let age = if q < 1.0 { ages.quantile(q) } else { ages.max() };
    (age.map(|nanoseconds| nanoseconds as f64 / 1e9), ages.count())
}

/// Why nothing could be judged.
pub(super) fn missing_reason(scenario: &Scenario) -> &'static str {
    if scenario.has_versions() {
        "no answer carried a version of an item that was written before"
    } else {
        "nothing that was written could be compared at rest"
    }
}

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
