//! The Docker Engine, through the client that testcontainers brings.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use testcontainers::bollard::Docker;
use testcontainers::bollard::errors::Error as BollardError;
use testcontainers::bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};
use testcontainers::core::client::docker_client_instance;

use super::SuperviseError;
use super::guard::RUN_LABEL;

/// How long Docker may take for a plain question.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Docker's answer, or an error when it takes longer than a plain question may: a Docker that hangs must not hang
/// the run.
pub async fn with_request_timeout<T>(answer: impl Future<Output = Result<T, BollardError>>) -> Result<T, BollardError> {
    with_timeout(REQUEST_TIMEOUT, answer).await
}

async fn with_timeout<T>(
    timeout: Duration,
    answer: impl Future<Output = Result<T, BollardError>>,
) -> Result<T, BollardError> {
    tokio::time::timeout(timeout, answer).await.unwrap_or(Err(BollardError::RequestTimeoutError))
}

/// Whether DOCKER_HOST names another machine's Docker, or one that can't be told from it: ports are published on
/// that machine's loopback, where nobody here reaches them.
pub fn is_remote() -> bool {
    std::env::var("DOCKER_HOST").is_ok_and(|host| is_remote_host(&host))
}

fn is_remote_host(docker_host: &str) -> bool {
    let host = docker_host.trim();
    !host.is_empty() && !host.starts_with("unix://")
}

/// A client of a Docker that answers.
pub async fn connect() -> Result<Docker, SuperviseError> {
    let docker = docker_client_instance().await.map_err(|error| SuperviseError::NoDocker(error.to_string()))?;
    match tokio::time::timeout(REQUEST_TIMEOUT, docker.ping()).await {
        Ok(Ok(_)) => Ok(docker),
        Ok(Err(error)) => Err(SuperviseError::NoDocker(error_text(&error))),
        Err(_) => Err(SuperviseError::NoDocker(format!("no answer within {} s", REQUEST_TIMEOUT.as_secs()))),
    }
}

/// An error of Docker's in one line.
pub fn error_text(error: &BollardError) -> String {
    if let BollardError::DockerResponseServerError { message, .. } = error {
        return message.trim().replace('\n', " ");
    }
    error_chain(error)
}

/// An error with its causes, where they say more, in one line.
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

/// Whether Docker says that there is no such thing.
pub fn is_missing(error: &BollardError) -> bool {
    matches!(error, BollardError::DockerResponseServerError { status_code: 404, .. })
}

/// Removes a container with its anonymous volumes, in whatever state it is. Fine when it is gone already.
pub async fn remove(docker: &Docker, id: &str) -> Result<(), BollardError> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    match docker.remove_container(id, Some(options)).await {
        // 409: somebody else is removing it.
        Err(BollardError::DockerResponseServerError { status_code: 404 | 409, .. }) => Ok(()),
        other => other,
    }
}

/// Whether Docker answers. For a process that is nothing else; blocks.
pub fn is_available() -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.is_ok_and(|runtime| runtime.block_on(connect()).is_ok())
}

/// Containers of a run, by its label.
async fn of_run(docker: &Docker, token: &str) -> Result<Vec<String>, BollardError> {
    let label = HashMap::from([("label", vec![format!("{RUN_LABEL}={token}")])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&label).build();
    Ok(docker.list_containers(Some(options)).await?.into_iter().filter_map(|one| one.id).collect())
}

/// Removes these containers and all with the run's label, looking again until `settle` has passed and none is
/// left. For a process that is nothing else; blocks. False when some are left at the limit.
pub fn remove_all(token: &str, ids: &[String], settle: Duration, limit: Duration) -> bool {
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

/// One round. True when there was nothing to remove.
async fn remove_round(token: &str, ids: &[String]) -> bool {
    let Ok(docker) = connect().await else { return false };
    let Ok(mut found) = of_run(&docker, token).await else { return false };
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
    fn only_a_unix_socket_is_this_machines_docker() {
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
