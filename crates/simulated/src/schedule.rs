//! When each fault of a phase is injected and undone, and what state the deployment is in.

use cacheproof_core::scenario::{FaultAction, Phase, Victim};

/// One injection of a fault, in whole seconds of its phase.
#[derive(Clone, Debug)]
pub(crate) struct PlannedFault {
    pub(crate) number: usize,
    pub(crate) round: u32,
    pub(crate) what: String,
    pub(crate) from: u64,
    /// When it is undone; `None`: it is instantaneous.
    pub(crate) to: Option<u64>,
    pub(crate) action: FaultAction,
    pub(crate) victim: Victim,
    /// Redis is empty afterwards.
    pub(crate) empties: bool,
    pub(crate) connections: Option<u64>,
    pub(crate) done: &'static str,
    pub(crate) seen: &'static str,
    pub(crate) undone: &'static str,
    pub(crate) back: &'static str,
}

pub(crate) fn schedule(phase: &Phase) -> Vec<PlannedFault> {
    let length = phase.lasts.as_secs();
    let mut all = Vec::new();
    for (number, spec) in phase.faults.iter().enumerate() {
        let every = spec.every.map_or(u64::MAX, |every| every.as_secs());
        let mut from = spec.after.as_secs();
        let mut round = 0;
        while from < length {
            let lasts = spec.lasts.map_or(length, |lasts| lasts.as_secs());
            let to = (!spec.action.is_instantaneous()).then(|| (from + lasts).min(length));
            let (done, seen, undone, back) = match spec.action {
                FaultAction::Kill => (
                    "sent SIGKILL to redis-server (pid 4702)",
                    "PING: connection refused",
                    "started redis-server again",
                    "PING answered",
                ),
                FaultAction::Flush => ("FLUSHALL", "no keys are left", "", ""),
                FaultAction::Pause => {
                    ("SIGSTOP to postgres", "SELECT 1: no answer", "SIGCONT to postgres", "SELECT 1 answered")
                }
                _ => ("50 ms on every byte", "a round trip took 101 ms", "no more delay", "a round trip took 0.2 ms"),
            };
            all.push(PlannedFault {
                number,
                round,
                what: spec.describe(),
                from,
                to,
                empties: matches!(spec.action, FaultAction::Kill | FaultAction::Flush),
                connections: matches!(spec.action, FaultAction::Link(_)).then_some(16),
                action: spec.action.clone(),
                victim: spec.victim,
                done,
                seen,
                undone,
                back,
            });
            round += 1;
            from = from.saturating_add(every);
        }
    }
    all
}

/// The state of the deployment in one second.
pub(crate) struct DeploymentState {
    /// Redis does not answer.
    pub(crate) dead: bool,
    /// It does, but the app has not reconnected.
    pub(crate) away: bool,
    pub(crate) first_second_dead: bool,
    /// How much slower every response is, seconds.
    pub(crate) slower: f64,
    /// How long the cache has been filling, seconds.
    pub(crate) since_cold: Option<f64>,
}

impl DeploymentState {
    pub(crate) fn of(faults: &[PlannedFault], phase: usize, second: u64, reconnect_after: u64) -> Self {
        let on = |fault: &&PlannedFault| second >= fault.from && fault.to.is_none_or(|to| second < to);
        let dead = |fault: &&PlannedFault| fault.action == FaultAction::Kill && on(fault);
        let killed = faults.iter().find(dead);
        let away = faults.iter().any(|fault| {
            fault.action == FaultAction::Kill
                && fault.to.is_some_and(|to| second >= to && second < to + reconnect_after)
        });
        let slow = |fault: &&PlannedFault| on(fault) && !fault.empties && fault.to.is_some();
        let slower = faults.iter().filter(slow).map(|fault| if fault.victim == Victim::Redis { 0.05 } else { 0.9 });
        let empty = faults.iter().filter(|fault| fault.empties);
        let cold = empty
            .map(|fault| fault.to.map_or(fault.from, |to| to + reconnect_after))
            .filter(|from| second >= *from)
            .max();
        Self {
            dead: killed.is_some(),
            away,
            first_second_dead: killed.is_some_and(|fault| fault.from == second),
            slower: slower.sum(),
            since_cold: cold.map(|from| (second - from) as f64).or((phase == 1).then_some(second as f64)),
        }
    }
}
