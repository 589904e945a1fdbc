//! Whole-program tests on real servers, one binary. Each module says in its name what would break.

mod any_app;
mod attach;
mod bad_input;
mod closed_loop;
mod compose;
mod defects;
mod init;
mod interrupt;
mod numbers;
mod open_loop;
mod readme;
mod report;
mod simulated;
mod stack;
mod stack_choice;
mod support;
mod verdict;
mod verdict_judged;
