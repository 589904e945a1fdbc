//! What a run of cacheproof is made of, as data: the [`scenario`] that says what to do, the [`journal`] of what
//! happened, the [`measurements`] in it, and the [`metrics`] that rules are made of. Start with [`scenario::Scenario`] and
//! [`journal::Event`].
//!
//! Pure: no runtime, no clients, no clock of its own.

pub mod journal;
pub mod measurements;
pub mod metrics;
pub mod numbers;
pub mod percent;
pub mod scenario;
pub mod secrets;
