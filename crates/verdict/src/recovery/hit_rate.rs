//! When the hit rate was back, beside what a cold cache allows.

use cacheproof_core::journal::CachePath;
use cacheproof_core::journal::RedisSample;
use cacheproof_core::measurements::{Beat, Measurements};
use cacheproof_core::scenario::{FaultAction, FaultSpec, LoadModel, Scenario, Victim};

use super::super::numbers;
use super::limits::MIN_EXPECTED_REQUESTS;
use super::{FaultOutcome, Recovery, RefillCurve};

/// Share of the steady hit rate that counts as back.
const RECOVERED_SHARE: f64 = 0.95;
/// Reads that a step should have: a share of 200 wavers by two or three points.
const READS_PER_STEP: u64 = 200;
/// Longest step, seconds, where there are reads enough.
const MAX_STEP_SECONDS: f64 = 2.0;
/// A hit rate of fewer reads is none: a step lasts until it has so many.
const MIN_READS_PER_STEP: u64 = 20;
/// Steps in a row.
const CONSECUTIVE_STEPS: usize = 2;

/// How the hit rate came back after a fault.
#[derive(Clone, Debug, PartialEq)]
pub struct HitRateRecovery {
    /// When it was back.
    pub back: Recovery,
    /// The steady hit rate, of the judged phases before the first fault.
    pub steady: f64,
    /// The hit rate that counts as back: 95 % of the steady one.
    pub target: f64,
    /// Its lowest since the injection, over steps of some 200 reads. `None`: no read was a hit or a miss.
    pub lowest: Option<f64>,
    /// Whether the fault left the cache empty.
    pub emptied: bool,
    /// The refill curve of the reads; `None` where the cache was not emptied, or it is not known which keys are read.
    pub refill: Option<RefillCurve>,
    /// When a cold cache could have been back at the earliest, seconds; by the refill curve.
    pub bound: Option<f64>,
}

/// A hit rate over some reads.
struct Step {
    from: f64,
    to: f64,
    reads: u64,
    rate: Option<f64>,
    /// Whether it came to its end, and not the watch to its own.
    over: bool,
}

impl Step {
    /// Whether the watch ended before it had reads enough.
    fn is_open(&self) -> bool {
        !self.over
    }
}

pub(super) fn measure_hit_rate_recovery(
    scenario: &Scenario,
    seen: &Measurements,
    beats: &[Beat],
    outcome: &mut FaultOutcome,
) {
    if outcome.path != CachePath::Cached {
        return;
    }
    let Some(steady) = outcome.limits.as_ref().and_then(|limits| limits.hit_rate).filter(|rate| *rate > 0.0) else {
        return;
    };
    let Some(base) = outcome.over else { return };
    let target = steady * RECOVERED_SHARE;
    let spec = scenario.phases.get(outcome.window.phase).and_then(|phase| phase.faults.get(outcome.window.fault));
    let emptied = was_emptied(scenario, seen, spec, outcome);
    let refill = if emptied { RefillCurve::of(scenario, rate_at(scenario, outcome)) } else { None };
    let timeouts = StepTimeouts::of(scenario, outcome);
    let after = steps(beats, base, outcome.watched_to, timeouts);
    let good = |step: &Step| step.rate.is_some_and(|rate| rate >= target);
    let back = match after.windows(CONSECUTIVE_STEPS).position(|run| run.iter().all(good)) {
        // From the first step on: it was never seen to be gone.
        Some(0) => Recovery::After(0.0),
        Some(index) => Recovery::After(f64::midpoint(after[index].from, after[index].to).max(base) - base),
        // Every rate there is was good, but there are not enough of them, and nothing says that it was gone.
        None if after.iter().all(|step| good(step) || step.is_open()) => Recovery::InsufficientLoad(format!(
            "{} reads were hits or misses in the {} watched: too few to tell a hit rate {CONSECUTIVE_STEPS} times in a row",
            numbers::count(after.iter().map(|step| step.reads).sum()),
            numbers::moment(outcome.watched_to - base)
        )),
        None => Recovery::NotWithin(outcome.watched_to - base),
    };
    let all = steps(beats, outcome.window.from, outcome.watched_to, timeouts);
    let lowest = all.iter().filter_map(|step| step.rate).reduce(f64::min);
    let bound = refill.as_ref().and_then(|refill| refill.time_to(target));
    outcome.hit_rate = Some(HitRateRecovery { back, steady, target, lowest, emptied, refill, bound });
}

/// How long is waited for reads, seconds.
#[derive(Clone, Copy)]
struct StepTimeouts {
    /// Without any read for so long, there is none to be had.
    silence: f64,
    /// Twice as long as 20 take.
    step: f64,
}

impl StepTimeouts {
    /// By the reads that are to be expected after the fault.
    fn of(scenario: &Scenario, outcome: &FaultOutcome) -> Self {
        let Some(limits) = &outcome.limits else { return Self { silence: MAX_STEP_SECONDS, step: MAX_STEP_SECONDS } };
        let lowest = match scenario.traffic.load_model {
            LoadModel::Open { rate, .. } => {
                let phases = scenario.phases.iter().skip(outcome.window.phase).filter(|one| one.path == outcome.path);
                phases.map(|phase| phase.rate.unwrap_or(rate)).fold(limits.usual, f64::min)
            }
            LoadModel::Closed { .. } => limits.usual,
        };
        let reads = (limits.reads * lowest / limits.usual).max(1e-9);
        Self {
            silence: (MIN_EXPECTED_REQUESTS / reads).max(MAX_STEP_SECONDS),
            step: (2.0 * MIN_READS_PER_STEP as f64 / reads).max(MAX_STEP_SECONDS),
        }
    }
}

/// Hit rates of some 200 reads each, from the first beat that ends after `from`. Where reads are few, a step lasts until
/// it has 20; where they do not come although they should, it ends without a rate.
fn steps(beats: &[Beat], from: f64, to: f64, timeouts: StepTimeouts) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut open: Option<Beat> = None;
    // When the open step's first and last read came in.
    let mut asked: Option<(f64, f64)> = None;
    let inside = beats.iter().filter(|beat| beat.to > from + 1e-9 && beat.to <= to + 1e-9);
    // Of a stretch in which nothing came in, what lies before is none of this.
    let clipped = |beat: &Beat| if beat.requests() == 0 { Beat::empty(beat.from.max(from), beat.to) } else { *beat };
    let mut inside: Vec<Beat> = inside.map(clipped).collect();
    // No pulse is written where nothing comes in.
    let last = inside.last().map_or(from, |beat| beat.to);
    if to - last >= MAX_STEP_SECONDS {
        inside.push(Beat::empty(last, to));
    }
    for beat in &inside {
        let step = match &mut open {
            Some(step) => {
                step.join(beat);
                *step
            }
            None => *open.insert(*beat),
        };
        if beat.hits + beat.misses > 0 {
            asked = Some((asked.map_or(beat.from, |(first, _)| first), beat.to));
        }
        let reads = step.hits + step.misses;
        let begin = step.from.max(from);
        let (length, quiet) = (step.seconds(), step.to - asked.map_or(step.from, |(_, last)| last));
        if reads >= READS_PER_STEP || (reads >= MIN_READS_PER_STEP && length >= MAX_STEP_SECONDS) {
            let rate = Some(step.hits as f64 / reads as f64);
            // The time in which nobody could ask the cache is no part of a rate that was measured behind it.
            let first = asked.map_or(begin, |(first, _)| first.max(begin));
            let waited = length > MAX_STEP_SECONDS * 1.1 && first - begin >= MAX_STEP_SECONDS / 2.0;
            if waited {
                steps.push(Step { from: begin, to: first, reads: 0, rate: None, over: true });
            }
            steps.push(Step { from: if waited { first } else { begin }, to: step.to, reads, rate, over: true });
        } else if quiet >= timeouts.silence || length >= timeouts.step {
            steps.push(Step { from: begin, to: step.to, reads, rate: None, over: true });
        } else {
            continue;
        }
        (open, asked) = (None, None);
    }
    if let Some(step) = open {
        let reads = step.hits + step.misses;
        steps.push(Step { from: step.from.max(from), to: step.to, reads, rate: None, over: false });
    }
    steps
}

/// Requests a second that are sent after the fault.
fn rate_at(scenario: &Scenario, outcome: &FaultOutcome) -> f64 {
    let usual = outcome.limits.as_ref().map_or(0.0, |limits| limits.usual);
    match scenario.traffic.load_model {
        LoadModel::Open { rate, .. } => {
            scenario.phases.get(outcome.window.phase).and_then(|phase| phase.rate).unwrap_or(rate)
        }
        LoadModel::Closed { .. } => usual,
    }
}

/// Whether a fault of this kind can leave a cache empty; where others last at the same time, what they did is not its.
fn can_empty(spec: &FaultSpec) -> bool {
    let does = match spec.action {
        FaultAction::Link(_) | FaultAction::Pause | FaultAction::FillClients | FaultAction::Partition => false,
        FaultAction::Kill
        | FaultAction::Stop
        | FaultAction::Restart { .. }
        | FaultAction::Flush
        | FaultAction::FillMemory
        | FaultAction::Failover { .. }
        | FaultAction::Command { .. } => true,
    };
    does && matches!(spec.victim, Victim::Redis | Victim::Custom)
}

/// Whether the cache had lost most of its keys: by Redis' own count before and after, else by what the fault does.
fn was_emptied(scenario: &Scenario, seen: &Measurements, spec: Option<&FaultSpec>, outcome: &FaultOutcome) -> bool {
    let Some(spec) = spec.filter(|spec| can_empty(spec)) else { return false };
    let (injected, base) = (outcome.window.from, outcome.over.unwrap_or(outcome.window.from));
    let redis = |(at, sample): &(f64, cacheproof_core::journal::Sample)| {
        let redis: &RedisSample = sample.redis.as_ref()?;
        Some((*at - redis.age, redis.keys))
    };
    let readings = || seen.samples.iter().filter_map(redis);
    let before = readings().rfind(|(at, _)| *at <= injected);
    let until = (base + 2.5).min(outcome.watched_to.max(base + 1.0));
    let fewest = readings().filter(|(at, _)| *at > injected && *at <= until).map(|(_, keys)| keys).min();
    // So few keys may have been filled again before anybody counted them.
    let usual = outcome.limits.as_ref().map_or(0.0, |limits| limits.usual);
    if let (Some((_, before)), Some(fewest)) = (before, fewest)
        && before as f64 > usual
    {
        return fewest * 2 < before;
    }
    let forgets = scenario.stack.redis.as_ref().is_some_and(|redis| !redis.appendonly);
    match spec.action {
        FaultAction::Flush | FaultAction::Restart { keep_data: false } => true,
        FaultAction::Kill => forgets,
        _ => false,
    }
}
