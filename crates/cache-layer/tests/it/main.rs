//! The layer on real servers.

mod conformance;
mod hits;
mod outage;
mod races;
mod staged;
mod support;
