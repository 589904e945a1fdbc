//! The configuration file of one Redis, Valkey or Sentinel.

use std::fmt::Write as _;

use super::ports::Ports;
use super::secrets::Secrets;
use cacheproof_core::scenario::RedisSpec;

/// The name of the master for the Sentinels.
pub(super) const MASTER_NAME: &str = "mymaster";

/// How many Sentinels must agree that the master is down.
const QUORUM: usize = 2;

/// The role of a node in its topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeRole {
    /// The only server.
    Standalone,
    /// The master or a replica of a Sentinel deployment. `master_port`: the port of the master's proxy, for a replica.
    Replicated { master_port: Option<u16> },
    /// A node of a Cluster.
    Cluster,
    /// A Sentinel that monitors the master at this port.
    Sentinel { master: u16 },
}

/// The address and ports on which a server listens; in a container they differ from those outside.
pub(super) struct ListenConfig {
    /// The address to bind to.
    pub(super) bind: &'static str,
    pub(super) plain: u16,
    pub(super) tls: Option<u16>,
}

/// The text of the configuration file for a server whose files are in `directory`.
pub(super) fn text(
    spec: &RedisSpec,
    node_role: NodeRole,
    secrets: &Secrets,
    ports: &Ports,
    listen: &ListenConfig,
    directory: &str,
) -> String {
    let mut text = format!("bind {}\nport {}\ndir \"{directory}\"\n", listen.bind, listen.plain);
    if let Some(port) = listen.tls {
        let _ = writeln!(
            text,
            "tls-port {port}\ntls-cert-file \"{directory}/server.crt\"\ntls-key-file \"{directory}/server.key\"\n\
             tls-ca-cert-file \"{directory}/ca.crt\"\ntls-auth-clients no"
        );
        match node_role {
            NodeRole::Standalone => {}
            NodeRole::Replicated { .. } | NodeRole::Sentinel { .. } => text += "tls-replication yes\n",
            NodeRole::Cluster => text += "tls-replication yes\ntls-cluster yes\n",
        }
    }
    if let NodeRole::Sentinel { master } = node_role {
        // Sentinels announce the ports of proxies, to clients and to each other.
        let _ = writeln!(
            text,
            "sentinel announce-ip 127.0.0.1\nsentinel announce-port {}\n\
             sentinel monitor {MASTER_NAME} 127.0.0.1 {master} {QUORUM}\nsentinel auth-pass {MASTER_NAME} {}\n\
             sentinel down-after-milliseconds {MASTER_NAME} 1000\nsentinel failover-timeout {MASTER_NAME} 5000",
            ports.proxy, secrets.password
        );
        return text;
    }
    text += "protected-mode yes\nsave \"\"\nappendfsync everysec\n";
    text += if spec.appendonly { "appendonly yes\n" } else { "appendonly no\n" };
    text += &secrets.settings();
    if let Some(bytes) = spec.maxmemory {
        let _ = writeln!(text, "maxmemory {bytes}");
    }
    if let Some(policy) = &spec.policy {
        let _ = writeln!(text, "maxmemory-policy {policy}");
    }
    match node_role {
        NodeRole::Standalone | NodeRole::Sentinel { .. } => {}
        NodeRole::Replicated { master_port } => {
            let _ = writeln!(
                text,
                "repl-diskless-sync-delay 0\nreplica-announce-ip 127.0.0.1\nreplica-announce-port {}",
                ports.proxy
            );
            if let Some(master) = master_port {
                let _ = writeln!(text, "replicaof 127.0.0.1 {master}");
            }
        }
        NodeRole::Cluster => text += &cluster(ports),
    }
    text
}

/// Slots without a master do not make the other slots unavailable, as is usual for a cache. The nodes announce the ports of their
/// proxies to clients; the Cluster bus does not go through proxies.
fn cluster(ports: &Ports) -> String {
    let bus = ports.bus.unwrap_or_default();
    let announced = match ports.tls {
        Some(_) => format!("cluster-announce-port {}\ncluster-announce-tls-port {}\n", ports.plain, ports.proxy),
        None => format!("cluster-announce-port {}\n", ports.proxy),
    };
    format!(
        "repl-diskless-sync-delay 0\ncluster-enabled yes\ncluster-config-file nodes.conf\ncluster-port {bus}\n\
         cluster-node-timeout 1500\ncluster-require-full-coverage no\ncluster-announce-ip 127.0.0.1\n\
         cluster-announce-bus-port {bus}\n{announced}"
    )
}
