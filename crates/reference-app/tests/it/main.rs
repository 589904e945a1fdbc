//! The reference app on real servers.

mod caching;
mod coherence;
mod freshness;
mod handlers;
mod managing;
mod monitoring;
mod outage;
mod patterns;
mod row_security;
mod sessions;
mod starting;
mod support;
