//! Hit rate over time.

use crate::scenario::Path;
use crate::verdict::numbers;

use super::axis::Axis;
use super::look;
use super::plot::{Layer, Plot, Shape};
use super::timeline::{Bin, Timeline, runs};

pub(super) fn plot(timeline: &Timeline, bins: &[Bin]) -> Option<Plot> {
    let rate = |bin: &Bin| {
        let cached = bin.paths.get(&Path::Cached)?;
        let known = cached.hits + cached.misses;
        (known > 0).then(|| cached.hits as f64 / known as f64)
    };
    let last = bins.iter().filter_map(rate).next_back()?;
    let (role, dash) = look(Path::Cached);
    Some(Plot {
        file: "hit-rate",
        title: "Hit rate of cacheable reads".to_owned(),
        about: format!(
            "Hits ÷ (hits + misses) of each second, {} at the end; no line where no answer was a hit or a miss.",
            numbers::share(last)
        ),
        x_means: "seconds since the run began",
        x: Axis::seconds(timeline.from, timeline.to),
        y: Axis::shares(),
        timeline: Some(timeline.clone()),
        layers: vec![Layer { name: "cached".to_owned(), role, shape: Shape::Line { dash, runs: runs(bins, rate) } }],
    })
}
