//! The reference app on real servers.

mod caching;
mod freshness;
mod outage;
mod starting;
mod support;
