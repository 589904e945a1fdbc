//! The Postgres server of a run, with statement counting (`pg_stat_statements`).

use std::net::{Ipv4Addr, SocketAddr};

use crate::choose::{ProviderChoice, choose};
use crate::deployment::{Deployment, Node, Role};
use crate::probe::{self, ServerKind};
use crate::server::{Backend, Server};
use crate::{StackError, container, external, local, proxy};
use cacheproof_core::scenario::{PostgresSpec, Topology};
use cacheproof_proxy::Proxy;
use cacheproof_supervise::Guard;

/// Starts the scenario's database.
pub(super) async fn up(
    spec: &PostgresSpec,
    seed: u64,
    guard: &Guard,
    notify: &(dyn Fn(&str) + Send + Sync),
) -> Result<Deployment, StackError> {
    let kind = ServerKind::Postgres;
    let (backend, url, why, image) = match choose(kind, spec.provider, &spec.image, notify).await? {
        ProviderChoice::External { why } => {
            let (url, permission) = (spec.url.as_deref(), spec.permission.as_ref());
            let deployment = external::deployment(kind, url, permission, why, seed).await?;
            // An external server may not allow it. Then the transaction counters of the database are used.
            if let Err(error) = probe::enable_statement_counting(deployment.first().url()).await {
                notify(&format!("Postgres does not count statements ({error}): transactions are counted instead"));
            }
            return Ok(deployment);
        }
        ProviderChoice::Local { installed, why } => {
            let (server, url) = local::start_postgres(&installed, guard).await?;
            (Backend::Local(Box::new(server)), url, why, None)
        }
        ProviderChoice::Container { docker, image, why } => {
            let (server, url) = container::start_postgres(&docker, &image, guard).await?;
            (Backend::Container(Box::new(server)), url, why, Some(image))
        }
    };
    let server = Server::new(kind, kind.name(), backend, url.clone(), &why, image);
    let (app_url, proxy) = match start_proxy(&url, proxy::seed(seed, kind.key())) {
        Ok(started) => started,
        Err(error) => {
            let _ = server.down().await;
            return Err(error);
        }
    };
    let nodes = vec![Node::new(kind.key(), Role::Master, server, Some(proxy), None)];
    let mut deployment = Deployment::new(Topology::Standalone, nodes, app_url, None);
    let ready = async {
        deployment.fetch_facts().await?;
        probe::enable_statement_counting(&url).await.map_err(|error| StackError::StartFailure {
            what: kind.name().into(),
            why: format!("it can't count statements: {error}"),
            help: "use an image or installation that has the extension pg_stat_statements (contrib)".into(),
        })
    };
    match ready.await {
        Ok(()) => Ok(deployment),
        Err(error) => {
            let _ = deployment.down().await;
            Err(error)
        }
    }
}

/// A proxy to the server that cacheproof has started at this URL, and the URL that leads through it.
fn start_proxy(url: &str, seed: u64) -> Result<(String, Proxy), StackError> {
    let unreadable = || StackError::Url { server: "postgres", why: "its url can't be read".into(), example: "" };
    let mut url = reqwest::Url::parse(url).map_err(|_| unreadable())?;
    let port = url.port().ok_or_else(unreadable)?;
    let proxy = proxy::start_on_free_port(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), seed)?;
    url.set_port(Some(proxy.address().port())).map_err(|()| unreadable())?;
    Ok((url.into(), proxy))
}
