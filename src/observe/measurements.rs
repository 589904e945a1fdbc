//! One reading of the event stream, line by line: what verdict, report and the live line all look at.

use std::collections::BTreeMap;

use super::{
    Cell, Ending, Event, Example, FaultEvent, FaultStage, Histogram, Line, Outcome, RunEnded, RunStarted, Sample,
    StackReady, TargetReady, Window,
};
use crate::scenario::Path;

/// How soon after a phase's end the sample that it asked for comes in, seconds.
const BOUNDARY_SAMPLE_WITHIN: f64 = 0.25;

/// Everything a journal says, sorted for reading.
#[derive(Clone, Debug, Default)]
pub struct Measurements {
    /// The first line.
    pub start: Option<RunStarted>,
    /// The servers, once up.
    pub stack: Option<StackReady>,
    /// The app, once up.
    pub target: Option<TargetReady>,
    /// The phases that began, by index into the scenario's phases.
    pub phases: BTreeMap<usize, PhaseSpan>,
    /// All answers of the run, summed over time.
    pub cells: BTreeMap<CellKey, Totals>,
    /// The answers second by second, with the window's end in seconds since the start.
    pub windows: Vec<(f64, Window)>,
    /// Server and process states, with their time.
    pub samples: Vec<(f64, Sample)>,
    /// Faults step by step, with their time.
    pub faults: Vec<(f64, FaultEvent)>,
    /// Answers worth showing.
    pub examples: Vec<Example>,
    /// What the user should know.
    pub notes: Vec<String>,
    /// The last line; `None` while running, or when cacheproof died.
    pub end: Option<RunEnded>,
    /// Time of the last line, seconds.
    pub last_at: f64,
}

/// When a phase was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PhaseSpan {
    /// Its start, seconds since the run's start.
    pub from: f64,
    /// Its end; `None` while it lasts or where the run broke off in it.
    pub to: Option<f64>,
    /// Why it ended.
    pub reason: Option<String>,
}

/// What answers are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellKey {
    /// Phase that the request was meant for.
    pub phase: usize,
    /// Way it took.
    pub path: Path,
    /// Index into the scenario's requests.
    pub request: usize,
    /// What became of it.
    pub outcome: Outcome,
}

/// Answers of one kind, or of several put together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Response times, nanoseconds.
    pub response: Histogram,
    /// Service times, nanoseconds.
    pub service: Histogram,
    /// Exact sum of the response times, nanoseconds.
    pub response_sum: u128,
    /// For each limit of [`RunStarted::limits`], how many response times were above it.
    pub over: Vec<u64>,
    /// How many were stale.
    pub stale: u64,
    /// How many could be: see [`Cell::judged_fresh`].
    pub judged_fresh: u64,
}

impl Totals {
    /// Number of answers.
    pub fn count(&self) -> u64 {
        self.response.count()
    }

    /// Mean response time in nanoseconds, exact. `None` when empty.
    pub fn mean(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.response_sum as f64 / self.count() as f64)
    }

    /// Adds another's answers.
    pub fn add(&mut self, other: &Self) {
        self.response.merge(&other.response);
        self.service.merge(&other.service);
        self.response_sum += other.response_sum;
        self.stale += other.stale;
        self.judged_fresh += other.judged_fresh;
        add_over(&mut self.over, &other.over);
    }

    fn add_cell(&mut self, cell: &Cell) {
        self.response.merge(&cell.response);
        self.service.merge(&cell.service);
        self.response_sum += u128::from(cell.response_sum);
        self.stale += cell.stale;
        self.judged_fresh += cell.judged_fresh;
        add_over(&mut self.over, &cell.over);
    }
}

fn add_over(sum: &mut Vec<u64>, more: &[u64]) {
    sum.resize(sum.len().max(more.len()), 0);
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum += more;
    }
}

/// A stretch of time in which a victim was broken, for shading.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultWindow {
    /// Phase it belongs to.
    pub phase: usize,
    /// `kill redis`.
    pub what: String,
    /// When it was injected, seconds.
    pub from: f64,
    /// When it was seen to work.
    pub seen: Option<f64>,
    /// When it was undone.
    pub undone: Option<f64>,
    /// When the victim was seen to work again.
    pub back: Option<f64>,
}

impl Measurements {
    /// Reads a whole journal.
    pub fn of(lines: &[Line]) -> Self {
        let mut all = Self::default();
        for line in lines {
            all.take(line);
        }
        all
    }

    /// Takes in one more line.
    pub fn take(&mut self, line: &Line) {
        let at = line.at;
        self.last_at = self.last_at.max(at);
        match &line.event {
            Event::RunStarted(start) => self.start = Some(start.clone()),
            Event::StackReady(stack) => self.stack = Some(stack.clone()),
            Event::TargetReady(target) => self.target = Some(target.clone()),
            Event::PhaseStarted { phase } => {
                self.phases.insert(*phase, PhaseSpan { from: at, ..PhaseSpan::default() });
            }
            Event::PhaseEnded { phase, reason } => {
                let span = self.phases.entry(*phase).or_default();
                span.to = Some(at);
                span.reason = Some(reason.clone());
            }
            Event::Window(window) => {
                for cell in &window.cells {
                    let key =
                        CellKey { phase: cell.phase, path: cell.path, request: cell.request, outcome: cell.outcome };
                    self.cells.entry(key).or_default().add_cell(cell);
                }
                self.windows.push((at, window.clone()));
            }
            Event::Sample(sample) => self.samples.push((at, sample.clone())),
            Event::Fault(fault) => self.faults.push((at, fault.clone())),
            Event::Example(example) => self.examples.push(example.clone()),
            Event::Note { text } => self.notes.push(text.clone()),
            Event::RunEnded(end) => self.end = Some(end.clone()),
        }
    }

    /// Whether the whole timeline was run.
    pub fn complete(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.how == Ending::Completed)
    }

    /// All answers whose key passes, put together.
    pub fn total(&self, mut wanted: impl FnMut(&CellKey) -> bool) -> Totals {
        let mut sum = Totals::default();
        for (_, totals) in self.cells.iter().filter(|(key, _)| wanted(key)) {
            sum.add(totals);
        }
        sum
    }

    /// How many answers have a key that passes.
    pub fn count(&self, mut wanted: impl FnMut(&CellKey) -> bool) -> u64 {
        self.cells.iter().filter(|(key, _)| wanted(key)).map(|(_, totals)| totals.count()).sum()
    }

    /// Length of a phase so far, in seconds.
    pub fn phase_seconds(&self, phase: usize) -> f64 {
        self.phases.get(&phase).map_or(0.0, |span| span.to.unwrap_or(self.last_at) - span.from)
    }

    /// How much a counter of the samples grew in a phase; a server that was started anew counts from 0.
    /// `None` where fewer than two samples of the phase have it. The sample that a phase's end asks for comes
    /// in just after it and belongs to it as well.
    pub fn growth(&self, phase: usize, counter: impl Fn(&Sample) -> Option<u64>) -> Option<u64> {
        let span = self.phases.get(&phase)?;
        let to = span.to.unwrap_or(self.last_at);
        let first_after = self.samples.iter().map(|(at, _)| *at).find(|at| *at > to);
        let to = first_after.filter(|at| *at - to < BOUNDARY_SAMPLE_WITHIN).unwrap_or(to);
        let mut values = self
            .samples
            .iter()
            .filter(|(at, _)| *at >= span.from && *at <= to)
            .filter_map(|(_, sample)| counter(sample));
        let mut last = values.next()?;
        let mut grown = None;
        for value in values {
            *grown.get_or_insert(0) += if value >= last { value - last } else { value };
            last = value;
        }
        grown
    }

    /// Queries that the database executed in a phase for everybody but cacheproof.
    pub fn db_queries(&self, phase: usize) -> Option<u64> {
        self.growth(phase, |sample| sample.postgres.as_ref().map(|postgres| postgres.queries))
    }

    /// The stretches in which something was broken.
    pub fn fault_windows(&self) -> Vec<FaultWindow> {
        let mut windows: Vec<FaultWindow> = Vec::new();
        for (at, event) in &self.faults {
            if event.stage == FaultStage::Injected {
                windows.push(FaultWindow {
                    phase: event.phase,
                    what: event.what.clone(),
                    from: *at,
                    seen: None,
                    undone: None,
                    back: None,
                });
                continue;
            }
            let Some(window) = windows.iter_mut().rev().find(|window| window.phase == event.phase) else { continue };
            match event.stage {
                FaultStage::Injected => {}
                FaultStage::Seen => window.seen = Some(*at),
                FaultStage::Undone => window.undone = Some(*at),
                FaultStage::SeenUndone => window.back = Some(*at),
            }
        }
        windows
    }
}
