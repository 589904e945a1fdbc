//! What grows while nothing should: memory, connections, files, log. How a leak is distinguished from a wave.

/// Fewer readings than three a third say nothing about a trend.
pub(super) const MIN_READINGS: usize = 9;

/// Times by which a step must fit the readings better than a line, so that it is taken for one.
const STEP_FITS_BETTER: f64 = 3.0;

/// Readings that a fit is made of: more add nothing but work.
const MAX_FITTED: usize = 120;

/// How much a value grew over its readings: the median of their last third less that of their first third, 0 where
/// it shrank, and the first third's median. `None` without readings.
///
/// Medians, so that one reading in the middle of a garbage collection is no leak; thirds, so that a wave that comes
/// and goes within the phase is none either. A warm-up needs a phase of its own: a cache that fills slowly looks like
/// growth here.
pub(super) fn growth(values: &[f64]) -> Option<Growth> {
    let (more, first) = growth_of_thirds(values)?;
    Some(Growth { more, first, step: 0.0 })
}

/// How much readings grew.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Growth {
    /// By so much.
    pub(super) more: f64,
    /// The value at the start.
    pub(super) first: f64,
    /// The height of the step that was left out.
    pub(super) step: f64,
}

/// The same of memory, which is also allocated once: where the readings are two levels with one step between them (a pool,
/// a buffer), the step is taken out. A leak goes on growing.
pub(super) fn growth_of_memory(values: &[f64]) -> Option<Growth> {
    let (all, first) = growth_of_thirds(values)?;
    let levels = thinned(values);
    let (more, step) = match step(&levels).filter(|_| all > 0.0) {
        Some((at, height)) => {
            let without: Vec<f64> = levels
                .iter()
                .enumerate()
                .map(|(index, value)| if index < at { *value } else { value - height })
                .collect();
            (growth_of_thirds(&without)?.0.min(all), height)
        }
        None => (all, 0.0),
    };
    Some(Growth { more, first, step })
}

fn growth_of_thirds(values: &[f64]) -> Option<(f64, f64)> {
    let third = values.len().div_ceil(3);
    let first = median(values.get(..third)?)?;
    let last = median(&values[values.len() - third..])?;
    Some(((last - first).max(0.0), first))
}

/// So few readings that all pairs of them can be looked at: medians of neighbours.
fn thinned(values: &[f64]) -> Vec<f64> {
    let each = values.len().div_ceil(MAX_FITTED).max(1);
    values.chunks(each).filter_map(median).collect()
}

/// Where and by how much the readings rise in one step, if two levels fit them much better than a line.
fn step(values: &[f64]) -> Option<(usize, f64)> {
    // Each level needs readings enough to be one.
    let least = MIN_READINGS / 3;
    let (deviation, at, height) = (least..(values.len() + 1).saturating_sub(least).max(least))
        .filter_map(|at| {
            let (before, after) = (median(&values[..at])?, median(&values[at..])?);
            let deviation = deviation(values, |index| if index < at { before } else { after });
            // The readings beside it: those farther away have grown by what leaks as well.
            let height = median(&values[at..at + least])? - median(&values[at - least..at])?;
            Some((deviation, at, height))
        })
        .min_by(|a, b| a.0.total_cmp(&b.0))?;
    let (slope, start) = line(values)?;
    let of_line = self::deviation(values, |index| start + slope * index as f64);
    (height > 0.0 && deviation * STEP_FITS_BETTER < of_line).then_some((at, height))
}

/// The line through the readings by Theil and Sen: the median of the slopes of all pairs; what it is at the first one.
fn line(values: &[f64]) -> Option<(f64, f64)> {
    let mut slopes = Vec::new();
    for (index, value) in values.iter().enumerate() {
        slopes.extend(
            values[..index].iter().enumerate().map(|(before, other)| (value - other) / (index - before) as f64),
        );
    }
    let slope = median(&slopes)?;
    let starts: Vec<f64> = values.iter().enumerate().map(|(index, value)| value - slope * index as f64).collect();
    Some((slope, median(&starts)?))
}

/// The sum of the distances of all readings from what was expected.
fn deviation(values: &[f64], expected: impl Fn(usize) -> f64) -> f64 {
    values.iter().enumerate().map(|(index, value)| (value - expected(index)).abs()).sum()
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
        let of = |value: &dyn Fn(usize) -> f64| growth(&(0..30).map(value).collect::<Vec<_>>()).expect("readings").more;
        assert_eq!(of(&|second| 100.0 + second as f64), 20.0, "a reading more each second");
        assert_eq!(of(&|second| if (12..18).contains(&second) { 900.0 } else { 100.0 }), 0.0, "a wave in the middle");
        assert_eq!(of(&|second| if second == 29 { 900.0 } else { 100.0 }), 0.0, "one spike at the end");
        assert_eq!(of(&|second| 100.0 - second as f64), 0.0, "it shrinks");
        assert_eq!(growth(&[]), None);
        assert_eq!(growth(&[5.0]), Some(Growth { more: 0.0, first: 5.0, step: 0.0 }));
    }

    #[test]
    fn a_leak_goes_on_and_one_step_is_none_wherever_it_is() {
        let of = |values: &[f64]| growth_of_memory(values).expect("readings").more;
        // A step of two hundred in the middle of a leak of one a reading.
        let both: Vec<f64> = (0..60).map(|index| f64::from(index) + if index < 30 { 0.0 } else { 200.0 }).collect();
        assert!((35.0..=45.0).contains(&of(&both)), "{}", of(&both));
        assert!(growth(&both).expect("readings").more > 200.0, "of connections, each that stays open is one");
        // As of a process: some noise in each reading.
        let noise = |index: usize| f64::from(u32::try_from(index).unwrap() * 7_919 % 13) / 10.0;
        for at in 3..27 {
            let step: Vec<f64> = (0..30).map(|index| noise(index) + if index < at { 100.0 } else { 164.0 }).collect();
            assert!(of(&step) < 2.0, "a step at {at}: {}", of(&step));
            let left_out = growth_of_memory(&step).expect("readings").step;
            assert!((60.0..68.0).contains(&left_out) || !(5..=25).contains(&at), "{left_out}");
            let both: Vec<f64> = step.iter().enumerate().map(|(index, value)| value + index as f64 * 3.0).collect();
            assert!(of(&both) > 30.0, "a leak of 3 a reading with a step at {at}: {}", of(&both));
        }
        for (name, leak) in [
            ("a little at a time", (0..30).map(|index| 100.0 + index as f64 + noise(index)).collect::<Vec<_>>()),
            ("in three steps", (0..30).map(|index| 100.0 + (index / 8 * 20) as f64 + noise(index)).collect()),
            ("a sawtooth", (0..30).map(|index| 100.0 + index as f64 * 2.0 + (index % 5 * 6) as f64).collect()),
            ("from the middle on", (0..30).map(|index| 100.0 + index.max(15) as f64 * 4.0).collect()),
            ("an hour", (0..3_600).map(|index| 100.0 + index as f64 / 40.0 + noise(index)).collect()),
        ] {
            assert!(of(&leak) >= 18.0, "{name}: {}", of(&leak));
        }
    }
}
