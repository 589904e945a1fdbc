//! What every kind of fault can do.

use async_trait::async_trait;

use super::FaultError;
use cacheproof_supervise::Undo;

/// Something done, in words, with how many open connections it touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) words: String,
    pub(super) connections: Option<u64>,
}

impl From<String> for Done {
    fn from(words: String) -> Self {
        Self { words, connections: None }
    }
}

/// What a probe saw, in words.
pub type Sight = String;

/// One fault, prepared for its victim: injected once, undone once.
#[async_trait]
pub(super) trait Act: Send {
    /// What takes it back when this process cannot.
    fn undo_record(&self) -> Undo;

    /// Does it. After an error, or broken off at any point, [`Self::undo`] takes back what was done until then.
    async fn inject(&mut self) -> Result<Done, FaultError>;

    /// One look whether it works; `None`: not seen (yet). It is broken off when the fault's time is up.
    async fn seen(&mut self) -> Option<Sight>;

    /// Takes it back. `stopping`: everything goes down next, so what is the run's own may stay dead.
    async fn undo(&mut self, stopping: bool) -> Result<Done, FaultError>;

    /// One look whether the victim works again; `None`: not (yet).
    async fn seen_undone(&mut self) -> Option<Sight>;
}
