//! The figures, one file each, drawn by plotters. [`all`] gives those for which the run has data.

mod axis;
mod bitmap;
mod freshness;
mod hit_rate;
mod ink;
mod memory;
mod outcomes;
mod page;
mod percentiles;
mod plot;
mod queries;
mod recovery;
mod response;
mod shade;
mod svg;
mod throughput;
mod timeline;

use cacheproof_core::observe::{Measurements, Outcome};
use cacheproof_core::scenario::{Path, Scenario};
use cacheproof_verdict::FaultOutcome;

use ink::Role;
pub(super) use page::page;
pub(super) use plot::Plot;
pub(super) use svg::{Svg, style, svg};
use timeline::{Timeline, bins};

/// Every figure that this run has data for, in the order in which reports show them.
pub(super) fn all(scenario: &Scenario, seen: &Measurements, faults: &[FaultOutcome]) -> Vec<Plot> {
    let Some(timeline) = Timeline::of(scenario, seen, faults) else { return Vec::new() };
    let bins = bins(scenario, seen, &timeline);
    [
        percentiles::plot(scenario, seen),
        response::plot(&timeline, &bins),
        hit_rate::plot(&timeline, &bins, faults),
        recovery::plot(scenario, seen, faults),
        freshness::plot(scenario, seen),
        outcomes::plot(&timeline, &bins),
        throughput::plot(&timeline, &bins),
        queries::plot(seen, &timeline),
        memory::plot(seen, &timeline),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Colour and dash of a path: told apart also without colour.
fn look(path: Path) -> (Role, (i32, i32)) {
    match path {
        Path::Cached => (Role::Cached, (1, 0)),
        Path::Uncached => (Role::Uncached, (7, 4)),
    }
}

fn role_of(outcome: Outcome) -> Role {
    match outcome {
        Outcome::Hit => Role::Hit,
        Outcome::Miss => Role::Miss,
        Outcome::StaleServed => Role::StaleServed,
        Outcome::Bypass => Role::Bypass,
        Outcome::Fallback => Role::Fallback,
        Outcome::Plain => Role::Plain,
        Outcome::Error => Role::Error,
        Outcome::Wrong => Role::Wrong,
    }
}
