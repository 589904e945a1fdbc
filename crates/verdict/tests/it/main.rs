//! Verdicts over simulated runs. Each module says in its name what would break.

mod verdict;
mod verdict_coverage;
mod verdict_faults;
mod verdict_judged;
mod verdict_sending;
mod verdict_whole;
