//! Where the nodes of a deployment are started, one by one.

use std::net::{Ipv4Addr, SocketAddr};

use testcontainers::bollard::Docker;

use super::super::container::{self, DATA, Network};
use super::super::deployment::{Node, Role};
use super::super::local::{self, Installed};
use super::super::probe::Kind;
use super::super::server::{Place, Server};
use super::super::{NotUp, StackError, front};
use super::ports::Ports;
use super::secrets::{Certificates, Secrets};
use super::settings::{self, Duty, Listen};
use cacheproof_core::scenario::{RedisSpec, Topology};
use cacheproof_supervise::Guard;

/// How many times ports are chosen.
const TRIES: usize = 10;

/// Inside a container with a network of its own.
const INSIDE: Listen = Listen { bind: "* -::*", plain: 6379, tls: None };
const INSIDE_TLS: u16 = 6380;

/// Where servers run.
pub(super) enum Ground {
    Local(Installed),
    Container { docker: Docker, image: String },
}

/// Everything that the nodes of one deployment have in common.
pub(super) struct Yard<'a> {
    pub(super) spec: &'a RedisSpec,
    pub(super) ground: Ground,
    pub(super) why: String,
    pub(super) secrets: Secrets,
    pub(super) certificates: Option<Certificates>,
    pub(super) guard: &'a Guard,
    /// Of the proxies' draws.
    pub(super) seed: u64,
}

impl Yard<'_> {
    /// Starts one node, with its proxy in front, and waits until it answers.
    pub(super) async fn start(&self, name: &str, duty: Duty) -> Result<Node, StackError> {
        let kind = Kind::from(self.spec.server);
        for _ in 0..TRIES {
            let ports = Ports::choose(self.spec.tls, duty == Duty::Cluster)?;
            let behind = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.behind()));
            let Some(proxy) = front::start(ports.front, behind, front::seed(self.seed, name))? else { continue };
            let password = if matches!(duty, Duty::Sentinel { .. }) {
                String::new()
            } else {
                format!(":{}@", self.secrets.password)
            };
            let url = format!("redis://{password}127.0.0.1:{}/", ports.plain);
            let started = match &self.ground {
                Ground::Local(installed) => self.start_local(name, duty, &ports, &url, installed).await,
                Ground::Container { docker, image } => self.start_container(duty, &ports, &url, docker, image).await,
            };
            let place = match started {
                Ok(place) => place,
                Err(NotUp::PortTaken) => {
                    proxy.stop();
                    continue;
                }
                Err(NotUp::Other(error)) => {
                    proxy.stop();
                    return Err(error);
                }
            };
            let image = match &self.ground {
                Ground::Local(_) => None,
                Ground::Container { image, .. } => Some(image.clone()),
            };
            let role = match duty {
                Duty::Sentinel { .. } => Role::Sentinel,
                Duty::Member { of: Some(_) } => Role::Replica,
                Duty::Alone | Duty::Member { of: None } | Duty::Cluster => Role::Master,
            };
            // One that is alone is called as people call it.
            let shown = if duty == Duty::Alone { kind.name() } else { name };
            let server = Server::new(kind, shown, place, url, &self.why, image);
            return Ok(Node::new(name, role, server, Some(proxy), ports.bus));
        }
        Err(StackError::NoPort(kind.name()))
    }

    async fn start_local(
        &self,
        name: &str,
        duty: Duty,
        ports: &Ports,
        url: &str,
        installed: &Installed,
    ) -> Result<Place, NotUp> {
        let listen = Listen { bind: "127.0.0.1", plain: ports.plain, tls: ports.tls };
        let wanted = local::Wanted {
            kind: self.spec.server.into(),
            name,
            configuration: &|directory| settings::text(self.spec, duty, &self.secrets, ports, &listen, directory),
            files: self.files(),
            is_sentinel: matches!(duty, Duty::Sentinel { .. }),
            url: url.to_owned(),
        };
        Ok(Place::Local(Box::new(local::start_redis(&wanted, installed, self.guard).await?)))
    }

    async fn start_container(
        &self,
        duty: Duty,
        ports: &Ports,
        url: &str,
        docker: &Docker,
        image: &str,
    ) -> Result<Place, NotUp> {
        // Servers that tell others where they are must be there for everybody: inside and outside.
        let host = self.spec.topology != Topology::Standalone;
        let (listen, network) = if host {
            (Listen { bind: "127.0.0.1", plain: ports.plain, tls: ports.tls }, Network::Host)
        } else {
            let mut published = vec![(ports.plain, INSIDE.plain)];
            published.extend(ports.tls.map(|port| (port, INSIDE_TLS)));
            (Listen { tls: ports.tls.map(|_| INSIDE_TLS), ..INSIDE }, Network::Published(published))
        };
        let configuration = format!("{DATA}/server.conf");
        let mut files: Vec<(String, String)> =
            self.files().iter().map(|(name, text)| (format!("{DATA}/{name}"), text.clone())).collect();
        let text = settings::text(self.spec, duty, &self.secrets, ports, &listen, DATA);
        files.push((configuration.clone(), text));
        let mut command = vec![Kind::from(self.spec.server).program().to_owned(), configuration];
        if matches!(duty, Duty::Sentinel { .. }) {
            command.push("--sentinel".into());
        }
        let wanted = container::Wanted {
            kind: self.spec.server.into(),
            image,
            environment: Vec::new(),
            command,
            files,
            network,
        };
        Ok(Place::Container(Box::new(container::start(docker, &wanted, url, self.guard).await?)))
    }

    fn files(&self) -> &[(&'static str, String)] {
        self.certificates.as_ref().map_or(&[], |made| &made.files)
    }
}
