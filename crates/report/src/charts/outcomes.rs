//! Outcomes of the requests in each second, stacked.

use cacheproof_core::journal::Outcome;
use cacheproof_core::numbers;

use super::axis::Axis;
use super::plot::{Layer, Plot, Shape};
use super::role_of;
use super::timeline::{Bin, Timeline};

/// From the bottom of the stack: bad outcomes first, because only the lowest layers start from zero.
const ORDER: [Outcome; 8] = [
    Outcome::Wrong,
    Outcome::Error,
    Outcome::Fallback,
    Outcome::StaleServed,
    Outcome::Miss,
    Outcome::Hit,
    Outcome::Bypass,
    Outcome::Plain,
];

pub(super) fn plot(timeline: &Timeline, bins: &[Bin]) -> Option<Plot> {
    let rate = |bin: &Bin, outcome| bin.outcomes.get(&outcome).map_or(0.0, |count| *count as f64 / bin.counted);
    let high = bins.iter().map(|bin| ORDER.iter().map(|outcome| rate(bin, *outcome)).sum()).reduce(f64::max)?;
    if high <= 0.0 {
        return None;
    }
    let total = |outcome| bins.iter().filter_map(|bin| bin.outcomes.get(&outcome)).sum::<u64>();
    let present = || ORDER.into_iter().filter(|outcome| total(*outcome) > 0);
    let layers = present()
        .map(|outcome| {
            let runs = steps(bins, |bin| {
                let low = ORDER.iter().take_while(|below| **below != outcome).map(|below| rate(bin, *below)).sum();
                (low, low + rate(bin, outcome))
            });
            Layer { name: outcome.as_str().to_owned(), role: role_of(outcome), shape: Shape::Steps { runs } }
        })
        .collect();
    let words: Vec<String> =
        present().map(|outcome| format!("{} {}", numbers::count(total(outcome)), outcome.as_str())).collect();
    Some(Plot {
        file: "outcomes",
        title: "Outcomes: answers per second, stacked".to_owned(),
        about: format!("Outcomes of the requests over the run, from the bottom: {}.", words.join(", ")),
        x_label: "seconds since the run began",
        x: Axis::seconds(timeline.from, timeline.to),
        y: Axis::linear(high, numbers::rate),
        timeline: Some(timeline.clone()),
        layers,
    })
}

/// Steps from bin to bin, broken where the layer has no height or time has a hole.
fn steps(bins: &[Bin], value: impl Fn(&Bin) -> (f64, f64)) -> Vec<Vec<(f64, f64, f64, f64)>> {
    let mut runs: Vec<Vec<(f64, f64, f64, f64)>> = Vec::new();
    let mut end = None;
    for bin in bins {
        let (low, high) = value(bin);
        if high <= low {
            end = None;
            continue;
        }
        if end != Some(bin.from) {
            runs.push(Vec::new());
        }
        if let Some(run) = runs.last_mut() {
            run.push((bin.from, bin.to, low, high));
        }
        end = Some(bin.to);
    }
    runs
}
