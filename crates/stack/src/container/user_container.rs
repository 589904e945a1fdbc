//! A container of the user into which the scenario allows faults.

use std::collections::HashMap;

use bollard::Docker;
use bollard::query_parameters::ListContainersOptionsBuilder;

use super::ContainerServer;
use crate::StackError;
use cacheproof_core::scenario::FaultPermission;
use cacheproof_supervise::DockerError;
use cacheproof_supervise::docker::{is_missing, with_request_timeout};

/// The one container that the scenario names.
///
/// # Errors
/// [`StackError::NoSuchContainer`] when there is none, or more than one; [`StackError::Docker`].
pub(crate) async fn find(docker: Docker, permission: &FaultPermission) -> Result<ContainerServer, StackError> {
    let id = match permission {
        FaultPermission::Container(name) => match with_request_timeout(docker.inspect_container(name, None)).await {
            Ok(inspected) => inspected.id.unwrap_or_else(|| name.clone()),
            Err(error) if is_missing(&error) => {
                return Err(StackError::NoSuchContainer { named: name.clone(), found: 0 });
            }
            Err(error) => {
                return Err(DockerError::refused(format!("look at container {name}"))(error).into());
            }
        },
        FaultPermission::Compose { project, service } => {
            let labels =
                [format!("com.docker.compose.project={project}"), format!("com.docker.compose.service={service}")];
            let filters = HashMap::from([("label", labels.to_vec())]);
            let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
            let named = format!("{service} of the Compose project {project}");
            let inspected = with_request_timeout(docker.list_containers(Some(options)))
                .await
                .map_err(DockerError::refused(format!("look for {named}")))?;
            let mut ids: Vec<String> = inspected.into_iter().filter_map(|one| one.id).collect();
            match (ids.pop(), ids.len()) {
                (Some(id), 0) => id,
                (one, more) => {
                    return Err(StackError::NoSuchContainer { named, found: more + usize::from(one.is_some()) });
                }
            }
        }
    };
    Ok(ContainerServer { id, docker, is_managed: false, token: String::new() })
}
