//! A fault without a victim, for tests on a paused clock: each step takes the time that the test says.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use super::FaultError;
use super::injector::{ActionReport, FaultInjector, Observation};
use super::schedule::FaultEnvironment;
use cacheproof_core::scenario::{FaultSpec, Victim};
use cacheproof_supervise::Undo;

/// How the steps of every fault go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script {
    pub(crate) max_fault: Duration,
    pub(crate) inject_takes: Duration,
    /// Whose injection fails.
    pub(crate) inject_fails_for: Option<Victim>,
    pub(crate) undo_takes: Duration,
    pub(crate) undo_fails: bool,
    /// How long after the injection a probe observes the effect. `None`: never.
    pub(crate) effect_after: Option<Duration>,
    /// How long after the undo a probe observes the recovery. `None`: never.
    pub(crate) recovery_after: Option<Duration>,
    /// How long one probe takes.
    pub(crate) probe_takes: Duration,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            max_fault: Duration::from_secs(60),
            inject_takes: Duration::ZERO,
            inject_fails_for: None,
            undo_takes: Duration::ZERO,
            undo_fails: false,
            effect_after: Some(Duration::ZERO),
            recovery_after: Some(Duration::ZERO),
            probe_takes: Duration::ZERO,
        }
    }
}

/// Keeps a log of everything that is asked of it.
pub(crate) struct ScriptedEnvironment {
    script: Script,
    begun: Instant,
    log: Mutex<Vec<(u64, String)>>,
}

impl ScriptedEnvironment {
    pub(crate) fn new(script: Script) -> Self {
        Self { script, begun: Instant::now(), log: Mutex::default() }
    }

    /// When it was made.
    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }

    /// Adds a line, at the current time in milliseconds.
    pub(crate) fn note(&self, text: impl Into<String>) {
        let at = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push((at, text.into()));
    }

    /// `2000 injected` and so on, in order.
    pub(crate) fn log(&self) -> Vec<String> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().map(|(at, text)| format!("{at} {text}")).collect()
    }
}

#[async_trait]
impl FaultEnvironment for ScriptedEnvironment {
    fn max_fault(&self) -> Duration {
        self.script.max_fault
    }

    fn app_bytes(&self, _: &FaultSpec) -> Option<u64> {
        None
    }

    async fn prepare(&self, spec: &FaultSpec) -> Result<Box<dyn FaultInjector + '_>, FaultError> {
        Ok(Box::new(ScriptedFault { environment: self, victim: spec.victim, injected: None, undone: None }))
    }

    fn record_undo(&self, spec: &FaultSpec, _undo: &Undo) -> Result<u64, FaultError> {
        self.note(format!("ledger: open {}", spec.describe()));
        Ok(7)
    }

    fn record_injected(&self, id: u64) {
        assert_eq!(id, 7);
        self.note("ledger: injected");
    }

    fn record_undone(&self, id: u64, how: &str) {
        assert_eq!(id, 7);
        self.note(format!("ledger: closed, {how}"));
    }
}

struct ScriptedFault<'run> {
    environment: &'run ScriptedEnvironment,
    victim: Victim,
    injected: Option<Instant>,
    undone: Option<Instant>,
}

impl ScriptedFault<'_> {
    fn failure(what: &str) -> FaultError {
        FaultError::NoTarget(what.to_owned())
    }

    async fn observe(&self, since: Option<Instant>, after: Option<Duration>) -> Option<Observation> {
        sleep(self.environment.script.probe_takes).await;
        (since?.elapsed() >= after?).then(|| "observed".to_owned())
    }
}

#[async_trait]
impl FaultInjector for ScriptedFault<'_> {
    fn undo_record(&self) -> Undo {
        Undo::Nothing
    }

    async fn inject(&mut self) -> Result<ActionReport, FaultError> {
        self.environment.note("inject");
        sleep(self.environment.script.inject_takes).await;
        if self.environment.script.inject_fails_for == Some(self.victim) {
            return Err(Self::failure("injection"));
        }
        self.injected = Some(Instant::now());
        Ok(ActionReport::default())
    }

    async fn observe_effect(&mut self) -> Option<Observation> {
        self.observe(self.injected, self.environment.script.effect_after).await
    }

    async fn undo(&mut self, stopping: bool) -> Result<ActionReport, FaultError> {
        self.environment.note(if stopping { "undo, stopping" } else { "undo" });
        sleep(self.environment.script.undo_takes).await;
        if self.environment.script.undo_fails {
            return Err(Self::failure("undo"));
        }
        self.undone = Some(Instant::now());
        Ok("undone".to_owned().into())
    }

    async fn observe_recovery(&mut self) -> Option<Observation> {
        self.observe(self.undone, self.environment.script.recovery_after).await
    }
}
