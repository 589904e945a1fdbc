//! Servers in containers.

mod image;
mod start;
mod user_container;

use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error as BollardError;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    CreateContainerOptions, KillContainerOptionsBuilder, LogsOptionsBuilder, StopContainerOptionsBuilder,
};
use futures_util::StreamExt as _;
use tokio::time::Instant;

use crate::log::last_lines;
use crate::probe::ServerKind;
use crate::{StackError, StartFailure};
use cacheproof_supervise::docker::{self, error_text, with_request_timeout};
use cacheproof_supervise::{DockerError, RUN_LABEL};

pub(super) use image::{ask_registry, fetch_image, has_image};
pub(super) use start::{ContainerSpec, Network, start, start_postgres};
pub(super) use user_container::find as find_user_container;

/// How long a server may take to start in its container.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(90);

/// How many ports are tried.
const PORT_ATTEMPTS: usize = 10;

/// How many seconds a server may take to shut down before it is killed.
const STOP_LIMIT: i32 = 10;

/// Where every Redis image keeps its data.
pub(super) const DATA_DIRECTORY: &str = "/data";

/// The container of a server; it may be killed, stopped or paused.
pub(super) struct ContainerServer {
    id: String,
    docker: Docker,
    /// False for a container of the user.
    is_managed: bool,
    token: String,
}

fn port_is_taken(error: &str) -> bool {
    error.contains("port is already allocated") || error.contains("address already in use")
}

impl ContainerServer {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    fn short(&self) -> String {
        format!("container {}", &self.id()[..12.min(self.id().len())])
    }

    /// Waits until the server accepts connections from outside. The official Postgres image listens on no network address while it
    /// initialises its data, so the first answer comes from the final server.
    async fn ready(&self, kind: ServerKind, url: &str) -> Result<(), StartFailure> {
        let begun = Instant::now();
        loop {
            let Err(why) = kind.ping(url, Duration::from_secs(1)).await else { return Ok(()) };
            let why = if !self.is_running().await.map_err(StartFailure::Other)? {
                let log = self.log(20).await;
                if port_is_taken(&log.to_lowercase()) {
                    return Err(StartFailure::PortTaken);
                }
                format!("its container ended; last log lines: {}", self.log(4).await)
            } else if begun.elapsed() > STARTUP_TIMEOUT {
                format!(
                    "no answer after {} s ({why}); last log lines: {}",
                    STARTUP_TIMEOUT.as_secs(),
                    self.log(4).await
                )
            } else {
                tokio::time::sleep(Duration::from_millis(30)).await;
                continue;
            };
            let help = "look at the message above; another image can be named in the scenario or the environment";
            return Err(StartFailure::Other(StackError::StartFailure {
                what: kind.name().into(),
                why,
                help: help.into(),
            }));
        }
    }

    fn refused(&self, verb: &str) -> impl FnOnce(BollardError) -> DockerError {
        DockerError::refused(format!("{verb} {}", self.short()))
    }

    /// SIGKILL. A paused container is resumed first, because Docker can't kill it otherwise.
    pub(super) async fn kill(&self, paused: bool) -> Result<String, StackError> {
        if paused {
            self.resume().await?;
        }
        let options = KillContainerOptionsBuilder::new().signal("KILL").build();
        match with_request_timeout(self.docker.kill_container(self.id(), Some(options))).await {
            // 409: it is not running.
            Ok(()) | Err(BollardError::DockerResponseServerError { status_code: 409, .. }) => {}
            Err(error) => return Err(self.refused("kill")(error).into()),
        }
        self.wait_down("kill").await?;
        Ok(format!("SIGKILL to {}", self.short()))
    }

    async fn wait_down(&self, verb: &str) -> Result<(), StackError> {
        let begun = Instant::now();
        while self.is_running().await? {
            if begun.elapsed() > docker::REQUEST_TIMEOUT {
                return Err(self.refused(verb)(BollardError::RequestTimeoutError).into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// The image's stop signal, and SIGKILL after [`STOP_LIMIT`].
    pub(super) async fn stop(&self, paused: bool) -> Result<String, StackError> {
        if paused {
            self.resume().await?;
        }
        let options = StopContainerOptionsBuilder::new().t(STOP_LIMIT).build();
        let timeout = docker::REQUEST_TIMEOUT + Duration::from_secs(STOP_LIMIT.unsigned_abs().into());
        match tokio::time::timeout(timeout, self.docker.stop_container(self.id(), Some(options))).await {
            // 304: it is not running.
            Ok(Ok(()) | Err(BollardError::DockerResponseServerError { status_code: 304, .. })) => {}
            Ok(Err(error)) => return Err(self.refused("stop")(error).into()),
            Err(_) => return Err(self.refused("stop")(BollardError::RequestTimeoutError).into()),
        }
        self.wait_down("stop").await?;
        Ok(format!("stopped {}", self.short()))
    }

    pub(super) async fn pause(&self) -> Result<String, StackError> {
        with_request_timeout(self.docker.pause_container(self.id())).await.map_err(self.refused("pause"))?;
        Ok(format!("paused {}", self.short()))
    }

    pub(super) async fn resume(&self) -> Result<String, StackError> {
        with_request_timeout(self.docker.unpause_container(self.id())).await.map_err(self.refused("unpause"))?;
        Ok(format!("unpaused {}", self.short()))
    }

    /// Starts it again. It keeps its port, because cacheproof chose the port.
    pub(super) async fn restart(&self, kind: ServerKind, url: &str) -> Result<String, StackError> {
        let mut tries = 0;
        while let Err(error) = self.docker.start_container(self.id(), None).await {
            tries += 1;
            // Docker's userland proxy may hold the port for a moment.
            if tries == PORT_ATTEMPTS || !port_is_taken(&error_text(&error)) {
                return Err(self.refused("start")(error).into());
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        match self.ready(kind, url).await {
            Ok(()) => Ok(format!("started {} again", self.short())),
            Err(StartFailure::Other(error)) => Err(error),
            Err(StartFailure::PortTaken) => Err(StackError::NoPort(kind.name())),
        }
    }

    /// Deletes the data of a stopped Redis. This is done by a short-lived container with the same image and volumes: files in a
    /// stopped container can't be deleted in another way.
    pub(super) async fn delete_data(&self) -> Result<(), StackError> {
        let inspected = with_request_timeout(self.docker.inspect_container(self.id(), None))
            .await
            .map_err(self.refused("look at"))?;
        let files = ["dump.rdb", "appendonlydir"].map(|name| format!("{DATA_DIRECTORY}/{name}"));
        let body = ContainerCreateBody {
            image: inspected.image,
            user: Some("0".into()),
            entrypoint: Some(vec!["rm".into()]),
            cmd: Some(std::iter::once("-rf".to_owned()).chain(files).collect()),
            labels: Some([(RUN_LABEL.to_owned(), self.token.clone())].into()),
            host_config: Some(HostConfig { volumes_from: Some(vec![self.id.clone()]), ..HostConfig::default() }),
            ..ContainerCreateBody::default()
        };
        let failed = || self.refused("delete the data of");
        let made = with_request_timeout(self.docker.create_container(None::<CreateContainerOptions>, body)).await;
        let helper = made.map_err(failed())?.id;
        let work = async {
            self.docker.start_container(&helper, None).await?;
            loop {
                let state = self.docker.inspect_container(&helper, None).await?.state.unwrap_or_default();
                if state.running != Some(true) {
                    return Ok(state.exit_code.unwrap_or(-1));
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let ended = tokio::time::timeout(docker::REQUEST_TIMEOUT * 2, work)
            .await
            .unwrap_or(Err(BollardError::RequestTimeoutError));
        docker::remove(&self.docker, &helper).await.map_err(failed())?;
        match ended {
            Ok(0) => Ok(()),
            Ok(code) => {
                Err(StackError::docker(format!("delete the data of {}", self.short()), format!("rm ended with {code}")))
            }
            Err(error) => Err(failed()(error).into()),
        }
    }

    /// Whether the server runs. A paused one does.
    pub(super) async fn is_running(&self) -> Result<bool, StackError> {
        let inspected = with_request_timeout(self.docker.inspect_container(self.id(), None))
            .await
            .map_err(self.refused("look at"))?;
        Ok(inspected.state.and_then(|state| state.running).unwrap_or(false))
    }

    /// How it ended, with its last log lines. `None` while it runs, and when Docker does not answer.
    pub(super) async fn exit_report(&self) -> Option<String> {
        let how = match with_request_timeout(self.docker.inspect_container(self.id(), None)).await {
            Ok(inspected) => {
                let state = inspected.state?;
                if state.running.unwrap_or(false) {
                    return None;
                }
                let memory = if state.oom_killed == Some(true) { ", out of memory" } else { "" };
                format!("exit code {}{memory}", state.exit_code.unwrap_or_default())
            }
            Err(error) if docker::is_missing(&error) => {
                return Some(format!("{} was removed unexpectedly", self.short()));
            }
            Err(_) => return None,
        };
        let log = self.log(4).await;
        Some(format!("{} ended unexpectedly ({how}); last log lines: {log}", self.short()))
    }

    async fn log(&self, lines: usize) -> String {
        // Redis logs to stdout, Postgres to stderr.
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail("40").build();
        let mut text = String::new();
        let read = async {
            let mut log = std::pin::pin!(self.docker.logs(self.id(), Some(options)));
            while let Some(Ok(part)) = log.next().await {
                text.push_str(&part.to_string());
            }
        };
        let _ = tokio::time::timeout(docker::REQUEST_TIMEOUT, read).await;
        last_lines(&text, lines)
    }

    /// Removes it with its volumes, if cacheproof started it.
    pub(super) async fn remove(self) -> Result<(), StackError> {
        let what = format!("remove {}", self.short());
        if !self.is_managed {
            return Ok(());
        }
        let _ = self.docker.unpause_container(&self.id).await;
        docker::remove(&self.docker, &self.id).await.map_err(|error| StackError::docker(what, error_text(&error)))
    }
}
