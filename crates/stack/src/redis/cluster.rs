//! A Cluster: three masters that share the slots, each with replicas.

use super::provisioner::Provisioner;
use super::settings::NodeRole;
use super::{sentinel, start_all, stop_all, wait_until_formed};
use crate::StackError;
use crate::deployment::{Node, Role};
use crate::probe::redis_command;

/// How many masters there are.
const MASTERS: usize = 3;

/// How many slots there are.
const SLOTS: usize = 16_384;

/// Its name in messages.
const TOPOLOGY_LABEL: &str = "Cluster";

/// Starts the nodes and forms the Cluster. The masters come first, then the replicas, of each master in turn.
pub(super) async fn up(provisioner: &Provisioner<'_>) -> Result<Vec<Node>, StackError> {
    let count = MASTERS * (1 + usize::try_from(provisioner.spec.replicas).unwrap_or(0));
    let mut nodes =
        start_all(provisioner, (1..=count).map(|number| (format!("redis-{number}"), NodeRole::Cluster)).collect())
            .await?;
    match join(&mut nodes).await {
        Ok(()) => Ok(nodes),
        Err(error) => {
            stop_all(nodes).await;
            Err(error)
        }
    }
}

async fn join(nodes: &mut [Node]) -> Result<(), StackError> {
    for (index, node) in nodes.iter().enumerate() {
        cluster_command(node, &["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]).await?;
        if index < MASTERS {
            let (from, to) = (index * SLOTS / MASTERS, (index + 1) * SLOTS / MASTERS - 1);
            cluster_command(node, &["CLUSTER", "ADDSLOTSRANGE", &from.to_string(), &to.to_string()]).await?;
        }
    }
    for node in &nodes[1..] {
        let (port, bus) = (node.proxy_port().to_string(), node.bus.unwrap_or_default().to_string());
        cluster_command(&nodes[0], &["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await?;
    }
    for node in nodes.iter() {
        wait_until_formed(TOPOLOGY_LABEL, || check_cluster_info(node, format!("cluster_known_nodes:{}", nodes.len())))
            .await?;
    }
    for index in MASTERS..nodes.len() {
        let (node, master) = (&nodes[index], &nodes[(index - MASTERS) % MASTERS]);
        // A replica can be attached only when it knows its master, by gossip.
        wait_until_formed(TOPOLOGY_LABEL, async || {
            let id: String = redis_command(master.server.url(), &["CLUSTER", "MYID"]).await?;
            redis_command::<()>(node.server.url(), &["CLUSTER", "REPLICATE", &id]).await
        })
        .await?;
    }
    for (index, node) in nodes.iter().enumerate() {
        wait_until_formed(TOPOLOGY_LABEL, || check_cluster_info(node, "cluster_state:ok".into())).await?;
        if index >= MASTERS {
            wait_until_formed(TOPOLOGY_LABEL, || sentinel::check_in_sync(node)).await?;
        }
    }
    // Every node must know all replicas, because clients may ask any node.
    let replicas = nodes.len() - MASTERS;
    for node in nodes.iter() {
        wait_until_formed(TOPOLOGY_LABEL, async || {
            let nodes_text: String = redis_command(node.server.url(), &["CLUSTER", "NODES"]).await?;
            match nodes_text.lines().filter(|line| line.contains("slave")).count() {
                known if known == replicas => Ok(()),
                known => Err(format!("{} knows {known} of {replicas} replicas", node.name)),
            }
        })
        .await?;
    }
    for node in &mut nodes[MASTERS..] {
        node.role = Role::Replica;
    }
    Ok(())
}

async fn check_cluster_info(node: &Node, wanted: String) -> Result<(), String> {
    let info: String = redis_command(node.server.url(), &["CLUSTER", "INFO"]).await?;
    if info.lines().any(|line| line == wanted) {
        Ok(())
    } else {
        Err(format!("CLUSTER INFO of {} has no {wanted}", node.name))
    }
}

async fn cluster_command(node: &Node, command: &[&str]) -> Result<(), StackError> {
    redis_command::<()>(node.server.url(), command).await.map_err(|why| StackError::StartFailure {
        what: format!("{} as a node of a Cluster", node.name),
        why: format!("{}: {why}", command.join(" ")),
        help: "look at the message above".into(),
    })
}
