//! The steady state, checked before the first fault: a fault proves nothing about a system that was failing already.

use std::sync::{Mutex, PoisonError};

use cacheproof_core::journal::{CoarseSlice, Event, JournalEntry, Outcome};
use cacheproof_core::measurements::{Measurements, ResponseKey};
use cacheproof_core::metrics::{ErrorTreatment, Scope};
use cacheproof_core::scenario::{Limit, Quantity, Rule, Scenario};

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
            // Without the probe reads: they are few, and not the users'.
            let slice = CoarseSlice { freshness: Vec::new(), ..slice.clone() };
            let line = JournalEntry { at: 0.0, event: Event::CoarseSlice(slice) };
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
            return Err("no request was answered before the first fault".into());
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
        let facts = self.scenario.metric_facts();
        for rule in rules {
            let Limit::Value(limit) = rule.limit else { continue };
            let scope = Scope {
                measurements: &measurements,
                facts: &facts,
                faults: &[],
                phases: (0..phases.len()).filter(|of| counts(*of)).collect(),
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
                None => return Err(format!("nothing was measured for '{}'", rule.text)),
                Some(value) if !rule.op.holds(value, limit.number()) => {
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
