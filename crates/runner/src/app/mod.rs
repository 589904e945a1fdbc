//! The app under test: started as a child process or found by its URL.
//!
//! To the harness every app is a black box behind HTTP, the reference app too.

#[expect(clippy::module_inception, reason = "one instance or several: the app")]
mod app;
mod error;
mod instance;
mod process;

pub use app::*;
pub use error::*;
pub use instance::{Instance, REFERENCE_TABLES};
