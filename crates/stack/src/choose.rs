//! Chooses the provider of a server.

use bollard::Docker;

use crate::StackError;
use crate::container;
use crate::local::{Installed, installed};
use crate::probe::ServerKind;
use cacheproof_core::scenario::Provider;
use cacheproof_supervise::docker;

/// Where a server will run, and why.
pub(super) enum ProviderChoice {
    Local { installed: Installed, why: String },
    Container { docker: Docker, image: String, why: String },
    External { why: String },
}

/// Chooses the provider, and makes sure that it can be used: the program is installed, or the image is there.
pub(super) async fn choose(
    kind: ServerKind,
    provider: Provider,
    image: &str,
    notify: &(dyn Fn(&str) + Send + Sync),
) -> Result<ProviderChoice, StackError> {
    let asked = |name: &str| format!("the scenario asks for provider = \"{name}\"");
    let image = kind.image(image);
    match provider {
        Provider::External => Ok(ProviderChoice::External { why: asked("external") }),
        Provider::Local => Ok(ProviderChoice::Local { installed: installed(kind)?, why: asked("local") }),
        Provider::Container => {
            let docker = docker_with_image(kind, &image, notify).await?;
            Ok(ProviderChoice::Container { docker, image, why: asked("container") })
        }
        Provider::Auto => match local_docker_with_image(kind, &image, notify).await {
            Ok(docker) => {
                Ok(ProviderChoice::Container { docker, why: format!("Docker answers and has image {image}"), image })
            }
            Err(no_container) => match installed(kind) {
                Ok(installed) => {
                    let name = installed.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    let why = format!("{}; using local {name} {}", reason(&no_container), installed.version);
                    Ok(ProviderChoice::Local { installed, why })
                }
                Err(no_local) => Err(StackError::NoProvider {
                    server: kind.name(),
                    container: no_container.to_string(),
                    local: no_local.to_string(),
                }),
            },
        },
    }
}

/// Why `auto` did not take a container. Unlike the error message it says that Docker does answer, if only the image is missing.
fn reason(error: &StackError) -> String {
    match error {
        StackError::NoImage { image, why, .. } => {
            // Docker's message begins with the URLs that it tried and ends with the cause.
            let cause = why.rsplit(": ").next().unwrap_or(why);
            format!("Docker answers but has no image {image} and can't pull it ({cause})")
        }
        other => other.to_string(),
    }
}

/// As [`docker_with_image`], but only if Docker runs on this machine.
async fn local_docker_with_image(
    kind: ServerKind,
    image: &str,
    notify: &(dyn Fn(&str) + Send + Sync),
) -> Result<Docker, StackError> {
    if docker::is_remote() {
        return Err(StackError::RemoteDocker);
    }
    docker_with_image(kind, image, notify).await
}

async fn docker_with_image(
    kind: ServerKind,
    image: &str,
    notify: &(dyn Fn(&str) + Send + Sync),
) -> Result<Docker, StackError> {
    let docker = docker::connect().await?;
    container::fetch_image(&docker, kind, image, notify).await?;
    Ok(docker)
}
