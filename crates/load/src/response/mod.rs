//! Responses of the app: hit or miss, version, correctness; and the HTTP client.

pub mod cache_words;
mod classifier;
mod client;
mod fields;
mod token;
mod unread;
mod version;

pub use classifier::*;
pub use client::*;
pub use token::*;
pub use unread::*;
pub use version::*;
