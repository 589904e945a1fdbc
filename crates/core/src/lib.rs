//! What a run of cacheproof is made of, as data: the [`scenario`] that says what to do, and in [`observe`] the journal
//! of what happened and the measurements in it.
//!
//! Pure: no runtime, no clients, no clock of its own.

pub mod numbers;
pub mod observe;
pub mod scenario;
