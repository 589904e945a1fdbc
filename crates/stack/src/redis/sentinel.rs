//! A master, its replicas, and three Sentinels.

use super::super::StackError;
use super::super::deployment::Node;
use super::super::probe::redis_says;
use super::settings::Duty;
use super::yard::Yard;
use super::{all_down, all_up, formed};

/// How many Sentinels watch.
const SENTINELS: usize = 3;

/// In messages.
const WHAT: &str = "Sentinel deployment";

/// The master first, then the replicas, then the Sentinels; all know each other.
pub(super) async fn up(yard: &Yard<'_>) -> Result<Vec<Node>, StackError> {
    let master = yard.start("redis-1", Duty::Member { of: None }).await?;
    let front = master.front_port();
    let mut nodes = vec![master];
    match join(yard, front, &mut nodes).await {
        Ok(()) => Ok(nodes),
        Err(error) => {
            all_down(nodes).await;
            Err(error)
        }
    }
}

async fn join(yard: &Yard<'_>, master: u16, nodes: &mut Vec<Node>) -> Result<(), StackError> {
    let replica = |number: u32| (format!("redis-{}", number + 1), Duty::Member { of: Some(master) });
    nodes.extend(all_up(yard, (1..=yard.spec.replicas).map(replica).collect()).await?);
    for replica in &nodes[1..] {
        formed(WHAT, || in_step(replica)).await?;
    }
    let sentinel = |number: usize| (format!("sentinel-{number}"), Duty::Sentinel { master });
    let servers = nodes.len();
    nodes.extend(all_up(yard, (1..=SENTINELS).map(sentinel).collect()).await?);
    let known = format!("slaves={},sentinels={SENTINELS}", servers - 1);
    for sentinel in &nodes[servers..] {
        formed(WHAT, async || {
            let info: String = redis_says(sentinel.server.url(), &["INFO", "sentinel"]).await?;
            let line = info.lines().find(|line| line.starts_with("master0:")).unwrap_or("it watches no master");
            if line.contains("status=ok") && line.contains(&known) {
                return Ok(());
            }
            Err(format!("{} does not know all others: {line}", sentinel.name))
        })
        .await?;
    }
    Ok(())
}

/// Whether a replica has its master's data.
pub(super) async fn in_step(replica: &Node) -> Result<(), String> {
    let info: String = redis_says(replica.server.url(), &["INFO", "replication"]).await?;
    if info.contains("master_link_status:up") {
        return Ok(());
    }
    Err(format!("{} does not follow its master", replica.name))
}
