//! A deployment: the servers that together are the cache, or the database. Which there are, which role each has now, and how the
//! app reaches them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;

use crate::StackError;
use crate::probe::{redis_command, without_password};
use crate::server::Server;
use cacheproof_core::journal::{NodeFacts, ServerFacts};
use cacheproof_core::scenario::Topology;
use cacheproof_proxy::Proxy;

/// How long a node may take to answer ROLE.
const ROLE_TIMEOUT: Duration = Duration::from_millis(500);

/// The role of a server in its deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It takes writes. Also the only server of a standalone deployment.
    Master,
    /// It follows a master.
    Replica,
    /// It watches the master.
    Sentinel,
}

impl Role {
    /// `master`, `replica` or `sentinel`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Replica => "replica",
            Self::Sentinel => "sentinel",
        }
    }
}

/// One server of a deployment, with the proxy in front of it.
#[derive(Debug)]
pub struct Node {
    /// `redis`, `redis-2`, `sentinel-1`, `postgres`.
    pub name: String,
    /// Its role when it was started. A failover changes roles: [`Deployment::masters`] and [`Deployment::replicas`] say what it
    /// is now.
    pub role: Role,
    /// The server itself.
    pub server: Server,
    /// The proxy through which the app reaches it. `None` for an external server that can't be reached through one, because the
    /// client checks the name in its certificate.
    pub proxy: Option<Proxy>,
    /// The port of its Cluster bus.
    pub(super) bus: Option<u16>,
}

impl Node {
    pub(super) fn new(name: &str, role: Role, server: Server, proxy: Option<Proxy>, bus: Option<u16>) -> Self {
        Self { name: name.into(), role, server, proxy, bus }
    }

    pub(super) fn is_sentinel(&self) -> bool {
        self.role == Role::Sentinel
    }

    /// `127.0.0.1:PORT` of its proxy.
    pub(super) fn proxy_address(&self) -> String {
        format!("127.0.0.1:{}", self.proxy_port())
    }

    /// Its proxy's port; 0 where it has none.
    pub(super) fn proxy_port(&self) -> u16 {
        self.proxy.as_ref().map_or(0, |proxy| proxy.address().port())
    }

    /// Its role by its own answer. `None` when it does not answer in time.
    async fn reported_role(&self) -> Option<ReportedRole> {
        if self.is_sentinel() {
            return self.server.answers().await.then_some(ReportedRole { role: Role::Sentinel, followers: 0 });
        }
        let role: Vec<redis::Value> =
            tokio::time::timeout(ROLE_TIMEOUT, redis_command(self.server.url(), &["ROLE"])).await.ok()?.ok()?;
        match redis::from_redis_value_ref::<String>(role.first()?).ok()?.as_str() {
            "master" => {
                let followers = match role.get(2) {
                    Some(redis::Value::Array(all)) => all.len(),
                    _ => 0,
                };
                Some(ReportedRole { role: Role::Master, followers })
            }
            _ => Some(ReportedRole { role: Role::Replica, followers: 0 }),
        }
    }

    pub(super) async fn down(self) -> Result<(), StackError> {
        let down = self.server.down().await;
        if let Some(proxy) = self.proxy {
            proxy.stop();
        }
        down
    }
}

/// What a node answers to ROLE.
#[derive(Clone, Copy)]
struct ReportedRole {
    role: Role,
    followers: usize,
}

/// The servers that together are the cache, or the database.
pub struct Deployment {
    topology: Topology,
    nodes: Vec<Node>,
    app_url: String,
    ca_file: Option<PathBuf>,
    facts: ServerFacts,
}

/// Without the URL that holds the app's password.
impl std::fmt::Debug for Deployment {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("Deployment");
        shown.field("topology", &self.topology).field("nodes", &self.nodes).finish_non_exhaustive()
    }
}

impl Deployment {
    pub(super) fn new(topology: Topology, nodes: Vec<Node>, app_url: String, ca_file: Option<PathBuf>) -> Self {
        Self { topology, nodes, app_url, ca_file, facts: ServerFacts::default() }
    }

    /// Asks the first server for its version and settings, and adds the nodes.
    pub(super) async fn fetch_facts(&mut self) -> Result<(), StackError> {
        let Some(first) = self.nodes.first_mut() else { return Ok(()) };
        first.server.fetch_facts().await?;
        self.facts = first.server.facts().clone();
        self.facts.topology = self.topology.as_str().into();
        self.facts.nodes = self
            .nodes
            .iter()
            .map(|node| NodeFacts {
                name: node.name.clone(),
                role: node.role.as_str().into(),
                address: address(node.server.url()),
                proxy: node.proxy.as_ref().map(|proxy| proxy.address().to_string()),
            })
            .collect();
        Ok(())
    }

    /// Adds settings to the facts, for the report.
    pub(super) fn add_settings<const N: usize>(&mut self, settings: [(&str, &str); N]) {
        self.facts.settings.extend(settings.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    /// How it is deployed.
    pub fn topology(&self) -> Topology {
        self.topology
    }

    /// Every server. The order does not change: those that were started as masters come first, then the replicas, then the
    /// Sentinels.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The first server: the only one of a standalone deployment, else the one that was started as the first master.
    pub fn first(&self) -> &Server {
        // A deployment has at least one server.
        &self.nodes[0].server
    }

    /// The URL for the app. It leads through the proxies, and has the app's user and password. Its forms are
    /// `redis://`, `redis+sentinel://host:port,…/mymaster`, `redis+cluster://host:port,…` (`rediss` with TLS) and
    /// `postgres://`.
    pub fn app_url(&self) -> &str {
        &self.app_url
    }

    /// The CA certificate to trust, where the app connects with TLS.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// Version, settings, provider and nodes. Without passwords.
    pub fn facts(&self) -> &ServerFacts {
        &self.facts
    }

    /// Names and URLs of the servers that keep data, for probes: past the proxies, with the password of cacheproof's user.
    pub fn probe_urls(&self) -> Vec<(String, String)> {
        self.data_nodes().map(|node| (node.name.clone(), node.server.url().to_owned())).collect()
    }

    fn data_nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| !node.is_sentinel())
    }

    /// The Sentinels, whether they run or not.
    pub fn sentinels(&self) -> Vec<&Node> {
        self.nodes.iter().filter(|node| node.is_sentinel()).collect()
    }

    /// The servers that answer now that they are masters. With one server only: that server, whether it runs or not. With
    /// Sentinels there can be two for a moment, when an old master has come back and was not reconfigured yet; the one with more
    /// replicas comes first. In a Cluster they have the order of [`Self::nodes`].
    pub async fn masters(&self) -> Vec<&Node> {
        if self.nodes.len() == 1 {
            return self.nodes.iter().collect();
        }
        let mut masters: Vec<(&Node, ReportedRole)> =
            self.reported_roles().await.into_iter().filter(|(_, reported)| reported.role == Role::Master).collect();
        if self.topology == Topology::Sentinel {
            masters.sort_by_key(|(_, reported)| std::cmp::Reverse(reported.followers));
        }
        masters.into_iter().map(|(node, _)| node).collect()
    }

    /// The servers that answer now that they are replicas.
    pub async fn replicas(&self) -> Vec<&Node> {
        let reported = self.reported_roles().await;
        reported.into_iter().filter(|(_, reported)| reported.role == Role::Replica).map(|(node, _)| node).collect()
    }

    /// The current master (of a Cluster, the first one). When no server answers that it is the master: the one that most
    /// Sentinels name. `None` when they do not answer either.
    pub async fn master(&self) -> Option<&Node> {
        if let Some(master) = self.masters().await.first() {
            return Some(master);
        }
        let asked = self.sentinels().into_iter().map(|sentinel| async {
            let arguments = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"];
            let answer: Option<(String, u16)> = redis_command(sentinel.server.url(), &arguments).await.ok()?;
            answer.map(|(_, port)| port)
        });
        let sentinel_answers: Vec<u16> = join_all(asked).await.into_iter().flatten().collect();
        let port =
            sentinel_answers.iter().max_by_key(|port| sentinel_answers.iter().filter(|other| other == port).count())?;
        self.data_nodes().find(|node| node.proxy_port() == *port)
    }

    /// The reported role of every server that keeps data and answers.
    async fn reported_roles(&self) -> Vec<(&Node, ReportedRole)> {
        let asked = self.data_nodes().map(|node| async move { Some((node, node.reported_role().await?)) });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// How the first server ended that has ended without a fault; `None` when there is none.
    pub async fn died(&self) -> Option<String> {
        for node in &self.nodes {
            if let Some(report) = node.server.died().await {
                return Some(report);
            }
        }
        None
    }

    /// Stops the servers that cacheproof started, and the proxies.
    pub(super) async fn down(self) -> Result<(), StackError> {
        let downs = join_all(self.nodes.into_iter().map(Node::down)).await;
        downs.into_iter().find(Result::is_err).unwrap_or(Ok(()))
    }
}

/// `host:port` of a URL.
fn address(url: &str) -> String {
    let shown = without_password(url);
    let authority = shown.split_once("://").map_or(shown.as_str(), |(_, authority)| authority);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    host.split(['/', '?']).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_neither_user_nor_password() {
        assert_eq!(address("redis://:s3cret@127.0.0.1:7001/"), "127.0.0.1:7001");
        assert_eq!(address("postgres://me:s3cret@db:5432/app?x=1"), "db:5432");
    }
}
