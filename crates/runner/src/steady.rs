//! The steady state, checked before the first fault and after the last: a fault proves nothing about a system that was
//! failing already, and a system that goes on failing has not survived it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use cacheproof_core::journal::{CoarseSlice, Event, JournalEntry, Outcome, SteadyAfter};
use cacheproof_core::measurements::{Measurements, ResponseKey};
use cacheproof_core::metrics::{ErrorTreatment, Scope};
use cacheproof_core::scenario::{Limit, Quantity, Rule, Scenario};

/// Share of requests that may fail where the scenario does not define the steady state.
const MAX_ERROR_RATE: f64 = 0.01;

/// Share of requests at the end of a run from which a system is not steady, whatever its own rules leave out.
const MAX_ERROR_RATE_WITH_RULES: f64 = 0.5;

/// How long after the last stage of a fault nothing is checked: connections are opened again, what waited is answered.
const SETTLING: Duration = Duration::from_secs(3);

/// How many slices, of a second each, are checked after the last fault: the last ones of the run, at least and at most.
const SLICES_AFTER: std::ops::RangeInclusive<usize> = 3..=10;

/// Requests below which nothing is said about the time after the last fault.
const MIN_REQUESTS_AFTER: u64 = 20;

/// Standard deviations by which a share must miss its limit after the last fault, when there are few requests.
const BEYOND_CHANCE: f64 = 3.0;

/// What was measured before the first fault, and after the last.
#[derive(Debug)]
pub(super) struct SteadyStateCheck<'run> {
    scenario: &'run Scenario,
    measurements: Mutex<Measurements>,
    /// Judged once: after the first fault there is no steady state.
    judged: Mutex<Option<Result<(), String>>>,
    /// When a fault was last injected, seen or undone, and the slices since then.
    after: Mutex<Option<(Instant, VecDeque<CoarseSlice>)>>,
}

impl<'run> SteadyStateCheck<'run> {
    pub(super) fn new(scenario: &'run Scenario) -> Self {
        Self { scenario, measurements: Mutex::default(), judged: Mutex::default(), after: Mutex::default() }
    }

    /// Adds the responses of one second.
    pub(super) fn record(&self, slice: &CoarseSlice) {
        // Without the probe reads: they are few, and not the users'.
        let without_probes = || CoarseSlice { freshness: Vec::new(), ..slice.clone() };
        if lock(&self.judged).is_none() {
            apply(&mut lock(&self.measurements), without_probes());
        }
        let mut after = lock(&self.after);
        let Some((since, slices)) = after.as_mut() else { return };
        // While nothing is sent, as during a comparison after a phase, nothing is seen.
        let is_settled = since.elapsed() >= SETTLING + Duration::from_secs_f64(slice.seconds);
        if is_settled && !slice.cells.is_empty() {
            slices.push_back(without_probes());
            if slices.len() > *SLICES_AFTER.end() {
                slices.pop_front();
            }
        }
    }

    /// A fault has reached its next stage: what comes after the last fault begins again.
    pub(super) fn fault_changed(&self) {
        *lock(&self.after) = Some((Instant::now(), VecDeque::new()));
    }

    /// Whether the system was steady again at the end of the run. `None`: it had no fault, or too little time after it.
    pub(super) fn judge_after(&self) -> Option<SteadyAfter> {
        if !self.is_checked(self.scenario.phases.len()) {
            return None;
        }
        let slices = lock(&self.after).take()?.1;
        if slices.len() < *SLICES_AFTER.start() {
            return None;
        }
        let seconds = slices.iter().map(|slice| slice.seconds).sum();
        let mut measurements = Measurements::default();
        slices.into_iter().for_each(|slice| apply(&mut measurements, slice));
        let counts = |phase: usize| self.is_like_before(phase);
        let requests = measurements.count(|key| counts(key.phase));
        if requests < MIN_REQUESTS_AFTER {
            return None;
        }
        let broken = self.broken_rule(&measurements, &counts, true).err();
        let broken = broken.and_then(|BrokenRule { rule, value }| Some(format!("'{rule}': it is {}", value?)));
        Some(SteadyAfter { seconds, requests, broken })
    }

    /// Whether a phase is judged and has the path and the load of one that was judged before the first fault: another one
    /// need not be as fast.
    fn is_like_before(&self, phase: usize) -> bool {
        let phases = &self.scenario.phases;
        let first_fault = phases.iter().position(|phase| !phase.faults.is_empty()).unwrap_or(phases.len());
        let Some(of) = phases.get(phase).filter(|phase| !phase.warm_up) else { return false };
        let mut before = phases.iter().take(first_fault + 1).filter(|before| !before.warm_up);
        // Errors are to be few at any rate; times, and what else the scenario asks for, are of one rate.
        let any_rate = self.scenario.safety.steady.is_none();
        before.any(|before| before.path == of.path && (any_rate || before.rate == of.rate))
    }

    /// Whether there is a steady state to check: without rules of the scenario's, errors of a warm-up say nothing.
    fn is_checked(&self, phase: usize) -> bool {
        self.scenario.safety.steady.is_some() || self.scenario.phases.iter().take(phase).any(|before| !before.warm_up)
    }

    /// Whether the system was steady before the first fault, which is about to be injected in this phase; otherwise why
    /// not.
    pub(super) fn judge(&self, phase: usize) -> Result<(), String> {
        let mut judged = lock(&self.judged);
        judged.get_or_insert_with(|| self.evaluate(phase)).clone()
    }

    fn evaluate(&self, phase: usize) -> Result<(), String> {
        if !self.is_checked(phase) {
            return Ok(());
        }
        let phases = &self.scenario.phases;
        let judged = phases.iter().take(phase).any(|before| !before.warm_up);
        // A warm-up counts only where no other phase came before.
        let counts = |of: usize| of <= phase && (!judged || phases.get(of).is_some_and(|of| !of.warm_up));
        let measurements = lock(&self.measurements);
        if measurements.count(|key| counts(key.phase)) == 0 {
            return Err("no request was answered before the first fault".into());
        }
        self.broken_rule(&measurements, &counts, false).map_err(|broken| match broken {
            BrokenRule { rule, value: Some(value) } => {
                format!("'{rule}' does not hold before the first fault: it is {value}")
            }
            BrokenRule { rule, value: None } => format!("nothing was measured for '{rule}'"),
        })
    }

    /// The first rule that does not hold in the phases that count. `at_end`: there may be few requests, or none for a rule.
    fn broken_rule(
        &self,
        measurements: &Measurements,
        counts: &dyn Fn(usize) -> bool,
        at_end: bool,
    ) -> Result<(), BrokenRule> {
        let by_chance = |share: f64, limit: f64, of: u64| {
            let deviation = (limit * (1.0 - limit) / of.max(1) as f64).sqrt();
            at_end && (share - limit).abs() <= deviation * BEYOND_CHANCE
        };
        let own = self.scenario.safety.steady.as_deref();
        // Times and hit rates leave errors out, so at the end rules of the scenario's are not enough.
        if own.is_none() || at_end {
            let limit = if own.is_none() { MAX_ERROR_RATE } else { MAX_ERROR_RATE_WITH_RULES };
            let total =
                |wanted: &dyn Fn(&ResponseKey) -> bool| measurements.count(|key| counts(key.phase) && wanted(key));
            let (failed, all) = (total(&|key| key.outcome == Outcome::Error), total(&|_| true));
            let share = failed as f64 / all as f64;
            if share >= limit && !by_chance(share, limit, all) {
                let (rule, value) = (
                    format!("errors < {}", Quantity::Share(limit)),
                    Quantity::Share((share * 1e4).round() / 1e4).to_string(),
                );
                return Err(BrokenRule { rule, value: Some(value) });
            }
        }
        let Some(rules) = own else { return Ok(()) };
        let facts = self.scenario.metric_facts();
        for rule in rules {
            let Limit::Value(limit) = rule.limit else { continue };
            let scope = Scope {
                measurements,
                facts: &facts,
                faults: &[],
                phases: (0..self.scenario.phases.len()).filter(|of| counts(*of)).collect(),
                path: rule.term.path,
                request: rule.term.request,
                percentile: rule.term.metric.percentile().unwrap_or(1.0),
                as_share: matches!(limit, Quantity::Share(_)),
                errors: ErrorTreatment::Ignore,
            };
            let measured = rule.term.metric.measure(&scope);
            // None of no requests is still none.
            let count = measured.events.filter(|_| !scope.as_share).map(|events| events as f64);
            match measured.value.or(count) {
                _ if at_end && measured.samples < rule.term.metric.min_samples().max(1) => {}
                Some(value) if scope.as_share && by_chance(value, limit.number(), measured.samples) => {}
                None => return Err(BrokenRule { rule: rule.text.clone(), value: None }),
                Some(value) if !rule.op.holds(value, limit.number()) => {
                    return Err(BrokenRule { rule: rule.text.clone(), value: Some(format_value(value, rule)) });
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

fn apply(measurements: &mut Measurements, slice: CoarseSlice) {
    measurements.apply(&JournalEntry { at: 0.0, event: Event::CoarseSlice(slice) });
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A rule that does not hold, and what was measured, if anything was.
struct BrokenRule {
    rule: String,
    value: Option<String>,
}

fn format_value(value: f64, rule: &Rule) -> String {
    match rule.limit {
        Limit::Value(Quantity::Time(_)) => format!("{:.1} ms", value * 1e3),
        Limit::Value(Quantity::Share(_)) => format!("{:.2}%", value * 100.0),
        _ => format!("{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cacheproof_core::journal::CachePath;
    use cacheproof_core::journal::{Histogram, ResponseCell};
    use cacheproof_core::scenario::parse;

    /// A scenario with these `[safety]` lines: a warm-up, a steady phase and one with a fault.
    fn scenario(safety: &str) -> Scenario {
        let text = format!(
            "title = 't'\n[target]\nkind = 'reference'\n[traffic]\nusers = 2\n[safety]\n{safety}\n\
             [[traffic.request]]\nname = 'r'\nget = '/'\n[[phase]]\nname = 'w'\nwarm_up = true\nlasts = '5s'\n\
             [[phase]]\nname = 's'\nlasts = '5s'\n[[phase]]\nname = 'f'\nlasts = '5s'\nfault = {{ kill = 'redis' }}\n"
        );
        parse("t", &text).unwrap_or_else(|errors| panic!("{:?}", errors.problems()))
    }

    fn slice(phase: usize, outcome: Outcome, count: u64, milliseconds: u64) -> CoarseSlice {
        let mut times = Histogram::new();
        (0..count).for_each(|_| times.record(milliseconds * 1_000_000));
        let cell = ResponseCell {
            phase,
            path: CachePath::Cached,
            request: 0,
            outcome,
            response: times.clone(),
            service: times,
            response_sum: count * milliseconds * 1_000_000,
            over: Vec::new(),
            stale: 0,
            judged_fresh: 0,
        };
        CoarseSlice { seconds: 1.0, cells: vec![cell], ..CoarseSlice::default() }
    }

    #[test]
    fn no_fault_is_injected_into_a_system_that_fails_already() {
        let scenario = scenario("");
        let steady = SteadyStateCheck::new(&scenario);
        steady.record(&slice(0, Outcome::Error, 500, 1));
        steady.record(&slice(1, Outcome::Hit, 995, 1));
        steady.record(&slice(1, Outcome::Error, 5, 1));
        assert_eq!(steady.judge(2), Ok(()), "the warm-up's errors do not count");
        steady.record(&slice(1, Outcome::Error, 500, 1));
        assert_eq!(steady.judge(2), Ok(()), "judged once");

        let steady = SteadyStateCheck::new(&scenario);
        steady.record(&slice(1, Outcome::Hit, 90, 1));
        steady.record(&slice(1, Outcome::Error, 10, 1));
        let why = steady.judge(2).unwrap_err();
        assert_eq!(why, "'errors < 1%' does not hold before the first fault: it is 10%");
        assert!(SteadyStateCheck::new(&scenario).judge(2).is_err(), "nothing measured");
    }

    /// What a run says at its end whose last fault was followed by these numbers of errors of 100 requests, each second.
    fn after_fault(safety: &str, milliseconds: u64, errors: &[u64]) -> Option<SteadyAfter> {
        let scenario = scenario(safety);
        let steady = SteadyStateCheck::new(&scenario);
        steady.record(&slice(1, Outcome::Hit, 500, 1));
        assert_eq!(steady.judge(2), Ok(()));
        steady.fault_changed();
        // Longer ago than the time that it settles.
        *lock(&steady.after) = Some((Instant::now() - SETTLING - Duration::from_secs(1), VecDeque::new()));
        for errors in errors {
            let mut both = slice(2, Outcome::Hit, 100 - errors, milliseconds);
            both.cells.extend(slice(2, Outcome::Error, *errors, 1).cells);
            steady.record(&both);
        }
        steady.judge_after()
    }

    #[tokio::test]
    async fn a_system_that_goes_on_failing_after_the_last_fault_is_told() {
        let broken = |errors: &[u64]| after_fault("", 1, errors).expect("it was checked").broken;
        assert_eq!(broken(&[0; 5]), None);
        assert_eq!(broken(&[100; 5]).as_deref(), Some("'errors < 1%': it is 100%"));
        assert_eq!(broken(&[1, 0, 2, 0]), None, "3 of 400 is chance");
        assert!(broken(&[9, 9, 9]).is_some());
        let ten_of_thirteen: Vec<u64> = [100; 3].into_iter().chain([0; 10]).collect();
        assert_eq!(broken(&ten_of_thirteen), None, "only the last ten seconds count");
        assert_eq!(after_fault("", 1, &[100; 2]), None, "too little time");
        let own = after_fault("steady = ['p95 < 5ms', 'hit_rate > 50%']", 1, &[0; 6]).expect("it was checked");
        assert_eq!((own.requests, own.broken), (600, None));
        let own = after_fault("steady = ['p95 < 5ms', 'hit_rate > 50%']", 1, &[100; 6]).expect("it was checked");
        assert_eq!(own.broken.as_deref(), Some("'errors < 50%': it is 100%"), "errors have no time and are no misses");
        let own = after_fault("steady = ['errors < 20%', 'mean < 2ms']", 3, &[0; 6]).expect("it was checked");
        assert!(own.broken.is_some_and(|broken| broken == "'mean < 2ms': it is 3.0 ms"));
    }

    #[tokio::test]
    async fn the_time_right_after_a_fault_and_a_run_without_one_are_not_checked() {
        let scenario = scenario("");
        let steady = SteadyStateCheck::new(&scenario);
        (0..5).for_each(|_| steady.record(&slice(1, Outcome::Error, 100, 1)));
        assert_eq!(steady.judge_after(), None, "no fault");
        steady.fault_changed();
        (0..5).for_each(|_| steady.record(&slice(2, Outcome::Error, 100, 1)));
        assert_eq!(steady.judge_after(), None, "it is still settling");
    }

    #[test]
    fn the_rules_of_the_scenario_define_the_steady_state() {
        let scenario = scenario("steady = ['errors < 20%', 'p95 < 5ms', 'hit_rate > 50%']");
        let judged = |milliseconds, hits, misses| {
            let steady = SteadyStateCheck::new(&scenario);
            steady.record(&slice(1, Outcome::Hit, hits, milliseconds));
            steady.record(&slice(1, Outcome::Miss, misses, 1));
            steady.judge(2)
        };
        assert_eq!(judged(1, 80, 20), Ok(()));
        assert!(judged(9, 80, 20).unwrap_err().contains("'p95 < 5ms'"));
        assert!(
            judged(1, 20, 80)
                .unwrap_err()
                .contains("'hit_rate > 50%' does not hold before the first fault: it is 20.00%")
        );
    }
}
