//! The app under test: started as a child process or found by its URL, and what its answers say.
//!
//! To the harness every app is a black box behind HTTP, the reference app too.

mod app;
mod client;
mod error;
mod fields;
mod instance;
mod process;
mod reading;
mod token;

pub use app::*;
pub use client::*;
pub use error::*;
pub use instance::Instance;
pub use reading::*;
pub use token::*;
