//! Starts a container for a server.

use testcontainers::bollard::Docker;
use testcontainers::core::IntoContainerPort as _;
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerRequest, CopyTargetOptions, GenericImage, ImageExt as _};

use super::image::name_and_tag;
use super::{ContainerServer, PORT_ATTEMPTS, STARTUP_TIMEOUT, port_is_taken};
use crate::password::random_password;
use crate::probe::ServerKind;
use crate::{StackError, StartFailure, free_port};
use cacheproof_supervise::docker::error_chain;
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
    fn request(&self, token: &str) -> ContainerRequest<GenericImage> {
        let (name, tag) = name_and_tag(self.image);
        let mut request = GenericImage::new(name, tag)
            .with_cmd(&self.command)
            .with_label(RUN_LABEL, token)
            .with_startup_timeout(STARTUP_TIMEOUT)
            .with_host_config_modifier(|host| {
                for bindings in host.port_bindings.iter_mut().flat_map(|all| all.values_mut()).flatten() {
                    for binding in bindings {
                        binding.host_ip = Some("127.0.0.1".into());
                    }
                }
            });
        request = match &self.network {
            // Chosen by cacheproof: a port that Docker chooses changes when the container is started again.
            Network::Published(ports) => ports
                .iter()
                .fold(request, |request, (outside, inside)| request.with_mapped_port(*outside, inside.tcp())),
            Network::Host => request.with_network("host"),
        };
        for (path, text) in &self.files {
            // The server may run as any user, and a Sentinel writes to its configuration. No other program runs in there.
            let path = CopyTargetOptions::new(path).with_mode(0o666);
            request = request.with_copy_to(path, text.clone().into_bytes());
        }
        for (name, value) in &self.environment {
            request = request.with_env_var(*name, value);
        }
        request
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
    let container = spec.request(guard_handle.token()).start().await.map_err(|error| match error_chain(&error) {
        why if port_is_taken(&why) => StartFailure::PortTaken,
        why => StartFailure::Other(StackError::docker(format!("start {}", spec.kind.name()), why)),
    })?;
    guard_handle.register_container(container.id());
    let id = container.id().to_owned();
    let server = ContainerServer {
        id,
        docker: docker.clone(),
        managed: Some(container),
        token: guard_handle.token().to_owned(),
    };
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
