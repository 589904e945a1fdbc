//! Plays the phases in order: load, fault, labels. Ends early when the user stops or the environment fails.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::steady::Steady;
use super::watch_over;
use crate::app::App;
use crate::fault::{Engine, Step, Times};
use crate::probe::Prober;
use cacheproof_core::observe::{Ending, Event, FaultEvent, Hub, Recorder};
use cacheproof_core::scenario::Scenario;
use cacheproof_load::{Driver, Restless};
use cacheproof_stack::Stack;

/// Everything on stage.
#[derive(Clone, Copy)]
pub(super) struct Scene<'run> {
    pub scenario: &'run Scenario,
    pub hub: &'run Hub,
    pub stack: &'run Stack,
    pub app: &'run App,
    /// Breaks things; `None` where the scenario breaks nothing.
    pub engine: Option<&'run Engine<'run>>,
    /// The run's directory.
    pub directory: &'run Path,
    pub driver: &'run Driver,
    pub recorder: &'run Recorder,
}

/// What the timeline and those who watch over it tell each other.
pub(super) struct Control<'run> {
    /// The phase being played, and the way to end it, with the reason.
    phase: Mutex<Option<(usize, watch::Sender<bool>)>>,
    reason: Mutex<Option<String>>,
    ending: Mutex<Option<(Ending, String)>>,
    /// Asks for a sample of the servers now.
    pub sample: Notify,
    /// Looked at before anything is broken.
    pub steady: Steady<'run>,
}

impl Control<'_> {
    /// The phase being played.
    pub fn current(&self) -> Option<usize> {
        lock(&self.phase).as_ref().map(|(phase, _)| *phase)
    }

    /// Ends the phase being played.
    pub fn end_phase(&self, reason: String) {
        if let Some((_, end)) = lock(&self.phase).as_ref() {
            lock(&self.reason).get_or_insert(reason);
            end.send_replace(true);
        }
    }

    /// Ends the run. The first reason stands.
    pub fn end_run(&self, how: Ending, why: String) {
        lock(&self.ending).get_or_insert((how, why.clone()));
        self.end_phase(why);
    }

    fn ended(&self) -> bool {
        lock(&self.ending).is_some()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How the timeline went.
pub(super) struct Played {
    pub how: Ending,
    /// Why not to its end.
    pub why: Option<String>,
    /// When the last window ended; answers since then are still in the recorder.
    pub since: std::time::Instant,
    /// When the last pulse ended.
    pub pulsed: std::time::Instant,
}

/// Plays the whole timeline.
pub(super) async fn play(scene: &Scene<'_>, prober: Prober, stop: watch::Receiver<bool>) -> Played {
    let control = Control {
        phase: Mutex::new(None),
        reason: Mutex::new(None),
        ending: Mutex::new(None),
        sample: Notify::new(),
        steady: Steady::new(scene.scenario),
    };
    let (over, is_over) = watch::channel(false);
    let phases = async {
        for index in 0..scene.scenario.phases.len() {
            if control.ended() {
                break;
            }
            play_phase(scene, &control, index).await;
        }
        over.send_replace(true);
    };
    let ((), since, pulsed, (), ()) = tokio::join!(
        phases,
        watch_over::windows(scene, &control, is_over.clone()),
        watch_over::pulses(scene, is_over.clone()),
        watch_over::samples(scene, &control, prober, is_over.clone()),
        watch_over::stop(&control, stop, is_over),
    );
    let ending = lock(&control.ending).take();
    match ending {
        None => Played { how: Ending::Completed, why: None, since, pulsed },
        Some((how, why)) => Played { how, why: Some(why), since, pulsed },
    }
}

async fn play_phase(scene: &Scene<'_>, control: &Control<'_>, index: usize) {
    let phase = &scene.scenario.phases[index];
    let (end, ended) = watch::channel(false);
    *lock(&control.phase) = Some((index, end));
    lock(&control.reason).take();
    scene.hub.emit(Event::PhaseStarted { phase: index });
    control.sample.notify_one();
    if control.ended() {
        // Stopped between two phases: this one ends as it begins.
        control.end_phase("the run was stopped".into());
    }
    let from = Instant::now();
    // Traffic goes on until every fault is undone, however long that takes.
    let (faults_over, may_end) = watch::channel(phase.faults.is_empty());
    let faults = phase.faults.iter().enumerate().map(|(number, spec)| {
        let ended = ended.clone();
        async move {
            let Some(engine) = scene.engine else { return };
            let what = spec.what();
            let tell = |Step { round, stage, detail, connections }| {
                let what = what.clone();
                let event = FaultEvent { phase: index, fault: number, round, what, stage, detail, connections };
                scene.hub.emit(Event::Fault(event));
            };
            let gate = || {
                let steady = control.steady.judge(index);
                if let Err(why) = &steady {
                    let why = format!("the system was not steady, so nothing was broken: {why}");
                    control.end_run(Ending::NotSteady, why);
                }
                steady.is_ok()
            };
            let times = Times { from, lasts: phase.lasts };
            if let Err(error) = engine.live(spec, times, ended, &gate, &tell).await {
                control.end_run(Ending::EnvironmentFailed, format!("the fault '{what}' failed: {error}"));
            }
        }
    });
    tokio::join!(scene.driver.phase(index, phase.lasts, may_end, ended.clone()), async {
        futures_util::future::join_all(faults).await;
        faults_over.send_replace(true);
    });
    *lock(&control.phase) = None;
    let reason = lock(&control.reason).take().unwrap_or_else(|| "its time was up".into());
    scene.hub.emit(Event::PhaseEnded { phase: index, reason });
    control.sample.notify_one();
    if control.ended() {
        return;
    }
    match scene.driver.compare_at_rest(index).await {
        Ok(Some(at_rest)) => scene.hub.emit(Event::AtRest(at_rest)),
        Ok(None) => {}
        Err(Restless { waiting, patience }) => scene.hub.note(format!(
            "After '{}' nothing was compared at rest: {waiting} requests still waited to be sent or answered after {} s. \
             Lower traffic.rate until the app keeps up.",
            phase.name,
            patience.as_secs_f64()
        )),
    }
}
