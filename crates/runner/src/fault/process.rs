//! Kill, stop and pause: done to processes and containers.

use async_trait::async_trait;

use super::FaultError;
use super::act::{Act, Done, Sight};
use super::holds::Holds;
use crate::app::{Instance, Surroundings};
use cacheproof_stack::{Break, Server};
use cacheproof_supervise::Undo;

/// Who is broken.
#[derive(Clone, Copy)]
pub(super) enum Patient<'run> {
    /// A server.
    Server(&'run Server),
    /// An instance of the app, counted from 1.
    App(usize, &'run Instance, &'run Surroundings<'run>),
}

impl Patient<'_> {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Server(server) => server.name().to_owned(),
            Self::App(number, ..) => format!("app {number}"),
        }
    }

    pub(super) async fn break_it(&self, action: Break) -> Result<String, FaultError> {
        match self {
            Self::Server(server) => Ok(server.break_it(action).await?),
            Self::App(_, app, _) => Ok(app.break_it(action).await?),
        }
    }

    pub(super) async fn mend(&self, action: Break) -> Result<String, FaultError> {
        match self {
            Self::Server(server) => Ok(server.mend(action).await?),
            Self::App(_, app, around) => Ok(app.mend(action, around).await?),
        }
    }

    pub(super) async fn answers(&self) -> bool {
        match self {
            Self::Server(server) => server.answers().await,
            Self::App(_, app, _) => app.answers().await,
        }
    }

    /// Whether the run started it.
    pub(super) fn is_own(&self) -> bool {
        match self {
            Self::Server(server) => server.facts().provider != "external",
            Self::App(..) => true,
        }
    }

    /// The container of the user's own in which it runs.
    pub(super) async fn own_container(&self) -> Option<String> {
        match self {
            Self::Server(server) if !self.is_own() => server.container_id().await,
            _ => None,
        }
    }
}

/// All of them, in words: `SIGKILL to …; SIGKILL to …`.
pub(super) fn together(words: Vec<String>) -> Done {
    words.join("; ").into()
}

/// Kill, stop or pause of one victim, or of several as one (all Sentinels).
pub(super) struct ProcessFault<'run> {
    pub(super) patients: Vec<Patient<'run>>,
    pub(super) action: Break,
    pub(super) holds: Holds,
    pub(super) undo: Undo,
    /// How many of them were broken.
    pub(super) broken: usize,
}

impl<'run> ProcessFault<'run> {
    pub(super) async fn new(patients: Vec<Patient<'run>>, action: Break, holds: Holds) -> Self {
        let mut undo = Undo::WithRun;
        for patient in &patients {
            if let Some(container) = patient.own_container().await {
                undo = Undo::Container(container);
            }
        }
        Self { patients, action, holds, undo, broken: 0 }
    }
}

#[async_trait]
impl Act for ProcessFault<'_> {
    fn undo_record(&self) -> Undo {
        self.undo.clone()
    }

    async fn inject(&mut self) -> Result<Done, FaultError> {
        let mut words = Vec::new();
        for patient in &self.patients {
            self.broken += 1;
            words.push(self.holds.take(patient, self.action).await?);
        }
        Ok(together(words))
    }

    async fn seen(&mut self) -> Option<Sight> {
        for patient in &self.patients {
            if patient.answers().await {
                return None;
            }
        }
        Some(format!(
            "{} no longer {}",
            names(&self.patients),
            if self.patients.len() == 1 { "answers" } else { "answer" }
        ))
    }

    async fn undo(&mut self, stopping: bool) -> Result<Done, FaultError> {
        let mut words = Vec::new();
        let mut failed = None;
        for patient in self.patients.iter().take(self.broken).rev() {
            // What was killed stays dead when everything goes down; what is not the run's own never does.
            match self.holds.give(patient, self.action, stopping && patient.is_own()).await {
                Ok(done) => words.push(done),
                // The others are mended all the same.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        self.broken = 0;
        failed.map_or(Ok(together(words)), Err)
    }

    async fn seen_undone(&mut self) -> Option<Sight> {
        for patient in &self.patients {
            if !self.holds.is_held(&patient.name()) && !patient.answers().await {
                return None;
            }
        }
        Some(format!("{} again", answering(&self.patients)))
    }
}

fn names(patients: &[Patient<'_>]) -> String {
    patients.iter().map(Patient::name).collect::<Vec<_>>().join(", ")
}

pub(super) fn answering(patients: &[Patient<'_>]) -> String {
    format!("{} {}", names(patients), if patients.len() == 1 { "answers" } else { "answer" })
}
