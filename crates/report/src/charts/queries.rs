//! Queries per second that the database executed.

use cacheproof_core::measurements::Measurements;
use cacheproof_core::numbers;

use super::axis::Axis;
use super::palette::ColorRole;
use super::plot::{Layer, Plot, Shape};
use super::timeline::{Bin, Timeline, runs};

pub(super) fn plot(measurements: &Measurements, timeline: &Timeline) -> Option<Plot> {
    let exact =
        measurements.samples.iter().filter_map(|(_, sample)| sample.postgres.as_ref()).any(|sample| sample.exact);
    // Transactions are not queries: where both were counted, only the queries are drawn.
    let readings: Vec<(f64, u64)> = measurements
        .samples
        .iter()
        .filter_map(|(at, sample)| sample.postgres.as_ref().map(|postgres| (*at - postgres.age, postgres)))
        .filter(|(_, postgres)| postgres.exact == exact)
        .map(|(at, postgres)| (at, postgres.queries))
        .collect();
    let mut rates: Vec<(Bin, f64)> = Vec::new();
    // Readings at phase boundaries are less than a second apart; they are merged, or rates would jump.
    let mut last: Option<(f64, u64)> = None;
    let each = (readings.len() / 300).max(1) as f64 * 0.5;
    for (at, queries) in readings {
        let Some((before, count)) = last else {
            last = Some((at, queries));
            continue;
        };
        if queries >= count && at - before < each {
            continue;
        }
        // A restarted server counts from 0: the rate of that second is unknown.
        if queries >= count && at - before < 30.0 * each && before >= timeline.from - each && at <= timeline.to + each {
            let bin = Bin { from: before, to: at, ..Bin::default() };
            rates.push((bin, (queries - count) as f64 / (at - before)));
        }
        last = Some((at, queries));
    }
    let high = rates.iter().map(|(_, rate)| *rate).reduce(f64::max)?;
    let spans: Vec<Bin> = rates.iter().map(|(bin, _)| bin.clone()).collect();
    let rate = |bin: &Bin| rates.iter().find(|(other, _)| other.from == bin.from).map(|(_, rate)| *rate);
    let what = if exact { "queries" } else { "transactions" };
    Some(Plot {
        file: "database-queries",
        title: format!("Database: {what} per second"),
        about: format!("{what} that Postgres executed for the app, at most {}.", numbers::rate(high)),
        x_label: "seconds since the run began",
        x: Axis::seconds(timeline.from, timeline.to),
        y: Axis::linear(high, numbers::rate),
        timeline: Some(timeline.clone()),
        layers: vec![Layer {
            name: what.to_owned(),
            role: ColorRole::StaleServed,
            shape: Shape::Line { dash: (1, 0), runs: runs(&spans, rate) },
        }],
    })
}
