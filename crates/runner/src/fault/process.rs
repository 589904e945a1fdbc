//! Kill, stop and pause of processes and containers.

use async_trait::async_trait;

use super::FaultError;
use super::active_faults::ActiveFaults;
use super::injector::{ActionReport, FaultInjector, Observation};
use crate::app::{AppEnvironment, Instance};
use cacheproof_stack::{ProcessFaultKind, Server};
use cacheproof_supervise::Undo;

/// The victim of a fault.
#[derive(Clone, Copy)]
pub(super) enum FaultTarget<'run> {
    /// A server.
    Server(&'run Server),
    /// An instance of the app, counted from 1.
    App(usize, &'run Instance, &'run AppEnvironment<'run>),
}

impl FaultTarget<'_> {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Server(server) => server.name().to_owned(),
            Self::App(number, ..) => format!("app {number}"),
        }
    }

    pub(super) async fn inject_fault(&self, action: ProcessFaultKind) -> Result<String, FaultError> {
        match self {
            Self::Server(server) => Ok(server.inject_fault(action).await?),
            Self::App(_, app, _) => Ok(app.inject_fault(action).await?),
        }
    }

    pub(super) async fn undo_fault(&self, action: ProcessFaultKind) -> Result<String, FaultError> {
        match self {
            Self::Server(server) => Ok(server.undo_fault(action).await?),
            Self::App(_, app, app_environment) => Ok(app.undo_fault(action, app_environment).await?),
        }
    }

    pub(super) async fn answers(&self) -> bool {
        match self {
            Self::Server(server) => server.answers().await,
            Self::App(_, app, _) => app.answers().await,
        }
    }

    /// Whether the run started it.
    pub(super) fn is_managed(&self) -> bool {
        match self {
            Self::Server(server) => server.facts().provider != "external",
            Self::App(..) => true,
        }
    }

    /// The user's container in which it runs.
    pub(super) async fn user_container(&self) -> Option<String> {
        match self {
            Self::Server(server) if !self.is_managed() => server.container_id().await,
            _ => None,
        }
    }
}

/// Joins the details: `SIGKILL to …; SIGKILL to …`.
pub(super) fn join_details(details: Vec<String>) -> ActionReport {
    details.join("; ").into()
}

/// Kill, stop or pause of one or several victims (all Sentinels).
pub(super) struct ProcessFault<'run> {
    targets: Vec<FaultTarget<'run>>,
    action: ProcessFaultKind,
    active_faults: ActiveFaults,
    undo: Undo,
    /// How many of the targets the fault was injected into.
    injected: usize,
}

impl<'run> ProcessFault<'run> {
    pub(super) async fn new(
        targets: Vec<FaultTarget<'run>>,
        action: ProcessFaultKind,
        active_faults: ActiveFaults,
    ) -> Self {
        let mut undo = Undo::WithRun;
        for target in &targets {
            if let Some(container) = target.user_container().await {
                undo = Undo::Container(container);
            }
        }
        Self { targets, action, active_faults, undo, injected: 0 }
    }
}

#[async_trait]
impl FaultInjector for ProcessFault<'_> {
    fn undo_record(&self) -> Undo {
        self.undo.clone()
    }

    async fn inject(&mut self) -> Result<ActionReport, FaultError> {
        let mut details = Vec::new();
        for target in &self.targets {
            self.injected += 1;
            details.push(self.active_faults.apply(target, self.action).await?);
        }
        Ok(join_details(details))
    }

    async fn observe_effect(&mut self) -> Option<Observation> {
        for target in &self.targets {
            if target.answers().await {
                return None;
            }
        }
        Some(format!(
            "{} no longer {}",
            names(&self.targets),
            if self.targets.len() == 1 { "answers" } else { "answer" }
        ))
    }

    async fn undo(&mut self, stopping: bool) -> Result<ActionReport, FaultError> {
        let mut details = Vec::new();
        let mut failed = None;
        for target in self.targets.iter().take(self.injected).rev() {
            // When the run ends, its own servers and apps stay dead; those of the user are started again.
            match self.active_faults.release(target, self.action, stopping && target.is_managed()).await {
                Ok(done) => details.push(done),
                // Continue with the others.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        self.injected = 0;
        failed.map_or(Ok(join_details(details)), Err)
    }

    async fn observe_recovery(&mut self) -> Option<Observation> {
        for target in &self.targets {
            if !self.active_faults.is_faulted(&target.name()) && !target.answers().await {
                return None;
            }
        }
        Some(format!("{} again", describe_answering(&self.targets)))
    }
}

fn names(targets: &[FaultTarget<'_>]) -> String {
    targets.iter().map(FaultTarget::name).collect::<Vec<_>>().join(", ")
}

pub(super) fn describe_answering(targets: &[FaultTarget<'_>]) -> String {
    format!("{} {}", names(targets), if targets.len() == 1 { "answers" } else { "answer" })
}
