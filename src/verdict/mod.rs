//! Rules judged on the journal. Reads `scenario` and `observe` only, does no I/O, and always gives the same
//! verdict for the same journal.
//!
//! [`judge`] looks first at what makes the run valid (`validity`), then measures each rule's terms
//! (`measure`) and judges them (`rule`). [`numbers`] writes numbers for people, here and in every report.

mod judge;
mod measure;
mod model;
pub mod numbers;
mod rule;
mod validity;

pub use judge::judge;
pub use model::*;
