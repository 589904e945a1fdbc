//! External servers, which cacheproof did not start. It injects process faults only into a container that the scenario names.

use std::time::Duration;

use crate::deployment::{Deployment, Node, Role};
use crate::probe::{ServerKind, without_password};
use crate::server::{Backend, Server};
use crate::{StackError, container, proxy};
use cacheproof_core::scenario::{FaultPermission, Topology};
use cacheproof_proxy::Proxy;
use cacheproof_supervise::docker;

/// How long an external server may take to answer at the start.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The server at the scenario's URL, with a proxy in front of it where the app can use one.
pub(super) async fn deployment(
    kind: ServerKind,
    url: Option<&str>,
    permission: Option<&FaultPermission>,
    why: String,
    seed: u64,
) -> Result<Deployment, StackError> {
    let url = connect(kind, url).await?;
    let container = match permission {
        None => None,
        Some(permission) => Some(Box::new(container::find_user_container(docker::connect().await?, permission).await?)),
    };
    let backend = Backend::External(container);
    let (app_url, proxy) = match through_proxy(&url, proxy::seed(seed, kind.key())).await? {
        Some((app_url, proxy)) => (app_url, Some(proxy)),
        None => (url.clone(), None),
    };
    let server = Server::new(kind, kind.name(), backend, url, &why, None);
    let nodes = vec![Node::new(kind.key(), Role::Master, server, proxy, None)];
    let mut deployment = Deployment::new(Topology::Standalone, nodes, app_url, None);
    deployment.fetch_facts().await?;
    Ok(deployment)
}

/// A proxy to the server, and the URL with the proxy's address in it. `None` when the client has to check the server's
/// certificate, which does not name the proxy, or when the URL has no host.
async fn through_proxy(url: &str, seed: u64) -> Result<Option<(String, Proxy)>, StackError> {
    let Ok(mut parsed) = reqwest::Url::parse(url) else { return Ok(None) };
    let checks = |(name, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| {
        matches!(&*name, "sslmode" | "ssl-mode") && value.starts_with("verify")
    };
    if parsed.scheme() == "rediss" || parsed.query_pairs().any(checks) {
        return Ok(None);
    }
    let port = parsed.port().unwrap_or(if parsed.scheme() == "redis" { 6379 } else { 5432 });
    let Some(host) = parsed.host_str().map(|host| host.trim_matches(['[', ']']).to_owned()) else { return Ok(None) };
    let found = tokio::net::lookup_host((host, port)).await.map_err(StackError::system("look up the server's name"))?;
    // The name may have several addresses; the server listens on one that accepts.
    let mut upstream = None;
    for address in found {
        let connected = tokio::time::timeout(Duration::from_secs(2), tokio::net::TcpStream::connect(address)).await;
        if matches!(connected, Ok(Ok(_))) {
            upstream = Some(address);
            break;
        }
    }
    let Some(upstream) = upstream else { return Ok(None) };
    let proxy = proxy::start_on_free_port(upstream, seed)?;
    let rewritten = parsed.set_host(Some("127.0.0.1")).is_ok() && parsed.set_port(Some(proxy.address().port())).is_ok();
    Ok(rewritten.then(|| (parsed.into(), proxy)))
}

/// Fills in the URL's `${NAME}`s, and waits until the server answers.
async fn connect(kind: ServerKind, url: Option<&str>) -> Result<String, StackError> {
    let invalid = |why: String| StackError::Url {
        server: kind.key(),
        why,
        example: match kind {
            ServerKind::Redis | ServerKind::Valkey => "redis://:${REDIS_PASSWORD}@127.0.0.1:6379/",
            ServerKind::Postgres => "postgres://app:${DB_PASSWORD}@127.0.0.1:5432/app",
        },
    };
    let url = url.ok_or_else(|| invalid("provider = \"external\" needs a url".into()))?;
    let url = expand_variables(url, |name| std::env::var(name).ok()).map_err(invalid)?;
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    let known = match kind {
        ServerKind::Redis | ServerKind::Valkey => ["redis", "rediss"],
        ServerKind::Postgres => ["postgres", "postgresql"],
    };
    if !known.contains(&scheme) {
        return Err(invalid(format!("its url does not begin with {}://", known[0])));
    }
    kind.ping(&url, CONNECT_TIMEOUT).await.map_err(|why| StackError::StartFailure {
        what: format!("{} at {}", kind.name(), without_password(&url)),
        why,
        help: "check that it runs and can be reached from here, and the url in the scenario's [stack]".into(),
    })?;
    Ok(url)
}

/// Replaces each `${NAME}` by the value of that environment variable.
fn expand_variables(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, from)) = rest.split_once("${") {
        let (name, after) = from.split_once('}').ok_or("its url has a ${ without a }")?;
        let value = variable(name).ok_or_else(|| format!("its url needs the environment variable {name}"))?;
        filled.push_str(before);
        filled.push_str(&value);
        rest = after;
    }
    Ok(filled + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_expanded_once() {
        let variable = |name: &str| (name == "A").then(|| "x${B}".to_owned());
        assert_eq!(expand_variables("redis://:${A}@h", variable).unwrap(), "redis://:x${B}@h");
        assert_eq!(expand_variables("plain", variable).unwrap(), "plain");
        assert_eq!(expand_variables("${C}", variable).unwrap_err(), "its url needs the environment variable C");
        assert!(expand_variables("${A", variable).is_err());
    }

    #[tokio::test]
    async fn a_url_of_another_kind_is_refused_before_anything_is_sent() {
        let error = connect(ServerKind::Redis, Some("postgres://h/")).await.unwrap_err();
        assert_eq!(error.to_string(), "redis: its url does not begin with redis://");
        let error = connect(ServerKind::Postgres, None).await.unwrap_err();
        assert_eq!(error.to_string(), "postgres: provider = \"external\" needs a url");
    }
}
