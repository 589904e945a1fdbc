//! The schedule of a fault: when each of its rounds is injected, held, undone, and reported. Its only clock is tokio's, so
//! that the tests run it on a paused one.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::FaultError;
use super::injector::{ActionReport, FaultInjector};
use cacheproof_core::journal::FaultStage;
use cacheproof_core::scenario::FaultSpec;
use cacheproof_supervise::Undo;

/// How long a probe waits for the recovery.
const RECOVERY_OBSERVATION_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a probe waits for the effect of an instantaneous fault: a failover takes a while.
const INSTANT_EFFECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a probe may take beyond the end of the fault.
const PROBE_GRACE: Duration = Duration::from_secs(1);

/// The time between two probes.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);

/// When a phase started and how long it lasts.
#[derive(Clone, Copy, Debug)]
pub struct PhaseWindow {
    /// Its start.
    pub from: Instant,
    /// Its length.
    pub lasts: Duration,
}

/// Called right before every injection: whether faults may be injected (the system is steady).
pub type InjectionGate<'run> = &'run (dyn Fn() -> bool + Send + Sync);

/// A step of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultTransition {
    /// The round, from 0.
    pub round: u32,
    /// The step.
    pub stage: FaultStage,
    /// What was done or observed, as text.
    pub detail: String,
    /// How many open connections it affected.
    pub connections: Option<u64>,
    /// At its beginning: the bytes that were sent to the victim since the load began, where that is known.
    pub app_bytes: Option<u64>,
}

/// What a scheduled fault needs from the run. [`super::FaultEngine`] is the real one.
#[async_trait]
pub(crate) trait FaultEnvironment: Sync {
    /// The longest time that a fault is held.
    fn max_fault(&self) -> Duration;

    /// The bytes that were sent to the victim since the load began, where it is a server behind a proxy.
    fn app_bytes(&self, spec: &FaultSpec) -> Option<u64>;

    /// Finds the current victim.
    async fn prepare(&self, spec: &FaultSpec) -> Result<Box<dyn FaultInjector + '_>, FaultError>;

    /// Records on disk how to undo the fault, before it is injected. The id is for the other two records.
    fn record_undo(&self, spec: &FaultSpec, undo: &Undo) -> Result<u64, FaultError>;

    /// Records that it is injected.
    fn record_injected(&self, id: u64);

    /// Records that it is undone, and how.
    fn record_undone(&self, id: u64, how: &str);
}

/// Runs every round of one fault of a phase. See [`super::FaultEngine::run_fault`].
pub(crate) async fn run_fault(
    environment: &dyn FaultEnvironment,
    spec: &FaultSpec,
    window: PhaseWindow,
    mut end: watch::Receiver<bool>,
    gate: InjectionGate<'_>,
    notify: &(dyn Fn(FaultTransition) + Send + Sync),
) -> Result<(), FaultError> {
    let phase_end = window.from + window.lasts;
    let mut inject_at = window.from + spec.after;
    for round in 0.. {
        tokio::select! {
            () = sleep_until(inject_at) => {}
            _ = end.wait_for(|end| *end) => return Ok(()),
        }
        if *end.borrow() || !gate() {
            return Ok(());
        }
        // Before a probe of this round sends anything.
        let bytes_before = environment.app_bytes(spec);
        let notify = |stage, ActionReport { detail, connections }| {
            let app_bytes = bytes_before.filter(|_| stage == FaultStage::Begun);
            notify(FaultTransition { round, stage, detail, connections, app_bytes });
        };
        let undo_at = spec.lasts.map_or(phase_end, |lasts| (inject_at + lasts).min(phase_end));
        run_round(environment, spec, undo_at, &mut end, &notify).await?;
        let Some(every) = spec.every else { return Ok(()) };
        // Rounds that would start during this one are skipped.
        while inject_at <= Instant::now() {
            inject_at += every;
        }
        if inject_at >= phase_end {
            return Ok(());
        }
    }
    Ok(())
}

/// Runs one round: injection, effect, undo, recovery.
async fn run_round(
    environment: &dyn FaultEnvironment,
    spec: &FaultSpec,
    undo_at: Instant,
    end: &mut watch::Receiver<bool>,
    notify: &(dyn Fn(FaultStage, ActionReport) + Send + Sync),
) -> Result<(), FaultError> {
    let mut injector = environment.prepare(spec).await?;
    let id = environment.record_undo(spec, &injector.undo_record())?;

    let latest_undo = Instant::now() + environment.max_fault();
    notify(FaultStage::Begun, ActionReport::default());
    let injected = tokio::select! {
        injected = injector.inject() => Some(injected),
        _ = end.wait_for(|end| *end) => None,
    };
    match injected {
        Some(Ok(done)) => {
            environment.record_injected(id);
            notify(FaultStage::Injected, done);
        }
        // In both cases a part of it may have been done.
        Some(Err(cause)) => {
            if let Err(undo) = injector.undo(false).await {
                return Err(FaultError::InjectAndUndoFailed { cause: Box::new(cause), undo: Box::new(undo) });
            }
            environment.record_undone(id, "it could not be injected");
            return Err(cause);
        }
        None => {
            let done = injector.undo(true).await?;
            environment.record_undone(id, &done.detail);
            notify(FaultStage::Undone, done);
            return Ok(());
        }
    }
    let is_instantaneous = spec.action.is_instantaneous();
    let undo_at =
        if is_instantaneous { undo_at.min(Instant::now() + INSTANT_EFFECT_TIMEOUT) } else { undo_at.min(latest_undo) };
    let active_period = async {
        if let Some(observation) = wait_for_effect(injector.as_mut(), undo_at).await {
            notify(FaultStage::Seen, observation.into());
        }
        if !is_instantaneous {
            sleep_until(undo_at).await;
        }
    };
    let stopped = tokio::select! {
        () = active_period => false,
        _ = end.wait_for(|end| *end) => true,
    };
    let done = injector.undo(stopped).await?;
    environment.record_undone(id, &done.detail);
    notify(FaultStage::Undone, done);
    if !stopped {
        let until = Instant::now() + RECOVERY_OBSERVATION_TIMEOUT;
        loop {
            match timeout_at(until, injector.observe_recovery()).await {
                Ok(Some(observation)) => {
                    notify(FaultStage::SeenUndone, observation.into());
                    break;
                }
                Ok(None) if Instant::now() < until && !*end.borrow() => sleep(PROBE_INTERVAL).await,
                _ => break,
            }
        }
    }
    Ok(())
}

/// Probes until the effect is observed, at most until `deadline`. There is at least one probe, and a probe that is running
/// at the deadline may finish.
async fn wait_for_effect(injector: &mut dyn FaultInjector, deadline: Instant) -> Option<String> {
    loop {
        match timeout_at(deadline.max(Instant::now()) + PROBE_GRACE, injector.observe_effect()).await {
            Ok(Some(observation)) => return Some(observation),
            Ok(None) if Instant::now() < deadline => sleep(PROBE_INTERVAL).await,
            Ok(None) | Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests;
