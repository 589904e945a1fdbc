//! Hit rate over time.

use cacheproof_core::journal::CachePath;
use cacheproof_core::numbers;
use cacheproof_verdict::FaultOutcome;

use super::axis::Axis;
use super::line_style;
use super::palette::ColorRole;
use super::plot::{Layer, Plot, Shape};
use super::timeline::{Bin, Timeline, runs};

pub(super) fn plot(timeline: &Timeline, bins: &[Bin], faults: &[FaultOutcome]) -> Option<Plot> {
    let rate = |bin: &Bin| {
        let cached = bin.paths.get(&CachePath::Cached)?;
        (cached.known > 0).then(|| cached.served as f64 / cached.known as f64)
    };
    let last = bins.iter().filter_map(rate).next_back()?;
    let (role, dash) = line_style(CachePath::Cached);
    let mut layers =
        vec![Layer { name: "cached".to_owned(), role, shape: Shape::Line { dash, runs: runs(bins, rate) } }];
    let curves: Vec<Vec<(f64, f64)>> = faults.iter().filter_map(|fault| refill(fault, timeline)).collect();
    let mut about = format!(
        "Served from the cache ÷ all reads whose answer said where it came from, each second, {} at the end; no line where none did.",
        numbers::share(last)
    );
    if !curves.is_empty() {
        about += " Dashed: what a cold cache with these reads could have reached after each fault that emptied it.";
        let shape = Shape::Line { dash: (4, 4), runs: curves };
        layers.push(Layer { name: "a cold cache, at best".to_owned(), role: ColorRole::Muted, shape });
    }
    Some(Plot {
        file: "hit-rate",
        title: "Hit rate of cacheable reads".to_owned(),
        about,
        x_label: "seconds since the run began",
        x: Axis::seconds(timeline.from, timeline.to),
        y: Axis::shares(),
        timeline: Some(timeline.clone()),
        layers,
    })
}

/// The refill curve of a fault that emptied the cache, on the run's clock.
fn refill(fault: &FaultOutcome, timeline: &Timeline) -> Option<Vec<(f64, f64)>> {
    let curve = fault.hit_rate.as_ref()?.refill.as_ref()?;
    let base = fault.over?;
    let length = (fault.watched_to.min(timeline.to) - base).max(0.0);
    let points = 40;
    // Densest at the start, where it is steep.
    let at = |index: i32| length * (f64::from(index) / f64::from(points)).powi(2);
    (length > 0.0).then(|| (0..=points).map(|index| (base + at(index), curve.hit_rate(at(index)))).collect())
}
