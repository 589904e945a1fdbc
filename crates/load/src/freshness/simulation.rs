//! Tests the judge against a simulated deployment whose state is known: app, database, cache, clients, pauses, crashes,
//! timeouts, writes that are stored late, and a cache that is stale in several ways.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::judge::{
    ItemKey, Judge, ReadOutcome, ReadSnapshot, ReadVerdict, RunNanos, WriteKind, WriteOutcome, WriteTicket,
};

const MS: u64 = 1_000_000;
const KEYS: u64 = 400;
const TIMEOUT: RunNanos = 2_000 * MS;
const TTL: RunNanos = 5_000 * MS;
/// So many versions back, the history of an item is complete.
const RECENT_VERSIONS: u64 = 30;

/// How the cache is invalidated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coherence {
    /// Every read goes to the database.
    NoCache,
    /// Deleted after the commit, before the response; an old value may be stored afterwards.
    Delete,
    /// Deleted some time after the response.
    Late,
    /// One deletion in five is lost.
    Lossy,
    /// Never; entries live until their TTL.
    Never,
}

#[derive(Clone, Copy, Debug)]
struct SimulationConfig {
    coherence: Coherence,
    /// Whether the harness assigns the versions (otherwise the database does, from 1 in each generation of an item).
    assigns_versions: bool,
    deletes: bool,
    /// Whether the database delays writes, and the app repeats them and crashes.
    trouble: bool,
}

/// What the database holds of an item: a version, or nothing.
type Stored = Option<u64>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SimulationEvent {
    Arrive,
    Commit(usize),
    Invalidate(u64),
    Answer(usize),
    CacheLookup(usize),
    Load(usize),
    Fill(usize),
    Done(usize),
}

#[derive(Clone, Copy, Debug)]
struct SimulatedWrite {
    ticket: WriteTicket,
    sent: RunNanos,
    commits: u32,
    version: Option<u64>,
    refused: bool,
    timed_out: bool,
    acked: bool,
}

#[derive(Clone, Copy, Debug)]
struct SimulatedRead {
    id: u64,
    before: ReadSnapshot,
    sent: RunNanos,
    /// The latest acknowledgement before it was sent, as the simulation recorded it.
    acked: Option<Acked>,
    observed: u64,
    begun: u64,
    got: Stored,
}

/// The last acknowledged write of an item.
#[derive(Clone, Copy, Debug, Default)]
struct Acked {
    stored: Stored,
    /// How many writes of the item had begun.
    begun: u64,
}

#[derive(Clone, Copy)]
struct Commit {
    at: RunNanos,
    stored: Stored,
    /// An acknowledged write was stored once more, after newer ones: the database itself went back.
    regress: bool,
}

#[derive(Default)]
struct GroundTruth {
    /// Everything that the database held, with its time.
    commits: Vec<Commit>,
    acked: Option<Acked>,
    /// Versions of writes of unknown outcome.
    unknown: Vec<u64>,
    any_unknown: bool,
    deleted: bool,
    begun: u64,
    in_flight: u32,
    observed: u64,
    /// When the acknowledged write of each version was sent.
    sent: HashMap<u64, RunNanos>,
}

impl GroundTruth {
    fn now(&self) -> Stored {
        self.commits.last().and_then(|commit| commit.stored)
    }

    /// Whether the database rightly held it at any time between the two.
    fn held(&self, stored: Stored, from: RunNanos, to: RunNanos) -> bool {
        let first = self.commits.partition_point(|commit| commit.at <= from).saturating_sub(1);
        let between = self.commits[first..].iter().take_while(|commit| commit.at <= to);
        between.filter(|commit| !commit.regress).any(|commit| commit.stored == stored)
    }

    /// Since when the database held a newer version. `None`: it was deleted, or stored an older one again.
    fn superseded(&self, version: u64) -> Option<RunNanos> {
        let goes_back = !self.commits.is_sorted_by_key(|commit| commit.stored);
        let newer = |commit: &&Commit| commit.stored.is_some_and(|stored| stored > version);
        self.commits.iter().find(newer).map(|commit| commit.at).filter(|_| !self.deleted && !goes_back)
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct SimulatedCounts {
    operations: u64,
    judged: u64,
    stale: u64,
    really_stale: u64,
    indeterminate: u64,
    lost: u64,
    unknown_writes: u64,
    /// Stale reads whose age is known.
    ages: u64,
}

struct Simulation {
    config: SimulationConfig,
    judge: Judge,
    random: ChaCha8Rng,
    now: RunNanos,
    order: u64,
    queue: BinaryHeap<Reverse<(RunNanos, u64, SimulationEvent)>>,
    truth: Vec<GroundTruth>,
    cache: Vec<Option<(Stored, RunNanos)>>,
    writes: Vec<SimulatedWrite>,
    reads: Vec<SimulatedRead>,
    tally: SimulatedCounts,
}

impl Simulation {
    fn new(config: SimulationConfig, seed: u64) -> Self {
        Self {
            config,
            judge: Judge::new([(KEYS, config.assigns_versions)]),
            random: ChaCha8Rng::seed_from_u64(seed),
            now: 0,
            order: 0,
            queue: BinaryHeap::new(),
            truth: (0..=KEYS)
                .map(|_| GroundTruth {
                    commits: vec![Commit { at: 0, stored: Some(0), regress: false }],
                    ..GroundTruth::default()
                })
                .collect(),
            cache: vec![None; KEYS as usize + 1],
            writes: Vec::new(),
            reads: Vec::new(),
            tally: SimulatedCounts::default(),
        }
    }

    fn run(mut self, operations: u64) -> SimulatedCounts {
        self.schedule(0, SimulationEvent::Arrive);
        while let Some(Reverse((at, _, step))) = self.queue.pop() {
            self.now = at;
            match step {
                SimulationEvent::Arrive => {
                    self.arrive();
                    self.tally.operations += 1;
                    if self.tally.operations < operations {
                        let gap = self.random.random_range(1..MS);
                        self.schedule(gap, SimulationEvent::Arrive);
                    }
                }
                SimulationEvent::Commit(write) => self.commit(write),
                SimulationEvent::Invalidate(id) => self.cache[id as usize] = None,
                SimulationEvent::Answer(write) => self.answer(write),
                SimulationEvent::CacheLookup(read) => self.cache_lookup(read),
                SimulationEvent::Load(read) => self.load(read),
                SimulationEvent::Fill(read) => self.fill(read),
                SimulationEvent::Done(read) => self.done(read),
            }
        }
        self.tally
    }

    fn schedule(&mut self, delay: RunNanos, step: SimulationEvent) {
        self.order += 1;
        self.queue.push(Reverse((self.now + delay, self.order, step)));
    }

    /// A latency: mostly short, now and then a pause.
    fn latency(&mut self) -> RunNanos {
        let short = self.random.random_range(MS / 10..3 * MS);
        if self.random.random_ratio(1, 50) { short * 20 } else { short }
    }

    fn arrive(&mut self) {
        // The square makes some keys hot.
        let id = 1 + (self.random.random::<f64>().powi(2) * KEYS as f64) as u64;
        let key = ItemKey { space: 0, id: id.min(KEYS) };
        match self.random.random_range(0..100) {
            0..8 => self.write(key, WriteKind::Put),
            8 if self.config.deletes => self.write(key, WriteKind::Delete),
            _ => self.read(key),
        }
    }

    fn write(&mut self, key: ItemKey, kind: WriteKind) {
        let truth = &mut self.truth[key.id as usize];
        // One writer per key, also where the database assigns the versions: then only the exemptions are missed.
        if truth.in_flight > 0 {
            return;
        }
        let Some(ticket) = self.judge.begin_write(key, kind, self.now) else {
            panic!("no write of {key:?} was in flight");
        };
        truth.begun += 1;
        truth.in_flight += 1;
        truth.deleted |= kind == WriteKind::Delete;
        let trouble = self.config.trouble;
        let refused = self.random.random_ratio(1, 100);
        let index = self.writes.len();
        self.writes.push(SimulatedWrite {
            ticket,
            sent: self.now,
            commits: 0,
            version: ticket.version,
            refused,
            timed_out: false,
            acked: false,
        });
        let mut commit = self.latency();
        // The database delays it: it may be stored long after the client timed out.
        if trouble && self.random.random_ratio(1, 60) {
            commit += self.random.random_range(0..3 * TIMEOUT);
        }
        // The app crashed before or after the commit: the client gets no response.
        let crashed = trouble && self.random.random_ratio(1, 100);
        let never = crashed && self.random.random_bool(0.5);
        if !refused && !never {
            self.schedule(commit, SimulationEvent::Commit(index));
            // The app sends it twice.
            if trouble && self.random.random_ratio(1, 100) {
                let again = self.random.random_range(0..2 * TIMEOUT);
                self.schedule(commit + again, SimulationEvent::Commit(index));
            }
        }
        let answer = commit + self.latency();
        self.schedule(if crashed { TIMEOUT.min(answer) } else { answer.min(TIMEOUT) }, SimulationEvent::Answer(index));
        if crashed || answer >= TIMEOUT {
            self.writes[index].timed_out = true;
        }
    }

    fn commit(&mut self, index: usize) {
        let write = self.writes[index];
        let truth = &mut self.truth[write.ticket.key.id as usize];
        let stored = match (write.ticket.kind, write.ticket.version) {
            (WriteKind::Delete, _) => None,
            (WriteKind::Put, Some(version)) => Some(version),
            (WriteKind::Put, None) => Some(truth.now().map_or(1, |version| version + 1)),
        };
        let regress = write.commits > 0 && truth.begun > write.ticket.number && write.acked;
        truth.commits.push(Commit { at: self.now, stored, regress });
        let id = write.ticket.key.id;
        let write = &mut self.writes[index];
        write.commits += 1;
        // The response carries the version of the first attempt, or of the last one before the response.
        if !write.acked {
            write.version = stored;
        }
        match self.config.coherence {
            Coherence::NoCache | Coherence::Never => {}
            Coherence::Delete => self.cache[id as usize] = None,
            Coherence::Late => {
                let late = self.random.random_range(0..200 * MS);
                self.schedule(late, SimulationEvent::Invalidate(id));
            }
            Coherence::Lossy if self.random.random_ratio(1, 5) => {}
            Coherence::Lossy => self.cache[id as usize] = None,
        }
    }

    fn answer(&mut self, index: usize) {
        let write = self.writes[index];
        let id = write.ticket.key.id;
        let truth = &mut self.truth[id as usize];
        truth.in_flight -= 1;
        let end = if write.timed_out {
            self.tally.unknown_writes += 1;
            truth.unknown.extend(write.ticket.version);
            truth.any_unknown = true;
            WriteOutcome::Unknown
        } else if write.refused {
            WriteOutcome::Refused
        } else {
            self.writes[index].acked = true;
            truth.sent.extend(write.version.map(|version| (version, write.sent)));
            truth.acked = Some(Acked { stored: write.version, begun: truth.begun });
            WriteOutcome::Acked { version: write.version }
        };
        let update = self.judge.end_write(write.ticket, end, self.now);
        assert!(
            matches!(update, None | Some(super::judge::VersionUpdate::New)),
            "each write has a version of its own: {write:?}"
        );
    }

    fn read(&mut self, key: ItemKey) {
        let truth = &self.truth[key.id as usize];
        let (acked, observed, begun) = (truth.acked, truth.observed, truth.begun);
        let before = self.judge.begin_read(key);
        self.reads.push(SimulatedRead { id: key.id, before, sent: self.now, acked, observed, begun, got: None });
        let latency = self.latency();
        self.schedule(latency, SimulationEvent::CacheLookup(self.reads.len() - 1));
    }

    fn cache_lookup(&mut self, index: usize) {
        let id = self.reads[index].id as usize;
        let cached = self.cache[id].filter(|(_, until)| *until > self.now);
        let latency = self.latency();
        match cached {
            Some((stored, _)) => {
                self.reads[index].got = stored;
                self.schedule(latency, SimulationEvent::Done(index));
            }
            None => self.schedule(latency, SimulationEvent::Load(index)),
        }
    }

    fn load(&mut self, index: usize) {
        self.reads[index].got = self.truth[self.reads[index].id as usize].now();
        let latency = self.latency();
        self.schedule(
            latency,
            if self.config.coherence == Coherence::NoCache {
                SimulationEvent::Done(index)
            } else {
                SimulationEvent::Fill(index)
            },
        );
    }

    fn fill(&mut self, index: usize) {
        let SimulatedRead { id, got, .. } = self.reads[index];
        self.cache[id as usize] = Some((got, self.now + TTL));
        let latency = self.latency();
        self.schedule(latency, SimulationEvent::Done(index));
    }

    fn done(&mut self, index: usize) {
        let read = self.reads[index];
        let key = ItemKey { space: 0, id: read.id };
        let result = match read.got {
            Some(0) if self.config.assigns_versions => ReadOutcome::Item { version: None },
            Some(version) => ReadOutcome::Item { version: Some(version) },
            None => ReadOutcome::Missing,
        };
        let verdict = self.judge.end_read(key, &read.before, result, read.sent, self.now);
        let truth = &self.truth[read.id as usize];
        let held = truth.held(read.got, read.sent, self.now);
        let context = || format!("{:?}, {read:?}, {verdict:?}, at {}", self.config, self.now);
        match verdict {
            ReadVerdict::Stale(stale) => {
                self.tally.stale += 1;
                assert!(!held, "the database held what is called stale: {}", context());
                let older = match (read.got, read.acked) {
                    (Some(_), Some(Acked { stored: None, .. })) => true,
                    (Some(got), Some(Acked { stored: Some(acked), .. })) => got < acked,
                    _ => false,
                };
                assert!(older, "nothing newer had been acknowledged: {}", context());
                assert!(stale.at_least <= stale.at_most, "{}", context());
                if let Some((got, superseded)) = read.got.and_then(|got| Some((got, truth.superseded(got)?))) {
                    self.tally.ages += 1;
                    assert!(stale.at_least <= read.sent - superseded.min(read.sent), "{}", context());
                    assert!(stale.at_most >= self.now - superseded, "superseded at {superseded}: {}", context());
                    let next = truth.sent.get(&(got + 1)).filter(|_| got + RECENT_VERSIONS >= stale.floor);
                    assert!(
                        next.is_none_or(|sent| stale.at_most <= self.now - sent),
                        "the next version was sent at {next:?}: {}",
                        context()
                    );
                }
            }
            ReadVerdict::NonMonotonic(_) => {
                assert!(!held, "the database held what is called older than an earlier answer: {}", context());
                assert!(read.got.is_some_and(|got| got < read.observed), "nothing newer had been seen: {}", context());
            }
            ReadVerdict::Wrong(_) => {
                self.tally.lost += 1;
                assert!(!held, "the database held what is called wrong: {}", context());
            }
            ReadVerdict::Indeterminate => self.tally.indeterminate += 1,
            ReadVerdict::Fresh { .. } | ReadVerdict::NotJudged => {}
        }
        self.tally.judged += u64::from(!matches!(verdict, ReadVerdict::NotJudged));
        // Recall: older than a write that was acknowledged before the read was sent.
        let exempt = match read.got {
            // A version belongs to one generation only where the harness assigns it.
            Some(got) if self.config.assigns_versions => truth.unknown.contains(&got),
            _ => truth.deleted,
        };
        // After a delete, any write that was sent since may have created the item again.
        let untouched = truth.begun == read.acked.map_or(0, |acked| acked.begun) && truth.begun == read.begun;
        let really = match (read.acked, read.got) {
            (Some(Acked { stored: Some(acked), .. }), Some(got)) => got < acked,
            (Some(Acked { stored: None, .. }), Some(_)) => untouched && !truth.any_unknown,
            _ => false,
        };
        if really && (!exempt || matches!(read.acked, Some(Acked { stored: None, .. }))) {
            self.tally.really_stale += 1;
            assert!(matches!(verdict, ReadVerdict::Stale(_)), "a stale read was missed: {}", context());
        }
        if let Some(version) = read.got {
            let truth = &mut self.truth[read.id as usize];
            truth.observed = truth.observed.max(version);
        }
    }
}

fn simulate(
    coherence: Coherence,
    assigns_versions: bool,
    deletes: bool,
    trouble: bool,
    operations: u64,
) -> SimulatedCounts {
    let tally = Simulation::new(SimulationConfig { coherence, assigns_versions, deletes, trouble }, 31).run(operations);
    assert_eq!(tally.operations, operations);
    assert!(tally.judged > operations / 4, "{tally:?}");
    tally
}

#[test]
fn an_app_without_a_cache_is_never_called_stale_whatever_breaks() {
    for (assigns_versions, deletes) in [(true, false), (true, true), (false, false), (false, true)] {
        let tally = simulate(Coherence::NoCache, assigns_versions, deletes, false, 100_000);
        assert_eq!((tally.stale, tally.really_stale, tally.lost), (0, 0, 0), "{tally:?}");
    }
}

#[test]
fn a_million_operations_with_pauses_timeouts_and_retries_give_no_false_positive_and_miss_nothing() {
    let mut all = SimulatedCounts::default();
    for coherence in [Coherence::NoCache, Coherence::Delete, Coherence::Late, Coherence::Lossy, Coherence::Never] {
        for (assigns_versions, deletes) in [(true, false), (true, true), (false, false), (false, true)] {
            let tally = simulate(coherence, assigns_versions, deletes, true, 50_000);
            assert!(coherence == Coherence::NoCache || tally.really_stale > 0, "there is something to find: {tally:?}");
            assert!(tally.unknown_writes > 20, "there was trouble: {tally:?}");
            all.operations += tally.operations;
            all.stale += tally.stale;
            all.really_stale += tally.really_stale;
            all.indeterminate += tally.indeterminate;
            all.ages += tally.ages;
        }
    }
    assert_eq!(all.operations, 1_000_000);
    assert!(all.indeterminate > 0, "late writes were seen: {all:?}");
    assert!(all.ages > 10_000, "ages were compared with the truth: {all:?}");
}
