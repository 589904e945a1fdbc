use crate::store::ServerInfo;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

/// Servers shown at a time. In a cluster whose addresses change a lot, silent ones are forgotten beyond it.
const SERVERS_AT_MOST: usize = 100;

/// What the servers said of themselves when they were last asked, each under its address. A server that does not answer is shown as
/// not up and has no other figures: old ones would look like new ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerGauges {
    up: Family<At, Gauge>,
    memory_used: Family<At, Gauge>,
    memory_max: Family<At, Gauge>,
    keys: Family<At, Gauge>,
    evicted_keys: Family<At, Counter>,
    clients: Family<At, Gauge>,
    known: Arc<Mutex<BTreeSet<String>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct At {
    server: String,
}

impl ServerGauges {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("cache_redis_up", "1 when the server answered when it was last asked", self.up.clone());
        let help = "Memory the server's data take";
        registry.register_with_unit("cache_redis_memory_used", help, Unit::Bytes, self.memory_used.clone());
        let help = "Memory the server's data may take; 0: no limit";
        registry.register_with_unit("cache_redis_memory_max", help, Unit::Bytes, self.memory_max.clone());
        registry.register("cache_redis_keys", "Keys on the server, the layer's and others", self.keys.clone());
        let help = "Keys evicted for want of memory since the server started";
        registry.register("cache_redis_evicted_keys", help, self.evicted_keys.clone());
        registry.register("cache_redis_clients", "Clients connected to the server", self.clients.clone());
    }

    /// Shows what those that answered said.
    pub(crate) fn show(&self, answered: &[ServerInfo]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let silent: Vec<_> =
            known.iter().filter(|address| answered.iter().all(|info| info.address != **address)).cloned().collect();
        for server in silent {
            let at = At { server };
            for family in [&self.memory_used, &self.memory_max, &self.keys, &self.clients] {
                family.remove(&at);
            }
            self.evicted_keys.remove(&at);
            if known.len() >= SERVERS_AT_MOST {
                self.up.remove(&at);
                known.remove(&at.server);
            } else {
                self.up.get_or_create(&at).set(0);
            }
        }
        for info in answered.iter().take(SERVERS_AT_MOST) {
            known.insert(info.address.clone());
            let at = At { server: info.address.clone() };
            self.up.get_or_create(&at).set(1);
            self.memory_used.get_or_create(&at).set(signed(info.used_memory));
            self.memory_max.get_or_create(&at).set(signed(info.max_memory));
            self.keys.get_or_create(&at).set(signed(info.keys));
            self.clients.get_or_create(&at).set(signed(info.clients));
            // The server counts; a restart of it looks like the restart of any counter.
            self.evicted_keys.get_or_create(&at).inner().store(info.evicted, Ordering::Relaxed);
        }
    }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;

    fn server(address: &str) -> ServerInfo {
        ServerInfo { address: address.into(), used_memory: 10, max_memory: 20, evicted: 7, ..ServerInfo::default() }
    }

    fn rendered(gauges: &ServerGauges) -> String {
        let mut registry = Registry::default();
        gauges.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).expect("a string");
        text
    }

    #[test]
    fn a_silent_server_is_shown_as_such_and_its_old_figures_go() {
        let gauges = ServerGauges::default();
        gauges.show(&[server("a:1"), server("b:1")]);
        let text = rendered(&gauges);
        assert!(text.contains(r#"cache_redis_memory_used_bytes{server="a:1"} 10"#), "{text}");
        assert!(text.contains(r#"cache_redis_evicted_keys_total{server="b:1"} 7"#), "{text}");
        gauges.show(&[server("b:1")]);
        let text = rendered(&gauges);
        assert!(text.contains(r#"cache_redis_up{server="a:1"} 0"#), "{text}");
        assert_eq!(text.matches("a:1").count(), 1, "{text}");
        gauges.show(&[server("a:1"), server("b:1")]);
        assert!(rendered(&gauges).contains(r#"cache_redis_up{server="a:1"} 1"#));
    }

    #[test]
    fn addresses_that_come_and_go_do_not_pile_up() {
        let gauges = ServerGauges::default();
        for i in 0..1000 {
            gauges.show(&[server(&format!("10.0.0.1:{i}"))]);
        }
        let servers = rendered(&gauges).matches("cache_redis_up{").count();
        assert!(servers <= SERVERS_AT_MOST, "{servers}");
    }
}
