//! A Sentinel deployment: a master, its replicas, and three Sentinels.

use super::provisioner::Provisioner;
use super::settings::NodeRole;
use super::{start_all, stop_all, wait_until_formed};
use crate::StackError;
use crate::deployment::Node;
use crate::probe::redis_command;

/// How many Sentinels there are.
const SENTINELS: usize = 3;

/// Its name in messages.
const TOPOLOGY_LABEL: &str = "Sentinel deployment";

/// Starts the master, then the replicas, then the Sentinels, and waits until all know each other.
pub(super) async fn up(provisioner: &Provisioner<'_>) -> Result<Vec<Node>, StackError> {
    let master = provisioner.start("redis-1", NodeRole::Replicated { master_port: None }).await?;
    let proxy_port = master.proxy_port();
    let mut nodes = vec![master];
    match join(provisioner, proxy_port, &mut nodes).await {
        Ok(()) => Ok(nodes),
        Err(error) => {
            stop_all(nodes).await;
            Err(error)
        }
    }
}

async fn join(provisioner: &Provisioner<'_>, master: u16, nodes: &mut Vec<Node>) -> Result<(), StackError> {
    let replica = |number: u32| (format!("redis-{}", number + 1), NodeRole::Replicated { master_port: Some(master) });
    nodes.extend(start_all(provisioner, (1..=provisioner.spec.replicas).map(replica).collect()).await?);
    for replica in &nodes[1..] {
        wait_until_formed(TOPOLOGY_LABEL, || check_in_sync(replica)).await?;
    }
    let sentinel = |number: usize| (format!("sentinel-{number}"), NodeRole::Sentinel { master });
    let servers = nodes.len();
    nodes.extend(start_all(provisioner, (1..=SENTINELS).map(sentinel).collect()).await?);
    let known = format!("slaves={},sentinels={SENTINELS}", servers - 1);
    for sentinel in &nodes[servers..] {
        wait_until_formed(TOPOLOGY_LABEL, async || {
            let info: String = redis_command(sentinel.server.url(), &["INFO", "sentinel"]).await?;
            let line = info.lines().find(|line| line.starts_with("master0:")).unwrap_or("it monitors no master");
            if line.contains("status=ok") && line.contains(&known) {
                return Ok(());
            }
            Err(format!("{} does not know all others: {line}", sentinel.name))
        })
        .await?;
    }
    Ok(())
}

/// Checks that a replica is in sync with its master.
pub(super) async fn check_in_sync(replica: &Node) -> Result<(), String> {
    let info: String = redis_command(replica.server.url(), &["INFO", "replication"]).await?;
    if info.contains("master_link_status:up") {
        return Ok(());
    }
    Err(format!("{} is not in sync with its master", replica.name))
}
