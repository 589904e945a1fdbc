//! Images: which one a server runs in, and whether it can be had.

use std::time::Duration;

use testcontainers::GenericImage;
use testcontainers::bollard::Docker;
use testcontainers::runners::AsyncRunner as _;
use tokio::time::Instant;

use super::super::StackError;
use super::super::probe::ServerKind;
use cacheproof_supervise::docker::{self, error_text};

/// How long the question may take whether a registry has an image.
const REGISTRY_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a pull says that it is still at it.
const PULL_PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

impl ServerKind {
    /// Environment variable that names another image than the scenario does.
    pub(in super::super) fn image_variable(self) -> &'static str {
        match self {
            Self::Redis => "CACHEPROOF_REDIS_IMAGE",
            Self::Valkey => "CACHEPROOF_VALKEY_IMAGE",
            Self::Postgres => "CACHEPROOF_POSTGRES_IMAGE",
        }
    }

    /// The image to use: the environment's, else the scenario's.
    pub(in super::super) fn image(self, of_scenario: &str) -> String {
        match std::env::var(self.image_variable()) {
            Ok(image) if !image.trim().is_empty() => image.trim().to_owned(),
            _ => of_scenario.to_owned(),
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
pub(in super::super) async fn has_image(docker: &Docker, image: &str) -> Result<bool, StackError> {
    match docker.inspect_image(image).await {
        Ok(_) => Ok(true),
        Err(error) if docker::is_missing(&error) => Ok(false),
        Err(error) => Err(StackError::docker(format!("say whether it has image {image}"), error_text(&error))),
    }
}

/// Sees to it that Docker has the image: pulls it where it is missing and the registry has it.
///
/// # Errors
/// [`StackError::NoImage`] when it can't be had.
pub(in super::super) async fn fetch_image(
    docker: &Docker,
    kind: ServerKind,
    image: &str,
    notify: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), StackError> {
    if has_image(docker, image).await? {
        return Ok(());
    }
    let none = |why: String| StackError::NoImage { image: image.into(), why, variable: kind.image_variable() };
    // A short question first: a pull without a network can hang for minutes.
    ask_registry(docker, image).await.map_err(none)?;
    notify(&format!("pulling image {image}"));
    let begun = Instant::now();
    let (name, tag) = name_and_tag(image);
    let mut pull = std::pin::pin!(GenericImage::new(name, tag).pull_image());
    loop {
        match tokio::time::timeout(PULL_PROGRESS_INTERVAL, pull.as_mut()).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => return Err(none(error.to_string())),
            Err(_) => notify(&format!("still pulling image {image} ({} s)", begun.elapsed().as_secs())),
        }
    }
}

/// Whether the image's registry has it; the error says why not.
pub(in super::super) async fn ask_registry(docker: &Docker, image: &str) -> Result<(), String> {
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
