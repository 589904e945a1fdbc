//! How the hit rate came back after each fault that emptied the cache, beside what a cold cache allows.

use cacheproof_core::journal::CachePath;
use cacheproof_core::measurements::{Measurements, TimeSlice, join_until};
use cacheproof_core::numbers;
use cacheproof_core::scenario::Scenario;
use cacheproof_verdict::{FaultOutcome, RefillCurve};

use super::super::text::one_line;
use super::axis::Axis;
use super::palette::ColorRole;
use super::plot::{Layer, Plot, Shape};
use super::thin::thin;

/// More lines than these can't be distinguished.
const MAX_CURVES: usize = 5;
/// A point is of so many reads, or of two seconds.
const READS_PER_POINT: u64 = 200;
const MAX_POINT_SECONDS: f64 = 2.0;
/// A share of fewer reads is no point.
const MIN_READS: u64 = 20;

/// Colour and dash of each line: the dash tells them apart without colour.
const LINE_STYLES: [(ColorRole, (i32, i32)); MAX_CURVES] = [
    (ColorRole::Cached, (1, 0)),
    (ColorRole::Hit, (9, 3)),
    (ColorRole::Wrong, (5, 3)),
    (ColorRole::StaleServed, (2, 3)),
    (ColorRole::Uncached, (12, 5)),
];

pub(super) fn plot(scenario: &Scenario, measurements: &Measurements, faults: &[FaultOutcome]) -> Option<Plot> {
    let cacheable = |request: usize| scenario.is_cacheable(request);
    let slices = measurements.slices(CachePath::Cached, cacheable);
    let mut layers = Vec::new();
    let mut curves: Vec<&RefillCurve> = Vec::new();
    let mut longest = 0.0f64;
    let mut words = Vec::new();
    for (index, fault) in faults.iter().enumerate() {
        let Some(hit_rate) = fault.hit_rate.as_ref().filter(|hit_rate| hit_rate.emptied) else { continue };
        let Some(base) = fault.over else { continue };
        if layers.len() == MAX_CURVES {
            break;
        }
        let points = points(&slices, base, fault.watched_to);
        let Some((role, dash)) = LINE_STYLES.get(layers.len()).copied().filter(|_| points.len() > 1) else { continue };
        longest = longest.max(points.last().map_or(0.0, |(at, _)| *at));
        let what = one_line(&fault.window.what, 24);
        let name = if faults.len() > 1 { format!("{} {what}", index + 1) } else { format!("after {what}") };
        if let (Some(took), Some(bound)) = (hit_rate.back.seconds(), hit_rate.bound) {
            words.push(format!(
                "after {what} back at {} in {}, a cold cache at best in {}",
                numbers::share(hit_rate.target),
                numbers::time(took),
                numbers::time(bound)
            ));
        }
        layers.push(Layer { name, role, shape: Shape::Line { dash, runs: vec![thin(points)] } });
        if let Some(refill) = &hit_rate.refill
            && !curves.contains(&refill)
        {
            curves.push(refill);
        }
    }
    if layers.is_empty() {
        return None;
    }
    let runs = curves
        .into_iter()
        .map(|curve| {
            let at = |index: i32| longest * (f64::from(index) / 60.0).powi(2);
            (0..=60).map(|index| (at(index), curve.hit_rate(at(index)))).collect()
        })
        .collect::<Vec<Vec<(f64, f64)>>>();
    if !runs.is_empty() {
        let shape = Shape::Line { dash: (4, 4), runs };
        layers.push(Layer { name: "a cold cache, at best".to_owned(), role: ColorRole::Muted, shape });
    }
    let words = if words.is_empty() { String::new() } else { format!(": {}", words.join("; ")) };
    Some(Plot {
        file: "hit-rate-recovery",
        title: "Hit rate after the cache was emptied".to_owned(),
        about: format!(
            "Hit rate by the time since the fault was undone{words}. Dashed: 1 − e^(−λτ), summed over the keys."
        ),
        x_label: "seconds since the fault was undone (or injected, if it needs no undo)",
        x: Axis::seconds(0.0, longest),
        y: Axis::shares(),
        timeline: None,
        layers,
    })
}

/// Hit rates of some 200 reads each, by the time since `base`.
fn points(slices: &[TimeSlice], base: f64, to: f64) -> Vec<(f64, f64)> {
    let after = &slices[slices.partition_point(|slice| slice.from < base)..];
    let inside: Vec<TimeSlice> = after.iter().take_while(|slice| slice.to <= to + 1e-9).copied().collect();
    let is_complete = |joined: &TimeSlice, _: &TimeSlice| {
        joined.counts.reads() >= READS_PER_POINT || joined.seconds() >= MAX_POINT_SECONDS
    };
    let complete = join_until(&inside, is_complete).complete.into_iter();
    complete
        .filter(|slice| slice.counts.reads() >= MIN_READS)
        .filter_map(|slice| Some((slice.middle() - base, slice.counts.hit_rate()?)))
        .collect()
}
