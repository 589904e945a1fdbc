//! Runs the phases in order, with their load and faults. Ends early when the user stops the run or the environment
//! fails.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::monitors;
use super::steady::SteadyStateCheck;
use crate::app::App;
use crate::fault::{FaultEngine, FaultEnvironment, FaultTransition, PhaseWindow, run_fault};
use crate::probe::Prober;
use cacheproof_core::journal::{AtQuiescence, Event, EventSink, FaultEvent, RunStatus, SteadyAfter};
use cacheproof_core::scenario::Scenario;
use cacheproof_load::{Driver, NotQuiescent, Recorder};
use cacheproof_stack::Stack;

/// What a run uses.
#[derive(Clone, Copy)]
pub(super) struct RunContext<'run> {
    pub scenario: &'run Scenario,
    pub event_sink: &'run EventSink,
    pub stack: &'run Stack,
    pub app: &'run App,
    /// Injects the faults; `None` where the scenario has none.
    pub engine: Option<&'run FaultEngine<'run>>,
    /// The run's directory.
    pub directory: &'run Path,
    pub driver: &'run Driver,
    pub recorder: &'run Recorder,
}

/// The load of the phases: [`Driver`] in a run, one without requests in the tests of the timeline.
#[async_trait]
pub(super) trait PhaseLoad: Sync {
    /// See [`Driver::phase`].
    async fn drive_phase(
        &self,
        phase: usize,
        lasts: Duration,
        may_end: watch::Receiver<bool>,
        end: watch::Receiver<bool>,
    );

    /// See [`Driver::compare_when_quiescent`].
    async fn compare_after(&self, phase: usize) -> Result<Vec<AtQuiescence>, NotQuiescent>;
}

#[async_trait]
impl PhaseLoad for Driver {
    async fn drive_phase(
        &self,
        phase: usize,
        lasts: Duration,
        may_end: watch::Receiver<bool>,
        end: watch::Receiver<bool>,
    ) {
        self.phase(phase, lasts, may_end, end).await;
    }

    async fn compare_after(&self, phase: usize) -> Result<Vec<AtQuiescence>, NotQuiescent> {
        self.compare_when_quiescent(phase).await
    }
}

/// What the phases need of a run.
#[derive(Clone, Copy)]
struct PhaseContext<'run> {
    scenario: &'run Scenario,
    event_sink: &'run EventSink,
    load: &'run dyn PhaseLoad,
    /// Injects the faults: [`FaultEngine`] in a run, one without servers in the tests of the timeline.
    faults: Option<&'run dyn FaultEnvironment>,
}

/// Why a run ended that the user stopped.
pub(super) const STOPPED: &str = "stopped by the user";

/// State shared by the timeline and its monitors.
pub(super) struct RunControl<'run> {
    /// The current phase, and how to end it.
    phase: Mutex<Option<(usize, watch::Sender<bool>)>>,
    reason: Mutex<Option<String>>,
    ending: Mutex<Option<(RunStatus, String)>>,
    /// Wakes what waits for the end of the run while no phase is under way.
    ended: watch::Sender<bool>,
    /// Asks for a sample of the servers now.
    pub sample: Notify,
    /// Checked before the first fault.
    pub steady: SteadyStateCheck<'run>,
}

impl<'run> RunControl<'run> {
    fn new(scenario: &'run Scenario) -> Self {
        Self {
            phase: Mutex::new(None),
            reason: Mutex::new(None),
            ending: Mutex::new(None),
            ended: watch::Sender::new(false),
            sample: Notify::new(),
            steady: SteadyStateCheck::new(scenario),
        }
    }

    /// The current phase.
    pub fn current(&self) -> Option<usize> {
        lock(&self.phase).as_ref().map(|(phase, _)| *phase)
    }

    /// Ends the current phase.
    pub fn end_phase(&self, reason: String) {
        if let Some((_, end)) = lock(&self.phase).as_ref() {
            lock(&self.reason).get_or_insert(reason);
            end.send_replace(true);
        }
    }

    /// Ends the run. The first reason is kept.
    pub fn end_run(&self, how: RunStatus, why: String) {
        lock(&self.ending).get_or_insert((how, why.clone()));
        self.ended.send_replace(true);
        self.end_phase(why);
    }

    fn ended(&self) -> bool {
        lock(&self.ending).is_some()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How the timeline ended.
pub(super) struct TimelineOutcome {
    pub how: RunStatus,
    /// Why, where it was not completed.
    pub why: Option<String>,
    /// When the last coarse slice ended; later responses are still in the recorder.
    pub coarse_end: std::time::Instant,
    /// When the last fine slice ended.
    pub fine_end: std::time::Instant,
    /// Whether the system was steady again after the last fault.
    pub steady_after: Option<SteadyAfter>,
}

/// Runs the whole timeline.
pub(super) async fn run_timeline(
    context: &RunContext<'_>,
    prober: Prober,
    stop: watch::Receiver<bool>,
) -> TimelineOutcome {
    let control = RunControl::new(context.scenario);
    let (over, is_over) = watch::channel(false);
    let phases = async {
        let context = PhaseContext {
            scenario: context.scenario,
            event_sink: context.event_sink,
            load: context.driver,
            faults: context.engine.map(|engine| engine as &dyn FaultEnvironment),
        };
        run_phases(&context, &control).await;
        over.send_replace(true);
    };
    let ((), coarse_end, fine_end, (), ()) = tokio::join!(
        phases,
        monitors::coarse_slices(context, &control, is_over.clone()),
        monitors::fine_slices(context, is_over.clone()),
        monitors::samples(context, &control, prober, is_over.clone()),
        monitors::stop(&control, stop, is_over),
    );
    let ending = lock(&control.ending).take();
    let steady_after = control.steady.judge_after();
    let (how, why) = ending.map_or((RunStatus::Completed, None), |(how, why)| (how, Some(why)));
    TimelineOutcome { how, why, coarse_end, fine_end, steady_after }
}

/// Runs the phases, until the last is over or the run is ended.
async fn run_phases(context: &PhaseContext<'_>, control: &RunControl<'_>) {
    for index in 0..context.scenario.phases.len() {
        if control.ended() {
            break;
        }
        run_phase(context, control, index).await;
    }
}

async fn run_phase(context: &PhaseContext<'_>, control: &RunControl<'_>, index: usize) {
    let phase = &context.scenario.phases[index];
    let (end, ended) = watch::channel(false);
    *lock(&control.phase) = Some((index, end));
    lock(&control.reason).take();
    context.event_sink.emit(Event::PhaseStarted { phase: index });
    control.sample.notify_one();
    if control.ended() {
        // Stopped between two phases: this one ends at once.
        control.end_phase("the run was stopped".into());
    }
    let from = Instant::now();
    // Traffic goes on until every fault is undone, however long that takes.
    let (faults_over, may_end) = watch::channel(phase.faults.is_empty());
    let faults = phase.faults.iter().enumerate().map(|(number, spec)| {
        let ended = ended.clone();
        async move {
            let Some(environment) = context.faults else { return };
            let what = spec.describe();
            let emit = |FaultTransition { round, stage, detail, connections, app_bytes }| {
                let what = what.clone();
                control.steady.fault_changed();
                let event =
                    FaultEvent { phase: index, fault: number, round, what, stage, detail, connections, app_bytes };
                context.event_sink.emit(Event::Fault(event));
            };
            let gate = || {
                let steady = control.steady.judge(index);
                if let Err(why) = &steady {
                    let why = format!("the system was not steady, so nothing was broken: {why}");
                    control.end_run(RunStatus::NotSteady, why);
                }
                steady.is_ok()
            };
            let window = PhaseWindow { from, lasts: phase.lasts };
            if let Err(error) = run_fault(environment, spec, window, ended, &gate, &emit).await {
                control.end_run(RunStatus::EnvironmentFailed, format!("the fault '{what}' failed: {error}"));
            }
        }
    });
    tokio::join!(context.load.drive_phase(index, phase.lasts, may_end, ended.clone()), async {
        futures_util::future::join_all(faults).await;
        faults_over.send_replace(true);
    });
    *lock(&control.phase) = None;
    let reason = lock(&control.reason).take().unwrap_or_else(|| "its time was up".into());
    context.event_sink.emit(Event::PhaseEnded { phase: index, reason });
    control.sample.notify_one();
    if control.ended() {
        return;
    }
    let mut run_ended = control.ended.subscribe();
    let compared = tokio::select! {
        compared = context.load.compare_after(index) => compared,
        _ = run_ended.wait_for(|ended| *ended) => return,
    };
    match compared {
        Ok(compared) => compared.into_iter().for_each(|one| context.event_sink.emit(Event::AtQuiescence(one))),
        Err(NotQuiescent { waiting, drain_timeout }) => context.event_sink.note(format!(
            "No items were compared after '{}': {waiting} requests still waited to be sent or answered after {} s. \
             Lower traffic.rate until the app keeps up.",
            phase.name,
            drain_timeout.as_secs_f64()
        )),
    }
}

#[cfg(test)]
mod tests;
