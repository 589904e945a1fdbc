//! The scenario as the rest of the house sees it: parsed, checked, with every default filled in.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Quantity, Rule};

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
    /// The timeline, in order.
    pub phases: Vec<Phase>,
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
    /// A server that is there already, by its URL. cacheproof never breaks it.
    External,
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
}

/// The app under test.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetSpec {
    /// The reference app, or any HTTP app.
    pub kind: TargetKind,
    /// Base URL of an app that is running already.
    pub url: Option<String>,
    /// Command that starts the app; see [`crate::target`] for the placeholders. Empty: cacheproof's own
    /// `serve` for the reference app, nothing for an HTTP app.
    pub start: Vec<String>,
    /// Path that answers 2xx once the app is ready.
    pub ready: String,
    /// How the reference app caches.
    pub cache: CacheKind,
    /// How a response says that it came from the cache.
    pub hit: HitSpec,
    /// How a request asks to go past the cache.
    pub bypass: Option<BypassSpec>,
    /// JSON field (dots for depth) that must equal the key in the path.
    pub identity: Option<String>,
    /// Where the version of an item stands.
    pub version: Option<VersionSpec>,
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
    /// Not at all.
    None,
}

/// How a response says where it came from. `Cache-Status` (RFC 9211) and `X-Cache` are always understood;
/// this names what an app does beyond them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HitSpec {
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

/// Where the version of an item stands in a response.
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
    pub drive: Drive,
    /// Which keys are asked for how often.
    pub popularity: Popularity,
    /// A request is given up after this time and counts as an error.
    pub timeout: Duration,
    /// The kinds of request, with their weights.
    pub requests: Vec<Request>,
}

/// How the load is driven.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Drive {
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

    /// Whether its answers can be told from another item's, where the target has an identity: it names an item
    /// and is answered with it.
    pub fn has_identity(&self) -> bool {
        self.method != Method::Delete && self.item_key().is_some()
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

    /// As it stands on the wire.
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

/// Which way a request takes through the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// As the app's users go: through the cache.
    Cached,
    /// Past the cache, by [`TargetSpec::bypass`].
    Uncached,
}

impl Path {
    /// `cached` or `uncached`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Uncached => "uncached",
        }
    }
}

/// One stretch of the timeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// Its name in rules and reports.
    pub name: String,
    /// Which way its requests take.
    pub path: Path,
    /// How long it lasts; for a warm-up the longest it may last.
    pub lasts: Duration,
    /// A warm-up is not judged and ends when the hit rate is level.
    pub warm_up: bool,
    /// Arrival rate of this phase, where it differs (open loop only).
    pub rate: Option<f64>,
    /// What is broken in it.
    pub fault: Option<FaultSpec>,
}

/// Something broken on purpose.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultSpec {
    /// What is done.
    pub action: FaultAction,
    /// To whom.
    pub victim: Victim,
    /// How long after the phase's start.
    pub after: Duration,
    /// How long it is held. `None`: to the phase's end.
    pub lasts: Option<Duration>,
}

/// What is done to the victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultAction {
    /// SIGKILL; undone by starting it again.
    Kill,
    /// SIGSTOP (a container: pause); undone by SIGCONT.
    Pause,
}

impl FaultAction {
    /// `kill` or `pause`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
        }
    }
}

/// Whom a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// The cache server.
    Redis,
    /// The database.
    Postgres,
    /// The app under test. Only an app that cacheproof started.
    App,
}

impl Victim {
    /// `redis`, `postgres` or `app`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Postgres => "postgres",
            Self::App => "app",
        }
    }
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
    /// Every latency limit in the rules, in nanoseconds, sorted: the recorder counts samples above each exactly.
    pub fn latency_limits(&self) -> Vec<u64> {
        let mut limits: Vec<u64> = self
            .criteria
            .iter()
            .flat_map(|criterion| &criterion.rules)
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
