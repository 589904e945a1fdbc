//! The app under test: started as a child process or found by its URL, and what its answers say.
//!
//! To the harness every app is a black box behind HTTP, the reference app too.

mod error;
mod fields;
mod launch;
mod reading;

pub use error::*;
pub use launch::*;
pub use reading::*;
