//! The reference app on real servers.

mod caching;
mod outage;
mod starting;
mod support;
