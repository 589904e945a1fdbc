//! Axes: their ranges and their labels.
//!
//! Logarithms are taken before plotters sees a value, and the labels are placed here, because plotters' own log
//! axis loses all its labels when the range lies inside one decade.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use cacheproof_core::numbers;

/// An axis in drawn units.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub from: f64,
    pub to: f64,
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From 0 to a round value that holds `max`.
    pub fn linear(max: f64, format: impl Fn(f64) -> String) -> Self {
        let max = if max > 0.0 && max.is_finite() { max } else { 1.0 };
        let step = round_step(max / 4.0);
        let steps = (max / step - 1e-9).ceil().clamp(1.0, 10.0) as usize;
        let ticks = (0..=steps).map(|index| index as f64 * step).map(|value| (value, format(value))).collect();
        Self { from: 0.0, to: steps as f64 * step, ticks }
    }

    /// Bytes from 0, on steps that are round in their own unit.
    pub fn bytes(max: f64) -> Self {
        let unit = 1024f64.powi((max.max(1.0).ln() / 1024f64.ln()).floor() as i32);
        let scaled = Self::linear(max / unit, |value| numbers::bytes(value * unit));
        let ticks = scaled.ticks.into_iter().map(|(at, label)| (at * unit, label)).collect();
        Self { from: 0.0, to: scaled.to * unit, ticks }
    }

    /// Shares of 1, from 0 to 100 %.
    pub fn shares() -> Self {
        let ticks = (0..=4).map(|quarter| (f64::from(quarter) / 4.0, format!("{} %", quarter * 25))).collect();
        Self { from: 0.0, to: 1.0, ticks }
    }

    /// Decades that hold `low` to `high` (both above 0), in log10 of the value.
    pub fn log(low: f64, high: f64, format: impl Fn(f64) -> String) -> Self {
        let low = if low > 0.0 { low } else { 1e-9 };
        let high = high.max(low * 1.000_1);
        let mut ticks: Vec<f64> = Vec::new();
        for decade in low.log10().floor() as i32 - 1..=high.log10().ceil() as i32 {
            ticks.extend([1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(decade)));
        }
        let first = ticks.iter().rposition(|tick| *tick <= low * (1.0 + 1e-9)).unwrap_or(0);
        let last = ticks.iter().position(|tick| *tick >= high * (1.0 - 1e-9)).unwrap_or(ticks.len() - 1);
        let ticks = &ticks[first..=last];
        // Many decades: only powers of ten are labelled; few: also 2 and 5.
        let sparse = ticks.len() > 8;
        let powers: Vec<f64> =
            ticks.iter().map(|tick| tick.log10()).filter(|at| (at - at.round()).abs() < 1e-9).collect();
        // An end keeps its label where it does not overlap that of the next power.
        let fits = |at: f64| powers.iter().all(|power| (power - at).abs() < 1e-9 || (power - at).abs() > 0.45);
        let labelled = |index: usize| {
            let at = ticks[index].log10();
            let is_end = index == 0 || index == ticks.len() - 1;
            !sparse || powers.contains(&at) || (is_end && fits(at))
        };
        Self {
            from: ticks[0].log10(),
            to: ticks[ticks.len() - 1].log10(),
            ticks: (0..ticks.len())
                .filter(|index| labelled(*index))
                .map(|index| (ticks[index].log10(), format(ticks[index])))
                .collect(),
        }
    }

    /// Seconds since the run began.
    pub fn seconds(from: f64, to: f64) -> Self {
        let to = if to > from { to } else { from + 1.0 };
        let aim = (to - from) / 8.0;
        let steps = [1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0];
        let step = steps.into_iter().find(|step| *step >= aim).unwrap_or_else(|| round_step(aim));
        let first = (from / step).ceil() as i64;
        let last = (to / step).floor() as i64;
        let ticks = (first..=last).map(|index| index as f64 * step).map(|at| (at, format!("{at}"))).collect();
        Self { from, to, ticks }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Bold lines only: the light ones between them would have no label.
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.iter().map(|(at, _)| *at).collect() }
    }

    fn range(&self) -> Range<f64> {
        self.from..self.to
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        let near = self.ticks.iter().min_by(|(a, _), (b, _)| (a - value).abs().total_cmp(&(b - value).abs()));
        near.map_or_else(String::new, |(_, label)| label.clone())
    }
}

/// 1, 2, 2.5 or 5 times a power of ten, at least `aim`.
fn round_step(aim: f64) -> f64 {
    let power = 10f64.powi(aim.log10().floor() as i32);
    [1.0, 2.0, 2.5, 5.0, 10.0]
        .map(|step| step * power)
        .into_iter()
        .find(|step| *step >= aim * 0.999_999)
        .unwrap_or(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn a_log_axis_inside_one_decade_keeps_its_labels() {
        for (low, high) in [(2.0, 8.0), (0.2, 0.8), (3_000.0, 9_000.0), (4.0, 4.0), (1.0, 10.0)] {
            let axis = Axis::log(low, high, |value| format!("{value}"));
            assert!(axis.ticks.len() >= 2, "{low} to {high}: {axis:?}");
            assert!(10f64.powf(axis.from) <= low * 1.001 && 10f64.powf(axis.to) >= high * 0.999, "{axis:?}");
        }
        let wide = Axis::log(0.000_3, 4.0, cacheproof_core::numbers::time);
        assert_eq!(labels(&wide), ["200 µs", "1 ms", "10 ms", "100 ms", "1 s", "5 s"]);
    }

    #[test]
    fn a_linear_axis_holds_its_largest_value_on_round_steps() {
        assert_eq!(labels(&Axis::linear(430.0, |value| format!("{value}"))), ["0", "200", "400", "600"]);
        assert_eq!(labels(&Axis::linear(0.0, |value| format!("{value}"))), ["0", "0.25", "0.5", "0.75", "1"]);
    }
}
