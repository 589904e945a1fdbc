//! Responses of the app: hit or miss, version, correctness; and the HTTP client.

mod classifier;
mod client;
mod fields;
mod token;

pub use classifier::*;
pub use client::*;
pub use token::*;
