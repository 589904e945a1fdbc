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
    /// The app's processes, where cacheproof started it and they are known.
    pub app: Option<ProcessSample>,
    /// cacheproof's own process.
    pub harness: Option<ProcessSample>,
    /// The machine. `None` in older journals, and where the system does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineSample>,
}

/// The machine that everything runs on: whether it stalled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MachineSample {
    /// The most by which a thread of cacheproof that only sleeps was woken too late since the last sample, seconds.
    pub lag: f64,
    /// How many CPUs these times are of: all of the machine, also where cacheproof may use only some.
    pub cpus: u32,
    /// CPU time of all processes since the machine's start, seconds.
    pub busy: f64,
    /// CPU time that the machine had work for and that its hypervisor gave to others, seconds.
    pub stolen: f64,
}

/// From Redis INFO. Counters run since the server's start. A field that the server does not report is `None`, never 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RedisSample {
    /// Changes with every start of the server. Empty where it does not report one.
    pub run_id: String,
    /// `master` or `slave`. Empty where it does not report it.
    pub role: String,
    /// `keyspace_hits`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hits: Option<u64>,
    /// `keyspace_misses`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misses: Option<u64>,
    /// `evicted_keys`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evicted: Option<u64>,
    /// `expired_keys`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired: Option<u64>,
    /// `used_memory`, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// `maxmemory`, bytes; 0: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_memory: Option<u64>,
    /// `connected_clients`, the probe's own among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<u64>,
    /// Keys in all databases: the section `Keyspace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<u64>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Keys in all databases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<u64>,
}

/// From Postgres' statistics. Counters run since the statistics began. What it does not tell is `None`, never 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PostgresSample {
    /// Statements executed for all clients but cacheproof (pg_stat_statements), or transactions where that is missing.
    pub queries: u64,
    /// Whether [`Self::queries`] counts statements (pg_stat_statements) and not transactions.
    pub exact: bool,
    /// Time spent executing them, seconds; `None` where only transactions are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy: Option<f64>,
    /// Client connections, the probe's own left out; `None` where this user may not see those of others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// How often pg_stat_statements threw out the statements that are executed least (`dealloc`), with their counts.
    /// `None` before Postgres 14.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evicted: Option<u64>,
    /// Since when pg_stat_statements counts (`stats_reset`); empty before Postgres 14.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub counting_since: String,
    /// When the server was started; empty where that is not known.
    #[serde(default)]
    pub started: String,
    /// How long before the line's time it answered, seconds: the sample waits for the slowest server.
    #[serde(default)]
    pub age: f64,
}

/// What the database executed for the app during the load, by statement (pg_stat_statements).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementCounts {
    /// How many of all kinds.
    pub all: u64,
    /// Those of them that pools and drivers send by themselves: transactions, settings, resets, `SELECT 1`.
    pub by_pools: u64,
    /// The most frequent ones, each with how often.
    pub most_frequent: Vec<(String, u64)>,
}

/// From /proc: one process, or the app with all its processes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessSample {
    /// CPU time used since its start, seconds. With that of the children that have ended.
    pub cpu: f64,
    /// Memory, bytes: what is shared by several processes counts once (PSS, with what is swapped out). Resident memory where the system
    /// does not tell that.
    pub memory: u64,
    /// Open file descriptors. `None` where this user may not see those of every process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
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
            files: self.files.zip(other.files).map(|(files, more)| files + more),
            log: self.log.zip(other.log).map(|(log, more)| log + more),
        }
    }
}
