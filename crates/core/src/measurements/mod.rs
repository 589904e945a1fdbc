//! What a run measured, read from its journal line by line. Verdict, report and live display all use it.
//!
//! Depends on the journal only: what the scenario adds, such as which requests are cacheable, is handed in.

use std::collections::BTreeMap;

mod completed;
mod counters;
mod faults;
mod fine_slices;
mod freshness;
mod slices;
mod totals;

use completed::CompletedInPhase;
pub use faults::FaultWindow;
pub use fine_slices::FineSlices;
pub use slices::{DetailedCounts, JoinedSlices, Percentiles, TimeSlice, join_to_length, join_until};
pub use totals::{ResponseKey, Totals};

use crate::journal::{
    AtQuiescence, Event, Example, FaultEvent, FreshnessCounts, FreshnessKey, JournalEntry, JournalError, JournalReader,
    NotSentReason, ProxyCost, RunEnded, RunStarted, RunStatus, Sample, StackReady, StaleClassification, StaleRead,
    StatementCounts, TargetReady,
};

/// Most different times in all sums: 128 MB. A large scenario has some ten thousand for each of some hundred sums.
const MAX_DISTINCT: usize = 8_000_000;

/// Everything in a journal, by subject.
#[derive(Clone, Debug, Default)]
pub struct Measurements {
    /// The first line.
    pub start: Option<RunStarted>,
    /// The servers, once up.
    pub stack: Option<StackReady>,
    /// What the proxy costs, where that was measured.
    pub proxy: Option<ProxyCost>,
    /// The app, once up.
    pub target: Option<TargetReady>,
    /// The phases that began, by index into the scenario's phases.
    pub phases: BTreeMap<usize, PhaseSpan>,
    /// All responses of the run, summed over time.
    pub cells: BTreeMap<ResponseKey, Totals>,
    /// The responses of each second.
    pub coarse_slices: Vec<TimeSlice<DetailedCounts>>,
    /// The responses of each 100 ms, by phase and path; see [`Self::slices`].
    pub fine_slices: FineSlices,
    /// How many different times all these sums hold: that is what their memory is for.
    distinct: usize,
    /// What came in while its phase lasted, by phase.
    completed: BTreeMap<usize, CompletedInPhase>,
    /// The phases that slices to come may belong to.
    counted_phases: Vec<usize>,
    /// Server and process states, with their time.
    pub samples: Vec<(f64, Sample)>,
    /// The stages of the faults, with their time.
    pub faults: Vec<(f64, FaultEvent)>,
    /// Examples of errors.
    pub examples: Vec<Example>,
    /// Freshness checks, summed over time.
    pub fresh: BTreeMap<FreshnessKey, FreshnessCounts>,
    /// Requests that were never sent, by phase and reason.
    pub not_sent: BTreeMap<(usize, NotSentReason), u64>,
    /// Reads that were sent once more on a new connection, by phase.
    pub reconnects: BTreeMap<usize, u64>,
    /// Examples of stale responses, with the time of their line.
    pub stale_reads: Vec<(f64, StaleRead)>,
    /// The kinds of the stale responses.
    pub stale_classifications: Vec<StaleClassification>,
    /// What the database executed during the load.
    pub statements: Option<StatementCounts>,
    /// Comparisons of cached with uncached responses at quiescence.
    pub at_quiescence: Vec<AtQuiescence>,
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
    /// Its end; `None` while it lasts, or where the run ended in it.
    pub to: Option<f64>,
    /// Why it ended.
    pub reason: Option<String>,
}

impl Measurements {
    /// Those of a whole journal.
    pub fn of(lines: &[JournalEntry]) -> Self {
        let mut all = Self::default();
        for line in lines {
            all.apply(line);
        }
        all
    }

    /// Reads a journal, line by line.
    pub fn read(mut journal: JournalReader) -> Result<Self, JournalError> {
        let mut all = Self::default();
        while let Some(line) = journal.next() {
            all.apply(&line?);
            if all.distinct > MAX_DISTINCT {
                return Err(journal.refusal("it has more different response times than any run"));
            }
        }
        Ok(all)
    }

    /// Adds one line.
    pub fn apply(&mut self, line: &JournalEntry) {
        let at = line.at;
        self.last_at = self.last_at.max(at);
        match &line.event {
            Event::RunStarted(start) => self.start = Some(start.clone()),
            Event::StackReady(stack) => self.stack = Some(stack.clone()),
            Event::ProxyCost(cost) => self.proxy = Some(*cost),
            Event::TargetReady(target) => self.target = Some(target.clone()),
            Event::PhaseStarted { phase } => {
                self.phases.insert(*phase, PhaseSpan { from: at, ..PhaseSpan::default() });
                self.counted_phases.push(*phase);
            }
            Event::PhaseEnded { phase, reason } => {
                let span = self.phases.entry(*phase).or_default();
                span.to = Some(at);
                span.reason = Some(reason.clone());
            }
            Event::CoarseSlice(slice) => {
                for cell in &slice.cells {
                    let totals = self.cells.entry(ResponseKey::of(cell)).or_default();
                    self.distinct -= totals.distinct();
                    totals.add_cell(cell);
                    self.distinct += totals.distinct();
                }
                for cell in &slice.freshness {
                    let counts = self.fresh.entry(cell.of).or_default();
                    self.distinct -= counts.distinct();
                    counts.add(&cell.counts);
                    self.distinct += counts.distinct();
                }
                for not_sent in &slice.not_sent {
                    *self.not_sent.entry((not_sent.phase, not_sent.reason)).or_default() += not_sent.count;
                }
                for (phase, count) in &slice.reconnects {
                    *self.reconnects.entry(*phase).or_default() += count;
                }
                self.counted_phases.retain(|phase| {
                    let completed = self.completed.entry(*phase).or_default();
                    self.phases.get(phase).is_some_and(|span| completed.add(*phase, span, at, slice))
                });
                self.coarse_slices.push(TimeSlice::ending_at(at, slice.seconds, DetailedCounts::of(slice)));
            }
            Event::FineSlice(slice) => {
                self.fine_slices.push(at - slice.seconds, at, &slice.cells);
            }
            Event::Sample(sample) => self.samples.push((at, sample.clone())),
            Event::Fault(fault) => self.faults.push((at, fault.clone())),
            Event::Example(example) => self.examples.push(example.clone()),
            Event::StaleRead(read) => self.stale_reads.push((at, read.clone())),
            Event::StaleClassification(sorted) => self.stale_classifications.push(sorted.clone()),
            Event::Statements(statements) => self.statements = Some(statements.clone()),
            Event::AtQuiescence(at_quiescence) => self.at_quiescence.push(at_quiescence.clone()),
            Event::Note { text } => self.notes.push(text.clone()),
            Event::RunEnded(end) => self.end = Some(end.clone()),
        }
    }

    /// Whether the whole timeline was run.
    pub fn complete(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.how == RunStatus::Completed)
    }

    /// Whether the run was aborted before its end: it was not steady, or a condition of `[safety]` was met.
    pub fn was_aborted(&self) -> bool {
        self.end.as_ref().is_some_and(|end| matches!(end.how, RunStatus::NotSteady | RunStatus::Aborted))
    }

    /// The total of all responses whose key passes.
    pub fn total(&self, mut wanted: impl FnMut(&ResponseKey) -> bool) -> Totals {
        let mut sum = Totals::default();
        for (_, totals) in self.cells.iter().filter(|(key, _)| wanted(key)) {
            sum.add(totals);
        }
        sum
    }

    /// Number of responses whose key passes.
    pub fn count(&self, mut wanted: impl FnMut(&ResponseKey) -> bool) -> u64 {
        self.cells.iter().filter(|(key, _)| wanted(key)).map(|(_, totals)| totals.count()).sum()
    }

    /// Number of requests that were never sent, for the reasons that pass.
    pub fn count_not_sent(&self, mut wanted: impl FnMut(usize, NotSentReason) -> bool) -> u64 {
        self.not_sent.iter().filter(|((phase, reason), _)| wanted(*phase, *reason)).map(|(_, count)| count).sum()
    }

    /// How many of [`RunEnded::unsent`] are among the errors as well.
    pub fn unsent_errors(&self) -> u64 {
        let Some(end) = &self.end else { return 0 };
        let told = self.count_not_sent(|_, reason| reason == NotSentReason::NoConnection);
        // Older journals do not say. All were recorded when the run was complete.
        if told == 0 && end.how == RunStatus::Completed { end.unsent } else { told.min(end.unsent) }
    }

    /// Length of a phase so far, in seconds.
    pub fn phase_seconds(&self, phase: usize) -> f64 {
        self.phases.get(&phase).map_or(0.0, |span| span.to.unwrap_or(self.last_at) - span.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{CachePath, CoarseSlice, Histogram, Outcome, ResponseCell};

    fn cell(phase: usize, count: u64) -> ResponseCell {
        let mut response = Histogram::new();
        (0..count).for_each(|_| response.record(1_000_000));
        ResponseCell {
            phase,
            path: CachePath::Cached,
            request: 0,
            outcome: Outcome::Hit,
            service: response.clone(),
            response,
            response_sum: count * 1_000_000,
            over: Vec::new(),
            judged_fresh: 0,
            stale: 0,
        }
    }

    fn phase(phase: usize, from: f64, to: f64) -> [JournalEntry; 2] {
        let ended = Event::PhaseEnded { phase, reason: String::new() };
        [JournalEntry { at: from, event: Event::PhaseStarted { phase } }, JournalEntry { at: to, event: ended }]
    }

    fn coarse(at: f64, seconds: f64, cells: Vec<ResponseCell>) -> JournalEntry {
        JournalEntry { at, event: Event::CoarseSlice(CoarseSlice { seconds, cells, ..CoarseSlice::default() }) }
    }

    #[test]
    fn throughput_counts_what_was_answered_in_the_phase_not_what_arrived() {
        // 300/s of 400/s, from 0.4 s on for 10 s; the rest comes in later.
        let mut lines = Vec::from(phase(0, 0.4, 10.4));
        lines.push(coarse(1.0, 1.0, vec![cell(0, 180)]));
        lines.extend((2..=13).map(|at| coarse(f64::from(at), 1.0, vec![cell(0, 300)])));
        lines.push(coarse(13.8, 0.8, vec![cell(0, 220)]));
        let measurements = Measurements::of(&lines);
        assert_eq!(measurements.count(|key| key.phase == 0), 4_000);
        let throughput = measurements.throughput(&[0], |_| true).expect("it was measured");
        assert!((throughput - 300.0).abs() < 1e-6, "{throughput}");
    }

    #[test]
    fn throughput_of_a_phase_without_a_whole_slice_counts_the_one_in_which_it_ends() {
        let mut lines = Vec::from(phase(0, 0.2, 0.7));
        lines.push(coarse(1.0, 1.0, vec![cell(0, 50), cell(1, 9)]));
        let throughput = Measurements::of(&lines).throughput(&[0], |_| true).expect("it was measured");
        assert!((throughput - 100.0).abs() < 1e-6, "{throughput}");
    }

    #[test]
    fn a_coarse_slice_keeps_counts_and_percentiles_but_no_histogram() {
        let measurements = Measurements::of(&[coarse(1.0, 1.0, vec![cell(0, 7), cell(1, 3)])]);
        let counts = &measurements.coarse_slices[0].counts;
        assert_eq!(counts.by_key().map(|(_, count)| count).sum::<u64>(), 10);
        let (_, response) = counts.response().next().expect("there were responses");
        assert_eq!(response.count, 10);
        assert!(response.p50.abs_diff(1_000_000) < 1_000 && response.p50 == response.p99, "{response:?}");
    }
}
