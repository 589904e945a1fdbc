//! Redis and Postgres, up and down.
//!
//! A server comes from one of three providers: a container (testcontainers), a private local process, or one that
//! is there already (external). `auto` takes the first of the first two that this machine can do, and says why.
//! Whatever a run starts is known to its [`Guard`], a child process that cleans up when cacheproof dies, however
//! it dies.
//!
//! A [`Deployment`] is one server, or several that belong together (Sentinel, Cluster). In front of every server
//! stands a proxy of cacheproof's own, whose port never changes: the app is given the proxies' addresses, and what
//! servers tell clients of each other (Sentinel's answers, the Cluster's map) are proxies' addresses too. Probes go
//! straight to the servers.

mod choose;
mod container;
mod deployment;
mod doctor;
mod error;
mod external;
mod local;
mod postgres;
mod probe;
mod proxy;
mod redis;
mod server;

pub use deployment::{Deployment, Node, Role};
pub use doctor::{Check, DoctorReport, check_machine};
pub use error::StackError;
pub use local::free_port;
pub use server::{ProcessFaultKind, Server};

use cacheproof_core::journal::StackReady;
use cacheproof_core::scenario::StackSpec;
use cacheproof_supervise::{Addresses, Guard};
use error::StartFailure;

/// The servers of a run, up and answering.
#[derive(Debug)]
pub struct Stack {
    /// The cache server.
    pub redis: Option<Deployment>,
    /// The database, counting its statements (`pg_stat_statements`) where it can.
    pub postgres: Option<Deployment>,
}

impl Stack {
    /// Brings the servers up, both at a time. `seed`: the run's, from which the proxies draw which connections a
    /// fault hits. `notify` gets a line about whatever takes long or was decided.
    ///
    /// # Errors
    /// The first server's that failed; the other is taken down again.
    pub async fn up(
        spec: &StackSpec,
        seed: u64,
        guard: &Guard,
        notify: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Self, StackError> {
        let redis = async {
            match &spec.redis {
                Some(spec) => redis::up(spec, seed, guard, notify).await.map(Some),
                None => Ok(None),
            }
        };
        let postgres = async {
            match &spec.postgres {
                Some(spec) => postgres::up(spec, seed, guard, notify).await.map(Some),
                None => Ok(None),
            }
        };
        match tokio::join!(redis, postgres) {
            (Ok(redis), Ok(postgres)) => Ok(Self { redis, postgres }),
            (Err(error), Ok(other)) | (Ok(other), Err(error)) => {
                if let Some(other) = other {
                    let _ = other.down().await;
                }
                Err(error)
            }
            (Err(error), Err(_)) => Err(error),
        }
    }

    /// Where the servers are, past the proxies, and the app's instances: what the user's own commands are told.
    pub fn addresses(&self, app: &[String]) -> Addresses {
        let nodes = self.redis.as_ref().map(Deployment::nodes).unwrap_or_default();
        let redis: Vec<(&str, &str)> = nodes.iter().map(|node| (node.name.as_str(), node.server.url())).collect();
        Addresses::of(&redis, self.postgres.as_ref().map(|postgres| postgres.first().url()), app)
    }

    /// What the servers are, for the journal: versions asked from the servers, why this provider, no password.
    pub fn facts(&self) -> StackReady {
        let facts = |servers: &Option<Deployment>| servers.as_ref().map(|servers| servers.facts().clone());
        StackReady { redis: facts(&self.redis), postgres: facts(&self.postgres) }
    }

    /// Takes down what [`Self::up`] brought up.
    ///
    /// # Errors
    /// [`StackError::Supervise`] when a container could not be removed; the guard tries again when it is released.
    pub async fn down(self) -> Result<(), StackError> {
        let down = async |servers: Option<Deployment>| match servers {
            Some(servers) => servers.down().await,
            None => Ok(()),
        };
        let (redis, postgres) = tokio::join!(down(self.redis), down(self.postgres));
        redis.and(postgres)
    }
}
