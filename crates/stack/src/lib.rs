//! Starts and stops the Redis and Postgres servers of a run, and injects process faults into them.
//!
//! A server comes from one of three providers: a container, a private local process, or a server that already
//! runs (external). `auto` takes a container where Docker and the image are available, else a local process, and says why.
//! Everything that a run starts is registered with its [`Guard`], which cleans up when cacheproof crashes.
//!
//! A [`Deployment`] is one server, or several that belong together (Sentinel, Cluster). Each server has a proxy of cacheproof in
//! front of it, whose port never changes. The app gets the addresses of the proxies only; so the addresses that Sentinels and
//! Cluster nodes announce are those of proxies as well. Probes connect to the servers directly.
//!
//! Start reading at [`Stack::up`]. Then `choose.rs` picks the provider, `redis/` and `postgres.rs` start the servers through
//! `container/` or `local/`, and [`Server`] holds the result. `doctor.rs` is `cacheproof doctor`.

mod choose;
mod container;
mod deployment;
mod doctor;
mod error;
mod external;
mod free_port;
mod local;
mod log;
mod password;
mod postgres;
mod probe;
mod proxy;
mod redis;
mod redis_client;
mod server;

pub use deployment::{Deployment, Node, Role};
pub use doctor::{Check, DoctorReport, check_machine};
pub use error::StackError;
pub use free_port::free_port;
pub use probe::postgres_options;
pub use redis_client::connect_redis;
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
    /// Starts the servers, both at the same time. The proxies use `seed` to decide which connections a fault hits. `notify` gets
    /// a line about each decision, and about what takes long.
    ///
    /// # Errors
    /// The error of the first server that failed; the other is stopped again.
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

    /// The addresses of the servers themselves and of the app's instances (`app`), for the user's commands.
    pub fn addresses(&self, app: &[String]) -> Addresses {
        let nodes = self.redis.as_ref().map(Deployment::nodes).unwrap_or_default();
        let redis: Vec<(&str, &str)> = nodes.iter().map(|node| (node.name.as_str(), node.server.url())).collect();
        Addresses::of(&redis, self.postgres.as_ref().map(|postgres| postgres.first().url()), app)
    }

    /// Version, settings and provider of each server, for the journal. Without passwords.
    pub fn facts(&self) -> StackReady {
        let facts = |servers: &Option<Deployment>| servers.as_ref().map(|servers| servers.facts().clone());
        StackReady { redis: facts(&self.redis), postgres: facts(&self.postgres) }
    }

    /// Stops what [`Self::up`] started.
    ///
    /// # Errors
    /// [`StackError::Docker`] when a container could not be removed; the guard tries again when it is released.
    pub async fn down(self) -> Result<(), StackError> {
        let down = async |servers: Option<Deployment>| match servers {
            Some(servers) => servers.down().await,
            None => Ok(()),
        };
        let (redis, postgres) = tokio::join!(down(self.redis), down(self.postgres));
        redis.and(postgres)
    }
}
