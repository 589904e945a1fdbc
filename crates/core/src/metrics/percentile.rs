//! The percentile in the name of a metric: `p95`, `service.p99.9`.

use super::{MetricNameError, Quantity, as_percent, definitions};

/// The smallest and the largest percentile, as shares of 1.
const RANGE: std::ops::RangeInclusive<f64> = 0.5..=0.9999;

/// The range as messages write it.
pub(crate) const PERCENTILE_RANGE: &str = "p50 … p99.99";

/// A percentile as a share of 1 from what follows the prefix of a metric: 0.999 from `99.9`.
pub(super) fn percentile(prefix: &str, digits: &str) -> Result<f64, MetricNameError> {
    // `p050` may be meant as 0.50 or as a slip.
    match share_of(digits).filter(|_| !digits.starts_with('0')) {
        Some(share) if RANGE.contains(&share) => Ok(share),
        _ => Err(MetricNameError::NotAPercentile(meant_by(prefix, digits))),
    }
}

/// The name of the percentile that a word stands for that is the name of no metric: `p95` for `p(95)`, `P95` or
/// `quantile(0.95)`.
pub(super) fn meant_percentile(word: &str) -> Option<String> {
    let word = word.to_ascii_lowercase();
    let own = definitions().filter_map(|one| one.name.strip_suffix("{}"));
    let own = own.filter_map(|prefix| Some((prefix, word.strip_prefix(prefix)?)));
    let foreign = ["percentile", "quantile", "perc", "pct", "q"].into_iter();
    let foreign = foreign.filter_map(|prefix| Some(("p", word.strip_prefix(prefix)?)));
    let ordinal = word.ends_with("th").then_some(("p", word.as_str()));
    own.chain(foreign).chain(ordinal).find_map(|(prefix, rest)| meant_by(prefix, rest))
}

/// The name that was meant by what follows a prefix: a fraction, `(95)`, `95th`, `95%`, `999` for 99.9.
fn meant_by(prefix: &str, rest: &str) -> Option<String> {
    let rest = rest.trim_start_matches(['(', '[', '{', '_', '-', '=']);
    let rest = rest.trim_end_matches([')', ']', '}', '%']);
    let rest = rest.strip_suffix("th").unwrap_or(rest).replace(',', ".");
    let rest = if rest.starts_with('.') { format!("0{rest}") } else { rest };
    let share = if rest.contains('.') && rest.parse().is_ok_and(|number: f64| number <= 1.0) {
        // 0.95 is 95 %.
        share_of(&as_percent(rest.parse().ok()?))?
    } else if rest.starts_with("99") && matches!(rest.len(), 3 | 4) && !rest.contains('.') {
        // 999 is 99.9 %.
        share_of(&format!("{}.{}", &rest[..2], &rest[2..]))?
    } else {
        share_of(&rest)?
    };
    if share == 1.0 {
        let maximum = if prefix == "p" { "max".to_owned() } else { format!("{}max", prefix.trim_end_matches('p')) };
        return definitions().any(|one| one.name == maximum).then_some(maximum);
    }
    RANGE.contains(&share).then(|| format!("{prefix}{}", as_percent(share)))
}

fn share_of(percent: &str) -> Option<f64> {
    let digits = percent.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match format!("{percent}%").parse() {
        Ok(Quantity::Share(share)) if digits => Some(share),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metric;

    #[test]
    fn every_documented_percentile_is_read_and_no_other() {
        for (name, share) in
            [("p50", 0.5), ("p95", 0.95), ("p99.9", 0.999), ("service.p99.99", 0.9999), ("stale_age.p50", 0.5)]
        {
            assert_eq!(Metric::find(name).expect(name).percentile(), Some(share), "{name}");
        }
        for name in ["p0", "p1", "p5", "p49.9", "p99.991", "p100", "p101", "service.p10", "stale_age.p1", "p9_5"] {
            assert!(matches!(Metric::find(name), Err(MetricNameError::NotAPercentile(_))), "{name}");
        }
    }

    #[test]
    fn a_percentile_in_other_words_is_recognized() {
        for (word, meant) in [
            ("p0.95", "p95"),
            ("p0.5", "p50"),
            ("p0.999", "p99.9"),
            ("p0.9999", "p99.99"),
            ("p.99", "p99"),
            ("p1.0", "max"),
            ("p100", "max"),
            ("p(95)", "p95"),
            ("p(99.9)", "p99.9"),
            ("p(0.95)", "p95"),
            ("P95", "p95"),
            ("p050", "p50"),
            ("p0099", "p99"),
            ("p95%", "p95"),
            ("p99,9", "p99.9"),
            ("p999", "p99.9"),
            ("p9999", "p99.99"),
            ("p_95", "p95"),
            ("95th", "p95"),
            ("percentile(95)", "p95"),
            ("quantile(0.99)", "p99"),
            ("q0.9", "p90"),
            ("service.p0.95", "service.p95"),
            ("service.p(99)", "service.p99"),
            ("stale_age.p0.99", "stale_age.p99"),
            ("stale_age.p100", "stale_age.max"),
        ] {
            let found = match Metric::find(word) {
                Err(MetricNameError::NotAPercentile(meant)) => meant,
                other => panic!("{word}: {other:?}"),
            };
            assert_eq!(found.as_deref(), Some(meant), "{word}");
            assert!(Metric::find(meant).is_ok(), "{word} leads to {meant}, which is refused");
        }
        for word in ["p1", "p49", "p0.01", "p0.1", "service.p100", "p99.995"] {
            assert_eq!(Metric::find(word), Err(MetricNameError::NotAPercentile(None)), "{word}");
        }
    }
}
