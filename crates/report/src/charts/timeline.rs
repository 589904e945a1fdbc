//! The phases and faults above every figure over time, and the numbers of each second that the figures draw.

use std::collections::BTreeMap;

use cacheproof_core::journal::{CachePath, Outcome};
use cacheproof_core::measurements::Measurements;
use cacheproof_core::scenario::Scenario;
use cacheproof_verdict::FaultOutcome;

use super::super::text::one_line;

/// Phases and faults with their times in seconds.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    pub from: f64,
    pub to: f64,
    pub phases: Vec<PhaseBand>,
    pub faults: Vec<FaultSpan>,
}

#[derive(Clone, Debug)]
pub(crate) struct PhaseBand {
    pub name: String,
    pub path: CachePath,
    pub from: f64,
    pub to: f64,
}

/// A fault on the timeline: its marks, and its lane above the plot.
#[derive(Clone, Debug)]
pub(crate) struct FaultSpan {
    /// Its number in the table of faults, from 1.
    pub number: usize,
    pub what: String,
    /// When it was injected.
    pub from: f64,
    pub seen: Option<f64>,
    pub undone: Option<f64>,
    /// When the service was back, where it had been gone.
    pub recovered: Option<f64>,
    /// Until when it is shaded: the undo, or the run's end.
    pub to: f64,
    /// Which lane, from the top.
    pub lane: usize,
}

impl FaultSpan {
    /// The last of its marks.
    pub fn end(&self) -> f64 {
        self.recovered.unwrap_or(self.to).max(self.to)
    }
}

/// More faults at once than these share lanes.
const MAX_LANES: usize = 6;
/// Share of the timeline that two faults in one lane must be apart, so that their marks do not overlap.
const MIN_LANE_GAP: f64 = 0.012;
/// The share that a letter, and the marks beside a label, take of it, roughly.
const LETTER_WIDTH: f64 = 0.0125;
const MARKERS_WIDTH: f64 = 0.033;
/// Longer names get no more space than this, in letters.
const MAX_LABEL_CHARS: usize = 16;
/// With more faults than these there is no space for names: the lanes show numbers alone.
const MAX_NAMED_FAULTS: usize = 8;

fn later(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    one.into_iter().chain(other).reduce(f64::max)
}

/// More faults than these are not drawn one by one.
const MAX_DRAWN_FAULTS: usize = 100;

/// Of more than [`MAX_DRAWN_FAULTS`], those that were injected within the same hundredth of the timeline are drawn as one,
/// from the first injection to the last end, with the number of the first.
fn join_crowded(faults: Vec<FaultSpan>, from: f64, to: f64) -> Vec<FaultSpan> {
    if faults.len() <= MAX_DRAWN_FAULTS {
        return faults;
    }
    let place = |fault: &FaultSpan| ((fault.from - from) / (to - from).max(1e-9) * MAX_DRAWN_FAULTS as f64).floor();
    let join = |group: &[FaultSpan]| {
        let mut joined = group.first().cloned()?;
        for fault in group {
            joined.to = joined.to.max(fault.to);
            joined.seen = later(joined.seen, fault.seen);
            joined.undone = later(joined.undone, fault.undone);
            joined.recovered = later(joined.recovered, fault.recovered);
        }
        Some(joined)
    };
    faults.chunk_by(|one, next| place(one) == place(next)).filter_map(join).collect()
}

/// Gives each fault the first lane that is free when it begins and has space for the label of the fault before; if there is
/// none, one with space for the marks; if there is none either, the one that is free soonest.
fn assign_lanes(faults: &mut [FaultSpan], length: f64) {
    let mut ends = [(f64::NEG_INFINITY, 0.0); MAX_LANES];
    let numbered = faults.len() > MAX_NAMED_FAULTS;
    for fault in faults {
        let free = |gap: fn(f64) -> f64| ends.iter().position(|(end, label)| *end + length * gap(*label) <= fault.from);
        let soonest = || (0..MAX_LANES).min_by(|a, b| ends[*a].0.total_cmp(&ends[*b].0));
        fault.lane = free(|label| label).or_else(|| free(|_| MIN_LANE_GAP)).or_else(soonest).unwrap_or(0);
        let number = fault.number.to_string().len();
        let letters = if numbered { number } else { (number + 1 + fault.what.chars().count()).min(MAX_LABEL_CHARS) };
        let end = &mut ends[fault.lane];
        *end = (end.0.max(fault.end()), MARKERS_WIDTH + LETTER_WIDTH * letters as f64);
    }
}

impl Timeline {
    /// `None` where no phase ever began.
    pub fn of(scenario: &Scenario, measurements: &Measurements, outcomes: &[FaultOutcome]) -> Option<Self> {
        let phases: Vec<PhaseBand> = measurements
            .phases
            .iter()
            .filter_map(|(index, span)| {
                let phase = scenario.phases.get(*index)?;
                let to = span.to.unwrap_or(measurements.last_at);
                Some(PhaseBand { name: one_line(&phase.name, 60), path: phase.path, from: span.from, to })
            })
            .collect();
        let from = phases.iter().map(|phase| phase.from).reduce(f64::min)?;
        let to = phases.iter().map(|phase| phase.to).reduce(f64::max)?;
        let faults: Vec<FaultSpan> = outcomes
            .iter()
            .enumerate()
            .map(|(index, outcome)| {
                let window = &outcome.window;
                let until = match window.undone {
                    Some(undone) => undone,
                    // Over as soon as it was injected: it lasts until it was seen.
                    None if outcome.over.is_some() => window.seen.unwrap_or(window.from),
                    None => measurements.last_at,
                };
                FaultSpan {
                    number: index + 1,
                    what: one_line(&window.what, 40),
                    from: window.from,
                    seen: window.seen,
                    undone: window.undone,
                    recovered: outcome.recovered_at().filter(|_| outcome.noticed.is_some()),
                    to: until.min(to),
                    lane: 0,
                }
            })
            .collect();
        let mut faults = join_crowded(faults, from, to);
        assign_lanes(&mut faults, to - from);
        Some(Self { from, to, phases, faults })
    }

    /// Whether there are too many faults to show their names in the lanes.
    pub fn numbered(&self) -> bool {
        self.faults.len() > MAX_NAMED_FAULTS
    }

    /// How many lanes its faults take.
    pub fn lanes(&self) -> usize {
        self.faults.iter().map(|fault| fault.lane + 1).max().unwrap_or(0)
    }

    /// Seconds of a stretch of time that belong to phases of a path.
    fn seconds_of(&self, path: CachePath, from: f64, to: f64) -> f64 {
        let overlap = |phase: &PhaseBand| (phase.to.min(to) - phase.from.max(from)).max(0.0);
        self.phases.iter().filter(|phase| phase.path == path).map(overlap).sum()
    }
}

/// More points than pixels can't be seen: the seconds of a long run are merged into at most this many bins.
const MAX_BINS: usize = 300;

/// The answers of a stretch of time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bin {
    pub from: f64,
    pub to: f64,
    /// How long answers were counted: longer than from `from` to `to` where that went on after the last phase.
    pub counted: f64,
    /// How many slices are joined in it.
    pub slices: usize,
    pub outcomes: BTreeMap<Outcome, u64>,
    pub paths: BTreeMap<CachePath, PathBin>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct PathBin {
    /// P95 of its slowest second, nanoseconds: percentiles can't be averaged, and this one hides nothing.
    pub p95: Option<u64>,
    pub answered: u64,
    /// Cacheable reads that were served from the cache.
    pub served: u64,
    /// Cacheable reads whose answer said whether they were.
    pub known: u64,
    /// How much of the bin belongs to phases of this path.
    pub seconds: f64,
}

impl Bin {
    pub fn middle(&self) -> f64 {
        f64::midpoint(self.from, self.to)
    }

    pub fn seconds(&self) -> f64 {
        self.to - self.from
    }
}

/// Share of a bin's usual length, in seconds a window, that it must have to be drawn.
const MIN_BIN_FILL: f64 = 0.5;

/// The run in bins of equal numbers of seconds, in order of time.
pub(crate) fn bins(scenario: &Scenario, measurements: &Measurements, timeline: &Timeline) -> Vec<Bin> {
    let each = measurements.coarse_slices.len().div_ceil(MAX_BINS).max(1);
    let mut bins: Vec<Bin> = Vec::new();
    for chunk in measurements.coarse_slices.chunks(each) {
        let mut bin = Bin {
            from: chunk.iter().map(|slice| slice.from).fold(f64::INFINITY, f64::min).max(0.0),
            to: chunk.iter().map(|slice| slice.to).fold(0.0, f64::max),
            ..Bin::default()
        };
        // Slices and clock may be a millisecond apart; bins must not overlap.
        if let Some(before) = bins.last()
            && (bin.from - before.to).abs() < 0.05
        {
            bin.from = before.to;
        }
        bin.slices = chunk.len();
        bin.counted = bin.to - bin.from;
        // What comes in after the last phase is late; the line ends where the timeline does.
        bin.to = bin.to.min(timeline.to);
        for path in [CachePath::Cached, CachePath::Uncached] {
            let seconds = timeline.seconds_of(path, bin.from, bin.to);
            if seconds > 0.0 {
                bin.paths.insert(path, PathBin { seconds, ..PathBin::default() });
            }
        }
        for (path, response) in chunk.iter().flat_map(|slice| slice.counts.response()) {
            let p95 = &mut bin.paths.entry(path).or_default().p95;
            *p95 = (*p95).max((response.count > 0).then_some(response.p95));
        }
        for (key, count) in chunk.iter().flat_map(|slice| slice.counts.by_key()) {
            *bin.outcomes.entry(key.outcome).or_default() += count;
            let path = bin.paths.entry(key.path).or_default();
            path.answered += if key.outcome == Outcome::Error { 0 } else { count };
            if scenario.is_cacheable(key.request) {
                let served = key.outcome.is_served_from_cache();
                path.served += if served == Some(true) { count } else { 0 };
                path.known += if served.is_some() { count } else { 0 };
            }
        }
        // A fragment of a second, as the last window is, has too few answers for a point beside whole seconds.
        if bin.to - bin.from >= MIN_BIN_FILL * each as f64 || bins.is_empty() && bin.to > bin.from {
            bins.push(bin);
        }
    }
    bins
}

/// Points in runs: a bin without a value, or a hole between two bins, breaks the line.
pub(crate) fn runs(bins: &[Bin], value: impl Fn(&Bin) -> Option<f64>) -> Vec<Vec<(f64, f64)>> {
    let mut runs: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut end = None;
    for bin in bins {
        match value(bin) {
            Some(value) => {
                let is_adjacent = end.is_some_and(|end: f64| bin.from - end < bin.seconds() * 0.5);
                if !is_adjacent || runs.is_empty() {
                    runs.push(Vec::new());
                }
                if let Some(run) = runs.last_mut() {
                    run.push((bin.middle(), value));
                }
                end = Some(bin.to);
            }
            None => end = None,
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_thousands_of_faults_those_close_together_are_drawn_as_one() {
        let fault = |number: usize| FaultSpan {
            number,
            what: String::new(),
            from: number as f64,
            seen: None,
            undone: Some(number as f64 + 0.5),
            recovered: (number == 7).then_some(9.0),
            to: number as f64 + 0.5,
            lane: 0,
        };
        assert_eq!(join_crowded((0..100).map(fault).collect(), 0.0, 100.0).len(), 100, "few stay as they are");
        let joined = join_crowded((0..20_000).map(fault).collect(), 0.0, 20_000.0);
        assert_eq!(joined.len(), 100);
        assert_eq!((joined[0].from, joined[0].to, joined[0].recovered), (0.0, 199.5, Some(9.0)));
        assert_eq!((joined[1].number, joined[99].to), (200, 19_999.5));
        assert_eq!(join_crowded((0..20_000).map(|_| fault(3)).collect(), 3.0, 3.0).len(), 1, "all at one moment");
    }

    #[test]
    fn simultaneous_faults_get_lanes_of_their_own_and_later_ones_the_first_again() {
        let fault = |from: f64, to: f64| FaultSpan {
            number: 1,
            what: String::new(),
            from,
            seen: None,
            undone: Some(to),
            recovered: None,
            to,
            lane: 0,
        };
        let mut faults = [fault(10.0, 20.0), fault(12.0, 18.0), fault(15.0, 40.0), fault(27.0, 30.0)];
        assign_lanes(&mut faults, 100.0);
        assert_eq!(faults.map(|fault| fault.lane), [0, 1, 2, 0]);
        // Many, one after another: each is so far from the one before in its lane that its number fits between.
        let mut many: Vec<FaultSpan> =
            (0..40).map(|at| fault(f64::from(at) * 25.0, f64::from(at) * 25.0 + 10.0)).collect();
        assign_lanes(&mut many, 1_000.0);
        assert!(many.iter().all(|fault| fault.lane < 3), "{many:?}");
        assert!(many.windows(2).all(|pair| pair[0].lane != pair[1].lane), "{many:?}");
    }
}
