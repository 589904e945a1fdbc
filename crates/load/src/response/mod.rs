//! Responses of the app: hit or miss, version, correctness; and the HTTP client.

mod body;
pub mod cache_words;
mod classifier;
mod client;
mod client_failure;
mod fields;
mod reconnect;
mod substitute;
mod token;
mod unread;
mod version;

pub use body::*;
pub use classifier::*;
pub use client::*;
pub use client_failure::client_failure;
pub use reconnect::{UsedConnections, dropped_on};
pub use token::*;
pub use unread::*;
pub use version::*;
