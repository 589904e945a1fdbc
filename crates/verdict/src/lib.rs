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
mod plan_check;
mod recovery;
mod rule;
mod validity;

use cacheproof_core::numbers::{self, Unit};
pub use freshness::{clopper_pearson_upper_bound, stale as stale_reads};
pub use judge::judge;
pub use model::*;
pub use plan_check::undecidable_rules;
pub use recovery::{
    FaultOutcome, HitRateRecovery, LimitViolation, Recovery, RefillCurve, SteadyLimits, fault_outcomes,
};
