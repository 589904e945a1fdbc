//! What grows while nothing should: memory, connections, files, log. How a leak is distinguished from a wave.

/// Fewer readings than three a third say nothing about a trend.
pub(super) const MIN_READINGS: usize = 9;

/// How much a value grew over its readings: the median of their last third less that of their first third, 0 where
/// it shrank, and the first third's median. `None` without readings.
///
/// Medians, so that one reading in the middle of a garbage collection is no leak; thirds, so that a wave that comes
/// and goes within the phase is none either. A warm-up needs a phase of its own: a cache that fills once looks like
/// growth here.
pub(super) fn growth(values: &[f64]) -> Option<(f64, f64)> {
    let third = values.len().div_ceil(3);
    let first = median(values.get(..third)?)?;
    let last = median(&values[values.len() - third..])?;
    Some(((last - first).max(0.0), first))
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let (low, high) = (sorted.len().checked_sub(1)? / 2, sorted.len() / 2);
    Some(f64::midpoint(sorted[low], sorted[high]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leak_grows_and_a_wave_or_one_spike_does_not() {
        let of = |value: &dyn Fn(usize) -> f64| growth(&(0..30).map(value).collect::<Vec<_>>()).expect("readings").0;
        assert_eq!(of(&|second| 100.0 + second as f64), 20.0, "a reading more each second");
        assert_eq!(of(&|second| if (12..18).contains(&second) { 900.0 } else { 100.0 }), 0.0, "a wave in the middle");
        assert_eq!(of(&|second| if second == 29 { 900.0 } else { 100.0 }), 0.0, "one spike at the end");
        assert_eq!(of(&|second| 100.0 - second as f64), 0.0, "it shrinks");
        assert_eq!(growth(&[]), None);
        assert_eq!(growth(&[5.0]), Some((0.0, 5.0)));
    }
}
