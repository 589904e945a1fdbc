//! P(fresh) by the time since the write was acknowledged: t-visibility of probabilistically bounded staleness, as measured.

use cacheproof_core::journal::FreshnessPoint;
use cacheproof_core::measurements::Measurements;
use cacheproof_core::numbers;
use cacheproof_core::scenario::Scenario;
use cacheproof_verdict::clopper_pearson_upper_bound;

use super::axis::Axis;
use super::palette::ColorRole;
use super::plot::{Layer, Plot, Shape};

/// Below this share somewhere, the axis is linear; above, it is one of nines, or all would lie on its edge.
const LINEAR_BELOW_SHARE: f64 = 0.9;
/// The buckets at both ends have no edge of their own: they are drawn as wide as the others, in decades.
const WIDTH: f64 = 0.25;
/// Space below the lowest line for the counts, as a share of the axis.
const BOTTOM_MARGIN: f64 = 0.12;

pub(super) fn plot(scenario: &Scenario, measurements: &Measurements) -> Option<Plot> {
    let points = measurements.freshness_curve(|key| scenario.is_judged(key.phase));
    let steps: Vec<CurveStep> = points.iter().map(CurveStep::of).collect();
    let (first, last) = (steps.first()?, steps.last()?);
    let judged: u64 = points.iter().map(FreshnessPoint::count).sum();
    let stale: u64 = points.iter().map(|point| point.stale).sum();
    let scale = Scale::of(&steps);
    let join = |runs: &mut Vec<Vec<(f64, f64)>>, step: &CurveStep| {
        let y = scale.y(step.share);
        let ends = [(step.from, y), (step.to, y)];
        match runs.last_mut().filter(|run| run.last().is_some_and(|(to, _)| (to - step.from).abs() < 1e-9)) {
            Some(run) => run.extend(ends),
            None => runs.push(ends.to_vec()),
        }
    };
    let mut runs = Vec::new();
    steps.iter().for_each(|step| join(&mut runs, step));
    let bounds = steps.iter().map(|step| vec![(step.from, step.to, scale.y(step.bound), scale.y(step.share))]);
    let counts = steps.iter().map(|step| (f64::midpoint(step.from, step.to), short(step.count))).collect();
    let from = 10f64.powf(first.from);
    let worst = steps.iter().filter(|step| step.share < 1.0).min_by(|a, b| a.share.total_cmp(&b.share));
    let worst = worst.map_or_else(String::new, |step| {
        let edge = |at: f64| numbers::time(10f64.powf(at));
        format!(
            ", the lowest share between {} and {} after the acknowledgement: {}",
            edge(step.from),
            edge(step.to),
            numbers::share(step.share)
        )
    });
    Some(Plot {
        file: "freshness",
        title: format!("Reads that were fresh, by time since the write ({})", scale.words()),
        about: format!(
            "Of {} judged reads {} were stale{worst}. Shaded: down to where the true share may lie, with 95 % \
             confidence.",
            numbers::count(judged),
            numbers::count(stale)
        ),
        x_label: "time from the write's acknowledgement to the read (log scale)",
        x: Axis::log(from, 10f64.powf(last.to), numbers::time),
        y: scale.axis(),
        timeline: None,
        layers: vec![
            Layer {
                name: "true share, 95 % confidence".to_owned(),
                role: ColorRole::Grid,
                shape: Shape::Steps { runs: bounds.collect() },
            },
            Layer { name: "fresh".to_owned(), role: ColorRole::Cached, shape: Shape::Line { dash: (1, 0), runs } },
            Layer {
                name: format!("n: reads in each step, {} in all", numbers::count(judged)),
                role: ColorRole::Muted,
                shape: Shape::Notes { along: counts },
            },
        ],
    })
}

/// A bucket as it is drawn: edges in log10 of seconds.
struct CurveStep {
    from: f64,
    to: f64,
    count: u64,
    share: f64,
    /// Lower bound of the true share, with 95 % confidence.
    bound: f64,
}

impl CurveStep {
    fn of(point: &FreshnessPoint) -> Self {
        let (from, to) = match (point.from, point.to) {
            (0.0, to) => (to.log10() - WIDTH, to.log10()),
            (from, to) if to.is_infinite() => (from.log10(), from.log10() + WIDTH),
            (from, to) => (from.log10(), to.log10()),
        };
        let count = point.count();
        Self { from, to, count, share: point.share(), bound: 1.0 - clopper_pearson_upper_bound(point.stale, count) }
    }
}

/// How a share is drawn.
enum Scale {
    Linear,
    /// −log10(1 − share) up to so many nines; the last step goes to 100 %.
    Nines(f64),
}

impl Scale {
    fn of(steps: &[CurveStep]) -> Self {
        if steps.iter().any(|step| step.share < LINEAR_BELOW_SHARE) {
            return Self::Linear;
        }
        let finite = steps.iter().flat_map(|step| [step.bound, step.share]).filter(|share| *share < 1.0);
        let most = finite.map(nines).fold(0.0, f64::max);
        Self::Nines((most + 0.3).ceil().max(2.0))
    }

    fn y(&self, share: f64) -> f64 {
        match self {
            Self::Linear => share,
            Self::Nines(top) => {
                if share < 1.0 {
                    nines(share).min(*top)
                } else {
                    *top
                }
            }
        }
    }

    fn words(&self) -> &'static str {
        match self {
            Self::Linear => "share",
            Self::Nines(_) => "scale of nines",
        }
    }

    fn axis(&self) -> Axis {
        match self {
            Self::Linear => Axis { from: -BOTTOM_MARGIN, ..Axis::shares() },
            Self::Nines(top) => {
                let label = |power: i32| (f64::from(power), numbers::share(1.0 - 10f64.powi(-power)));
                let ticks = (0..*top as i32).map(label).chain([(*top, "100 %".to_owned())]).collect();
                Axis { from: -BOTTOM_MARGIN * top, to: *top, ticks }
            }
        }
    }
}

fn nines(share: f64) -> f64 {
    -(1.0 - share).log10()
}

/// A count in at most four letters, for narrow steps.
fn short(count: u64) -> String {
    let (value, unit) = match count {
        0..1_000 => return count.to_string(),
        1_000..1_000_000 => (count as f64 / 1e3, "k"),
        _ => (count as f64 / 1e6, "M"),
    };
    if value < 9.95 { format!("{value:.1}{unit}") } else { format!("{value:.0}{unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_stale_reads_among_very_many_are_drawn_apart_from_none() {
        let point = |fresh, stale| FreshnessPoint { from: 0.001, to: 0.001_78, fresh, stale };
        let steps = [point(100_000, 0), point(99_995, 5), point(40, 0)].map(|point| CurveStep::of(&point));
        let scale = Scale::of(&steps);
        let heights = steps.each_ref().map(|step| scale.y(step.share));
        assert!(heights[0] - heights[1] > 0.2 && heights[2] == heights[0], "{heights:?}");
        assert!(steps.iter().all(|step| scale.y(step.bound) < scale.y(step.share)), "a bound lies below the share");
        assert!(scale.y(steps[2].bound) < scale.y(steps[0].bound), "forty reads prove less than very many");
    }

    #[test]
    fn counts_stay_short() {
        assert_eq!(
            [7, 999, 1_000, 9_949, 9_950, 223_812, 1_250_000].map(short),
            ["7", "999", "1.0k", "9.9k", "10k", "224k", "1.2M"]
        );
    }
}
