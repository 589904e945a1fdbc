//! What the answers of an app say: hit or miss, version, right or wrong; and the client that asks.

mod classifier;
mod client;
mod fields;
mod token;

pub use classifier::*;
pub use client::*;
pub use token::*;
