//! Servers in containers, by testcontainers. Kill and restart go through the Docker client inside it (bollard),
//! because testcontainers itself knows only a polite stop.

use std::time::Duration;

use testcontainers::bollard::Docker;
use testcontainers::bollard::errors::Error as BollardError;
use testcontainers::bollard::query_parameters::KillContainerOptionsBuilder;
use testcontainers::core::IntoContainerPort as _;
use testcontainers::core::client::ClientError;
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt as _, TestcontainersError};
use tokio::time::Instant;

use super::StackError;
use super::docker::{self, chain, in_time, says};
use super::guard::{Guard, RUN_LABEL};
use super::local::{free_port, password, tail};
use super::probe::Kind;
use crate::scenario::RedisSpec;

/// How long a server may take to come up in its container.
const PATIENCE: Duration = Duration::from_secs(90);

/// How many ports are tried.
const PORTS: usize = 10;

/// How long the question may take whether a registry has an image.
const REGISTRY: Duration = Duration::from_secs(10);

/// User and database of the Postgres.
const NAME: &str = "cacheproof";

/// How often a pull says that it is still at it.
const PULL_NEWS: Duration = Duration::from_secs(10);

/// A running (or killed, or paused) container.
pub(super) struct ContainerServer {
    container: ContainerAsync<GenericImage>,
    docker: Docker,
}

impl Kind {
    /// Environment variable that names another image than the scenario does.
    pub(super) fn image_variable(self) -> &'static str {
        match self {
            Self::Redis => "CACHEPROOF_REDIS_IMAGE",
            Self::Postgres => "CACHEPROOF_POSTGRES_IMAGE",
        }
    }

    /// The image to use: the environment's, else the scenario's.
    pub(super) fn image(self, of_scenario: &str) -> String {
        match std::env::var(self.image_variable()) {
            Ok(image) if !image.trim().is_empty() => image.trim().to_owned(),
            _ => of_scenario.to_owned(),
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Redis => 6379,
            Self::Postgres => 5432,
        }
    }
}

/// Name and tag of an image. A digest (`name@sha256:…`) splits the same way.
fn name_and_tag(image: &str) -> (String, String) {
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name.into(), tag.into()),
        _ => (image.into(), "latest".into()),
    }
}

/// Whether Docker has the image.
pub(super) async fn has_image(docker: &Docker, image: &str) -> Result<bool, StackError> {
    match docker.inspect_image(image).await {
        Ok(_) => Ok(true),
        Err(error) if docker::is_missing(&error) => Ok(false),
        Err(error) => Err(StackError::Docker { what: format!("say whether it has image {image}"), why: says(&error) }),
    }
}

/// Sees to it that Docker has the image: pulls it where it is missing and the registry has it.
///
/// # Errors
/// [`StackError::NoImage`] when it can't be had.
pub(super) async fn fetch_image(
    docker: &Docker,
    kind: Kind,
    image: &str,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), StackError> {
    if has_image(docker, image).await? {
        return Ok(());
    }
    let none = |why: String| StackError::NoImage { image: image.into(), why, variable: kind.image_variable() };
    // A short question first: a pull without a network can hang for minutes.
    ask_registry(docker, image).await.map_err(none)?;
    tell(&format!("pulling image {image}"));
    let begun = Instant::now();
    let (name, tag) = name_and_tag(image);
    let mut pull = std::pin::pin!(GenericImage::new(name, tag).pull_image());
    loop {
        match tokio::time::timeout(PULL_NEWS, pull.as_mut()).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => return Err(none(error.to_string())),
            Err(_) => tell(&format!("still pulling image {image} ({} s)", begun.elapsed().as_secs())),
        }
    }
}

/// Whether the image's registry has it; the error says why not.
pub(super) async fn ask_registry(docker: &Docker, image: &str) -> Result<(), String> {
    match tokio::time::timeout(REGISTRY, docker.inspect_registry_image(image, None)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(says(&error)),
        Err(_) => Err(format!("the registry did not answer within {} s", REGISTRY.as_secs())),
    }
}

/// Starts a Redis; gives it with its URL.
pub(super) async fn start_redis(
    docker: Docker,
    spec: &RedisSpec,
    image: &str,
    guard: &Guard,
) -> Result<(ContainerServer, String), StackError> {
    let password = password();
    let mut arguments = vec!["redis-server".to_owned()];
    let mut set = |name: &str, value: &str| arguments.extend([format!("--{name}"), value.to_owned()]);
    set("requirepass", &password);
    set("save", "");
    set("appendonly", if spec.appendonly { "yes" } else { "no" });
    set("appendfsync", "everysec");
    if let Some(bytes) = spec.maxmemory {
        set("maxmemory", &bytes.to_string());
    }
    if let Some(policy) = &spec.policy {
        set("maxmemory-policy", policy);
    }
    let wanted = Wanted { kind: Kind::Redis, image, environment: Vec::new(), command: arguments };
    start(docker, &wanted, &|port| format!("redis://:{password}@127.0.0.1:{port}/"), guard).await
}

/// Starts a Postgres; gives it with its URL.
pub(super) async fn start_postgres(
    docker: Docker,
    image: &str,
    guard: &Guard,
) -> Result<(ContainerServer, String), StackError> {
    let password = password();
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
    let wanted = Wanted {
        kind: Kind::Postgres,
        image,
        environment: environment.map(|(name, value)| (name, value.to_owned())).into(),
        command: command.map(str::to_owned).into(),
    };
    start(docker, &wanted, &|port| format!("postgres://{NAME}:{password}@127.0.0.1:{port}/{NAME}"), guard).await
}

/// A container to start.
struct Wanted<'a> {
    kind: Kind,
    image: &'a str,
    environment: Vec<(&'static str, String)>,
    command: Vec<String>,
}

impl Wanted<'_> {
    fn on(&self, port: u16, token: &str) -> ContainerRequest<GenericImage> {
        let (name, tag) = name_and_tag(self.image);
        let mut request = GenericImage::new(name, tag)
            .with_cmd(&self.command)
            .with_mapped_port(port, self.kind.port().tcp())
            .with_label(RUN_LABEL, token)
            .with_startup_timeout(PATIENCE)
            .with_host_config_modifier(|host| {
                for bindings in host.port_bindings.iter_mut().flat_map(|all| all.values_mut()).flatten() {
                    for binding in bindings {
                        binding.host_ip = Some("127.0.0.1".into());
                    }
                }
            });
        for (name, value) in &self.environment {
            request = request.with_env_var(*name, value);
        }
        request
    }
}

async fn start(
    docker: Docker,
    wanted: &Wanted<'_>,
    url: &(dyn Fn(u16) -> String + Send + Sync),
    guard: &Guard,
) -> Result<(ContainerServer, String), StackError> {
    let name = wanted.kind.name();
    let watch = guard.watch();
    watch.containers();
    for _ in 0..PORTS {
        // Named by us: a port that Docker chooses changes when the container is started again.
        let port = free_port().map_err(StackError::system("find a free port"))?;
        let container = match wanted.on(port, watch.token()).start().await {
            Ok(container) => container,
            Err(error) if port_is_taken(&chain(&error)) => continue,
            Err(error) => return Err(StackError::Docker { what: format!("start {name}"), why: chain(&error) }),
        };
        watch.container(container.id());
        let server = ContainerServer { container, docker };
        let url = url(port);
        return match server.ready(wanted.kind, &url).await {
            Ok(()) => Ok((server, url)),
            Err(error) => {
                let _ = server.remove().await;
                Err(error)
            }
        };
    }
    Err(StackError::NoPort(name))
}

fn port_is_taken(error: &str) -> bool {
    error.contains("port is already allocated") || error.contains("address already in use")
}

impl ContainerServer {
    pub(super) fn id(&self) -> &str {
        self.container.id()
    }

    fn short(&self) -> String {
        format!("container {}", &self.id()[..12.min(self.id().len())])
    }

    /// Waits until the server accepts connections from outside. While the official Postgres image initialises
    /// itself it listens on no network address, so the first answer comes from the final server.
    async fn ready(&self, kind: Kind, url: &str) -> Result<(), StackError> {
        let begun = Instant::now();
        loop {
            let Err(why) = kind.ask(url, Duration::from_secs(1)).await else { return Ok(()) };
            let why = if !self.runs().await? {
                format!("its container ended; it said last: {}", self.log().await)
            } else if begun.elapsed() > PATIENCE {
                format!("no answer after {} s ({why}); it said last: {}", PATIENCE.as_secs(), self.log().await)
            } else {
                tokio::time::sleep(Duration::from_millis(30)).await;
                continue;
            };
            let help = "look at the message above; another image can be named in the scenario or the environment";
            return Err(StackError::NotUp { what: kind.name().into(), why, help: help.into() });
        }
    }

    fn refused(&self, verb: &str) -> impl FnOnce(BollardError) -> StackError {
        let what = format!("{verb} {}", self.short());
        move |error| StackError::Docker { what, why: says(&error) }
    }

    /// SIGKILL. A paused container is let run first, because Docker can't kill it otherwise.
    pub(super) async fn kill(&self, paused: bool) -> Result<String, StackError> {
        if paused {
            self.resume().await?;
        }
        let options = KillContainerOptionsBuilder::new().signal("KILL").build();
        match in_time(self.docker.kill_container(self.id(), Some(options))).await {
            // 409: it does not run.
            Ok(()) | Err(BollardError::DockerResponseServerError { status_code: 409, .. }) => {}
            Err(error) => return Err(self.refused("kill")(error)),
        }
        let begun = Instant::now();
        while self.runs().await? {
            if begun.elapsed() > docker::PATIENCE {
                return Err(self.refused("kill")(BollardError::RequestTimeoutError));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(format!("SIGKILL to {}", self.short()))
    }

    pub(super) async fn pause(&self) -> Result<String, StackError> {
        in_time(self.docker.pause_container(self.id())).await.map_err(self.refused("pause"))?;
        Ok(format!("paused {}", self.short()))
    }

    pub(super) async fn resume(&self) -> Result<String, StackError> {
        in_time(self.docker.unpause_container(self.id())).await.map_err(self.refused("unpause"))?;
        Ok(format!("unpaused {}", self.short()))
    }

    /// Starts it again; its port stays, because it was named.
    pub(super) async fn restart(&self, kind: Kind, url: &str) -> Result<String, StackError> {
        let mut tries = 0;
        while let Err(error) = self.docker.start_container(self.id(), None).await {
            tries += 1;
            // Docker's own proxy may hold the port for a moment.
            if tries == PORTS || !port_is_taken(&says(&error)) {
                return Err(self.refused("start")(error));
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        self.ready(kind, url).await?;
        Ok(format!("started {} again", self.short()))
    }

    /// Whether the server runs; a paused one does.
    pub(super) async fn runs(&self) -> Result<bool, StackError> {
        let seen = in_time(self.docker.inspect_container(self.id(), None)).await.map_err(self.refused("look at"))?;
        Ok(seen.state.and_then(|state| state.running).unwrap_or(false))
    }

    /// How it ended and its last words. `None` while it runs, and when Docker doesn't say.
    pub(super) async fn last_words(&self) -> Option<String> {
        let how = match in_time(self.docker.inspect_container(self.id(), None)).await {
            Ok(seen) => {
                let state = seen.state?;
                if state.running.unwrap_or(false) {
                    return None;
                }
                let memory = if state.oom_killed == Some(true) { ", out of memory" } else { "" };
                format!("exit code {}{memory}", state.exit_code.unwrap_or_default())
            }
            Err(error) if docker::is_missing(&error) => {
                return Some(format!("{} was removed although nobody broke it", self.short()));
            }
            Err(_) => return None,
        };
        let log = self.log().await;
        Some(format!("{} died although nobody broke it ({how}); it said last: {log}", self.short()))
    }

    async fn log(&self) -> String {
        // Redis logs to one, Postgres to the other.
        let read = async {
            let mut text = self.container.stdout_to_vec().await.unwrap_or_default();
            text.extend(self.container.stderr_to_vec().await.unwrap_or_default());
            text
        };
        let text = tokio::time::timeout(docker::PATIENCE, read).await.unwrap_or_default();
        tail(&String::from_utf8_lossy(&text), 4)
    }

    /// Removes it with its volumes.
    pub(super) async fn remove(self) -> Result<(), StackError> {
        let _ = self.docker.unpause_container(self.id()).await;
        let what = format!("remove {}", self.short());
        match self.container.rm().await {
            // 404: it is gone; 409: somebody else is removing it.
            Ok(())
            | Err(TestcontainersError::Client(ClientError::RemoveContainer(
                BollardError::DockerResponseServerError { status_code: 404 | 409, .. },
            ))) => Ok(()),
            Err(error) => Err(StackError::Docker { what, why: chain(&error) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_split_where_docker_splits_it() {
        let split = |image| {
            let (name, tag) = name_and_tag(image);
            format!("{name} {tag}")
        };
        assert_eq!(split("redis:7"), "redis 7");
        assert_eq!(split("redis"), "redis latest");
        assert_eq!(split("mirror.example:5000/library/redis"), "mirror.example:5000/library/redis latest");
        assert_eq!(split("redis@sha256:abc"), "redis@sha256 abc");
    }
}
