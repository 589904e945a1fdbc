//! The app under test: started as a child process or found by its URL.
//!
//! To the harness every app is a black box behind HTTP, including the reference app.

#[expect(clippy::module_inception, reason = "the app, which has one instance or several")]
mod app;
mod error;
mod instance;
mod log;
mod process;

pub use app::{App, AppEnvironment};
pub use error::TargetError;
pub use instance::{Instance, REFERENCE_TABLES};
pub use log::keep_logs;
