//! Faults: injected, seen to work, held, undone, seen to be undone. Undo runs on every way out of a phase;
//! what cacheproof's own death leaves behind is the guard's to clear away.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::observe::FaultStage;
use crate::scenario::{FaultAction, FaultSpec};
use crate::stack::{Server, StackError};
use crate::target::{App, Surroundings, TargetError};

/// How long a probe looks for a fault's effect, or for its end.
const SIGHT: Duration = Duration::from_secs(10);

/// Who is broken.
#[derive(Clone, Copy)]
pub enum Patient<'run> {
    /// Redis or Postgres.
    Server(&'run Server),
    /// The app under test.
    App(&'run App, &'run Surroundings<'run>),
}

/// Why a fault could not be injected or undone.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum FaultError {
    /// On a server.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Stack(#[from] StackError),
    /// On the app.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Target(#[from] TargetError),
}

impl Patient<'_> {
    async fn break_it(self, action: FaultAction) -> Result<String, FaultError> {
        match self {
            Self::Server(server) => Ok(server.break_it(action).await?),
            Self::App(app, _) => Ok(app.break_it(action)?),
        }
    }

    async fn mend(self, action: FaultAction) -> Result<String, FaultError> {
        match self {
            Self::Server(server) => Ok(server.mend(action).await?),
            Self::App(app, around) => Ok(app.mend(action, around).await?),
        }
    }

    async fn answers(self) -> bool {
        match self {
            Self::Server(server) => server.answers().await,
            Self::App(app, _) => app.answers().await,
        }
    }
}

/// Lives one fault through, from the phase's start at `from` to its undoing, which comes at the latest when the
/// phase has lasted `phase_lasts` or `end` turns true. `tell` hears of every step.
pub async fn live(
    spec: &FaultSpec,
    patient: Patient<'_>,
    from: Instant,
    phase_lasts: Duration,
    mut end: watch::Receiver<bool>,
    tell: &(dyn Fn(FaultStage, String) + Send + Sync),
) -> Result<(), FaultError> {
    let inject_at = from + spec.after;
    let undo_at = spec.lasts.map_or(from + phase_lasts, |lasts| (inject_at + lasts).min(from + phase_lasts));
    tokio::select! {
        () = tokio::time::sleep_until(inject_at) => {}
        _ = end.wait_for(|end| *end) => return Ok(()),
    }
    let victim = spec.victim.as_str();
    let done = patient.break_it(spec.action).await?;
    tell(FaultStage::Injected, done);
    let hold = async {
        if seen(patient, false, undo_at).await {
            tell(FaultStage::Seen, format!("{victim} no longer answers"));
        }
        tokio::time::sleep_until(undo_at).await;
    };
    let stopped = tokio::select! {
        () = hold => false,
        _ = end.wait_for(|end| *end) => true,
    };
    if stopped {
        // Everything goes down next: what was killed stays dead; what was paused must run to be stopped.
        if let (FaultAction::Pause, Patient::Server(server)) = (spec.action, patient) {
            tell(FaultStage::Undone, server.mend(spec.action).await?);
        }
        return Ok(());
    }
    let done = patient.mend(spec.action).await?;
    tell(FaultStage::Undone, done);
    if seen(patient, true, Instant::now() + SIGHT).await {
        tell(FaultStage::SeenUndone, format!("{victim} answers again"));
    }
    Ok(())
}

/// Looks until the patient answers (or no longer does), at most until `deadline`.
async fn seen(patient: Patient<'_>, answering: bool, deadline: Instant) -> bool {
    loop {
        if patient.answers().await == answering {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
