//! Runs a fault: schedule, ledger, injection, probes, undo.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::FaultError;
use super::active_faults::ActiveFaults;
use super::injector::{ActionReport, FaultInjector};
use super::prepare::prepare;
use crate::app::{App, AppEnvironment};
use cacheproof_core::journal::FaultStage;
use cacheproof_core::scenario::{FaultSpec, Scenario};
use cacheproof_stack::Stack;
use cacheproof_supervise::{Addresses, Guard, Ledger, LedgerEntry};

/// How long a probe waits for the recovery.
const RECOVERY_OBSERVATION_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a probe waits for the effect of an instantaneous fault: a failover takes a while.
const INSTANT_EFFECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a probe may take beyond the end of the fault.
const PROBE_GRACE: Duration = Duration::from_secs(1);

/// The time between two probes.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);

/// What a fault needs: the victims, the scenario, the guard and the ledger.
#[derive(Clone, Copy)]
pub struct FaultContext<'run> {
    /// Says what may be broken.
    pub scenario: &'run Scenario,
    /// The servers.
    pub stack: &'run Stack,
    /// The app under test, and what it is restarted with. `None`: no fault on the app is possible.
    pub app: Option<(&'run App, &'run AppEnvironment<'run>)>,
    /// Undoes active faults if cacheproof is killed.
    pub guard: &'run Guard,
    /// Records how to undo each fault.
    pub ledger: &'run Ledger,
}

/// Injects and undoes the faults of one run.
pub struct FaultEngine<'run> {
    context: FaultContext<'run>,
    active_faults: ActiveFaults,
    addresses: Addresses,
}

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
}

impl<'run> FaultEngine<'run> {
    /// The engine of a run.
    pub fn new(context: FaultContext<'run>) -> Self {
        context.guard.watch_ledger(context.ledger.path());
        let app = context.app.map(|(app, _)| app.urls()).unwrap_or_default();
        let addresses = context.stack.addresses(&app);
        context.guard.send_addresses(&addresses);
        Self { context, active_faults: ActiveFaults::default(), addresses }
    }

    /// Runs every round of one fault of a phase, until the end of the phase or until `end` turns true. `notify` is called
    /// at every step. When this returns, the fault is undone, or its undo has failed.
    ///
    /// # Errors
    /// It could not be injected or undone. If the undo failed, its ledger entry stays open.
    pub async fn run_fault(
        &self,
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
            let notify = |stage, ActionReport { detail, connections }| {
                notify(FaultTransition { round, stage, detail, connections })
            };
            let undo_at = spec.lasts.map_or(phase_end, |lasts| (inject_at + lasts).min(phase_end));
            self.round(spec, undo_at, &mut end, &notify).await?;
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

    async fn round(
        &self,
        spec: &FaultSpec,
        undo_at: Instant,
        end: &mut watch::Receiver<bool>,
        notify: &(dyn Fn(FaultStage, ActionReport) + Send + Sync),
    ) -> Result<(), FaultError> {
        let FaultContext { guard, ledger, scenario, .. } = self.context;
        let mut injector = prepare(spec, self.context, &self.active_faults, &self.addresses).await?;
        let undo = injector.undo_record();
        let id = ledger.open(&spec.describe(), &undo).map_err(FaultError::Ledger)?;
        guard.watch_fault(id, &undo);
        let close = |how: &str| {
            guard.fault_undone(id);
            // The fault is undone. If the entry stays open, `recover` only undoes it once more.
            if let Err(error) = ledger.write(LedgerEntry::Closed { id, how: how.to_owned() }) {
                tracing::warn!("the undo ledger could not be written: {error}");
            }
        };

        let latest_undo = Instant::now() + scenario.safety.max_fault;
        notify(FaultStage::Begun, ActionReport::default());
        let injected = tokio::select! {
            injected = injector.inject() => Some(injected),
            _ = end.wait_for(|end| *end) => None,
        };
        match injected {
            Some(Ok(done)) => {
                // Only informative; the journal says so, too.
                let _ignored = ledger.write(LedgerEntry::Injected { id });
                notify(FaultStage::Injected, done);
            }
            // In both cases a part of it may have been done.
            Some(Err(cause)) => {
                if let Err(undo) = injector.undo(false).await {
                    return Err(FaultError::InjectAndUndoFailed { cause: Box::new(cause), undo: Box::new(undo) });
                }
                close("it could not be injected");
                return Err(cause);
            }
            None => {
                let done = injector.undo(true).await?;
                close(&done.detail);
                notify(FaultStage::Undone, done);
                return Ok(());
            }
        }
        let is_instantaneous = spec.action.is_instantaneous();
        let undo_at = if is_instantaneous {
            undo_at.min(Instant::now() + INSTANT_EFFECT_TIMEOUT)
        } else {
            undo_at.min(latest_undo)
        };
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
        close(&done.detail);
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
