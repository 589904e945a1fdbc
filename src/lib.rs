//! The commands of cacheproof ([`cli`]), and the crates that they use, re-exported.
//!
//! A [`scenario`] says what to do. [`run`] starts the [`stack`] and the app, drives the [`load`], injects faults and
//! writes what it measures to the [`journal`]. The [`verdict`] and the [`report`] are computed from the journal alone.
//! Only [`cli`] prints, and only through `cli/terminal.rs`, which strikes out secrets.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;

pub use cacheproof_core::{journal, measurements, scenario, secrets};
pub use cacheproof_load as load;
pub use cacheproof_proofs as proofs;
pub use cacheproof_proxy as proxy;
pub use cacheproof_report as report;
pub use cacheproof_runner as run;
pub use cacheproof_runner::{app as target, fault};
pub use cacheproof_stack as stack;
pub use cacheproof_supervise as supervise;
pub use cacheproof_verdict as verdict;
