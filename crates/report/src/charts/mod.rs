//! The figures, one file each, drawn by plotters. [`all`] gives those for which the run has data.

mod axis;
mod bitmap;
mod freshness;
mod hit_rate;
mod memory;
mod outcomes;
mod palette;
mod percentiles;
mod plot;
mod queries;
mod recovery;
mod response;
mod summary_png;
mod svg;
mod thin;
mod throughput;
mod timeline;
mod timeline_overlay;

use cacheproof_core::journal::{CachePath, Outcome};
use cacheproof_core::measurements::Measurements;
use cacheproof_core::scenario::Scenario;
use cacheproof_verdict::FaultOutcome;

use palette::ColorRole;
pub(super) use plot::Plot;
pub(super) use summary_png::page;
pub(super) use svg::{Svg, style, svg};
use timeline::{Timeline, bins};

/// Every figure that this run has data for, in the order in which reports show them.
pub(super) fn all(scenario: &Scenario, measurements: &Measurements, faults: &[FaultOutcome]) -> Vec<Plot> {
    let Some(timeline) = Timeline::of(scenario, measurements, faults) else { return Vec::new() };
    let bins = bins(scenario, measurements, &timeline);
    [
        percentiles::plot(scenario, measurements),
        response::plot(&timeline, &bins),
        hit_rate::plot(&timeline, &bins, faults),
        recovery::plot(scenario, measurements, faults),
        freshness::plot(scenario, measurements),
        outcomes::plot(&timeline, &bins),
        throughput::plot(&timeline, &bins),
        queries::plot(measurements, &timeline),
        memory::plot(measurements, &timeline),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Colour and dash of a path: the dash tells them apart without colour.
fn line_style(path: CachePath) -> (ColorRole, (i32, i32)) {
    match path {
        CachePath::Cached => (ColorRole::Cached, (1, 0)),
        CachePath::Uncached => (ColorRole::Uncached, (7, 4)),
    }
}

fn role_of(outcome: Outcome) -> ColorRole {
    match outcome {
        Outcome::Hit => ColorRole::Hit,
        Outcome::Miss => ColorRole::Miss,
        Outcome::StaleServed => ColorRole::StaleServed,
        Outcome::Bypass => ColorRole::Bypass,
        Outcome::Fallback => ColorRole::Fallback,
        Outcome::Plain => ColorRole::Plain,
        Outcome::Error => ColorRole::Error,
        Outcome::Wrong => ColorRole::Wrong,
    }
}
