//! What few samples prove: whether a limit is broken beyond what chance allows, and how many samples it takes.

use cacheproof_core::metrics::Dimension;
use cacheproof_core::scenario::Op;

use super::Ruling;

/// How many samples a limit on a share needs: so many that three are to be expected on its rarer side (the rule of
/// three: with fewer, none at all seen would not yet show that the limit is kept).
pub(super) fn min_samples_for_share(dimension: Dimension, limit: f64) -> u64 {
    // Memory is a share of maxmemory, not of samples.
    if dimension == Dimension::BytesOrShare || limit <= 0.0 || limit >= 1.0 {
        return 0;
    }
    (3.0 / limit.min(1.0 - limit) - 1e-6).ceil() as u64
}

/// Whether few samples show already, beyond chance, that a limit on a share is broken.
pub(super) fn share_is_broken(op: Op, events: u64, n: u64, limit: f64) -> bool {
    match op {
        Op::Less | Op::AtMost => is_significant(events, n, 1.0 - limit),
        Op::More | Op::AtLeast => is_significant(n.saturating_sub(events), n, limit),
        Op::Equal | Op::NotEqual => false,
    }
}

/// Judges a limit on a percentile by the exact number of samples above it: the share above is at most 1 − q
/// exactly where the quantile is at most the limit. `None` for `==` and `!=`.
pub(super) fn percentile_by_count(op: Op, q: f64, samples: u64, over: u64) -> Option<Ruling> {
    let below = over as f64 <= (1.0 - q) * samples as f64 * (1.0 + 1e-9);
    match op {
        Op::Less | Op::AtMost => Some(Ruling::of(below)),
        Op::More | Op::AtLeast => Some(Ruling::of(!below)),
        Op::Equal | Op::NotEqual => None,
    }
}

/// Whether `over` of `n` above the limit is more than chance allows where the true share is 1 − q: the
/// binomial tail P(X ≥ over) is below 5 %.
pub(super) fn is_significant(over: u64, n: u64, q: f64) -> bool {
    let p = 1.0 - q;
    let mut term = q.powf(n as f64);
    let mut below = 0.0;
    for k in 0..over {
        // From here on all terms are 0: there may be a billion of them.
        if term == 0.0 {
            break;
        }
        below += term;
        term *= (n - k) as f64 / (k + 1) as f64 * p / q;
    }
    1.0 - below < 0.05
}
