//! What a run can have written. A journal may be cut, altered or written by another version: every number in it is checked
//! here, once, so that whoever counts with it needs no care of its own. The limits are such that sums over a whole journal
//! can't overflow.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    AnswerCounts, AtQuiescence, CoarseSlice, Event, FaultEvent, FaultStage, FineSlice, FreshnessCell, FreshnessKey,
    JournalEntry, ProcessSample, RunStarted, Sample, SliceCounts, StaleRead,
};

/// Longest time, seconds: three years.
const MAX_SECONDS: f64 = 1e8;
/// The same in nanoseconds.
const MAX_NANOS: u64 = 100_000_000_000_000_000;
/// Most events of one kind in one line, which is of one second or one item. A journal would need 2^34 of them to overflow.
const MAX_COUNT: u64 = super::buckets::MAX_VALUES;
/// Largest counter or size in bytes. 2^16 phases of so many still fit.
const MAX_COUNTER: u64 = 1 << 47;
/// Most phases, and most requests: the load counts them with 16 bits.
const MAX_INDEX: usize = u16::MAX as usize;
/// Longest scenario in bytes: a file may have a quarter of it, and `***` takes more room than a short secret.
const MAX_SCENARIO: usize = 4 << 20;

/// How many phases, faults and requests the scenario of a journal has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// The number of faults of each phase.
    pub faults: Vec<usize>,
    /// The number of requests.
    pub requests: usize,
}

/// Checks one line after the other.
#[derive(Debug, Default)]
pub(super) struct LineCheck {
    outline: Option<Outline>,
    /// Time of the line before.
    at: f64,
    /// Number of [`RunStarted::limits`]; `None` before the first line.
    limits: Option<usize>,
    is_over: bool,
    /// The phases that began.
    begun: BTreeSet<usize>,
    /// Those of them that ended.
    ended: BTreeSet<usize>,
    /// By phase and number: the last round of each fault, and its stage.
    rounds: BTreeMap<(usize, usize), (u32, FaultStage)>,
}

/// What is wrong with a line, in words.
type Checked = Result<(), String>;

impl LineCheck {
    /// From now on indices must be those of this scenario.
    pub fn set_outline(&mut self, outline: Outline) {
        self.outline = Some(outline);
    }

    pub fn check(&mut self, entry: &JournalEntry) -> Checked {
        if self.limits.is_some() == matches!(entry.event, Event::RunStarted(_)) {
            return Err("a journal has one run_started line, the first".to_owned());
        }
        if self.is_over {
            return Err("it comes after the run_ended line".to_owned());
        }
        seconds("its time", entry.at)?;
        if entry.at < self.at {
            return Err(format!("its time, {}, lies before that of the line above, {}", entry.at, self.at));
        }
        self.at = entry.at;
        match &entry.event {
            Event::RunStarted(start) => self.start(start),
            Event::StackReady(_) | Event::Note { .. } => Ok(()),
            Event::ProxyCost(cost) => {
                count("round_trips", cost.round_trips)?;
                nanos("direct", cost.direct)?;
                nanos("added", cost.added)
            }
            Event::TargetReady(_) => Ok(()),
            Event::PhaseStarted { phase } => {
                self.phase(*phase)?;
                if self.begun.last().is_some_and(|last| last >= phase) {
                    return Err(format!("phase {phase} begins after a later one, or twice"));
                }
                self.begun.insert(*phase);
                Ok(())
            }
            Event::PhaseEnded { phase, .. } => {
                if !self.begun.contains(phase) || !self.ended.insert(*phase) {
                    return Err(format!("phase {phase} ends without having begun, or twice"));
                }
                Ok(())
            }
            Event::CoarseSlice(slice) => self.coarse(slice),
            Event::FineSlice(slice) => self.fine(slice),
            Event::Sample(sample) => check_sample(sample),
            Event::Fault(fault) => self.fault(fault),
            Event::Example(example) => self.phase(example.phase),
            Event::StaleRead(read) => self.stale_read(read),
            Event::StaleClassification(sorted) => {
                for look in &sorted.rechecks {
                    signed_seconds("after", look.after)?;
                }
                for one in &sorted.reads {
                    self.key(&one.of)?;
                    count("count", one.count)?;
                }
                Ok(())
            }
            Event::Statements(statements) => {
                counter("all", statements.all)?;
                at_most("by_pools", statements.by_pools, "all", statements.all)?;
                statements
                    .most_frequent
                    .iter()
                    .try_for_each(|(_, calls)| at_most("calls", *calls, "all", statements.all))
            }
            Event::AtQuiescence(compared) => {
                self.phase(compared.phase)?;
                if let Some(request) = compared.request {
                    self.request(request)?;
                }
                let AtQuiescence { compared, differ, incomparable, not_bypassed, unchanged, unread, skipped, .. } =
                    *compared;
                count("unchanged", unchanged)?;
                count("compared", compared)?;
                at_most("differ", differ, "compared", compared)?;
                count("incomparable", incomparable)?;
                count("not_bypassed", not_bypassed)?;
                count("unread", unread)?;
                count("skipped", skipped)
            }
            Event::RunEnded(end) => {
                self.is_over = true;
                counter("goose_requests", end.goose_requests.unwrap_or(0))?;
                if let Some(after) = &end.steady_after {
                    seconds("seconds", after.seconds)?;
                    counter("requests", after.requests)?;
                }
                if let Some(labels) = end.labels {
                    counter("told", labels.told)?;
                    counter("assumed", labels.assumed)?;
                }
                counter("unsent", end.unsent)
            }
        }
    }

    fn start(&mut self, start: &RunStarted) -> Checked {
        self.limits = Some(start.limits.len());
        if start.scenario.len() > MAX_SCENARIO {
            return Err(format!("its scenario is longer than {MAX_SCENARIO} bytes"));
        }
        counter("cores", start.host.cores as u64)?;
        counter("memory", start.host.memory)
    }

    fn phase(&self, phase: usize) -> Checked {
        let phases = self.outline.as_ref().map_or(MAX_INDEX, |outline| outline.faults.len());
        if phase < phases { Ok(()) } else { Err(format!("there is no phase {phase}")) }
    }

    fn request(&self, request: usize) -> Checked {
        let requests = self.outline.as_ref().map_or(MAX_INDEX, |outline| outline.requests);
        if request < requests { Ok(()) } else { Err(format!("there is no request {request}")) }
    }

    fn key(&self, key: &FreshnessKey) -> Checked {
        self.phase(key.phase)?;
        self.request(key.request)
    }

    fn coarse(&self, slice: &CoarseSlice) -> Checked {
        seconds("seconds", slice.seconds)?;
        count("backlog", slice.backlog)?;
        if let Some(lag) = slice.send_lag {
            nanos("send_lag", lag.p50.max(lag.p99).max(lag.max))?;
        }
        for cell in &slice.cells {
            self.phase(cell.phase)?;
            self.request(cell.request)?;
            let responses = cell.response.count();
            if cell.service.count() != responses {
                return Err(format!("{responses} response times and {} service times", cell.service.count()));
            }
            if Some(cell.over.len()) != self.limits {
                return Err("over has not as many numbers as the run has limits".to_owned());
            }
            for over in &cell.over {
                at_most("over", *over, "responses", responses)?;
            }
            at_most("stale", cell.stale, "responses", responses)?;
            at_most("judged_fresh", cell.judged_fresh, "responses", responses)?;
        }
        for not_sent in &slice.not_sent {
            self.phase(not_sent.phase)?;
            count("not_sent", not_sent.count)?;
        }
        for (phase, reconnects) in &slice.reconnects {
            self.phase(*phase)?;
            count("reconnects", *reconnects)?;
        }
        slice.freshness.iter().try_for_each(|cell| self.freshness(cell))
    }

    fn freshness(&self, cell: &FreshnessCell) -> Checked {
        self.key(&cell.of)?;
        let counts = &cell.counts;
        count("probes", counts.probes)?;
        at_most("probes_stale", counts.probes_stale, "probes", counts.probes)?;
        count("probes_wrong", counts.probes_wrong)?;
        count("indeterminate", counts.indeterminate)?;
        count("non_monotonic", counts.non_monotonic)?;
        counts.wrong.values().try_for_each(|wrong| count("wrong", *wrong))?;
        for (bucket, one) in &counts.curve {
            if *bucket > super::freshness::LAST_BUCKET {
                return Err(format!("the curve has no bucket {bucket}"));
            }
            count("fresh", one.fresh)?;
            count("stale", one.stale)?;
        }
        let AnswerCounts {
            items,
            others,
            absent,
            substitutes,
            unversioned,
            unversioned_written,
            compared,
            same,
            updates,
            lost_updates,
            unchanged,
            final_reads,
            lost_at_end,
            behind_at_end,
            unread_at_end,
        } = counts.answers;
        count("items", items)?;
        count("absent", absent)?;
        count("others", others)?;
        at_most("substitutes", substitutes, "items and others", items + others)?;
        at_most("unversioned", unversioned, "items", items)?;
        at_most("unversioned_written", unversioned_written, "unversioned", unversioned)?;
        count("compared", compared)?;
        at_most("same", same, "compared", compared)?;
        count("updates", updates)?;
        at_most("lost_updates", lost_updates, "updates", updates)?;
        count("unchanged", unchanged)?;
        count("final_reads", final_reads)?;
        at_most("lost_at_end", lost_at_end, "final_reads", final_reads)?;
        count("behind_at_end", behind_at_end)?;
        count("unread_at_end", unread_at_end)
    }

    fn fine(&self, slice: &FineSlice) -> Checked {
        seconds("seconds", slice.seconds)?;
        for cell in &slice.cells {
            self.phase(cell.phase)?;
            let SliceCounts { answered, errors, wrong, stale, hits, misses, passed, fallbacks, p50, p95, max } =
                cell.counts;
            count("answered", answered)?;
            count("errors", errors)?;
            for (name, part) in [("wrong", wrong), ("stale", stale), ("hits", hits), ("misses", misses)] {
                at_most(name, part, "answered", answered)?;
            }
            at_most("passed", passed, "answered", answered)?;
            at_most("fallbacks", fallbacks, "answered", answered)?;
            nanos("a response time", p50.max(p95).max(max))?;
        }
        Ok(())
    }

    /// The rounds of a fault come one after the other, and the stages of a round as well.
    fn fault(&mut self, event: &FaultEvent) -> Checked {
        self.phase(event.phase)?;
        let faults = self.outline.as_ref().and_then(|outline| outline.faults.get(event.phase));
        if event.fault >= faults.copied().unwrap_or(MAX_INDEX) {
            return Err(format!("phase {} has no fault {}", event.phase, event.fault));
        }
        count("connections", event.connections.unwrap_or(0))?;
        counter("app_bytes", event.app_bytes.unwrap_or(0))?;
        let (round, stage) = (event.round, event.stage);
        let follows = match self.rounds.get(&(event.phase, event.fault)) {
            // Older journals have no `begun` stage.
            None => stage <= FaultStage::Injected,
            Some((before, last)) if *before == round => *last < stage,
            Some((before, last)) => *before < round && *last >= FaultStage::Undone && stage <= FaultStage::Injected,
        };
        if !follows {
            return Err(format!("round {round} of the fault '{}' is out of order", event.what));
        }
        self.rounds.insert((event.phase, event.fault), (round, stage));
        Ok(())
    }

    fn stale_read(&self, read: &StaleRead) -> Checked {
        self.key(&read.of)?;
        signed_seconds("age_at_least", read.age_at_least)?;
        signed_seconds("age_at_most", read.age_at_most)?;
        signed_seconds("since_ack", read.since_ack.unwrap_or(0.0))?;
        for one in &read.history {
            signed_seconds("from", one.from)?;
            signed_seconds("to", one.to.unwrap_or(0.0))?;
        }
        Ok(())
    }
}

fn check_sample(sample: &Sample) -> Checked {
    if let Some(redis) = &sample.redis {
        signed_seconds("age", redis.age)?;
        counter("hits", redis.hits.unwrap_or(0))?;
        counter("misses", redis.misses.unwrap_or(0))?;
        counter("evicted", redis.evicted.unwrap_or(0))?;
        counter("expired", redis.expired.unwrap_or(0))?;
        counter("memory", redis.memory.unwrap_or(0))?;
        counter("max_memory", redis.max_memory.unwrap_or(0))?;
        counter("clients", redis.clients.unwrap_or(0))?;
        counter("keys", redis.keys.unwrap_or(0))?;
        for node in &redis.nodes {
            counter("memory", node.memory.unwrap_or(0))?;
            counter("keys", node.keys.unwrap_or(0))?;
        }
    }
    if let Some(postgres) = &sample.postgres {
        signed_seconds("age", postgres.age)?;
        counter("queries", postgres.queries)?;
        counter("evicted", postgres.evicted.unwrap_or(0))?;
        counter("connections", postgres.connections.unwrap_or(0))?;
        work("busy", postgres.busy.unwrap_or(0.0))?;
    }
    if let Some(machine) = &sample.machine {
        seconds("lag", machine.lag)?;
        work("busy", machine.busy)?;
        work("stolen", machine.stolen)?;
    }
    sample.app.iter().chain(&sample.harness).try_for_each(check_process)
}

fn check_process(process: &ProcessSample) -> Checked {
    work("cpu", process.cpu)?;
    counter("memory", process.memory)?;
    counter("files", process.files.unwrap_or(0))?;
    counter("log", process.log.unwrap_or(0))
}

fn count(name: &str, value: u64) -> Checked {
    up_to(name, value, MAX_COUNT)
}

fn counter(name: &str, value: u64) -> Checked {
    up_to(name, value, MAX_COUNTER)
}

fn nanos(name: &str, value: u64) -> Checked {
    up_to(name, value, MAX_NANOS)
}

fn up_to(name: &str, value: u64, most: u64) -> Checked {
    if value <= most { Ok(()) } else { Err(format!("{name} is {value}, more than {most}")) }
}

fn at_most(name: &str, value: u64, of: &str, all: u64) -> Checked {
    count(of, all)?;
    if value <= all { Ok(()) } else { Err(format!("{name} is {value}, more than {of}, which is {all}")) }
}

fn seconds(name: &str, value: f64) -> Checked {
    if (0.0..=MAX_SECONDS).contains(&value) { Ok(()) } else { Err(out_of_range(name, value, MAX_SECONDS)) }
}

/// A time relative to another.
fn signed_seconds(name: &str, value: f64) -> Checked {
    if (-MAX_SECONDS..=MAX_SECONDS).contains(&value) { Ok(()) } else { Err(out_of_range(name, value, MAX_SECONDS)) }
}

/// Seconds of several processors, since the start of a server.
fn work(name: &str, value: f64) -> Checked {
    let most = MAX_SECONDS * 1e6;
    if (0.0..=most).contains(&value) { Ok(()) } else { Err(out_of_range(name, value, most)) }
}

fn out_of_range(name: &str, value: f64, most: f64) -> String {
    format!("{name} is {value:e} seconds, not between 0 and {most:e}")
}
