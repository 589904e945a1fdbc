//! The report of simulated runs, and what attaching it does to a story.

mod attach;
mod attach_block;
mod attach_markdown;
mod hostile_journals;
mod report;
