//! A container of the user's own that the scenario allows to break.

use std::collections::HashMap;

use testcontainers::bollard::Docker;
use testcontainers::bollard::query_parameters::ListContainersOptionsBuilder;

use super::super::StackError;
use super::ContainerServer;
use cacheproof_core::scenario::Permission;
use cacheproof_supervise::docker::{in_time, is_missing, says};

/// The one container that the scenario names.
///
/// # Errors
/// [`StackError::NoSuchContainer`] when there is none, or more than one; [`StackError::Supervise`].
pub(in super::super) async fn find(docker: Docker, permission: &Permission) -> Result<ContainerServer, StackError> {
    let id = match permission {
        Permission::Container(name) => match in_time(docker.inspect_container(name, None)).await {
            Ok(seen) => seen.id.unwrap_or_else(|| name.clone()),
            Err(error) if is_missing(&error) => {
                return Err(StackError::NoSuchContainer { named: name.clone(), found: 0 });
            }
            Err(error) => {
                return Err(StackError::docker(format!("look at container {name}"), says(&error)));
            }
        },
        Permission::Compose { project, service } => {
            let labels =
                [format!("com.docker.compose.project={project}"), format!("com.docker.compose.service={service}")];
            let filters = HashMap::from([("label", labels.to_vec())]);
            let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
            let named = format!("{service} of the Compose project {project}");
            let seen = in_time(docker.list_containers(Some(options)))
                .await
                .map_err(|error| StackError::docker(format!("look for {named}"), says(&error)))?;
            let mut ids: Vec<String> = seen.into_iter().filter_map(|one| one.id).collect();
            match (ids.pop(), ids.len()) {
                (Some(id), 0) => id,
                (one, more) => {
                    return Err(StackError::NoSuchContainer { named, found: more + usize::from(one.is_some()) });
                }
            }
        }
    };
    Ok(ContainerServer { id, docker, ours: None, token: String::new() })
}
