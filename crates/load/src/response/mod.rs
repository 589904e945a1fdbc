//! What the answers of an app say: hit or miss, version, right or wrong; and the client that asks.

mod client;
mod fields;
mod reading;
mod token;

pub use client::*;
pub use reading::*;
pub use token::*;
