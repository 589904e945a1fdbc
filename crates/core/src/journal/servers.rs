//! The servers and processes of a run: what they are, and their state while it lasts.

use serde::{Deserialize, Serialize};

/// The servers that a run uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StackReady {
    /// The cache server.
    pub redis: Option<ServerFacts>,
    /// The database.
    pub postgres: Option<ServerFacts>,
}

/// What a server is and where it came from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerFacts {
    /// `container`, `local` or `external`.
    pub provider: String,
    /// Why this provider: a sentence.
    pub why: String,
    /// The server's own version.
    pub version: String,
    /// Its URL without any password.
    pub url: String,
    /// Image of a container.
    pub image: Option<String>,
    /// Settings that matter for the result, name and value: `maxmemory`, `maxmemory-policy`, `shared_buffers`…
    pub settings: Vec<(String, String)>,
    /// `standalone`, `sentinel` or `cluster`; empty where a journal does not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub topology: String,
    /// Every server of the deployment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeFacts>,
}

/// One server of a deployment, as it came up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// `redis`, `redis-2`, `sentinel-1`, `postgres`.
    pub name: String,
    /// `master`, `replica` or `sentinel`.
    pub role: String,
    /// Where it listens, `host:port`.
    pub address: String,
    /// Where the app reaches it, `host:port` of cacheproof's proxy; `None` where the app connects directly.
    pub proxy: Option<String>,
}

/// Round trips to a server, alternately direct and through cacheproof's proxy, without other load. Medians in
/// nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyCost {
    /// How many each way.
    pub round_trips: u64,
    /// Direct.
    pub direct: u64,
    /// What the proxy adds: the median difference between neighbouring round trips.
    pub added: u64,
}

/// The app under test.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TargetReady {
    /// What it is, in words.
    pub what: String,
    /// Its base URL without any password.
    pub url: String,
    /// Its process, where cacheproof started it.
    pub pid: Option<u32>,
}

/// The state of servers and processes at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The cache server; `None` where there is none or it did not answer.
    pub redis: Option<RedisSample>,
    /// The database; `None` where there is none or it did not answer.
    pub postgres: Option<PostgresSample>,
    /// The app's process, where cacheproof started it.
    pub app: Option<ProcessSample>,
    /// cacheproof's own process.
    pub harness: Option<ProcessSample>,
}

/// From Redis INFO. Counters run since the server's start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RedisSample {
    /// Changes with every start of the server.
    pub run_id: String,
    /// `master` or `slave`.
    pub role: String,
    /// `keyspace_hits`.
    pub hits: u64,
    /// `keyspace_misses`.
    pub misses: u64,
    /// `evicted_keys`.
    pub evicted: u64,
    /// `expired_keys`.
    pub expired: u64,
    /// `used_memory`, bytes.
    pub memory: u64,
    /// `maxmemory`, bytes; 0: no limit.
    pub max_memory: u64,
    /// `connected_clients`, the probe's own among them.
    pub clients: u64,
    /// Keys in all databases.
    pub keys: u64,
    /// Every server that answered, where there are several. The counters above are then sums of the growth of every
    /// server so far, the other values are sums over the masters, and `run_id` never changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<RedisNodeSample>,
    /// How long before the line's time it answered, seconds: the sample waits for the slowest server.
    #[serde(default)]
    pub age: f64,
}

/// One of several servers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RedisNodeSample {
    /// Its name in [`ServerFacts::nodes`].
    pub name: String,
    /// Changes with every start of the server.
    pub run_id: String,
    /// `master` or `slave`.
    pub role: String,
    /// `used_memory`, bytes.
    pub memory: u64,
    /// Keys in all databases.
    pub keys: u64,
}

/// From Postgres' statistics. Counters run since the statistics began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PostgresSample {
    /// Statements executed for all clients but cacheproof (pg_stat_statements), or transactions where that is missing.
    pub queries: u64,
    /// Whether [`Self::queries`] counts statements (pg_stat_statements) and not transactions.
    pub exact: bool,
    /// Time spent executing them, seconds; 0 where only transactions are known.
    pub busy: f64,
    /// Client connections, the probe's own left out.
    pub connections: u64,
    /// When the server was started; empty where that is not known.
    #[serde(default)]
    pub started: String,
    /// How long before the line's time it answered, seconds: the sample waits for the slowest server.
    #[serde(default)]
    pub age: f64,
}

/// From /proc.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessSample {
    /// CPU time used since its start, seconds.
    pub cpu: f64,
    /// Resident memory, bytes.
    pub memory: u64,
    /// Open file descriptors.
    pub files: u64,
    /// Size of its log so far, bytes, where cacheproof keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<u64>,
}

impl ProcessSample {
    /// The sum of two processes.
    pub fn combine(self, other: Self) -> Self {
        Self {
            cpu: self.cpu + other.cpu,
            memory: self.memory + other.memory,
            files: self.files + other.files,
            log: self.log.zip(other.log).map(|(log, more)| log + more),
        }
    }
}
