//! Whole-program tests on real servers, one binary. Each module says in its name what would break.

mod any_app;
mod attach;
mod bad_input;
mod broken;
mod chaos;
mod closed_loop;
mod compose;
mod defects;
mod faults;
mod faulty_app;
mod freshness;
mod init;
mod interrupt;
mod numbers;
mod open_loop;
mod own_container;
mod proxy;
mod readme;
mod recover;
mod reference;
mod report;
mod stack;
mod stack_choice;
mod support;
mod topologies;
mod workspace;
