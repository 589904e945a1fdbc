//! cacheproof proves what a cache deployment does.
//!
//! One way through the house: a [`scenario`] says what to do; [`run`] brings up the [`stack`] and the
//! [`target`], drives [`load`], injects each [`fault`] and lets [`observe`] write what was measured to the
//! journal. Everything after the journal is a pure function of it: the [`verdict`] and the [`report`].
//!
//! `scenario` and `observe` stand on the ground, and the [`proxy`] beside them; `load`, `fault`, `stack` and `target` stand on them; `run`
//! stands on those. `verdict` and `report` read only `scenario` and `observe`. [`cli`] stands on top and is
//! the only room that prints.

pub mod cli;
pub mod fault;
pub mod load;
pub mod observe;
pub mod proxy;
pub mod report;
pub mod run;
pub mod scenario;
pub mod stack;
pub mod target;
pub mod verdict;

#[cfg(test)]
extern crate self as cacheproof;

/// Made-up runs, shared with the whole-program tests.
#[cfg(test)]
#[path = "../tests/it/simulated.rs"]
mod simulated;
