//! Rules judged on the measurements of a run. Does no I/O, and always gives the same verdict for the same journal.
//!
//! [`judge`] first checks what makes the run valid (`validity`) and times what each fault did (`recovery`). Then it
//! measures each rule's terms (`measure`, by the table of metrics in `cacheproof_core`), judges them (`rule`) and words
//! the evidence (`evidence`). The results of tests are in the journal (`test_proof`).

mod answers;
mod bypass;
mod chance;
mod coverage;
mod defaults;
mod evidence;
mod fault_effects;
mod judge;
mod machine;
mod measure;
mod model;
mod outside;
mod plan_check;
mod recovery;
mod rule;
mod sending;
mod stalls;
mod summary;
mod test_proof;
mod validity;

pub use cacheproof_core::metrics::{Recovery, clopper_pearson_upper_bound, stale_reads};
use cacheproof_core::numbers::{self, Unit};
pub use judge::judge;
pub use model::*;
pub use plan_check::undecidable_rules;
pub use recovery::{FaultOutcome, HitRateRecovery, LimitViolation, RefillCurve, SteadyLimits, fault_outcomes};
pub use test_proof::test_in_words;
