//! The faults of a run: finds the victim, keeps the undo ledger and informs the guard process. `schedule.rs` runs the steps, each when
//! it is due.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::FaultError;
use super::active_faults::ActiveFaults;
use super::injector::FaultInjector;
use super::prepare::prepare;
use super::schedule::{self, FaultEnvironment, FaultTransition, InjectionGate, PhaseWindow};
use crate::app::{App, AppEnvironment};
use cacheproof_core::scenario::{FaultSpec, Scenario, Victim};
use cacheproof_stack::{Deployment, Stack};
use cacheproof_supervise::{Addresses, Guard, Ledger, LedgerEntry, Undo};

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
    /// Bytes that were sent through the proxies before the load.
    bytes_before_load: HashMap<&'static str, u64>,
}

impl<'run> FaultEngine<'run> {
    /// The engine of a run.
    pub fn new(context: FaultContext<'run>) -> Self {
        let app = context.app.map(|(app, _)| app.urls()).unwrap_or_default();
        let addresses = context.stack.addresses(&app);
        context.guard.send_addresses(&addresses);
        let of =
            |(name, deployment): (&'static str, &Option<Deployment>)| Some((name, sent_bytes(deployment.as_ref()?)?));
        let bytes_before_load = servers(context.stack).into_iter().filter_map(of).collect();
        Self { context, active_faults: ActiveFaults::default(), addresses, bytes_before_load }
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
        end: watch::Receiver<bool>,
        gate: InjectionGate<'_>,
        notify: &(dyn Fn(FaultTransition) + Send + Sync),
    ) -> Result<(), FaultError> {
        schedule::run_fault(self, spec, window, end, gate, notify).await
    }
}

fn servers(stack: &Stack) -> [(&'static str, &Option<Deployment>); 2] {
    [("redis", &stack.redis), ("postgres", &stack.postgres)]
}

/// Bytes that were sent to the servers of a deployment. `None`: one of them has no proxy.
fn sent_bytes(deployment: &Deployment) -> Option<u64> {
    deployment.nodes().iter().map(|node| node.proxy.as_ref().map(|proxy| proxy.stats().to_server)).sum()
}

#[async_trait]
impl FaultEnvironment for FaultEngine<'_> {
    fn max_fault(&self) -> Duration {
        self.context.scenario.safety.max_fault
    }

    fn app_bytes(&self, spec: &FaultSpec) -> Option<u64> {
        let wanted = match spec.victim {
            Victim::Redis | Victim::RedisReplica => "redis",
            Victim::Postgres => "postgres",
            // Clients ask the Sentinels only when they connect.
            Victim::Sentinels | Victim::App(_) | Victim::Custom => return None,
        };
        let (name, deployment) = servers(self.context.stack).into_iter().find(|(name, _)| *name == wanted)?;
        Some(sent_bytes(deployment.as_ref()?)?.saturating_sub(*self.bytes_before_load.get(name)?))
    }

    async fn prepare(&self, spec: &FaultSpec) -> Result<Box<dyn FaultInjector + '_>, FaultError> {
        prepare(spec, self.context, &self.active_faults, &self.addresses).await
    }

    fn record_undo(&self, spec: &FaultSpec, undo: &Undo) -> Result<u64, FaultError> {
        let id = self.context.ledger.open(&spec.describe(), undo).map_err(FaultError::Ledger)?;
        self.context.guard.watch_fault(id, undo);
        Ok(id)
    }

    fn record_injected(&self, id: u64) {
        // Only informative; the journal says so, too.
        let _ignored = self.context.ledger.write(LedgerEntry::Injected { id });
    }

    fn record_undone(&self, id: u64, how: &str) {
        self.context.guard.fault_undone(id);
        // The fault is undone. If the entry stays open, `recover` only undoes it once more.
        if let Err(error) = self.context.ledger.write(LedgerEntry::Closed { id, how: how.to_owned() }) {
            tracing::warn!("the undo ledger could not be written: {error}");
        }
    }
}
