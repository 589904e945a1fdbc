//! Starts a container for a server.

use bollard::Docker;
use bollard::errors::Error as BollardError;
use bollard::models::{ContainerCreateBody, HostConfig, PortBinding};
use bollard::query_parameters::{CreateContainerOptions, UploadToContainerOptionsBuilder};

use super::{ContainerServer, PORT_ATTEMPTS, STARTUP_TIMEOUT, port_is_taken};
use crate::password::random_password;
use crate::probe::ServerKind;
use crate::{StackError, StartFailure, free_port};
use cacheproof_supervise::docker::{self, error_text};
use cacheproof_supervise::{Guard, RUN_LABEL};

/// The user and the database of Postgres.
const NAME: &str = "cacheproof";

/// A container to start.
pub(crate) struct ContainerSpec<'a> {
    pub(crate) kind: ServerKind,
    pub(crate) image: &'a str,
    pub(crate) environment: Vec<(&'static str, String)>,
    pub(crate) command: Vec<String>,
    /// Files inside, by path.
    pub(crate) files: Vec<(String, String)>,
    pub(crate) network: Network,
}

/// How a server in a container is reached.
pub(crate) enum Network {
    /// Ports of the container, published on 127.0.0.1: (outside, inside).
    Published(Vec<(u16, u16)>),
    /// It uses the host's network. Servers that announce their addresses to each other and to clients need this, so that
    /// 127.0.0.1 means the same inside and outside.
    Host,
}

impl ContainerSpec<'_> {
    fn body(&self, token: &str) -> ContainerCreateBody {
        let published = match &self.network {
            Network::Published(ports) => ports.as_slice(),
            Network::Host => &[],
        };
        let inside = |port: u16| format!("{port}/tcp");
        // Named by us: a port that Docker chooses changes when the container is started again.
        let binding = |port: u16| PortBinding { host_ip: Some("127.0.0.1".into()), host_port: Some(port.to_string()) };
        let host_config = HostConfig {
            network_mode: matches!(self.network, Network::Host).then(|| "host".into()),
            port_bindings: Some(
                published.iter().map(|&(out, port)| (inside(port), Some(vec![binding(out)]))).collect(),
            ),
            ..HostConfig::default()
        };
        ContainerCreateBody {
            image: Some(self.image.into()),
            cmd: Some(self.command.clone()),
            env: Some(self.environment.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            labels: Some([(RUN_LABEL.to_owned(), token.to_owned())].into()),
            exposed_ports: Some(published.iter().map(|&(_, port)| inside(port)).collect()),
            host_config: Some(host_config),
            ..ContainerCreateBody::default()
        }
    }

    /// Its files, as Docker takes them.
    fn archive(&self) -> std::io::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, text) in &self.files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            // The server may run as any user, and a Sentinel writes to its configuration. No other program runs in there.
            header.set_mode(0o666);
            archive.append_data(&mut header, path.trim_start_matches('/'), text.as_bytes())?;
        }
        archive.into_inner()
    }

    /// Makes and starts the container; gives its id. One that does not start is removed.
    async fn launch(&self, docker: &Docker, token: &str) -> Result<String, BollardError> {
        let id = docker.create_container(None::<CreateContainerOptions>, self.body(token)).await?.id;
        let started = async {
            if !self.files.is_empty() {
                let options = UploadToContainerOptionsBuilder::new().path("/").build();
                let archive = bollard::body_full(self.archive()?.into());
                docker.upload_to_container(&id, Some(options), archive).await?;
            }
            tokio::time::timeout(STARTUP_TIMEOUT, docker.start_container(&id, None))
                .await
                .unwrap_or(Err(BollardError::RequestTimeoutError))
        };
        match started.await {
            Ok(()) => Ok(id),
            Err(error) => {
                let _ = docker::remove(docker, &id).await;
                Err(error)
            }
        }
    }
}

/// Starts a container and waits until the server in it answers at `url`.
pub(crate) async fn start(
    docker: &Docker,
    spec: &ContainerSpec<'_>,
    url: &str,
    guard: &Guard,
) -> Result<ContainerServer, StartFailure> {
    let guard_handle = guard.guard_handle();
    guard_handle.expect_containers();
    let id = spec.launch(docker, guard_handle.token()).await.map_err(|error| match error_text(&error) {
        why if port_is_taken(&why) => StartFailure::PortTaken,
        why => StartFailure::Other(StackError::docker(format!("start {}", spec.kind.name()), why)),
    })?;
    guard_handle.register_container(&id);
    let server =
        ContainerServer { id, docker: docker.clone(), is_managed: true, token: guard_handle.token().to_owned() };
    match server.ready(spec.kind, url).await {
        Ok(()) => Ok(server),
        Err(error) => {
            let _ = server.remove().await;
            Err(error)
        }
    }
}

/// Starts a Postgres; returns it with its URL.
pub(crate) async fn start_postgres(
    docker: &Docker,
    image: &str,
    guard: &Guard,
) -> Result<(ContainerServer, String), StackError> {
    let password = random_password();
    let environment = [
        ("POSTGRES_USER", NAME),
        ("POSTGRES_DB", NAME),
        ("POSTGRES_PASSWORD", &password),
        ("POSTGRES_INITDB_ARGS", "--no-sync"),
    ];
    let command = [
        "postgres",
        "-c",
        "shared_preload_libraries=pg_stat_statements",
        "-c",
        "pg_stat_statements.track_utility=off",
        "-c",
        "max_connections=200",
    ];
    for _ in 0..PORT_ATTEMPTS {
        let port = free_port().map_err(StackError::system("find a free port"))?;
        let spec = ContainerSpec {
            kind: ServerKind::Postgres,
            image,
            environment: environment.map(|(name, value)| (name, value.to_owned())).into(),
            command: command.map(str::to_owned).into(),
            files: Vec::new(),
            network: Network::Published(vec![(port, 5432)]),
        };
        let url = format!("postgres://{NAME}:{password}@127.0.0.1:{port}/{NAME}");
        match start(docker, &spec, &url, guard).await {
            Ok(server) => return Ok((server, url)),
            Err(StartFailure::PortTaken) => {}
            Err(StartFailure::Other(error)) => return Err(error),
        }
    }
    Err(StackError::NoPort(ServerKind::Postgres.name()))
}
