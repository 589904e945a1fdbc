//! The event stream. One enum feeds the journal, the terminal and (through the journal) verdict and report,
//! so they cannot disagree.

use serde::{Deserialize, Serialize};

use super::{AtQuiescence, CachePath, FreshnessCell, Histogram, Pulse, StaleClassification, StaleRead};

/// Version of the journal's format. Raised when an older reader would misread a newer journal.
pub const JOURNAL_VERSION: u32 = 1;

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Seconds since the run began, on the monotonic clock.
    pub at: f64,
    /// What happened.
    pub event: Event,
}

/// What can happen in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Always the first line.
    RunStarted(RunStarted),
    /// The servers are up.
    StackReady(StackReady),
    /// What the proxy in front of Redis costs, measured before the load.
    ProxyCost(ProxyCost),
    /// The app answers.
    TargetReady(TargetReady),
    /// A phase of the timeline begins.
    PhaseStarted {
        /// Index into the scenario's phases.
        phase: usize,
    },
    /// A phase ends. Requests that were meant for it may still be answered later.
    PhaseEnded {
        /// Index into the scenario's phases.
        phase: usize,
        /// Why now: its time was up, the hit rate was level, the run was stopped.
        reason: String,
    },
    /// The answers of one second.
    Window(Window),
    /// The answers of 100 ms, counts only.
    Pulse(Pulse),
    /// The state of servers and processes, once a second and at every phase boundary.
    Sample(Sample),
    /// A fault moves on in its life.
    Fault(FaultEvent),
    /// An answer worth showing: the first few of each kind of trouble.
    Example(Example),
    /// A stale answer worth showing, with the history around it.
    StaleRead(StaleRead),
    /// What became of stale answers of one item.
    #[serde(rename = "stale_sorted")]
    StaleClassification(StaleClassification),
    /// Cached and uncached answers compared while nothing was written.
    #[serde(rename = "at_rest")]
    AtQuiescence(AtQuiescence),
    /// Something the user should know; shown in the report's validity box.
    Note {
        /// A whole sentence, with what to do where there is something.
        text: String,
    },
    /// The last line of a journal that was closed. Its absence means that cacheproof itself died.
    RunEnded(RunEnded),
}

/// What was run, where, by whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunStarted {
    /// [`JOURNAL_VERSION`].
    pub journal: u32,
    /// cacheproof's own version.
    pub cacheproof: String,
    /// UTC, RFC 3339, whole seconds.
    pub started_at: String,
    /// Name of the run's directory.
    pub run_id: String,
    /// The scenario file's name as given.
    pub scenario_name: String,
    /// The scenario as run: `--set` applied, passwords struck out.
    pub scenario: String,
    /// Command that repeats the run.
    pub command: String,
    /// Limits in nanoseconds that [`ResponseCell::over`] counts against.
    pub limits: Vec<u64>,
    /// The machine.
    pub host: Host,
    /// Commit of the working directory, `-dirty` appended where it has changes; empty outside git.
    pub git: String,
}

/// The machine a run was made on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// CPU model.
    pub cpu: String,
    /// Logical cores that cacheproof may use.
    pub cores: usize,
    /// Memory in bytes.
    pub memory: u64,
    /// Kernel name and release.
    pub kernel: String,
}

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
    /// Where it listens itself, `host:port`.
    pub address: String,
    /// Where the app reaches it, `host:port` of cacheproof's proxy; `None` where the app goes straight.
    pub proxy: Option<String>,
}

/// Round trips to a server, straight and through cacheproof's proxy in turn, nothing else going on. Nanoseconds, medians.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyCost {
    /// How many each way.
    pub round_trips: u64,
    /// Straight.
    pub direct: u64,
    /// What the proxy adds: of the differences between neighbours.
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

/// What became of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered from the cache.
    Hit,
    /// The cache did not have it.
    Miss,
    /// The app served an expired answer and said so.
    StaleServed,
    /// Past the cache because the request asked for it.
    Bypass,
    /// Past the cache because it could not be reached.
    Fallback,
    /// Answered; says nothing about the cache (a write, or an app without cache headers).
    #[default]
    Plain,
    /// Not answered, or with a status that is no success, or with a body that cannot be read.
    Error,
    /// Answered, but not with what was asked for.
    Wrong,
}

impl Outcome {
    /// Every outcome, in the order in which reports list them.
    pub const ALL: [Self; 8] =
        [Self::Hit, Self::Miss, Self::StaleServed, Self::Bypass, Self::Fallback, Self::Plain, Self::Error, Self::Wrong];

    /// In words, for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::StaleServed => "stale served",
            Self::Bypass => "bypass",
            Self::Fallback => "fallback",
            Self::Plain => "plain",
            Self::Error => "error",
            Self::Wrong => "wrong",
        }
    }
}

/// The answers that came in during one second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// How long the window was, in seconds.
    pub seconds: f64,
    /// Arrivals that were due and waited for a free connection at the window's end.
    pub backlog: u64,
    /// How late the generator itself was: sends by idle users after their intended start.
    pub send_lag: Option<SendLag>,
    /// What came in.
    pub cells: Vec<ResponseCell>,
    /// What was judged beside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freshness: Vec<FreshnessCell>,
}

/// Lateness of the generator, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SendLag {
    /// Median.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
    /// Largest.
    pub max: u64,
}

/// Answers of one kind in one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResponseCell {
    /// Phase that the request was meant for.
    pub phase: usize,
    /// Way it took.
    pub path: CachePath,
    /// Index into the scenario's requests.
    pub request: usize,
    /// What became of it.
    pub outcome: Outcome,
    /// Response times, from the intended start, nanoseconds.
    pub response: Histogram,
    /// Service times, from the actual send, nanoseconds.
    pub service: Histogram,
    /// Exact sum of the response times, nanoseconds.
    pub response_sum: u64,
    /// For each of [`RunStarted::limits`], how many response times were above it.
    pub over: Vec<u64>,
    /// How many were older than the last write acknowledged before they were sent.
    pub stale: u64,
    /// Reads that had a floor to be held against: a write of the item was acknowledged before, and the answer
    /// carried a version. Only these can be stale.
    #[serde(default)]
    pub judged_fresh: u64,
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
    /// Every server that answered, where there are several; the counters above are then sums over all that was ever
    /// seen to grow on any of them, the rest sums over the masters, and `run_id` never changes.
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
    /// Statements executed by everybody but cacheproof (pg_stat_statements), or transactions where that is missing.
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
    /// Both together.
    pub fn combine(self, other: Self) -> Self {
        Self {
            cpu: self.cpu + other.cpu,
            memory: self.memory + other.memory,
            files: self.files + other.files,
            log: self.log.zip(other.log).map(|(log, more)| log + more),
        }
    }
}

/// A step in the life of a fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultEvent {
    /// The phase it belongs to.
    pub phase: usize,
    /// Which of the phase's faults.
    #[serde(default)]
    pub fault: usize,
    /// How often this fault was injected before: 0 for the first time.
    #[serde(default)]
    pub round: u32,
    /// What it is: `kill redis`.
    pub what: String,
    /// How far it is.
    pub stage: FaultStage,
    /// What was done or seen, in words.
    pub detail: String,
    /// How many open connections it touched, where it is done to connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
}

/// How far a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultStage {
    /// It is being done: from here on it may bite, though a restart or a command of the user's own takes its time.
    Begun,
    /// It was done.
    Injected,
    /// A probe saw it work.
    Seen,
    /// It was taken back.
    Undone,
    /// A probe saw the victim work again.
    SeenUndone,
}

/// An answer worth showing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// Phase that the request was meant for.
    pub phase: usize,
    /// `error`, `wrong` or `stale`.
    pub kind: String,
    /// The request line, e.g. `GET /posts/17`.
    pub request: String,
    /// What was wrong with the answer, in words; bodies shortened.
    pub detail: String,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunEnded {
    /// Whether the whole timeline was run.
    pub how: RunStatus,
    /// Why not, in a sentence.
    pub why: Option<String>,
    /// goose's own count of requests, a cross-check of ours.
    pub goose_requests: Option<u64>,
    /// Arrivals that were due but never sent because the run ended.
    pub unsent: u64,
}

/// Whether the whole timeline was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// To its end.
    Completed,
    /// The user stopped it.
    Interrupted,
    /// A server or the app died unasked, or did not come up.
    EnvironmentFailed,
    /// The system was not well before the first fault, so nothing was broken.
    NotSteady,
    /// A condition of the scenario's `[safety]` was met, and everything was undone.
    Aborted,
}
