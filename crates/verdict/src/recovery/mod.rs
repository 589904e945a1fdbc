//! The effect of each fault on the service, and how long recovery took. Everything is computed from slices of 100 ms
//! ([`TimeSlice`]) of the path of the fault's phase, joined to longer ones where the load is low.
//!
//! - **Steady limits** ([`SteadyLimits`]) come from the judged phases without a fault before the first fault.
//! - **Noticed**: the first slice outside those limits after the injection.
//! - **Service recovery**: the first time after the undo of the fault (and of every other fault at that time) at which
//!   errors, P95, correctness and the number of responses are inside the limits for [`SteadyLimits::in_a_row`] slices in
//!   a row. A fault that heals itself (flush, restart, failover) is timed from its injection.
//! - **Hit rate recovery**: the first time after the undo at which the hit rate is within 5 % of the steady one,
//!   compared with the refill curve ([`RefillCurve`]) where the cache had been emptied.

mod database;
mod fault_times;
mod hints;
mod hit_rate;
mod limits;
mod refill;
mod service;
#[cfg(test)]
mod tests;

use cacheproof_core::journal::CachePath;
use cacheproof_core::measurements::{FaultWindow, Measurements, TimeSlice};
use cacheproof_core::metrics::Recovery;
use cacheproof_core::scenario::Scenario;

use database::DatabaseRates;
use fault_times::FaultTimes;
pub use hit_rate::HitRateRecovery;
pub use limits::{LimitViolation, SteadyLimits};
pub use refill::RefillCurve;

/// Longest time after the undo of a fault, in seconds, in which a violation of the limits counts as its effect.
const MAX_NOTICE_DELAY: f64 = 10.0;

/// The effect of one injection of a fault.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultOutcome {
    /// When it was injected, seen, undone and seen to be undone.
    pub window: FaultWindow,
    /// Path of the requests in its phase.
    pub path: CachePath,
    /// When it was over, seconds since the run began: when it was undone, or when it was injected if it heals itself.
    /// `None`: it was never undone.
    pub over: Option<f64>,
    /// The time from which the recovery of the service is measured: [`Self::over`], or the end of other faults that
    /// lasted longer.
    pub base: Option<f64>,
    /// Until when recovery was watched: the next fault, the end of the phases of this path, or the run's end.
    pub watched_to: f64,
    /// The steady limits. `None`: no judged phase without a fault came before.
    pub limits: Option<SteadyLimits>,
    /// When the service first was outside the limits, seconds since the run began. `None`: never.
    pub noticed: Option<f64>,
    /// Which limit that was.
    pub noticed_by: Option<LimitViolation>,
    /// How the service recovered.
    pub service: Recovery,
    /// When the service returned to its limits although the fault lasted, because of a fallback, a breaker or a
    /// failover. Seconds since the run began.
    pub absorbed: Option<f64>,
    /// How long the service was outside its limits, seconds, from the injection to its recovery.
    pub trouble: f64,
    /// How long it was outside them again after its recovery, until [`Self::watched_to`].
    pub relapse: f64,
    /// How the hit rate recovered. `None`: there is no steady hit rate, or the fault was never undone.
    pub hit_rate: Option<HitRateRecovery>,
    /// What came in from the injection to the recovery of the service, or to [`Self::watched_to`]. Its percentiles are
    /// the largest of any slice.
    pub impact: TimeSlice,
    /// Possible causes that the numbers suggest, in sentences.
    pub hints: Vec<String>,
}

impl FaultOutcome {
    /// Seconds from the injection to the first slice outside the limits.
    pub fn notice(&self) -> Option<f64> {
        self.noticed.map(|at| at - self.window.from)
    }

    /// When the service had recovered, seconds since the run began. Never before [`Self::base`].
    pub fn recovered_at(&self) -> Option<f64> {
        Some(self.base? + self.service.seconds()?)
    }

    /// Share of the requests that were answered from the injection to the recovery of the service.
    pub fn availability(&self) -> Option<f64> {
        let requests = self.impact.counts.requests();
        (requests > 0).then(|| self.impact.counts.answered as f64 / requests as f64)
    }
}

/// The effect of every fault, in the order of their injection.
pub fn fault_outcomes(scenario: &Scenario, measurements: &Measurements) -> Vec<FaultOutcome> {
    let windows = measurements.fault_windows();
    if windows.is_empty() {
        return Vec::new();
    }
    let cacheable = |request: usize| scenario.is_cacheable(request);
    let slices = |path| measurements.slices(path, cacheable);
    let (cached, uncached) = (slices(CachePath::Cached), slices(CachePath::Uncached));
    let limits_of = |path| limits::steady(scenario, measurements, path, &cached, &uncached);
    let (limits_cached, limits_uncached) = (limits_of(CachePath::Cached), limits_of(CachePath::Uncached));
    let run = RunContext {
        scenario,
        measurements,
        times: FaultTimes::of(scenario, &windows),
        database: DatabaseRates::of(measurements),
    };
    windows
        .iter()
        .filter_map(|window| {
            let path = scenario.phases.get(window.phase)?.path;
            let (slices, limits) = match path {
                CachePath::Cached => (&cached, &limits_cached),
                CachePath::Uncached => (&uncached, &limits_uncached),
            };
            Some(outcome(&run, window, path, slices, limits.clone()))
        })
        .collect()
}

/// What is known of the run, whichever fault is looked at.
struct RunContext<'a> {
    scenario: &'a Scenario,
    measurements: &'a Measurements,
    times: FaultTimes,
    database: DatabaseRates,
}

fn outcome(
    run: &RunContext<'_>,
    window: &FaultWindow,
    path: CachePath,
    slices: &[TimeSlice],
    limits: Option<SteadyLimits>,
) -> FaultOutcome {
    let RunContext { scenario, measurements, times, database } = run;
    let over = fault_end(scenario, window);
    let base = over.and_then(|over| times.last_end(over));
    let watched_to = watched_to(run, window, base);
    let mut outcome = FaultOutcome {
        window: window.clone(),
        path,
        over,
        base,
        watched_to,
        noticed: None,
        noticed_by: None,
        service: Recovery::Unknown(
            "no judged phase without a fault came before it, so there are no steady limits to compare with".into(),
        ),
        absorbed: None,
        trouble: 0.0,
        relapse: 0.0,
        hit_rate: None,
        impact: TimeSlice::empty(window.from, watched_to),
        hints: Vec::new(),
        limits,
    };
    service::measure_service_recovery(scenario, measurements, slices, &mut outcome);
    hit_rate::measure_hit_rate_recovery(scenario, measurements, slices, &mut outcome);
    let until = outcome.recovered_at().unwrap_or(watched_to).max(window.undone.unwrap_or(window.from));
    outcome.impact.to = until;
    // A slice belongs to the time in which its middle is.
    let inside = |slice: &&TimeSlice| slice.middle() > window.from && slice.middle() <= until;
    between(slices, window.from, until)
        .iter()
        .filter(inside)
        .for_each(|slice| outcome.impact.counts.add(&slice.counts));
    outcome.hints = hints::hints(scenario, database, slices, &outcome);
    outcome
}

/// The slices that lie between two times or reach into it. A run of hours has very many, and each fault needs few.
fn between(slices: &[TimeSlice], from: f64, to: f64) -> &[TimeSlice] {
    let first = slices.partition_point(|slice| slice.to < from);
    let slices = &slices[first..];
    &slices[..slices.partition_point(|slice| slice.from <= to)]
}

/// When a fault was over: when it was undone, or when it was injected if it heals itself.
fn fault_end(scenario: &Scenario, window: &FaultWindow) -> Option<f64> {
    let spec = scenario.phases.get(window.phase).and_then(|phase| phase.faults.get(window.fault));
    if spec.is_some_and(|spec| spec.action.is_instantaneous()) {
        window.injected.or(window.undone)
    } else {
        window.undone
    }
}

/// Until when recovery from this fault is watched: see [`FaultOutcome::watched_to`].
fn watched_to(run: &RunContext<'_>, window: &FaultWindow, base: Option<f64>) -> f64 {
    let RunContext { scenario, measurements, .. } = run;
    let path = scenario.phases.get(window.phase).map(|phase| phase.path);
    let after = base.unwrap_or(window.from);
    let next_fault = run.times.next(after).unwrap_or(f64::INFINITY);
    let mut end = measurements.phases.get(&window.phase).and_then(|span| span.to).unwrap_or(measurements.last_at);
    for (index, span) in measurements.phases.range(window.phase + 1..) {
        if scenario.phases.get(*index).map(|phase| phase.path) != path {
            break;
        }
        end = span.to.unwrap_or(measurements.last_at);
    }
    next_fault.min(end).max(after)
}
