//! Rules judged on the journal. Reads `scenario` and `observe` only, does no I/O, and always gives the same
//! verdict for the same journal.

mod model;

pub use model::*;
