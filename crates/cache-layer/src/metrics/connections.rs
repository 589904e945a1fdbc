//! What becomes of connections.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionMetrics {
    connects: Family<Outcome, Counter>,
    replaced: Family<Why, Counter>,
    servers_up: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Why {
    why: &'static str,
}

impl ConnectionMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("cache_connects", "Attempts to connect to the cache", self.connects.clone());
        registry.register("cache_connections_replaced", "Connections given up", self.replaced.clone());
        registry.register("cache_servers_up", "Servers with a connection that is up", self.servers_up.clone());
    }

    pub(crate) fn connected(&self, outcome: &'static str) {
        self.connects.get_or_create(&Outcome { outcome }).inc();
    }

    pub(crate) fn replaced(&self, why: &'static str) {
        self.replaced.get_or_create(&Why { why }).inc();
    }

    pub(crate) fn server_up(&self) {
        self.servers_up.inc();
    }

    pub(crate) fn server_down(&self) {
        self.servers_up.dec();
    }
}
