//! Starts the nodes of one deployment.

use std::net::{Ipv4Addr, SocketAddr};

use bollard::Docker;

use super::ports::Ports;
use super::secrets::{Certificates, Secrets};
use super::settings::{self, ListenConfig, NodeRole};
use crate::container::{self, DATA_DIRECTORY, Network};
use crate::deployment::{Node, Role};
use crate::local::{self, Installed};
use crate::probe::ServerKind;
use crate::server::{Backend, Server};
use crate::{StackError, StartFailure, proxy};
use cacheproof_core::scenario::{RedisSpec, Topology};
use cacheproof_supervise::Guard;

/// How many sets of ports are tried.
const PORT_ATTEMPTS: usize = 10;

/// How a server listens in a container with a network of its own.
const CONTAINER_LISTEN: ListenConfig = ListenConfig { bind: "* -::*", plain: 6379, tls: None };
/// The same, with TLS.
const CONTAINER_TLS_PORT: u16 = 6380;

/// Where the servers run.
pub(super) enum NodeRuntime {
    Local(Installed),
    Container { docker: Docker, image: String },
}

/// What the nodes of one deployment have in common.
pub(super) struct Provisioner<'a> {
    pub(super) spec: &'a RedisSpec,
    pub(super) runtime: NodeRuntime,
    pub(super) why: String,
    pub(super) secrets: Secrets,
    pub(super) certificates: Option<Certificates>,
    pub(super) guard: &'a Guard,
    /// The run's seed, for the proxies.
    pub(super) seed: u64,
}

impl Provisioner<'_> {
    /// Starts one node, with its proxy in front, and waits until it answers.
    pub(super) async fn start(&self, name: &str, node_role: NodeRole) -> Result<Node, StackError> {
        let kind = ServerKind::from(self.spec.server);
        for _ in 0..PORT_ATTEMPTS {
            let ports = Ports::choose(self.spec.tls, node_role == NodeRole::Cluster)?;
            let upstream = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.upstream()));
            let Some(proxy) = proxy::start(ports.proxy, upstream, proxy::seed(self.seed, name))? else { continue };
            let password = if matches!(node_role, NodeRole::Sentinel { .. }) {
                String::new()
            } else {
                format!(":{}@", self.secrets.password)
            };
            let url = format!("redis://{password}127.0.0.1:{}/", ports.plain);
            let started = match &self.runtime {
                NodeRuntime::Local(installed) => self.start_local(name, node_role, &ports, &url, installed).await,
                NodeRuntime::Container { docker, image } => {
                    self.start_container(node_role, &ports, &url, docker, image).await
                }
            };
            let backend = match started {
                Ok(backend) => backend,
                Err(StartFailure::PortTaken) => {
                    proxy.stop();
                    continue;
                }
                Err(StartFailure::Other(error)) => {
                    proxy.stop();
                    return Err(error);
                }
            };
            let image = match &self.runtime {
                NodeRuntime::Local(_) => None,
                NodeRuntime::Container { image, .. } => Some(image.clone()),
            };
            let role = match node_role {
                NodeRole::Sentinel { .. } => Role::Sentinel,
                NodeRole::Replicated { master_port: Some(_) } => Role::Replica,
                NodeRole::Standalone | NodeRole::Replicated { master_port: None } | NodeRole::Cluster => Role::Master,
            };
            // A standalone server has the product's name in messages.
            let shown = if node_role == NodeRole::Standalone { kind.name() } else { name };
            let server = Server::new(kind, shown, backend, url, &self.why, image);
            return Ok(Node::new(name, role, server, Some(proxy), ports.bus));
        }
        Err(StackError::NoPort(kind.name()))
    }

    async fn start_local(
        &self,
        name: &str,
        node_role: NodeRole,
        ports: &Ports,
        url: &str,
        installed: &Installed,
    ) -> Result<Backend, StartFailure> {
        let listen = ListenConfig { bind: "127.0.0.1", plain: ports.plain, tls: ports.tls };
        let spec = local::LocalRedisSpec {
            kind: self.spec.server.into(),
            name,
            configuration: &|directory| settings::text(self.spec, node_role, &self.secrets, ports, &listen, directory),
            files: self.files(),
            is_sentinel: matches!(node_role, NodeRole::Sentinel { .. }),
            url: url.to_owned(),
        };
        Ok(Backend::Local(Box::new(local::start_redis(&spec, installed, self.guard).await?)))
    }

    async fn start_container(
        &self,
        node_role: NodeRole,
        ports: &Ports,
        url: &str,
        docker: &Docker,
        image: &str,
    ) -> Result<Backend, StartFailure> {
        // Servers of a Sentinel deployment or Cluster announce their addresses, which must be valid inside and outside.
        let on_host_network = self.spec.topology != Topology::Standalone;
        let (listen, network) = if on_host_network {
            (ListenConfig { bind: "127.0.0.1", plain: ports.plain, tls: ports.tls }, Network::Host)
        } else {
            let mut published = vec![(ports.plain, CONTAINER_LISTEN.plain)];
            published.extend(ports.tls.map(|port| (port, CONTAINER_TLS_PORT)));
            (
                ListenConfig { tls: ports.tls.map(|_| CONTAINER_TLS_PORT), ..CONTAINER_LISTEN },
                Network::Published(published),
            )
        };
        let configuration = format!("{DATA_DIRECTORY}/server.conf");
        let mut files: Vec<(String, String)> =
            self.files().iter().map(|(name, text)| (format!("{DATA_DIRECTORY}/{name}"), text.clone())).collect();
        let text = settings::text(self.spec, node_role, &self.secrets, ports, &listen, DATA_DIRECTORY);
        files.push((configuration.clone(), text));
        let mut command = vec![ServerKind::from(self.spec.server).program().to_owned(), configuration];
        if matches!(node_role, NodeRole::Sentinel { .. }) {
            command.push("--sentinel".into());
        }
        let spec = container::ContainerSpec {
            kind: self.spec.server.into(),
            image,
            environment: Vec::new(),
            command,
            files,
            network,
        };
        Ok(Backend::Container(Box::new(container::start(docker, &spec, url, self.guard).await?)))
    }

    fn files(&self) -> &[(&'static str, String)] {
        self.certificates.as_ref().map_or(&[], |certificates| &certificates.files)
    }
}
