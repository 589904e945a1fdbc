//! P95 of response time over time.

use cacheproof_core::journal::CachePath;
use cacheproof_core::numbers;

use super::axis::Axis;
use super::line_style;
use super::plot::{Layer, Plot, Shape};
use super::timeline::{Bin, Timeline, runs};

pub(super) fn plot(timeline: &Timeline, bins: &[Bin]) -> Option<Plot> {
    let p95 = |bin: &Bin, path: CachePath| {
        let nanoseconds = bin.paths.get(&path)?.p95?;
        Some(nanoseconds.max(1_000) as f64 / 1e9)
    };
    let values = || bins.iter().flat_map(|bin| [p95(bin, CachePath::Uncached), p95(bin, CachePath::Cached)]).flatten();
    let (low, high) = (values().reduce(f64::min)?, values().reduce(f64::max)?);
    let layers = [CachePath::Uncached, CachePath::Cached]
        .into_iter()
        .map(|path| {
            let (role, dash) = line_style(path);
            let runs = runs(bins, |bin| p95(bin, path).map(f64::log10));
            Layer { name: path.as_str().to_owned(), role, shape: Shape::Line { dash, runs } }
        })
        .filter(|layer| matches!(&layer.shape, Shape::Line { runs, .. } if !runs.is_empty()))
        .collect();
    let together = match bins.iter().map(|bin| bin.slices).max() {
        Some(slices @ 2..) => format!(" Each point is the slowest of {slices} seconds."),
        _ => String::new(),
    };
    Some(Plot {
        file: "response-p95",
        title: "Response time, P95 of each second (log scale)".to_owned(),
        about: format!(
            "P95 of the response time over the run, between {} and {}.{together}",
            numbers::time(low),
            numbers::time(high)
        ),
        x_label: "seconds since the run began",
        x: Axis::seconds(timeline.from, timeline.to),
        y: Axis::log(low, high, numbers::time),
        timeline: Some(timeline.clone()),
        layers,
    })
}
