//! The reference app on real servers.

mod caching;
mod coherence;
mod freshness;
mod managing;
mod monitoring;
mod outage;
mod patterns;
mod rooms;
mod row_security;
mod sessions;
mod starting;
mod support;
