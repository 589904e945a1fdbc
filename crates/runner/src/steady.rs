//! The steady state, checked before the first fault: a fault proves nothing about a system that was failing already.

use std::sync::{Mutex, PoisonError};

use cacheproof_core::journal::{CoarseSlice, Event, JournalEntry, Outcome};
use cacheproof_core::measurements::{Measurements, ResponseKey, Totals};
use cacheproof_core::scenario::{Limit, Metric, Op, Quantity, Rule, Scenario};

/// Share of requests that may fail where the scenario does not define the steady state.
const MAX_ERROR_RATE: f64 = 0.01;

/// What was measured before the first fault.
#[derive(Debug)]
pub(super) struct SteadyStateCheck<'run> {
    scenario: &'run Scenario,
    measurements: Mutex<Measurements>,
    /// Judged once: after the first fault there is no steady state.
    judged: Mutex<Option<Result<(), String>>>,
}

impl<'run> SteadyStateCheck<'run> {
    pub(super) fn new(scenario: &'run Scenario) -> Self {
        Self { scenario, measurements: Mutex::default(), judged: Mutex::default() }
    }

    /// Adds the responses of one second, until the steady state is judged.
    pub(super) fn record(&self, slice: &CoarseSlice) {
        if self.judged.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            let line = JournalEntry { at: 0.0, event: Event::CoarseSlice(slice.clone()) };
            self.measurements.lock().unwrap_or_else(PoisonError::into_inner).apply(&line);
        }
    }

    /// Whether the system was steady before the first fault, which is about to be injected in this phase; otherwise why
    /// not.
    pub(super) fn judge(&self, phase: usize) -> Result<(), String> {
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        judged.get_or_insert_with(|| self.evaluate(phase)).clone()
    }

    fn evaluate(&self, phase: usize) -> Result<(), String> {
        let phases = &self.scenario.phases;
        let judged = phases.iter().take(phase).any(|before| !before.warm_up);
        let rules = self.scenario.safety.steady.as_deref();
        if rules.is_none() && !judged {
            return Ok(());
        }
        // A warm-up counts only where no other phase came before.
        let counts = |of: usize| of <= phase && (!judged || phases.get(of).is_some_and(|of| !of.warm_up));
        let measurements = self.measurements.lock().unwrap_or_else(PoisonError::into_inner);
        let total = |wanted: &dyn Fn(&ResponseKey) -> bool| measurements.total(|key| counts(key.phase) && wanted(key));
        if total(&|_| true).count() == 0 {
            return Err("not one request was answered before the first fault".into());
        }
        let Some(rules) = rules else {
            let (failed, all) = (total(&|key| key.outcome == Outcome::Error).count(), total(&|_| true).count());
            let share = failed as f64 / all as f64;
            return if share < MAX_ERROR_RATE {
                Ok(())
            } else {
                Err(not_steady_message("errors < 1%", &Quantity::Share(share).to_string()))
            };
        };
        for rule in rules {
            let wanted = |key: &ResponseKey| {
                rule.term.path.is_none_or(|path| path == key.path)
                    && rule.term.request.is_none_or(|request| request == key.request)
            };
            let outcome = |one: &dyn Fn(Outcome) -> bool| total(&|key| wanted(key) && one(key.outcome));
            match value(self.scenario, rule, &outcome, &|only| total(&|key| wanted(key) && only(key))) {
                None => return Err(format!("nothing was measured for '{}'", rule.text)),
                Some(value) if !is_met(value, rule) => {
                    return Err(not_steady_message(&rule.text, &format_value(value, rule)));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

fn not_steady_message(rule: &str, value: &str) -> String {
    format!("'{rule}' does not hold before the first fault: it is {value}")
}

/// Totals of the answers with some outcomes.
type TotalsByOutcome<'a> = &'a dyn Fn(&dyn Fn(Outcome) -> bool) -> Totals;

/// Totals of some cells.
type TotalsByCell<'a> = &'a dyn Fn(&dyn Fn(&ResponseKey) -> bool) -> Totals;

/// What a rule measures: seconds, a share of 1, or a count.
fn value(scenario: &Scenario, rule: &Rule, outcome: TotalsByOutcome<'_>, cells: TotalsByCell<'_>) -> Option<f64> {
    let all = outcome(&|_| true);
    let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
    let is_share = matches!(rule.limit, Limit::Value(Quantity::Share(_)));
    let of = |some: u64, all: u64| {
        if !is_share { Some(some as f64) } else { (all > 0).then(|| some as f64 / all as f64) }
    };
    let answered = || outcome(&|outcome| outcome != Outcome::Error);
    let count = |one: Outcome| outcome(&|outcome| outcome == one).count();
    match rule.term.metric {
        Metric::ResponsePercentile(q) => answered().response.quantile(q).map(seconds),
        Metric::ServicePercentile(q) => answered().service.quantile(q).map(seconds),
        Metric::Mean => answered().mean().map(|mean| mean / 1e9),
        Metric::Max => answered().response.max().map(seconds),
        Metric::Errors => of(count(Outcome::Error), all.count()),
        Metric::Fallbacks => of(count(Outcome::Fallback), all.count()),
        Metric::WrongAnswers => Some(count(Outcome::Wrong) as f64),
        Metric::Stale => of(all.stale, all.judged_fresh),
        Metric::Availability => (all.count() > 0).then(|| 1.0 - count(Outcome::Error) as f64 / all.count() as f64),
        Metric::HitRate => {
            let cacheable =
                |key: &ResponseKey| scenario.traffic.requests.get(key.request).is_some_and(|one| one.cacheable);
            let count = |one: Outcome| cells(&|key| cacheable(key) && key.outcome == one).count();
            let (hits, misses) = (count(Outcome::Hit), count(Outcome::Miss));
            (hits + misses > 0).then(|| hits as f64 / (hits + misses) as f64)
        }
        // Other metrics are refused when the scenario is read.
        _ => None,
    }
}

fn is_met(value: f64, rule: &Rule) -> bool {
    let limit = match rule.limit {
        Limit::Value(Quantity::Time(time)) => time.as_secs_f64(),
        Limit::Value(Quantity::Share(share) | Quantity::Count(share) | Quantity::Rate(share)) => share,
        Limit::Value(Quantity::Bytes(bytes)) => bytes as f64,
        Limit::Of { .. } => return false,
    };
    match rule.op {
        Op::Less => value < limit,
        Op::AtMost => value <= limit,
        Op::Equal => value == limit,
        Op::NotEqual => value != limit,
        Op::AtLeast => value >= limit,
        Op::More => value > limit,
    }
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
