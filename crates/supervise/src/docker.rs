//! The client for Docker, shared by the servers in containers and by the clean-up after a run.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::errors::Error as BollardError;
use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};

use crate::markers::RUN_LABEL;

/// Why Docker did not do what it was asked for.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum DockerError {
    /// Docker does not answer.
    #[error("Docker does not answer: {0}")]
    #[diagnostic(help("start Docker, or set provider = \"local\" (or \"auto\") in the scenario's [stack]"))]
    NoAnswer(String),

    /// Docker answered with an error.
    #[error("Docker can't {what}: {why}")]
    #[diagnostic(help("look at `docker ps -a`, or set provider = \"local\" in the scenario's [stack]"))]
    Refused {
        /// What it was asked to do.
        what: String,
        /// Its error.
        why: String,
    },
}

impl DockerError {
    /// Wraps the client's error: Docker can't `what`.
    pub fn refused(what: impl Into<String>) -> impl FnOnce(BollardError) -> Self {
        let what = what.into();
        move |error| Self::Refused { what, why: error_text(&error) }
    }
}

/// How long Docker may take to answer a simple request.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Docker's answer, or an error after [`REQUEST_TIMEOUT`]: a Docker that hangs must not hang the run.
///
/// # Errors
/// The request's, or [`BollardError::RequestTimeoutError`].
pub async fn with_request_timeout<T>(answer: impl Future<Output = Result<T, BollardError>>) -> Result<T, BollardError> {
    with_timeout(REQUEST_TIMEOUT, answer).await
}

async fn with_timeout<T>(
    timeout: Duration,
    answer: impl Future<Output = Result<T, BollardError>>,
) -> Result<T, BollardError> {
    tokio::time::timeout(timeout, answer).await.unwrap_or(Err(BollardError::RequestTimeoutError))
}

/// Whether DOCKER_HOST names the Docker of another machine, or may name one. Published ports are then on the loopback
/// interface of that machine, where they can't be reached from here.
pub fn is_remote() -> bool {
    std::env::var("DOCKER_HOST").is_ok_and(|host| is_remote_host(&host))
}

fn is_remote_host(docker_host: &str) -> bool {
    let host = docker_host.trim();
    !host.is_empty() && !host.starts_with("unix://")
}

/// Where Docker listens: DOCKER_HOST, else the first socket there is of the system's, a rootless one, and Docker
/// Desktop's.
fn host() -> String {
    if let Ok(host) = std::env::var("DOCKER_HOST")
        && !host.trim().is_empty()
    {
        return host.trim().to_owned();
    }
    let inside = |variable: &str, path: &str| Some(Path::new(&std::env::var_os(variable)?).join(path));
    let system = PathBuf::from("/var/run/docker.sock");
    let elsewhere = [
        inside("XDG_RUNTIME_DIR", "docker.sock"),
        inside("XDG_RUNTIME_DIR", ".docker/run/docker.sock"),
        inside("HOME", ".docker/run/docker.sock"),
        inside("HOME", ".docker/desktop/docker.sock"),
    ];
    let found = std::iter::once(system.clone()).chain(elsewhere.into_iter().flatten()).find(|socket| socket.exists());
    format!("unix://{}", found.unwrap_or(system).display())
}

/// A client of a Docker that answers.
///
/// # Errors
/// [`DockerError::NoAnswer`].
pub async fn connect() -> Result<Docker, DockerError> {
    let docker = Docker::connect_with_host(&host()).map_err(|error| DockerError::NoAnswer(error_text(&error)))?;
    match tokio::time::timeout(REQUEST_TIMEOUT, docker.ping()).await {
        Ok(Ok(_)) => Ok(docker),
        Ok(Err(error)) => Err(DockerError::NoAnswer(error_text(&error))),
        Err(_) => Err(DockerError::NoAnswer(format!("no answer within {} s", REQUEST_TIMEOUT.as_secs()))),
    }
}

/// A Docker error in one line.
pub fn error_text(error: &BollardError) -> String {
    if let BollardError::DockerResponseServerError { message, .. } = error {
        return message.trim().replace('\n', " ");
    }
    error_chain(error)
}

/// An error in one line, with those of its causes that its own message does not repeat.
pub fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}

/// Whether Docker says that the container or image does not exist.
pub fn is_missing(error: &BollardError) -> bool {
    matches!(error, BollardError::DockerResponseServerError { status_code: 404, .. })
}

/// Removes a container with its anonymous volumes, in any state. No error when it does not exist any more.
///
/// # Errors
/// Docker's.
pub async fn remove(docker: &Docker, id: &str) -> Result<(), BollardError> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    match docker.remove_container(id, Some(options)).await {
        // 409: it is being removed already.
        Err(BollardError::DockerResponseServerError { status_code: 404 | 409, .. }) => Ok(()),
        other => other,
    }
}

/// Whether Docker answers. Blocks; not for async code.
pub(crate) fn is_available() -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.is_ok_and(|runtime| runtime.block_on(connect()).is_ok())
}

/// Makes a container run again after any fault: unpauses it, or starts it. Says what was done. Blocks; each request to
/// Docker takes at most [`REQUEST_TIMEOUT`].
///
/// # Errors
/// In words: Docker's error, or no runtime to ask it with.
pub(crate) fn resume_container(id: &str) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("can't ask Docker: {error}"))?;
    runtime.block_on(resume(id)).map_err(|error| error.to_string())
}

async fn resume(id: &str) -> Result<String, DockerError> {
    let docker = connect().await?;
    let short = id.get(..12).unwrap_or(id);
    let refused = |verb: &str| DockerError::refused(format!("{verb} container {short}"));
    let inspected = with_request_timeout(docker.inspect_container(id, None)).await.map_err(refused("look at"))?;
    let state = inspected.state.unwrap_or_default();
    if state.paused == Some(true) {
        with_request_timeout(docker.unpause_container(id)).await.map_err(refused("unpause"))?;
        return Ok(format!("unpaused container {short}"));
    }
    if state.running == Some(true) {
        return Ok(format!("container {short} runs already"));
    }
    with_request_timeout(docker.start_container(id, None)).await.map_err(refused("start"))?;
    Ok(format!("started container {short} again"))
}

/// The containers with a run's label.
async fn list_run_containers(docker: &Docker, token: &str) -> Result<Vec<String>, BollardError> {
    let label = HashMap::from([("label", vec![format!("{RUN_LABEL}={token}")])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&label).build();
    Ok(docker.list_containers(Some(options)).await?.into_iter().filter_map(|one| one.id).collect())
}

/// Removes these containers and all with the run's label, until none is left and `settle` has passed. False when some are
/// left after `limit`. Blocks; not for async code.
pub(crate) fn remove_all(token: &str, ids: &[String], settle: Duration, limit: Duration) -> bool {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return false };
    let begun = Instant::now();
    let work = async {
        loop {
            if let Ok(clean) = tokio::time::timeout(REQUEST_TIMEOUT * 2, remove_round(token, ids)).await
                && clean
                && begun.elapsed() >= settle
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    runtime.block_on(async { tokio::time::timeout(limit, work).await.is_ok() })
}

/// Removes what there is now. True when there was nothing.
async fn remove_round(token: &str, ids: &[String]) -> bool {
    let Ok(docker) = connect().await else { return false };
    let Ok(mut found) = list_run_containers(&docker, token).await else { return false };
    for id in ids {
        if !found.contains(id) && docker.inspect_container(id, None).await.is_ok() {
            found.push(id.clone());
        }
    }
    for id in &found {
        let _ = remove(&docker, id).await;
    }
    found.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_unix_socket_names_the_docker_of_this_machine() {
        assert!(["tcp://10.0.0.7:2375", "tcp://127.0.0.1:2375", "ssh://build"].into_iter().all(is_remote_host));
        assert!(
            !["", "unix:///var/run/docker.sock", " unix:///run/user/1000/docker.sock"].into_iter().any(is_remote_host)
        );
    }

    #[tokio::test]
    async fn a_docker_that_hangs_is_an_error() {
        let hangs = std::future::pending::<Result<(), BollardError>>();
        assert!(matches!(with_timeout(Duration::from_millis(1), hangs).await, Err(BollardError::RequestTimeoutError)));
    }
}
