//! Redis and Postgres, up and down.
//!
//! A server comes from one of three providers: a container (testcontainers), a private local process, or one that
//! is there already (external). `auto` takes the first of the first two that this machine can do, and says why.
//! Whatever a run starts is known to its [`Guard`], a child process that cleans up when cacheproof dies, however
//! it dies.

mod choose;
mod container;
mod docker;
mod error;
mod external;
mod guard;
mod guard_duty;
mod local;
mod probe;
mod process;
mod server;
mod survey;

pub use error::StackError;
pub use guard::{Guard, RUN_LABEL, RUN_VARIABLE};
pub use guard_duty::stand_guard;
pub use local::free_port;
pub use server::Server;
pub use survey::{Check, Survey, survey};

use crate::observe::StackReady;
use crate::scenario::{PostgresSpec, RedisSpec, StackSpec};
use choose::{Choice, choose};
use probe::Kind;
use server::Place;

/// The servers of a run, up and answering.
#[derive(Debug)]
pub struct Stack {
    /// The cache server.
    pub redis: Option<Server>,
    /// The database, counting its statements (`pg_stat_statements`) where it can.
    pub postgres: Option<Server>,
}

impl Stack {
    /// Brings the servers up, both at a time. `tell` gets a line about whatever takes long or was decided.
    ///
    /// # Errors
    /// The first server's that failed; the other is taken down again.
    pub async fn up(spec: &StackSpec, guard: &Guard, tell: &(dyn Fn(&str) + Send + Sync)) -> Result<Self, StackError> {
        let redis = async {
            match &spec.redis {
                Some(spec) => redis_up(spec, guard, tell).await.map(Some),
                None => Ok(None),
            }
        };
        let postgres = async {
            match &spec.postgres {
                Some(spec) => postgres_up(spec, guard, tell).await.map(Some),
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

    /// What the servers are, for the journal: versions asked from the servers, why this provider, no password.
    pub fn facts(&self) -> StackReady {
        let facts = |server: &Option<Server>| server.as_ref().map(|server| server.facts().clone());
        StackReady { redis: facts(&self.redis), postgres: facts(&self.postgres) }
    }

    /// Takes down what [`Self::up`] brought up.
    ///
    /// # Errors
    /// [`StackError::Docker`] when a container could not be removed; the guard tries again when it is released.
    pub async fn down(self) -> Result<(), StackError> {
        let down = async |server: Option<Server>| match server {
            Some(server) => server.down().await,
            None => Ok(()),
        };
        let (redis, postgres) = tokio::join!(down(self.redis), down(self.postgres));
        redis.and(postgres)
    }
}

async fn redis_up(spec: &RedisSpec, guard: &Guard, tell: &(dyn Fn(&str) + Send + Sync)) -> Result<Server, StackError> {
    match choose(Kind::Redis, spec.provider, &spec.image, tell).await? {
        Choice::External { why } => {
            let url = external::connect(Kind::Redis, spec.url.as_deref()).await?;
            Server::introduce(Kind::Redis, Place::External, url, why, None).await
        }
        Choice::Local { installed, why } => {
            let (server, url) = local::start_redis(spec, &installed, guard).await?;
            Server::introduce(Kind::Redis, Place::Local(Box::new(server)), url, why, None).await
        }
        Choice::Container { docker, image, why } => {
            let (server, url) = container::start_redis(docker, spec, &image, guard).await?;
            Server::introduce(Kind::Redis, Place::Container(Box::new(server)), url, why, Some(image)).await
        }
    }
}

async fn postgres_up(
    spec: &PostgresSpec,
    guard: &Guard,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<Server, StackError> {
    let server = match choose(Kind::Postgres, spec.provider, &spec.image, tell).await? {
        Choice::External { why } => {
            let url = external::connect(Kind::Postgres, spec.url.as_deref()).await?;
            Server::introduce(Kind::Postgres, Place::External, url, why, None).await?
        }
        Choice::Local { installed, why } => {
            let (server, url) = local::start_postgres(&installed, guard).await?;
            Server::introduce(Kind::Postgres, Place::Local(Box::new(server)), url, why, None).await?
        }
        Choice::Container { docker, image, why } => {
            let (server, url) = container::start_postgres(docker, &image, guard).await?;
            Server::introduce(Kind::Postgres, Place::Container(Box::new(server)), url, why, Some(image)).await?
        }
    };
    match probe::count_statements(server.url()).await {
        Ok(()) => Ok(server),
        // Somebody else's server may not allow it; the database's own counters then have to do.
        Err(error) if server.facts().provider == "external" => {
            tell(&format!("Postgres does not count statements ({error}): its transactions are counted instead"));
            Ok(server)
        }
        Err(error) => {
            let _ = server.down().await;
            Err(StackError::NotUp {
                what: Kind::Postgres.name().into(),
                why: format!("it can't count statements: {error}"),
                help: "use an image or installation that has the extension pg_stat_statements (contrib)".into(),
            })
        }
    }
}
