//! Stopped and started again at once.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use super::FaultError;
use super::act::{Act, Done, Sight};
use super::process::{Patient, answering, together};
use super::says::birth;
use cacheproof_stack::Break;
use cacheproof_supervise::Undo;

/// How long what was restarted may take to answer before it is looked at as down.
const COMES_UP: Duration = Duration::from_secs(5);

/// A restart of one victim or several.
pub(super) struct Restart<'run> {
    pub(super) patients: Vec<Patient<'run>>,
    pub(super) keep_data: bool,
    pub(super) is_postgres: bool,
    pub(super) undo: Undo,
    /// What each was before.
    pub(super) before: Vec<String>,
}

impl<'run> Restart<'run> {
    pub(super) async fn new(patients: Vec<Patient<'run>>, keep_data: bool, is_postgres: bool) -> Self {
        let mut undo = Undo::WithRun;
        for patient in &patients {
            // Killed in between, it would stay down.
            undo = patient.own_container().await.map_or(undo, Undo::Container);
        }
        Self { patients, keep_data, is_postgres, undo, before: Vec::new() }
    }

    /// What changes with every start.
    async fn birth(&self, patient: &Patient<'_>) -> Result<String, FaultError> {
        match patient {
            Patient::Server(server) => birth(server, self.is_postgres).await,
            Patient::App(_, app, _) => Ok(format!("{:?}", app.pid())),
        }
    }
}

#[async_trait]
impl Act for Restart<'_> {
    fn undo_record(&self) -> Undo {
        self.undo.clone()
    }

    async fn inject(&mut self) -> Result<Done, FaultError> {
        let mut words = Vec::new();
        for patient in &self.patients {
            let before = self.birth(patient).await?;
            self.before.push(before);
            words.push(match patient {
                Patient::Server(server) => server.restart(self.keep_data).await?,
                Patient::App(..) => {
                    let stopped = patient.break_it(Break::Stop).await?;
                    format!("{stopped}, {}", patient.mend(Break::Stop).await?)
                }
            });
        }
        Ok(together(words))
    }

    async fn seen(&mut self) -> Option<Sight> {
        for (patient, before) in self.patients.iter().zip(&self.before) {
            if self.birth(patient).await.ok()? == *before {
                return None;
            }
        }
        Some("it is another process now".into())
    }

    async fn undo(&mut self, stopping: bool) -> Result<Done, FaultError> {
        let mut words = Vec::new();
        for patient in &self.patients {
            // Nothing to do, unless it did not come up again.
            let patience = if stopping { Duration::ZERO } else { COMES_UP };
            if !comes_up(patient, patience).await {
                words.push(patient.mend(Break::Stop).await?);
            }
        }
        if words.is_empty() {
            words.push("a restart is over as soon as it is done".into());
        }
        Ok(together(words))
    }

    async fn seen_undone(&mut self) -> Option<Sight> {
        for patient in &self.patients {
            if !patient.answers().await {
                return None;
            }
        }
        Some(answering(&self.patients))
    }
}

/// Whether it answers within a time: one slow answer does not mean that it is down.
async fn comes_up(patient: &Patient<'_>, patience: Duration) -> bool {
    let until = Instant::now() + patience;
    while !patient.answers().await {
        if Instant::now() >= until {
            return false;
        }
        sleep(Duration::from_millis(50)).await;
    }
    true
}
