//! Rules judged on the journal. Reads `scenario` and `observe` only, does no I/O, and always gives the same
//! verdict for the same journal.
//!
//! [`judge`] looks first at what makes the run valid (`validity`), then measures each rule's terms
//! (`measure`) and judges them (`rule`). `recovery` times what each fault did, `growth` tells a leak from a wave. [`numbers`] writes numbers for people, here and in every report.

mod freshness;
mod growth;
mod judge;
mod measure;
mod measure_faults;
mod measure_growth;
mod model;
mod planned;
mod recovery;
mod rule;
mod validity;

use cacheproof_core::numbers::{self, Unit};
pub use freshness::{stale as stale_reads, upper_bound};
pub use judge::judge;
pub use model::*;
pub use planned::in_vain;
pub use recovery::{FaultOutcome, HitRateRecovery, Recovery, Refill, SteadyLimits, Why, outcomes};
