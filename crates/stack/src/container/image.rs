//! The images of servers: which one is used, and whether Docker has it or can pull it.

use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::TryStreamExt as _;
use tokio::time::Instant;

use crate::StackError;
use crate::probe::ServerKind;
use cacheproof_supervise::DockerError;
use cacheproof_supervise::docker::{self, error_text};

/// How long a registry may take to say whether it has an image.
const REGISTRY_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the progress of a pull is reported.
const PULL_PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

impl ServerKind {
    /// The environment variable that overrides the scenario's image.
    pub(crate) fn image_variable(self) -> &'static str {
        match self {
            Self::Redis => "CACHEPROOF_REDIS_IMAGE",
            Self::Valkey => "CACHEPROOF_VALKEY_IMAGE",
            Self::Postgres => "CACHEPROOF_POSTGRES_IMAGE",
        }
    }

    /// The image to use: that of the environment variable, else the scenario's.
    pub(crate) fn image(self, default: &str) -> String {
        match std::env::var(self.image_variable()) {
            Ok(image) if !image.trim().is_empty() => image.trim().to_owned(),
            _ => default.to_owned(),
        }
    }
}

/// Name and tag of an image. A digest (`name@sha256:…`) splits the same way.
pub(super) fn name_and_tag(image: &str) -> (String, String) {
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name.into(), tag.into()),
        _ => (image.into(), "latest".into()),
    }
}

/// Whether Docker has the image.
pub(crate) async fn has_image(docker: &Docker, image: &str) -> Result<bool, StackError> {
    match docker.inspect_image(image).await {
        Ok(_) => Ok(true),
        Err(error) if docker::is_missing(&error) => Ok(false),
        Err(error) => Err(DockerError::refused(format!("say whether it has image {image}"))(error).into()),
    }
}

/// Makes sure that Docker has the image: pulls it where it is missing.
///
/// # Errors
/// [`StackError::NoImage`] when it can't be pulled.
pub(crate) async fn fetch_image(
    docker: &Docker,
    kind: ServerKind,
    image: &str,
    notify: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), StackError> {
    if has_image(docker, image).await? {
        return Ok(());
    }
    let no_image = |why: String| StackError::NoImage { image: image.into(), why, variable: kind.image_variable() };
    // Asked first, because a pull without a network can hang for minutes.
    ask_registry(docker, image).await.map_err(no_image)?;
    notify(&format!("pulling image {image}"));
    let begun = Instant::now();
    let (name, tag) = name_and_tag(image);
    let options = CreateImageOptionsBuilder::new().from_image(&name).tag(&tag).build();
    let mut pull = std::pin::pin!(docker.create_image(Some(options), None, None).try_for_each(|_| async { Ok(()) }));
    loop {
        match tokio::time::timeout(PULL_PROGRESS_INTERVAL, pull.as_mut()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => return Err(no_image(error_text(&error))),
            Err(_) => notify(&format!("still pulling image {image} ({} s)", begun.elapsed().as_secs())),
        }
    }
}

/// Whether the registry has the image; the error says why not.
pub(crate) async fn ask_registry(docker: &Docker, image: &str) -> Result<(), String> {
    match tokio::time::timeout(REGISTRY_TIMEOUT, docker.inspect_registry_image(image, None)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error_text(&error)),
        Err(_) => Err(format!("the registry did not answer within {} s", REGISTRY_TIMEOUT.as_secs())),
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
