//! What each fault did to the service, and how long it took to come back. Everything is read off the beats (100 ms
//! each) of the path that the fault's phase goes.
//!
//! - **Steady limits** ([`SteadyLimits`]) come from the judged phases without a fault before the first fault.
//! - **Noticed**: the first step outside those limits after the injection.
//! - **Service is back**: the first time after the fault (and whatever else was broken then) was undone at which errors, P95, correctness and the number
//!   of answers are inside the limits for so many steps in a row ([`SteadyLimits::in_a_row`]). A fault that heals
//!   itself (flush, restart, failover) is timed from its injection.
//! - **Hit rate is back**: the first time after the same moment at which it is within 5 % of the steady one, set
//!   beside the refill curve ([`RefillCurve`]) where the cache had been emptied.

mod hints;
mod hit_rate;
mod limits;
mod refill;
mod service;
#[cfg(test)]
mod tests;

use cacheproof_core::journal::CachePath;
use cacheproof_core::measurements::{Beat, FaultWindow, Measurements};
use cacheproof_core::metrics::Recovery;
use cacheproof_core::scenario::Scenario;

pub use hit_rate::HitRateRecovery;
pub use limits::{LimitViolation, SteadyLimits};
pub use refill::RefillCurve;

/// Trouble that begins so long after a fault was undone, in seconds, is not laid at its door.
const MAX_NOTICE_DELAY: f64 = 10.0;

/// What one injection of a fault did.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultOutcome {
    /// When it was injected, seen, undone and seen to be undone.
    pub window: FaultWindow,
    /// Way that the requests of its phase go.
    pub path: CachePath,
    /// When it was over, seconds since the run began: when it was undone, or injected where it undoes itself. `None`:
    /// it was never undone.
    pub over: Option<f64>,
    /// The moment from which the service's recovery is timed: [`Self::over`], or where other faults lasted longer, when
    /// the last of them was over.
    pub base: Option<f64>,
    /// Until when recovery was watched: the next fault, the end of the phases of this path, or the run's end.
    pub watched_to: f64,
    /// What "as before" means. `None`: no judged phase without a fault came before.
    pub limits: Option<SteadyLimits>,
    /// When the service first was outside the limits, seconds since the run began. `None`: never.
    pub noticed: Option<f64>,
    /// In what it was.
    pub noticed_by: Option<LimitViolation>,
    /// How the service came back.
    pub service: Recovery,
    /// When the service settled inside the limits although the fault lasted: a fallback, a breaker or a failover
    /// took over. Seconds since the run began.
    pub absorbed: Option<f64>,
    /// For how long the service was outside its limits, seconds, from the injection until it was back.
    pub trouble: f64,
    /// For how long it was outside them again after it had been back, until the end of the watch.
    pub relapse: f64,
    /// How the hit rate came back. `None`: no steady hit rate to compare with, or the fault was never undone.
    pub hit_rate: Option<HitRateRecovery>,
    /// What came in from the injection until the service was back, or to the end of the watch; its percentiles are
    /// those of the worst 100 ms.
    pub impact: Beat,
    /// What the numbers look like, in sentences. Guesses, and worded so.
    pub hints: Vec<String>,
}

impl FaultOutcome {
    /// Seconds from the injection to the first sign of it in the answers.
    pub fn notice(&self) -> Option<f64> {
        self.noticed.map(|at| at - self.window.from)
    }

    /// When the service was back, seconds since the run began. Never before [`Self::base`].
    pub fn recovered_at(&self) -> Option<f64> {
        Some(self.base? + self.service.seconds()?)
    }

    /// Share of the requests that were answered from the injection until the service was back.
    pub fn availability(&self) -> Option<f64> {
        let requests = self.impact.requests();
        (requests > 0).then(|| self.impact.answered as f64 / requests as f64)
    }
}

/// What every fault did, in the order in which they were injected.
pub fn fault_outcomes(scenario: &Scenario, seen: &Measurements) -> Vec<FaultOutcome> {
    let windows = seen.fault_windows();
    if windows.is_empty() {
        return Vec::new();
    }
    let beats = |path| seen.beats(scenario, path);
    let (cached, uncached) = (beats(CachePath::Cached), beats(CachePath::Uncached));
    let limits_of = |path| limits::steady(scenario, seen, path, &cached, &uncached);
    let (limits_cached, limits_uncached) = (limits_of(CachePath::Cached), limits_of(CachePath::Uncached));
    windows
        .iter()
        .filter_map(|window| {
            let path = scenario.phases.get(window.phase)?.path;
            let (beats, limits) = match path {
                CachePath::Cached => (&cached, &limits_cached),
                CachePath::Uncached => (&uncached, &limits_uncached),
            };
            Some(outcome(scenario, seen, &windows, window, path, beats, limits.clone()))
        })
        .collect()
}

fn outcome(
    scenario: &Scenario,
    seen: &Measurements,
    windows: &[FaultWindow],
    window: &FaultWindow,
    path: CachePath,
    beats: &[Beat],
    limits: Option<SteadyLimits>,
) -> FaultOutcome {
    let over = fault_end(scenario, window);
    let base = over.and_then(|over| last_fault_end(scenario, windows, over));
    let watched_to = watched_to(scenario, seen, windows, window, base);
    let mut outcome = FaultOutcome {
        window: window.clone(),
        path,
        over,
        base,
        watched_to,
        noticed: None,
        noticed_by: None,
        service: Recovery::Unknown(
            "no judged phase without a fault came before it, so what is normal is not known".into(),
        ),
        absorbed: None,
        trouble: 0.0,
        relapse: 0.0,
        hit_rate: None,
        impact: Beat::empty(window.from, watched_to),
        hints: Vec::new(),
        limits,
    };
    service::measure_service_recovery(scenario, seen, beats, &mut outcome);
    hit_rate::measure_hit_rate_recovery(scenario, seen, beats, &mut outcome);
    let until = outcome.recovered_at().unwrap_or(watched_to).max(window.undone.unwrap_or(window.from));
    outcome.impact.to = until;
    // Half of a beat decides to which side it belongs.
    let inside =
        |beat: &&Beat| f64::midpoint(beat.from, beat.to) > window.from && f64::midpoint(beat.from, beat.to) <= until;
    for beat in beats.iter().filter(inside) {
        let to = outcome.impact.to;
        outcome.impact.join(beat);
        outcome.impact.to = to;
    }
    outcome.hints = hints::hints(scenario, seen, beats, &outcome);
    outcome
}

/// When a fault was over by itself or by its undo.
fn fault_end(scenario: &Scenario, window: &FaultWindow) -> Option<f64> {
    let spec = scenario.phases.get(window.phase).and_then(|phase| phase.faults.get(window.fault));
    if spec.is_some_and(|spec| spec.action.is_instantaneous()) {
        window.injected.or(window.undone)
    } else {
        window.undone
    }
}

/// When the last of the faults was over that lasted at `moment`. A service can't be whole while something else is
/// broken. `None`: one of them never was.
fn last_fault_end(scenario: &Scenario, windows: &[FaultWindow], moment: f64) -> Option<f64> {
    let mut base = moment;
    loop {
        let lasting = windows
            .iter()
            .filter(|window| window.from < base)
            .map(|window| fault_end(scenario, window).unwrap_or(f64::INFINITY))
            .fold(base, f64::max);
        if lasting.is_infinite() {
            return None;
        }
        if lasting <= base {
            return Some(base);
        }
        base = lasting;
    }
}

/// Until when what happens can be laid at this fault's door.
fn watched_to(
    scenario: &Scenario,
    seen: &Measurements,
    windows: &[FaultWindow],
    window: &FaultWindow,
    base: Option<f64>,
) -> f64 {
    let path = scenario.phases.get(window.phase).map(|phase| phase.path);
    let after = base.unwrap_or(window.from);
    let next_fault = windows.iter().map(|other| other.from).filter(|from| *from > after).fold(f64::INFINITY, f64::min);
    let mut end = seen.phases.get(&window.phase).and_then(|span| span.to).unwrap_or(seen.last_at);
    for (index, span) in seen.phases.range(window.phase + 1..) {
        if scenario.phases.get(*index).map(|phase| phase.path) != path {
            break;
        }
        end = span.to.unwrap_or(seen.last_at);
    }
    next_fault.min(end).max(after)
}
