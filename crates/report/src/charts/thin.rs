//! Lines of bounded length: more points than pixels can't be seen, and a run of hours would make a page of many megabytes.

/// Most points of one line.
pub(super) const MAX_POINTS: usize = 600;

/// The points of a line, in order. Of more than [`MAX_POINTS`], the lowest and the highest of each of equally many
/// neighbours: so no peak is lost.
pub(super) fn thin(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    if points.len() <= MAX_POINTS {
        return points;
    }
    let each = points.len().div_ceil(MAX_POINTS / 2);
    points.chunks(each).flat_map(|part| lowest_and_highest(part.to_vec())).collect()
}

fn lowest_and_highest(part: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let by_value = |a: &usize, b: &usize| part[*a].1.total_cmp(&part[*b].1);
    let (low, high) = ((0..part.len()).min_by(by_value), (0..part.len()).max_by(by_value));
    match (low, high) {
        (Some(low), Some(high)) if low != high => vec![part[low.min(high)], part[low.max(high)]],
        _ => part.into_iter().take(1).collect(),
    }
}

/// Lines through readings, broken where one is missing. With more than [`MAX_POINTS`], neighbours are taken together, and
/// a line is broken only where all of them are missing.
pub(super) fn thin_runs(readings: &[Option<(f64, f64)>]) -> Vec<Vec<(f64, f64)>> {
    let each = readings.len().div_ceil(MAX_POINTS / 2);
    let parts: Vec<Vec<(f64, f64)>> = match readings.len() {
        ..=MAX_POINTS => readings.iter().map(|reading| reading.iter().copied().collect()).collect(),
        _ => readings.chunks(each).map(|part| lowest_and_highest(part.iter().flatten().copied().collect())).collect(),
    };
    parts.split(Vec::is_empty).map(<[_]>::concat).filter(|run| !run.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_keeps_its_peaks_and_its_order() {
        let line = |count: u32| -> Vec<(f64, f64)> {
            (0..count).map(|at| (f64::from(at), if at == 77_777 { 9.0 } else { f64::from(at % 2) })).collect()
        };
        assert_eq!(thin(line(600)), line(600), "a short one stays as it is");
        for count in [601, 1_199, 100_000] {
            let kept = thin(line(count));
            assert!(kept.len() <= MAX_POINTS && kept.len() > MAX_POINTS / 3, "{} of {count}", kept.len());
            assert!(kept.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order");
        }
        assert!(thin(line(100_000)).contains(&(77_777.0, 9.0)));
    }

    #[test]
    fn a_long_line_with_a_hole_in_every_second_reading_is_not_a_million_lines() {
        let readings = |count: usize| -> Vec<Option<(f64, f64)>> {
            (0..count)
                .map(|at| (at % 2 == 0 && !(count / 2..count * 3 / 4).contains(&at)).then_some((at as f64, 1.0)))
                .collect()
        };
        assert_eq!(thin_runs(&readings(8)), [[(0.0, 1.0)], [(2.0, 1.0)], [(6.0, 1.0)]]);
        let runs = thin_runs(&readings(1_000_000));
        assert_eq!(runs.len(), 2, "before and after the quarter without any reading");
        assert!(runs.iter().map(Vec::len).sum::<usize>() <= MAX_POINTS);
    }
}
