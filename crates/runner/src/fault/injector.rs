//! What every kind of fault can do.

use async_trait::async_trait;

use super::FaultError;
use cacheproof_supervise::Undo;

/// Something done, in words, with how many open connections it touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ActionReport {
    pub(super) detail: String,
    pub(super) connections: Option<u64>,
}

impl From<String> for ActionReport {
    fn from(detail: String) -> Self {
        Self { detail, connections: None }
    }
}

/// What a probe saw, in words.
pub type Observation = String;

/// One fault, prepared for its victim: injected once, undone once.
#[async_trait]
pub(super) trait FaultInjector: Send {
    /// What takes it back when this process cannot.
    fn undo_record(&self) -> Undo;

    /// Does it. After an error, or broken off at any point, [`Self::undo`] takes back what was done until then.
    async fn inject(&mut self) -> Result<ActionReport, FaultError>;

    /// One look whether it works; `None`: not seen (yet). It is broken off when the fault's time is up.
    async fn observe_effect(&mut self) -> Option<Observation>;

    /// Takes it back. `stopping`: everything goes down next, so what is the run's own may stay dead.
    async fn undo(&mut self, stopping: bool) -> Result<ActionReport, FaultError>;

    /// One look whether the victim works again; `None`: not (yet).
    async fn observe_recovery(&mut self) -> Option<Observation>;
}
