//! The servers of a deployment: where each comes from, its topology, what may be broken.

use super::Victim;

/// The servers of the deployment. `None`: this run has no such server, or does not know of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StackSpec {
    /// The cache server.
    pub redis: Option<RedisSpec>,
    /// The database.
    pub postgres: Option<PostgresSpec>,
}

/// Where a server comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Provider {
    /// A container where Docker answers and has or can pull the image, else a local process.
    #[default]
    Auto,
    /// A container.
    Container,
    /// A private process in a temporary directory.
    Local,
    /// A server that is there already, by its URL. cacheproof breaks it only where a [`FaultPermission`] names its container.
    External,
}

/// Which program serves the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheServer {
    /// Redis.
    #[default]
    Redis,
    /// Valkey, which speaks Redis' protocol.
    Valkey,
}

impl CacheServer {
    /// Its name for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Redis => "Redis",
            Self::Valkey => "Valkey",
        }
    }

    /// The image where the scenario names none.
    pub fn image(self) -> &'static str {
        match self {
            Self::Redis => "redis:7",
            Self::Valkey => "valkey/valkey:8",
        }
    }
}

/// How the cache server is deployed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Topology {
    /// One server.
    #[default]
    Standalone,
    /// A master, its replicas, and three Sentinels that watch them under the name `mymaster`.
    Sentinel,
    /// Three masters that share the slots, each with its replicas.
    Cluster,
}

impl Topology {
    /// The scenario's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Sentinel => "sentinel",
            Self::Cluster => "cluster",
        }
    }

    /// Replicas of each master where the scenario does not say.
    pub fn replicas(self) -> u32 {
        match self {
            Self::Standalone => 0,
            Self::Sentinel => 2,
            Self::Cluster => 1,
        }
    }
}

/// The scenario's word that an external server may be paused, killed, stopped and started: the one container in which it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultPermission {
    /// By its name or id.
    Container(String),
    /// A service of a Docker Compose project; it must have one container.
    Compose {
        /// The project.
        project: String,
        /// The service.
        service: String,
    },
}

/// The Redis to test with.
#[derive(Clone, Debug, PartialEq)]
pub struct RedisSpec {
    /// Where it comes from.
    pub provider: Provider,
    /// `redis://…` of an external server; may hold `${NAME}` for an environment variable.
    pub url: Option<String>,
    /// Container image with its tag.
    pub image: String,
    /// `maxmemory` in bytes.
    pub maxmemory: Option<u64>,
    /// `maxmemory-policy`.
    pub policy: Option<String>,
    /// Keeps its data in an append-only file (`appendfsync everysec`).
    pub appendonly: bool,
    /// Which program.
    pub server: CacheServer,
    /// How many of it, and how they hang together.
    pub topology: Topology,
    /// Replicas of each master.
    pub replicas: u32,
    /// Whether the app speaks TLS to it, with a certificate of the run's own authority.
    pub tls: bool,
    /// Whether the app is a user of its own that may do no more than a cache needs.
    pub acl: bool,
    /// Of an external server: the container that may be broken.
    pub permission: Option<FaultPermission>,
}

impl Default for RedisSpec {
    /// One Redis, wherever it can be had, as it comes.
    fn default() -> Self {
        Self {
            provider: Provider::Auto,
            url: None,
            image: CacheServer::Redis.image().to_owned(),
            maxmemory: None,
            policy: None,
            appendonly: false,
            server: CacheServer::Redis,
            topology: Topology::Standalone,
            replicas: 0,
            tls: false,
            acl: false,
            permission: None,
        }
    }
}

impl StackSpec {
    /// Whether the cache server has a replica.
    pub fn has_replica(&self) -> bool {
        self.redis.as_ref().is_some_and(|redis| redis.replicas > 0)
    }

    /// Whether this server's process may be broken: it is cacheproof's own, or the scenario names its container.
    pub fn allows_process_faults(&self, victim: Victim) -> bool {
        match victim {
            Victim::Redis | Victim::RedisReplica | Victim::Sentinels => {
                self.redis.as_ref().is_some_and(RedisSpec::allows_process_faults)
            }
            Victim::Postgres => self.postgres.as_ref().is_some_and(PostgresSpec::allows_process_faults),
            Victim::App(_) | Victim::Custom => false,
        }
    }

    /// Whether Sentinels watch the cache server.
    pub fn has_sentinels(&self) -> bool {
        self.redis.as_ref().is_some_and(|redis| redis.topology == Topology::Sentinel)
    }
}

impl RedisSpec {
    /// Whether faults may be done to the server itself.
    pub fn allows_process_faults(&self) -> bool {
        self.provider != Provider::External || self.permission.is_some()
    }
}

/// The Postgres to test with.
#[derive(Clone, Debug, PartialEq)]
pub struct PostgresSpec {
    /// Where it comes from.
    pub provider: Provider,
    /// `postgres://…` of an external server; may hold `${NAME}` for an environment variable.
    pub url: Option<String>,
    /// Container image with its tag.
    pub image: String,
    /// Of an external server: the container that may be broken.
    pub permission: Option<FaultPermission>,
}

impl Default for PostgresSpec {
    /// A Postgres wherever it can be had.
    fn default() -> Self {
        Self { provider: Provider::Auto, url: None, image: "postgres:17".to_owned(), permission: None }
    }
}

impl PostgresSpec {
    /// Whether faults may be done to the server itself.
    pub fn allows_process_faults(&self) -> bool {
        self.provider != Provider::External || self.permission.is_some()
    }
}
