//! A restart: stop and start.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use super::FaultError;
use super::admin_client::incarnation_id;
use super::injector::{ActionReport, FaultInjector, Observation};
use super::process::{FaultTarget, describe_answering, join_details};
use cacheproof_stack::ProcessFaultKind;
use cacheproof_supervise::Undo;

/// How long a restarted victim may take to answer before it counts as down.
const RESTART_TIMEOUT: Duration = Duration::from_secs(5);

/// A restart of one or several victims.
pub(super) struct Restart<'run> {
    targets: Vec<FaultTarget<'run>>,
    keep_data: bool,
    is_postgres: bool,
    undo: Undo,
    /// The incarnation id of each before the restart.
    before: Vec<String>,
}

impl<'run> Restart<'run> {
    pub(super) async fn new(targets: Vec<FaultTarget<'run>>, keep_data: bool, is_postgres: bool) -> Self {
        let mut undo = Undo::WithRun;
        for target in &targets {
            // If cacheproof is killed in between, it would stay down.
            undo = target.user_container().await.map_or(undo, Undo::Container);
        }
        Self { targets, keep_data, is_postgres, undo, before: Vec::new() }
    }

    /// A value that changes with every start.
    async fn incarnation_id(&self, target: &FaultTarget<'_>) -> Result<String, FaultError> {
        match target {
            FaultTarget::Server(server) => incarnation_id(server, self.is_postgres).await,
            FaultTarget::App(_, app, _) => Ok(format!("{:?}", app.pid())),
        }
    }
}

#[async_trait]
impl FaultInjector for Restart<'_> {
    fn undo_record(&self) -> Undo {
        self.undo.clone()
    }

    async fn inject(&mut self) -> Result<ActionReport, FaultError> {
        let mut details = Vec::new();
        for target in &self.targets {
            let before = self.incarnation_id(target).await?;
            self.before.push(before);
            details.push(match target {
                FaultTarget::Server(server) => server.restart(self.keep_data).await?,
                FaultTarget::App(..) => {
                    let stopped = target.inject_fault(ProcessFaultKind::Stop).await?;
                    format!("{stopped}, {}", target.undo_fault(ProcessFaultKind::Stop).await?)
                }
            });
        }
        Ok(join_details(details))
    }

    async fn observe_effect(&mut self) -> Option<Observation> {
        for (target, before) in self.targets.iter().zip(&self.before) {
            if self.incarnation_id(target).await.ok()? == *before {
                return None;
            }
        }
        Some("it is a new process".into())
    }

    async fn undo(&mut self, stopping: bool) -> Result<ActionReport, FaultError> {
        let mut details = Vec::new();
        for target in &self.targets {
            // Only needed if it did not start again.
            let timeout = if stopping { Duration::ZERO } else { RESTART_TIMEOUT };
            if !answers_within(target, timeout).await {
                details.push(target.undo_fault(ProcessFaultKind::Stop).await?);
            }
        }
        if details.is_empty() {
            details.push("a restart needs no undo".into());
        }
        Ok(join_details(details))
    }

    async fn observe_recovery(&mut self) -> Option<Observation> {
        for target in &self.targets {
            if !target.answers().await {
                return None;
            }
        }
        Some(describe_answering(&self.targets))
    }
}

/// Whether it answers within the timeout: one slow answer does not mean that it is down.
async fn answers_within(target: &FaultTarget<'_>, timeout: Duration) -> bool {
    let until = Instant::now() + timeout;
    while !target.answers().await {
        if Instant::now() >= until {
            return false;
        }
        sleep(Duration::from_millis(50)).await;
    }
    true
}
