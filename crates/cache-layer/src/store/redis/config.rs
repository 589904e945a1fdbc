use crate::breaker::BreakerConfig;
use crate::config::{Coherence, ConfigError};
use crate::store::redis::servers::{Deployment, Topology};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How to reach Redis, and how long to wait for what. [`CacheConfig::from_env`](crate::CacheConfig::from_env) reads all of it from
/// a file and variables.
#[derive(Clone)]
pub struct RedisConfig {
    /// Where Redis is and how it is deployed:
    ///
    /// | deployment | URL |
    /// |---|---|
    /// | one server | `redis://[user:password@]host[:6379][/database]` |
    /// | Sentinel | `redis+sentinel://[user:password@]sentinel[:26379],…/master-name[/database]` |
    /// | Cluster | `redis+cluster://[user:password@]node[:6379],…` |
    ///
    /// With `rediss` for `redis` each speaks TLS. User and password are percent-encoded. A URL may hold a password: it is not shown by
    /// `Debug`, nor by any error.
    pub url: String,
    /// User and password, where they are not in the URL; they win over those that are.
    pub credentials: Credentials,
    /// For `rediss` URLs.
    pub tls: TlsConfig,
    /// User and password for the sentinels, which have their own.
    pub sentinel_credentials: Credentials,
    /// How to speak to the sentinels.
    pub sentinel_tls: SentinelTls,
    /// Put in front of every key, `prod:` for instance.
    pub namespace: String,
    /// Connections to each server that takes writes, each multiplexed.
    pub connections: usize,
    /// Round trips that may be under way on one connection at the same time; more are refused at once, so that a stall does not
    /// queue without bound.
    pub in_flight_at_most: usize,
    /// The longest wait for a new connection, handshakes and first answer included, and for the answer of a connection in use to
    /// its regular ping.
    pub connect_timeout: Duration,
    /// The longest wait for one command.
    pub command_timeout: Duration,
    /// The longest wait for all commands of one deletion; one by pattern, a pass over all names, takes as long as it takes.
    pub request_budget: Duration,
    /// Timeouts in a row after which a connection is replaced. The first is a request's, or that of the regular ping; then no request
    /// is given to the connection, and pings follow at once.
    pub timeouts_to_replace: u32,
    /// Reconnecting: the limit of the first random wait.
    pub backoff: Duration,
    /// Reconnecting: the limit of the longest random wait.
    pub backoff_at_most: Duration,
    /// While no connection is up, one cheap probe looks this often (less a random third) whether the server answers again, and cuts
    /// the wait short. 0: none does.
    pub probe_every: Duration,
    /// How long a loader may take before its lease ends and its value is not stored.
    pub lease_ttl: Duration,
    /// How long others wait for the holder of a lease before one of them may load as well: longer than a load usually takes, for the holder
    /// may have died. Its lease stays good: whoever fills first, fills.
    pub lease_hold: Duration,
    /// Whether deletions are told to other processes, for their first tiers; one `PUBLISH` each, on the channel `{namespace}!news`. Needed of
    /// every process that shares a cache with one whose strategy is two-tier. An ACL user needs leave for the channel, too.
    pub announce: bool,
    /// Lost invalidations to remember one by one; above, everything is cleared.
    pub owed_at_most: usize,
    /// For so long a replica counts that left its master: until then [`Cache::confirm`](crate::Cache::confirm) confirms nothing there, nor
    /// before the server has been watched for so long. It is to outlast how long such a replica may be trusted once it takes over (with
    /// the outbox Δ, and what the servers' clocks differ), and how long a master that was replaced may not know of it (10 s with Sentinel).
    /// Without the outbox it is trusted as it is, and Sentinel promotes one that left ten times `down-after-milliseconds` ago.
    pub replicas_remembered: Duration,
    /// Whether replicas are watched from the start, about once a second over a connection of its own; otherwise from the first
    /// [`Cache::confirm`](crate::Cache::confirm) on, which then confirms nothing before `replicas_remembered` is over.
    pub watch_replicas: bool,
    /// When to stop asking.
    pub breaker: BreakerConfig,
    /// How far invalidations may be relied on.
    pub coherence: Coherence,
}

/// Whom to say one is. `Debug` does not show the password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The ACL user; `default` when only a password is given.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Whom to trust, and how to show who one is. There is no way to skip the check of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM file of the authorities to trust; without one, those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the client's certificate chain, for servers that ask for one.
    pub certificate_file: Option<PathBuf>,
    /// PEM file of its private key.
    pub key_file: Option<PathBuf>,
}

/// How to speak to the sentinels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SentinelTls {
    /// As to the servers.
    #[default]
    LikeServers,
    /// In plain text, though the servers speak TLS.
    Plain,
    /// With TLS of its own.
    Own(TlsConfig),
}

impl RedisConfig {
    /// The defaults, for the deployment at `url`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            credentials: Credentials::default(),
            tls: TlsConfig::default(),
            sentinel_credentials: Credentials::default(),
            sentinel_tls: SentinelTls::LikeServers,
            namespace: String::new(),
            connections: 10,
            in_flight_at_most: 512,
            connect_timeout: Duration::from_millis(200),
            command_timeout: Duration::from_millis(50),
            request_budget: Duration::from_millis(100),
            timeouts_to_replace: 2,
            backoff: Duration::from_millis(50),
            backoff_at_most: Duration::from_secs(10),
            probe_every: Duration::from_millis(150),
            lease_ttl: Duration::from_secs(10),
            lease_hold: Duration::from_secs(3),
            announce: false,
            owed_at_most: 10_000,
            replicas_remembered: Duration::from_secs(15),
            watch_replicas: false,
            breaker: BreakerConfig::default(),
            coherence: Coherence::Lease,
        }
    }

    /// The breaker's settings, with what follows from the others.
    pub(crate) fn breaker(&self) -> BreakerConfig {
        BreakerConfig { slow_call: Some(self.breaker.slow_from(self.command_timeout)), ..self.breaker.clone() }
    }

    /// What the URL says.
    ///
    /// # Errors
    /// It cannot be understood; the error does not repeat it.
    pub fn topology(&self) -> Result<Topology, ConfigError> {
        Deployment::parse(&self.url).map(|deployment| deployment.topology)
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}
