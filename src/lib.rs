//! The commands of cacheproof, and one way in to the crates behind them.
//!
//! A [`scenario`] says what to do; [`run`] brings up the [`stack`] and the app, drives [`load`], injects faults and
//! writes what was measured to the [`journal`]. Everything after the journal is a pure function of it: the
//! [`verdict`] and the [`report`]. Only [`cli`] prints.

pub mod cli;

pub use cacheproof_core::{journal, measurements, scenario};
pub use cacheproof_load as load;
pub use cacheproof_proxy as proxy;
pub use cacheproof_report as report;
pub use cacheproof_runner as run;
pub use cacheproof_runner::{app as target, fault};
pub use cacheproof_stack as stack;
pub use cacheproof_supervise as supervise;
pub use cacheproof_verdict as verdict;
