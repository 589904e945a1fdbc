//! The interface of a fault.

use async_trait::async_trait;

use super::FaultError;
use cacheproof_supervise::Undo;

/// What was done, as text, and how many open connections it affected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ActionReport {
    pub(crate) detail: String,
    pub(crate) connections: Option<u64>,
}

impl From<String> for ActionReport {
    fn from(detail: String) -> Self {
        Self { detail, connections: None }
    }
}

/// What a probe observed, as text.
pub(crate) type Observation = String;

/// One fault on its victim: injected once, undone once.
#[async_trait]
pub(crate) trait FaultInjector: Send {
    /// How another process can undo it, for the ledger and the guard.
    fn undo_record(&self) -> Undo;

    /// Injects it. If this fails or is cancelled at any point, [`Self::undo`] must undo what was done until then.
    async fn inject(&mut self) -> Result<ActionReport, FaultError>;

    /// Probes once whether the fault works; `None`: not (yet). Called repeatedly; cancelled at the end of the fault.
    async fn observe_effect(&mut self) -> Option<Observation>;

    /// Undoes it. `stopping`: the run ends, so servers and apps that it started need not be started again.
    async fn undo(&mut self, stopping: bool) -> Result<ActionReport, FaultError>;

    /// Probes once whether the victim works again; `None`: not (yet). Called repeatedly.
    async fn observe_recovery(&mut self) -> Option<Observation>;
}
