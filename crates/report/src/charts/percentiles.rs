//! Latency percentiles, cached beside uncached, on an axis that stretches the tail: 1 ÷ (1 − q).

use cacheproof_core::journal::{CachePath, Outcome};
use cacheproof_core::measurements::{Measurements, ResponseKey, Totals};
use cacheproof_core::numbers;
use cacheproof_core::scenario::Scenario;

use super::super::view::compared_phases;
use super::axis::Axis;
use super::line_style;
use super::plot::{Layer, Plot, Shape};

pub(super) fn plot(scenario: &Scenario, measurements: &Measurements) -> Option<Plot> {
    let totals = |path| {
        let phases = compared_phases(scenario, measurements, path);
        let answered =
            |key: &ResponseKey| key.path == path && phases.contains(&key.phase) && key.outcome != Outcome::Error;
        let totals = measurements.total(answered);
        (totals.count() > 0).then_some((path, totals))
    };
    let sides: Vec<(CachePath, Totals)> =
        [CachePath::Uncached, CachePath::Cached].into_iter().filter_map(totals).collect();
    let reach = sides.iter().map(|(_, totals)| reach(totals.count())).reduce(f64::max)?;
    let value = |totals: &Totals, x: f64| {
        let nanoseconds = totals.response.quantile(1.0 - 10f64.powf(-x)).unwrap_or(0);
        nanoseconds.max(1_000) as f64 / 1e9
    };
    let low = sides.iter().map(|(_, totals)| value(totals, 0.0)).reduce(f64::min)?;
    let high = sides.iter().map(|(_, totals)| value(totals, reach)).reduce(f64::max)?;
    let layers = sides
        .iter()
        .map(|(path, totals)| {
            let (role, dash) = line_style(*path);
            let to = self::reach(totals.count());
            let points = (0..=96).map(|step| to * f64::from(step) / 96.0);
            let run = points.map(|x| (x, value(totals, x).log10())).collect();
            let name = format!("{} (n = {})", path.as_str(), numbers::count(totals.count()));
            Layer { name, role, shape: Shape::Line { dash, runs: vec![run] } }
        })
        .collect();
    let ticks = [0.0, 0.5, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.99999]
        .into_iter()
        .map(|q: f64| {
            (-(1.0 - q).log10(), if q == 0.0 { "min".to_owned() } else { format!("P{}", numbers::plain_percentile(q)) })
        })
        .filter(|(x, _)| *x <= reach + 1e-9)
        .collect();
    let words: Vec<String> = sides
        .iter()
        .map(|(path, totals)| {
            let at = |q: f64| numbers::time(totals.response.quantile(q).unwrap_or(0) as f64 / 1e9);
            format!("{}: P50 {}, P95 {}, P99 {}", path.as_str(), at(0.5), at(0.95), at(0.99))
        })
        .collect();
    Some(Plot {
        file: "response-percentiles",
        title: "Response time by percentile (log scale)".to_owned(),
        about: format!("{}.", words.join("; ")),
        x_label: "percentile: the share of answers that were at least as fast",
        x: Axis { from: 0.0, to: reach, ticks },
        y: Axis::log(low, high, numbers::time),
        timeline: None,
        layers,
    })
}

/// The last percentile that `n` samples can tell, as −log10(1 − q): the one with ten samples above it.
fn reach(n: u64) -> f64 {
    (n as f64 / 10.0).log10().clamp(1.301, 4.0)
}
