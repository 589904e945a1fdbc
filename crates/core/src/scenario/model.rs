//! The scenario as the other crates see it: parsed, checked, with every default filled in.

use crate::journal::CachePath;
use crate::metrics::MeasuredOn;
use std::collections::BTreeMap;
use std::time::Duration;

use super::{FaultSpec, FreshnessSpec, ListSpec, Quantity, Rule, SafetySpec, Victim};

/// A scenario: what to bring up, what to send, what to break, what must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The file's title.
    pub title: String,
    /// Seed of every random choice: the same seed gives the same keys, order and arrival times.
    pub seed: u64,
    /// The servers.
    pub stack: StackSpec,
    /// The app under test.
    pub target: TargetSpec,
    /// Key spaces by name and size: `posts = 10_000` lets a path say `{post}`, an id from 1 to 10,000.
    pub data: BTreeMap<String, u64>,
    /// What is sent.
    pub traffic: Traffic,
    /// How stale answers are investigated.
    pub freshness: FreshnessSpec,
    /// The timeline, in order.
    pub phases: Vec<Phase>,
    /// What keeps faults in bounds.
    pub safety: SafetySpec,
    /// The story's criteria.
    pub criteria: Vec<Criterion>,
}

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

/// The app under test.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetSpec {
    /// The reference app, or any HTTP app.
    pub kind: TargetKind,
    /// Base URL of an app that is running already.
    pub url: Option<String>,
    /// Command that starts the app; docs/scenario.md lists the placeholders. Empty: cacheproof's own
    /// `serve` for the reference app, nothing for an HTTP app.
    pub start: Vec<String>,
    /// Further arguments for the reference app's `serve`.
    pub args: Vec<String>,
    /// Path that answers 2xx once the app is ready.
    pub ready: String,
    /// How many of it run side by side on the same servers; requests are dealt to them in turn.
    pub instances: usize,
    /// How the reference app caches.
    pub cache: CacheKind,
    /// How a response says that it came from the cache.
    pub hit: CacheStatusSpec,
    /// How a request asks to go past the cache.
    pub bypass: Option<BypassSpec>,
    /// JSON field (dots for depth) that must equal the key in the path.
    pub identity: Option<String>,
    /// Where the version of an item stands.
    pub version: Option<VersionSpec>,
    /// JSON fields that hold the `{token}` of the write that they are from: it must be this item's, and the same in
    /// all of them.
    pub tokens: Vec<String>,
}

/// What kind of app is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// The reference app of this repository (or another build of it, by `start`).
    Reference,
    /// Any app that speaks HTTP.
    Http,
}

/// How the reference app caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheKind {
    /// In Redis.
    #[default]
    Redis,
    /// In the app's own memory.
    Memory,
    /// In the app's own memory and in Redis as the second tier.
    TwoTier,
    /// Not at all.
    None,
}

/// How a response says where it came from. `Cache-Status` (RFC 9211) and `X-Cache` are always understood;
/// this names what an app does beyond them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CacheStatusSpec {
    /// A header…
    pub header: Option<String>,
    /// …or a JSON field (dots for depth).
    pub json: Option<String>,
    /// Values that mean a hit (compared without case); `true` for a JSON boolean.
    pub hit: Vec<String>,
    /// Values that mean a miss.
    pub miss: Vec<String>,
    /// Values that mean the app served a stale answer knowingly.
    pub stale: Vec<String>,
    /// Values that mean the cache was bypassed.
    pub bypass: Vec<String>,
}

/// How a request asks to go past the cache.
#[derive(Clone, Debug, PartialEq)]
pub enum BypassSpec {
    /// A request header, name and value.
    Header(String, String),
    /// Text added to the query: `nocache=1`.
    Query(String),
}

/// Where a response carries the version of an item.
#[derive(Clone, Debug, PartialEq)]
pub enum VersionSpec {
    /// A JSON field (dots for depth) holding a whole number.
    Json(String),
    /// A response header holding a whole number.
    Header(String),
}

/// What is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// Open or closed loop.
    pub load_model: LoadModel,
    /// Which keys are asked for how often.
    pub popularity: Popularity,
    /// A request is given up after this time and counts as an error.
    pub timeout: Duration,
    /// The kinds of request, with their weights.
    pub requests: Vec<Request>,
}

/// How the load is driven.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LoadModel {
    /// Requests arrive by the clock, whatever the app does.
    Open {
        /// Mean arrival rate in requests a second.
        rate: f64,
        /// How they are spread.
        arrivals: Arrivals,
        /// How many requests may be in flight; more wait, and the wait counts.
        connections: usize,
    },
    /// Each user sends the next request when the last was answered.
    Closed {
        /// Number of users.
        users: usize,
    },
}

/// How arrivals are spread in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arrivals {
    /// Exponential gaps, as independent users make them.
    #[default]
    Poisson,
    /// Equal gaps.
    Constant,
}

/// Which keys are asked for how often.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Popularity {
    /// Key of rank r with weight 1 ÷ r^s.
    Zipf(f64),
    /// Every key alike.
    Uniform,
}

/// One kind of request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Its name in rules and reports.
    pub name: String,
    /// GET, POST, PUT, PATCH or DELETE.
    pub method: Method,
    /// Path (and query) with placeholders: `/posts/{post}`.
    pub path: String,
    /// JSON body with placeholders, `{random}` for a random word among them.
    pub body: Option<String>,
    /// Share of the traffic, against the sum of all weights.
    pub weight: f64,
    /// Whether the hit rate counts it. Reads only.
    pub cacheable: bool,
    /// Statuses that are right beside 2xx.
    pub expect: Vec<u16>,
    /// Request headers, name and value with placeholders: who asks, for example.
    pub headers: Vec<(String, String)>,
    /// JSON field that must equal the key in [`Self::headers`]: whose answer it is.
    pub owner: Option<String>,
    /// Reads a list whose items are judged.
    pub list: Option<ListSpec>,
}

impl Request {
    /// The path without its query, placeholders as written: by it, writes and reads of one item find each other.
    pub fn template(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// The placeholder of the item that the path names: its last segment is a key, as in `/posts/{post}`, not in
    /// `/posts/{post}/votes`. A POST to an item makes another one.
    pub fn item_key(&self) -> Option<&str> {
        let segment = self.template().rsplit('/').next()?;
        let key = segment.strip_prefix('{')?.strip_suffix('}')?;
        (self.method != Method::Post && key != "random").then_some(key)
    }

    /// Whether its answers can be distinguished from another item's, where the target has an identity: it names an item
    /// and is answered with it.
    pub fn has_identity(&self) -> bool {
        self.method != Method::Delete && self.item_key().is_some()
    }

    /// The placeholder of the user in [`Self::headers`] that an answer's owner is compared with.
    pub fn owner_key(&self) -> Option<&str> {
        self.headers.iter().find_map(|(_, value)| {
            let places = super::placeholders(value);
            let mut names = places.iter().map(|place| &value[place.start + 1..place.end - 1]);
            names.find(|name| *name != "random")
        })
    }

    /// Whether it writes an item and is answered with the item's new version.
    pub fn writes_item(&self) -> bool {
        matches!(self.method, Method::Put | Method::Patch) && self.item_key().is_some()
    }
}

/// HTTP methods that a scenario can send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// POST
    Post,
    /// PUT
    Put,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
}

impl Method {
    /// Whether it only reads.
    pub fn is_read(self) -> bool {
        matches!(self, Self::Get)
    }

    /// As it is sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// One stretch of the timeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// Its name in rules and reports.
    pub name: String,
    /// Which way its requests take.
    pub path: CachePath,
    /// How long it lasts; for a warm-up the longest it may last.
    pub lasts: Duration,
    /// A warm-up is not judged and ends when the hit rate is level.
    pub warm_up: bool,
    /// Arrival rate of this phase, where it differs (open loop only).
    pub rate: Option<f64>,
    /// What is broken in it, each on its own schedule.
    pub faults: Vec<FaultSpec>,
}

/// One acceptance criterion of the story.
#[derive(Clone, Debug, PartialEq)]
pub struct Criterion {
    /// The story's own words.
    pub says: String,
    /// What must hold, all of it.
    pub rules: Vec<Rule>,
    /// The test that proves it where no measurement can.
    pub proved_by: Option<String>,
}

impl Scenario {
    /// Whether the hit rate counts this request, by its index; an unknown one is not counted.
    pub fn is_cacheable(&self, request: usize) -> bool {
        self.traffic.requests.get(request).is_some_and(|request| request.cacheable)
    }

    /// Every latency limit in the rules, in nanoseconds, sorted: the recorder counts samples above each exactly.
    pub fn latency_limits(&self) -> Vec<u64> {
        let mut limits: Vec<u64> = self
            .criteria
            .iter()
            .flat_map(|criterion| &criterion.rules)
            .filter(|rule| rule.term.metric.definition().measured_on != MeasuredOn::Faults)
            .filter_map(|rule| match rule.limit {
                super::Limit::Value(Quantity::Time(limit)) => u64::try_from(limit.as_nanos()).ok(),
                _ => None,
            })
            .collect();
        limits.sort_unstable();
        limits.dedup();
        limits
    }

    /// How long the timeline lasts at most.
    pub fn planned_length(&self) -> Duration {
        self.phases.iter().map(|phase| phase.lasts).sum()
    }
}
