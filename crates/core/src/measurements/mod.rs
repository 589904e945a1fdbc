//! One reading of the event stream, line by line: what verdict, report and the live line all look at.

use std::collections::BTreeMap;

mod beats;
mod freshness;

pub use beats::Beat;

use crate::journal::{
    AtQuiescence, CachePath, Event, Example, FaultEvent, FaultStage, FreshnessCounts, FreshnessKey, Histogram,
    JournalEntry, Outcome, ProxyCost, Pulse, RedisSample, ResponseCell, RunEnded, RunStarted, RunStatus, Sample,
    SendLag, StackReady, StaleClassification, StaleRead, TargetReady, Window,
};

/// How far from a phase's start and end a server may have been asked for its counters, seconds: a little more
/// than the time between two samples.
const MAX_SAMPLE_DISTANCE: f64 = 1.2;

/// Everything a journal says, sorted for reading.
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
    /// All answers of the run, summed over time.
    pub cells: BTreeMap<ResponseKey, Totals>,
    /// The answers second by second, with the window's end in seconds since the start.
    pub windows: Vec<(f64, Second)>,
    /// The answers pulse by pulse, with the pulse's end; see [`Self::beats`].
    pub pulses: Vec<(f64, Pulse)>,
    /// Server and process states, with their time.
    pub samples: Vec<(f64, Sample)>,
    /// Faults step by step, with their time.
    pub faults: Vec<(f64, FaultEvent)>,
    /// Answers worth showing.
    pub examples: Vec<Example>,
    /// What was judged of freshness, summed over time.
    pub fresh: BTreeMap<FreshnessKey, FreshnessCounts>,
    /// Stale answers worth showing, with the time at which they were told.
    pub stale_reads: Vec<(f64, StaleRead)>,
    /// What became of stale answers.
    pub stale_classifications: Vec<StaleClassification>,
    /// Comparisons at rest.
    pub at_quiescence: Vec<AtQuiescence>,
    /// What the user should know.
    pub notes: Vec<String>,
    /// The last line; `None` while running, or when cacheproof died.
    pub end: Option<RunEnded>,
    /// Time of the last line, seconds.
    pub last_at: f64,
}

/// What is kept of one [`Window`]: no histograms, or a long run would not fit into memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Second {
    /// How long the window was, in seconds.
    pub seconds: f64,
    /// Arrivals that were due and waited for a free connection at the window's end.
    pub backlog: u64,
    /// How late the generator itself was.
    pub send_lag: Option<SendLag>,
    /// How many answers of each kind came in.
    pub counts: Vec<(ResponseKey, u64)>,
    /// Response times of each path.
    pub response: BTreeMap<CachePath, Percentiles>,
    /// How many answers of each path were stale, where any were.
    pub stale: BTreeMap<CachePath, u64>,
}

/// Percentiles in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// How many answers they are of.
    pub count: u64,
    /// Median.
    pub p50: u64,
    /// 95th percentile.
    pub p95: u64,
    /// 99th percentile.
    pub p99: u64,
}

impl Second {
    fn of(window: &Window) -> Self {
        let mut response: BTreeMap<CachePath, Histogram> = BTreeMap::new();
        let mut stale: BTreeMap<CachePath, u64> = BTreeMap::new();
        for cell in &window.cells {
            response.entry(cell.path).or_default().merge(&cell.response);
            if cell.stale > 0 {
                *stale.entry(cell.path).or_default() += cell.stale;
            }
        }
        let percentiles = |histogram: Histogram| {
            let at = |q| histogram.quantile(q).unwrap_or(0);
            Percentiles { count: histogram.count(), p50: at(0.5), p95: at(0.95), p99: at(0.99) }
        };
        Self {
            seconds: window.seconds,
            backlog: window.backlog,
            send_lag: window.send_lag,
            counts: window.cells.iter().map(|cell| (ResponseKey::of(cell), cell.response.count())).collect(),
            response: response.into_iter().map(|(path, histogram)| (path, percentiles(histogram))).collect(),
            stale,
        }
    }
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
pub struct ResponseKey {
    /// Phase that the request was meant for.
    pub phase: usize,
    /// Way it took.
    pub path: CachePath,
    /// Index into the scenario's requests.
    pub request: usize,
    /// What became of it.
    pub outcome: Outcome,
}

impl ResponseKey {
    fn of(cell: &ResponseCell) -> Self {
        Self { phase: cell.phase, path: cell.path, request: cell.request, outcome: cell.outcome }
    }
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
    /// How many could be: see [`ResponseCell::judged_fresh`].
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

    fn add_cell(&mut self, cell: &ResponseCell) {
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
    /// Which of the phase's faults.
    pub fault: usize,
    /// How often it was injected before.
    pub round: u32,
    /// `kill redis`.
    pub what: String,
    /// What was done, in words.
    pub done: String,
    /// How many open connections it touched, where it is done to connections.
    pub connections: Option<u64>,
    /// What a probe saw of it, in words.
    pub observation: Option<String>,
    /// When its injection began, seconds.
    pub from: f64,
    /// When it was injected; `None`: that was broken off.
    pub injected: Option<f64>,
    /// When it was seen to work.
    pub seen: Option<f64>,
    /// When it was undone.
    pub undone: Option<f64>,
    /// When the victim was seen to work again.
    pub back: Option<f64>,
}

impl FaultWindow {
    fn begun(event: &FaultEvent, at: f64) -> Self {
        Self {
            phase: event.phase,
            fault: event.fault,
            round: event.round,
            what: event.what.clone(),
            done: "its injection was broken off".to_owned(),
            connections: None,
            observation: None,
            from: at,
            injected: None,
            seen: None,
            undone: None,
            back: None,
        }
    }
}

impl Measurements {
    /// Reads a whole journal.
    pub fn of(lines: &[JournalEntry]) -> Self {
        let mut all = Self::default();
        for line in lines {
            all.apply(line);
        }
        all
    }

    /// Takes in one more line.
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
            }
            Event::PhaseEnded { phase, reason } => {
                let span = self.phases.entry(*phase).or_default();
                span.to = Some(at);
                span.reason = Some(reason.clone());
            }
            Event::Window(window) => {
                for cell in &window.cells {
                    self.cells.entry(ResponseKey::of(cell)).or_default().add_cell(cell);
                }
                for cell in &window.freshness {
                    self.fresh.entry(cell.of).or_default().add(&cell.counts);
                }
                self.windows.push((at, Second::of(window)));
            }
            Event::Pulse(pulse) => self.pulses.push((at, pulse.clone())),
            Event::Sample(sample) => self.samples.push((at, sample.clone())),
            Event::Fault(fault) => self.faults.push((at, fault.clone())),
            Event::Example(example) => self.examples.push(example.clone()),
            Event::StaleRead(read) => self.stale_reads.push((at, read.clone())),
            Event::StaleClassification(sorted) => self.stale_classifications.push(sorted.clone()),
            Event::AtQuiescence(at_quiescence) => self.at_quiescence.push(at_quiescence.clone()),
            Event::Note { text } => self.notes.push(text.clone()),
            Event::RunEnded(end) => self.end = Some(end.clone()),
        }
    }

    /// Whether the whole timeline was run.
    pub fn complete(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.how == RunStatus::Completed)
    }

    /// Whether the run was given up before its end because nothing would have been proved by going on.
    pub fn was_aborted(&self) -> bool {
        self.end.as_ref().is_some_and(|end| matches!(end.how, RunStatus::NotSteady | RunStatus::Aborted))
    }

    /// All answers whose key passes, put together.
    pub fn total(&self, mut wanted: impl FnMut(&ResponseKey) -> bool) -> Totals {
        let mut sum = Totals::default();
        for (_, totals) in self.cells.iter().filter(|(key, _)| wanted(key)) {
            sum.add(totals);
        }
        sum
    }

    /// How many answers have a key that passes.
    pub fn count(&self, mut wanted: impl FnMut(&ResponseKey) -> bool) -> u64 {
        self.cells.iter().filter(|(key, _)| wanted(key)).map(|(_, totals)| totals.count()).sum()
    }

    /// Length of a phase so far, in seconds.
    pub fn phase_seconds(&self, phase: usize) -> f64 {
        self.phases.get(&phase).map_or(0.0, |span| span.to.unwrap_or(self.last_at) - span.from)
    }

    /// How many answers with a key that passes came in while their phase lasted, and the seconds in which they
    /// did. Answers that come in after it (there is a backlog) are none of its throughput.
    pub fn completed_in_phase(&self, phase: usize, mut wanted: impl FnMut(&ResponseKey) -> bool) -> (u64, f64) {
        let Some(span) = self.phases.get(&phase) else { return (0, 0.0) };
        let to = span.to.unwrap_or(self.last_at);
        let inside = |at: f64| at > span.from && at <= to;
        let last = self.windows.iter().map(|(at, _)| *at).filter(|at| inside(*at)).reduce(f64::max);
        // The window that the phase ends in holds late answers as well: it is left out with its seconds, unless
        // the phase is so short that little else remains.
        let (until, seconds) = match last {
            Some(last) if last - span.from >= (to - span.from) / 2.0 => (last, last - span.from),
            _ => (self.windows.iter().map(|(at, _)| *at).find(|at| *at > to).unwrap_or(to), to - span.from),
        };
        let count = self
            .windows
            .iter()
            .filter(|(at, _)| *at > span.from && *at <= until)
            .flat_map(|(_, window)| &window.counts)
            .filter(|(key, _)| key.phase == phase && wanted(key))
            .map(|(_, count)| count)
            .sum();
        (count, seconds)
    }

    /// Requests answered (not failed) a second while the phases lasted. `None` where there is no such time.
    pub fn throughput(&self, phases: &[usize], mut wanted: impl FnMut(&ResponseKey) -> bool) -> Option<f64> {
        let (mut answers, mut seconds) = (0, 0.0);
        for phase in phases {
            let (count, of) = self.completed_in_phase(*phase, |key| key.outcome != Outcome::Error && wanted(key));
            answers += count;
            seconds += of;
        }
        (seconds > 0.0).then(|| answers as f64 / seconds)
    }

    /// How much a counter grew in a phase: between the readings nearest to its start and its end.
    /// `None` where either is more than 1.2 s away, and where the counter went back although its server was not
    /// started anew: somebody reset it, and what it had counted is lost.
    fn counter_increase<'a>(
        &'a self,
        phase: usize,
        reading: impl Fn(&'a Sample) -> Option<CounterReading<'a>>,
    ) -> Option<u64> {
        let span = self.phases.get(&phase)?;
        let readings: Vec<(f64, CounterReading<'_>)> =
            self.samples.iter().filter_map(|(at, sample)| reading(sample).map(|read| (at - read.age, read))).collect();
        let nearest = |moment: f64| {
            let away = |index: &usize| (readings[*index].0 - moment).abs();
            (0..readings.len())
                .min_by(|a, b| away(a).total_cmp(&away(b)))
                .filter(|index| away(index) <= MAX_SAMPLE_DISTANCE)
        };
        let (first, last) = (nearest(span.from)?, nearest(span.to.unwrap_or(self.last_at))?);
        let mut grown = None;
        for pair in readings.get(first..=last)?.windows(2) {
            let (before, after) = (&pair[0].1, &pair[1].1);
            let anew = before.server != after.server;
            *grown.get_or_insert(0) += match after.value.checked_sub(before.value) {
                _ if before.counts != after.counts => return None,
                _ if anew && !after.survives => after.value,
                Some(more) => more,
                None if anew => after.value,
                None => return None,
            };
        }
        grown
    }

    fn redis_counter_increase(&self, phase: usize, counter: impl Fn(&RedisSample) -> u64) -> Option<u64> {
        self.counter_increase(phase, |sample| {
            let redis = sample.redis.as_ref()?;
            let (value, server) = (counter(redis), redis.run_id.as_str());
            Some(CounterReading { value, server, counts: true, survives: false, age: redis.age })
        })
    }

    /// Queries that the database executed in a phase for everybody but cacheproof. `None` where the database did
    /// not answer the probe at the phase's edges, or lost its count in between.
    pub fn db_queries(&self, phase: usize) -> Option<u64> {
        self.counter_increase(phase, |sample| {
            let postgres = sample.postgres.as_ref()?;
            // Postgres keeps its statistics over an orderly restart.
            let (value, server) = (postgres.queries, postgres.started.as_str());
            Some(CounterReading { value, server, counts: postgres.exact, survives: true, age: postgres.age })
        })
    }

    /// Bytes by which the app's log grew in a phase. `None` where cacheproof does not keep it, or somebody cut it.
    pub fn log_bytes(&self, phase: usize) -> Option<u64> {
        self.counter_increase(phase, |sample| {
            let value = sample.app.as_ref()?.log?;
            Some(CounterReading { value, server: "", counts: true, survives: true, age: 0.0 })
        })
    }

    /// Keys that Redis evicted in a phase.
    pub fn evictions(&self, phase: usize) -> Option<u64> {
        self.redis_counter_increase(phase, |redis| redis.evicted)
    }

    /// Look-ups of keys that found one, and that found none, as Redis itself counted them in a phase: all its clients and all kinds of
    /// keys together, so not the number of cached answers.
    pub fn redis_lookups(&self, phase: usize) -> Option<(u64, u64)> {
        Some((
            self.redis_counter_increase(phase, |redis| redis.hits)?,
            self.redis_counter_increase(phase, |redis| redis.misses)?,
        ))
    }

    /// The stretches in which something was broken.
    pub fn fault_windows(&self) -> Vec<FaultWindow> {
        let mut windows: Vec<FaultWindow> = Vec::new();
        for (at, event) in &self.faults {
            let same = |window: &&mut FaultWindow| {
                (window.phase, window.fault, window.round) == (event.phase, event.fault, event.round)
            };
            let known = windows.iter_mut().rev().find(same);
            let window = match (event.stage, known) {
                (FaultStage::Injected, Some(window)) => window,
                // Journals of old say only when it was done.
                (FaultStage::Begun | FaultStage::Injected, _) => {
                    windows.push(FaultWindow::begun(event, *at));
                    windows.last_mut().expect("just pushed")
                }
                (_, Some(window)) => window,
                (_, None) => continue,
            };
            match event.stage {
                FaultStage::Begun => {}
                FaultStage::Injected => {
                    window.injected = Some(*at);
                    window.done = event.detail.clone();
                    window.connections = event.connections;
                }
                FaultStage::Seen => {
                    window.seen = Some(*at);
                    window.observation = Some(event.detail.clone());
                }
                FaultStage::Undone => window.undone = Some(*at),
                FaultStage::SeenUndone => window.back = Some(*at),
            }
        }
        windows
    }
}

/// One reading of a counter.
struct CounterReading<'a> {
    value: u64,
    /// Changes with every start of the server.
    server: &'a str,
    /// What is counted; two counts of different things have no difference.
    counts: bool,
    /// Whether the counter may go on after a restart.
    survives: bool,
    /// How long before its line's time it was made, seconds.
    age: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::PostgresSample;

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

    fn window(at: f64, seconds: f64, cells: Vec<ResponseCell>) -> JournalEntry {
        JournalEntry { at, event: Event::Window(Window { seconds, cells, ..Window::default() }) }
    }

    fn postgres(at: f64, queries: u64, change: impl Fn(&mut PostgresSample)) -> JournalEntry {
        let mut postgres = PostgresSample { queries, exact: true, started: "noon".into(), ..PostgresSample::default() };
        change(&mut postgres);
        JournalEntry { at, event: Event::Sample(Sample { postgres: Some(postgres), ..Sample::default() }) }
    }

    #[test]
    fn throughput_is_what_was_answered_in_time_not_what_arrived() {
        // 300/s of 400/s, from 0.4 s on for 10 s; the rest comes in later.
        let mut lines = Vec::from(phase(0, 0.4, 10.4));
        lines.push(window(1.0, 1.0, vec![cell(0, 180)]));
        lines.extend((2..=13).map(|at| window(f64::from(at), 1.0, vec![cell(0, 300)])));
        lines.push(window(13.8, 0.8, vec![cell(0, 220)]));
        let seen = Measurements::of(&lines);
        assert_eq!(seen.count(|key| key.phase == 0), 4_000);
        let throughput = seen.throughput(&[0], |_| true).expect("it was measured");
        assert!((throughput - 300.0).abs() < 1e-6, "{throughput}");
    }

    #[test]
    fn throughput_of_a_phase_without_a_whole_window_counts_the_one_it_ends_in() {
        let mut lines = Vec::from(phase(0, 0.2, 0.7));
        lines.push(window(1.0, 1.0, vec![cell(0, 50), cell(1, 9)]));
        let throughput = Measurements::of(&lines).throughput(&[0], |_| true).expect("it was measured");
        assert!((throughput - 100.0).abs() < 1e-6, "{throughput}");
    }

    #[test]
    fn a_second_keeps_counts_and_percentiles_but_no_histogram() {
        let seen = Measurements::of(&[window(1.0, 1.0, vec![cell(0, 7), cell(1, 3)])]);
        let second = &seen.windows[0].1;
        assert_eq!(second.counts.iter().map(|(_, count)| count).sum::<u64>(), 10);
        let response = second.response[&CachePath::Cached];
        assert_eq!(response.count, 10);
        assert!(response.p50.abs_diff(1_000_000) < 1_000 && response.p50 == response.p99, "{response:?}");
    }

    #[test]
    fn the_database_must_answer_at_both_edges_of_a_phase() {
        let of = |times: &[f64]| {
            let mut lines = Vec::from(phase(0, 10.0, 20.0));
            lines.extend(times.iter().map(|at| postgres(*at, (*at * 100.0) as u64, |_| {})));
            Measurements::of(&lines).db_queries(0)
        };
        assert_eq!(of(&[9.5, 10.1, 15.0, 19.2, 20.1]), Some(1_000));
        assert_eq!(of(&[11.0, 12.0, 19.0]), Some(800));
        assert_eq!(of(&[12.0, 19.9]), None, "the start is missing");
        assert_eq!(of(&[10.0, 11.0, 18.0]), None, "the end is missing");
    }

    #[test]
    fn a_reading_counts_from_when_it_was_made() {
        let mut lines = Vec::from(phase(0, 10.0, 20.0));
        // Redis hung for 0.7 s in each sample; Postgres had answered at once.
        lines.extend(
            [9.3, 10.0, 19.3, 20.0].map(|at| postgres(at + 0.7, (at * 100.0) as u64, |postgres| postgres.age = 0.7)),
        );
        assert_eq!(Measurements::of(&lines).db_queries(0), Some(1_000));
    }

    #[test]
    fn a_counter_that_goes_back_is_a_restart_only_where_the_server_was_started() {
        let of = |last: JournalEntry| {
            let mut lines = Vec::from(phase(0, 0.0, 2.0));
            lines.extend([postgres(0.0, 100, |_| {}), postgres(1.0, 150, |_| {}), last]);
            Measurements::of(&lines).db_queries(0)
        };
        assert_eq!(of(postgres(2.0, 30, |postgres| postgres.started = "one".into())), Some(80), "it crashed");
        assert_eq!(of(postgres(2.0, 170, |postgres| postgres.started = "one".into())), Some(70), "orderly restart");
        assert_eq!(of(postgres(2.0, 30, |_| {})), None, "statements were thrown out, or the counts reset");
        assert_eq!(of(postgres(2.0, 900, |postgres| postgres.exact = false)), None, "transactions are no queries");
    }

    #[test]
    fn redis_counts_from_nothing_after_a_start() {
        let redis = |at, run_id: &str, hits| {
            let redis = RedisSample { run_id: run_id.into(), hits, misses: hits / 10, ..RedisSample::default() };
            JournalEntry { at, event: Event::Sample(Sample { redis: Some(redis), ..Sample::default() }) }
        };
        let mut lines = Vec::from(phase(0, 0.0, 2.0));
        lines.extend([redis(0.0, "a", 100), redis(1.0, "a", 140), redis(2.0, "b", 200)]);
        assert_eq!(Measurements::of(&lines).redis_lookups(0), Some((240, 24)));
    }
}
