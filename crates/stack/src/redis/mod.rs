//! Starts Redis and Valkey in every topology: one server, a master with replicas and Sentinels, a Cluster.

mod cluster;
mod ports;
mod provisioner;
mod secrets;
mod sentinel;
mod settings;

use std::time::Duration;

use tokio::time::Instant;

use crate::choose::{ProviderChoice, choose};
use crate::deployment::{Deployment, Node};
use crate::probe::ServerKind;
use crate::{StackError, external};
use cacheproof_core::scenario::{RedisSpec, Topology};
use cacheproof_supervise::Guard;
use provisioner::{NodeRuntime, Provisioner};
use secrets::{Certificates, Secrets};
use settings::NodeRole;

/// How long the servers of a topology may take to find each other.
const FORMATION_TIMEOUT: Duration = Duration::from_secs(60);

/// Starts the scenario's cache server.
pub(super) async fn up(
    spec: &RedisSpec,
    seed: u64,
    guard: &Guard,
    notify: &(dyn Fn(&str) + Send + Sync),
) -> Result<Deployment, StackError> {
    let (runtime, why) = match choose(ServerKind::from(spec.server), spec.provider, &spec.image, notify).await? {
        ProviderChoice::External { why } => {
            let (url, permission) = (spec.url.as_deref(), spec.permission.as_ref());
            return external::deployment(ServerKind::Redis, url, permission, why, seed).await;
        }
        ProviderChoice::Local { installed, why } => (NodeRuntime::Local(installed), why),
        ProviderChoice::Container { docker, image, why } => (NodeRuntime::Container { docker, image }, why),
    };
    let certificates = if spec.tls { Some(Certificates::new()?) } else { None };
    let provisioner = Provisioner { spec, runtime, why, secrets: Secrets::new(spec), certificates, guard, seed };
    let nodes = match spec.topology {
        Topology::Standalone => vec![provisioner.start("redis", NodeRole::Standalone).await?],
        Topology::Sentinel => sentinel::up(&provisioner).await?,
        Topology::Cluster => cluster::up(&provisioner).await?,
    };
    let (scheme, app) = (if spec.tls { "rediss" } else { "redis" }, provisioner.secrets.app());
    let proxy_addresses = |wanted: &dyn Fn(&Node) -> bool| {
        let all: Vec<String> = nodes.iter().filter(|node| wanted(node)).map(Node::proxy_address).collect();
        all.join(",")
    };
    let app_url = match spec.topology {
        Topology::Standalone => format!("{scheme}://{app}@{}/", proxy_addresses(&|_| true)),
        Topology::Sentinel => {
            format!("{scheme}+sentinel://{app}@{}/{}", proxy_addresses(&Node::is_sentinel), settings::MASTER_NAME)
        }
        Topology::Cluster => format!("{scheme}+cluster://{app}@{}", proxy_addresses(&|_| true)),
    };
    let ca =
        match provisioner.certificates.as_ref().map(|certificates| certificates.publish(guard.directory())).transpose()
        {
            Ok(ca) => ca,
            Err(error) => {
                stop_all(nodes).await;
                return Err(error);
            }
        };
    let mut deployment = Deployment::new(spec.topology, nodes, app_url, ca);
    if let Err(error) = deployment.fetch_facts().await {
        let _ = deployment.down().await;
        return Err(error);
    }
    let user = provisioner.secrets.user();
    deployment.add_settings([("tls", if spec.tls { "yes" } else { "no" }), ("app's user", user)]);
    Ok(deployment)
}

/// Starts several nodes at the same time. If one fails, the others are stopped again.
async fn start_all(provisioner: &Provisioner<'_>, wanted: Vec<(String, NodeRole)>) -> Result<Vec<Node>, StackError> {
    let starts = wanted.iter().map(|(name, node_role)| provisioner.start(name, *node_role));
    let mut nodes = Vec::new();
    let mut failed = None;
    for started in futures_util::future::join_all(starts).await {
        match started {
            Ok(node) => nodes.push(node),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    match failed {
        None => Ok(nodes),
        Some(error) => {
            stop_all(nodes).await;
            Err(error)
        }
    }
}

async fn stop_all(nodes: Vec<Node>) {
    for node in nodes {
        let _ = node.down().await;
    }
}

/// Repeats a check until it passes. The check's error says what is missing.
async fn wait_until_formed<F>(topology: &'static str, mut check: impl FnMut() -> F) -> Result<(), StackError>
where
    F: Future<Output = Result<(), String>>,
{
    let begun = Instant::now();
    loop {
        match check().await {
            Ok(()) => return Ok(()),
            Err(why) if begun.elapsed() > FORMATION_TIMEOUT => {
                return Err(StackError::NotFormed { topology, waited: FORMATION_TIMEOUT.as_secs(), why });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(25)).await,
        }
    }
}
