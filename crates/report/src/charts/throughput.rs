//! Answered requests a second, over time.

use cacheproof_core::journal::CachePath;
use cacheproof_core::numbers;

use super::axis::Axis;
use super::line_style;
use super::plot::{Layer, Plot, Shape};
use super::timeline::{Bin, Timeline, runs};

pub(super) fn plot(timeline: &Timeline, bins: &[Bin]) -> Option<Plot> {
    let rate = |bin: &Bin, path: CachePath| {
        let part = bin.paths.get(&path)?;
        // Where a phase ends, late answers come in that are none of its rate.
        (part.seconds >= bin.counted * 0.9).then(|| part.answered as f64 / part.seconds)
    };
    let high = bins.iter().flat_map(|bin| [rate(bin, CachePath::Uncached), rate(bin, CachePath::Cached)]).flatten();
    let high = high.reduce(f64::max)?;
    let layers = [CachePath::Uncached, CachePath::Cached]
        .into_iter()
        .map(|path| {
            let (role, dash) = line_style(path);
            let shape = Shape::Line { dash, runs: runs(bins, |bin| rate(bin, path)) };
            Layer { name: path.as_str().to_owned(), role, shape }
        })
        .filter(|layer| matches!(&layer.shape, Shape::Line { runs, .. } if !runs.is_empty()))
        .collect();
    Some(Plot {
        file: "throughput",
        title: "Throughput: answered requests per second".to_owned(),
        about: format!("Answered requests per second over the run, at most {}.", numbers::rate(high)),
        x_label: "seconds since the run began",
        x: Axis::seconds(timeline.from, timeline.to),
        y: Axis::linear(high, numbers::rate),
        timeline: Some(timeline.clone()),
        layers,
    })
}
