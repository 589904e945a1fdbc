//! Faults: each stage of an injection.

use serde::{Deserialize, Serialize};

/// One stage of a fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultEvent {
    /// The phase it belongs to.
    pub phase: usize,
    /// Which of the phase's faults.
    #[serde(default)]
    pub fault: usize,
    /// How often this fault was injected before: 0 for the first time.
    #[serde(default)]
    pub round: u32,
    /// What it is: `kill redis`.
    pub what: String,
    /// Which stage.
    pub stage: FaultStage,
    /// What was done or seen, in words.
    pub detail: String,
    /// How many open connections it touched, where it is done to connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// At its beginning, where the victim is a server behind a proxy of cacheproof: the bytes that were sent to it since the
    /// load began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_bytes: Option<u64>,
}

/// The stages of a fault, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultStage {
    /// Its injection began. It may have an effect from here on, though a restart or a command of the user takes a
    /// while.
    Begun,
    /// It was injected.
    Injected,
    /// A probe saw its effect.
    Seen,
    /// It was undone.
    Undone,
    /// A probe saw the victim work again.
    SeenUndone,
}
