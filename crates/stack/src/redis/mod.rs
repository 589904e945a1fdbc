//! Redis and Valkey in every topology: one server, a master with replicas and Sentinels, a Cluster.

mod cluster;
mod ports;
mod secrets;
mod sentinel;
mod settings;
mod yard;

use std::time::Duration;

use tokio::time::Instant;

use super::choose::{Choice, choose};
use super::deployment::{Deployment, Node};
use super::probe::Kind;
use super::{StackError, external};
use cacheproof_core::scenario::{RedisSpec, Topology};
use cacheproof_supervise::Guard;
use secrets::{Certificates, Secrets};
use settings::Duty;
use yard::{Ground, Yard};

/// How long several servers may take to find each other.
const FORMING: Duration = Duration::from_secs(60);

/// Brings the scenario's cache server up.
pub(super) async fn up(
    spec: &RedisSpec,
    seed: u64,
    guard: &Guard,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<Deployment, StackError> {
    let (ground, why) = match choose(Kind::from(spec.server), spec.provider, &spec.image, tell).await? {
        Choice::External { why } => {
            let (url, permission) = (spec.url.as_deref(), spec.permission.as_ref());
            return external::deployment(Kind::Redis, url, permission, why, seed).await;
        }
        Choice::Local { installed, why } => (Ground::Local(installed), why),
        Choice::Container { docker, image, why } => (Ground::Container { docker, image }, why),
    };
    let certificates = if spec.tls { Some(Certificates::new()?) } else { None };
    let yard = Yard { spec, ground, why, secrets: Secrets::new(spec), certificates, guard, seed };
    let nodes = match spec.topology {
        Topology::Standalone => vec![yard.start("redis", Duty::Alone).await?],
        Topology::Sentinel => sentinel::up(&yard).await?,
        Topology::Cluster => cluster::up(&yard).await?,
    };
    let (scheme, app) = (if spec.tls { "rediss" } else { "redis" }, yard.secrets.app());
    let fronts = |wanted: &dyn Fn(&Node) -> bool| {
        let all: Vec<String> = nodes.iter().filter(|node| wanted(node)).map(Node::front).collect();
        all.join(",")
    };
    let app_url = match spec.topology {
        Topology::Standalone => format!("{scheme}://{app}@{}/", fronts(&|_| true)),
        Topology::Sentinel => {
            format!("{scheme}+sentinel://{app}@{}/{}", fronts(&Node::is_sentinel), settings::MASTER)
        }
        Topology::Cluster => format!("{scheme}+cluster://{app}@{}", fronts(&|_| true)),
    };
    let ca = match yard.certificates.as_ref().map(|made| made.publish(guard.directory())).transpose() {
        Ok(ca) => ca,
        Err(error) => {
            all_down(nodes).await;
            return Err(error);
        }
    };
    let mut deployment = Deployment::new(spec.topology, nodes, app_url, ca);
    if let Err(error) = deployment.ask_facts().await {
        let _ = deployment.down().await;
        return Err(error);
    }
    let user = yard.secrets.user();
    deployment.add_settings([("tls", if spec.tls { "yes" } else { "no" }), ("app's user", user)]);
    Ok(deployment)
}

/// Starts several nodes at a time. If one fails the others are taken down again.
async fn all_up(yard: &Yard<'_>, wanted: Vec<(String, Duty)>) -> Result<Vec<Node>, StackError> {
    let starts = wanted.iter().map(|(name, duty)| yard.start(name, *duty));
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
            all_down(nodes).await;
            Err(error)
        }
    }
}

async fn all_down(nodes: Vec<Node>) {
    for node in nodes {
        let _ = node.down().await;
    }
}

/// Asks again and again until it is so; `Err` says what is missing.
async fn formed<F>(topology: &'static str, mut is_so: impl FnMut() -> F) -> Result<(), StackError>
where
    F: Future<Output = Result<(), String>>,
{
    let begun = Instant::now();
    loop {
        match is_so().await {
            Ok(()) => return Ok(()),
            Err(why) if begun.elapsed() > FORMING => {
                return Err(StackError::NotFormed { topology, waited: FORMING.as_secs(), why });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(25)).await,
        }
    }
}
