//! The layer on real servers.

mod at_hand;
mod background;
mod batch;
mod bulkhead;
mod configuring;
mod confirming;
mod conformance;
mod connecting;
mod eviction;
mod exposition;
mod hits;
#[cfg(feature = "http")]
mod http;
mod life;
mod log;
mod logs;
#[cfg(feature = "manage")]
mod manage;
mod memoised;
mod model;
mod operations;
mod order;
mod outage;
mod postgres;
mod promise;
mod proxy;
mod races;
mod recovery;
mod samples;
#[cfg(feature = "sessions")]
mod sealed;
mod sessions;
mod staged;
mod stale;
mod stampede;
mod support;
mod tiers;
mod topologies;
mod warming;
mod write_behind;
mod writes;

use support::{Server, eventually, free_port};
