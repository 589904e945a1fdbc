//! Rules: `METRIC [on PATH] [for REQUEST] [in PHASE] OP VALUE`, or two metrics compared:
//! `p95 on cached in steady <= 40% of p95 on uncached in uncached`.

use super::Quantity;
use crate::journal::{CachePath, StaleKind, WrongKind};

/// What a rule measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    /// A percentile of response time, `p50` … `p99.99`; the share is 0.95 for `p95`.
    ResponsePercentile(f64),
    /// A percentile of service time, from the actual send: `service.p95`.
    ServicePercentile(f64),
    /// Mean response time: `mean`.
    Mean,
    /// Longest response time: `max`.
    Max,
    /// Number of requests sent: `requests`.
    Requests,
    /// Requests answered a second: `throughput`, a rate.
    Throughput,
    /// Requests that failed: `errors`, a count or (against `%`) a share of the requests.
    Errors,
    /// Share of requests that were answered: `availability`.
    Availability,
    /// Hits ÷ (hits + misses) of cacheable reads: `hit_rate`.
    HitRate,
    /// Answers from the cache: `hits`.
    Hits,
    /// Cacheable reads that the cache did not have: `misses`.
    Misses,
    /// Reads answered past a cache that could not be reached: `fallbacks`, a count or a share.
    Fallbacks,
    /// Answers that are not what was asked for: `wrong_answers`.
    WrongAnswers,
    /// The same, of one kind: `wrong_answers.lost`.
    WrongOf(WrongKind),
    /// Answers older than the last write acknowledged before the read was sent: `stale`, a count or a share.
    Stale,
    /// The same, of one kind: `stale.stuck`.
    StaleOf(StaleKind),
    /// Answers older than an earlier one, though not older than an acknowledged write: `non_monotonic`, a count or a share.
    NonMonotonic,
    /// A percentile of how old stale answers were at least: `stale_age.p99`.
    StaleAge(f64),
    /// How old the oldest of them was at least: `stale_age.max`.
    StaleAgeMax,
    /// Queries that the database executed for the app: `db_queries`.
    DbQueries,
    /// The same for each request: `db_queries_per_request`.
    DbQueriesPerRequest,
    /// Largest memory Redis used: `redis_memory`, bytes, or a share of its maxmemory.
    RedisMemory,
    /// Keys Redis evicted: `evictions`.
    Evictions,
    /// Largest resident memory of the app's process: `app_memory`, bytes.
    AppMemory,
    /// Time until the service was back after a fault, the longest: `recovery`.
    Recovery,
    /// Time from a fault's injection to its first sign in the answers, the longest: `notice`.
    Notice,
    /// Time until the hit rate was back after a fault, the longest: `hit_rate_recovery`.
    HitRateRecovery,
    /// Time that an emptied cache needs at least until the hit rate can be back: `refill`.
    Refill,
    /// How much the app's log grew for each request: `log_bytes_per_request`, bytes.
    LogBytesPerRequest,
    /// How much the app's memory grew over a phase: `app_memory_growth`, bytes, or a share of where it began.
    AppMemoryGrowth,
    /// Most open files (and connections) of the app's process: `app_files`.
    AppFiles,
    /// How many more it had at a phase's end than at its start: `app_files_growth`.
    AppFilesGrowth,
    /// Most clients of Redis: `redis_clients`.
    RedisClients,
    /// How many more it had at a phase's end than at its start: `redis_clients_growth`.
    RedisClientsGrowth,
    /// Most connections to the database: `db_connections`.
    DbConnections,
    /// How many more it had at a phase's end than at its start: `db_connections_growth`.
    DbConnectionsGrowth,
}

impl Metric {
    /// Whether it is measured on faults, so that it needs a phase with one.
    pub fn is_fault_metric(self) -> bool {
        matches!(self, Self::Recovery | Self::Notice | Self::HitRateRecovery | Self::Refill)
    }

    /// Whether it is measured on the servers and processes, which serve all requests together.
    pub fn is_resource_metric(self) -> bool {
        matches!(
            self,
            Self::RedisMemory
                | Self::Evictions
                | Self::AppMemory
                | Self::LogBytesPerRequest
                | Self::AppMemoryGrowth
                | Self::AppFiles
                | Self::AppFilesGrowth
                | Self::RedisClients
                | Self::RedisClientsGrowth
                | Self::DbConnections
                | Self::DbConnectionsGrowth
        )
    }
}

/// A metric and what it is taken over. `None` means "all".
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// What is measured.
    pub metric: Metric,
    /// `on cached` / `on uncached`.
    pub path: Option<CachePath>,
    /// `for 'read post'`: an index into [`super::Traffic::requests`].
    pub request: Option<usize>,
    /// `in steady`: an index into [`super::Scenario::phases`]. `None`: all judged phases.
    pub phase: Option<usize>,
}

/// How a rule compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>=`
    AtLeast,
    /// `>`
    More,
}

/// What a rule compares with.
#[derive(Clone, Debug, PartialEq)]
pub enum Limit {
    /// A fixed value.
    Value(Quantity),
    /// A multiple of another term: `40% of p95 on uncached` has factor 0.4, `2.5x throughput on uncached` 2.5.
    Of {
        /// What the other term is multiplied with.
        factor: f64,
        /// The other term.
        term: Term,
    },
}

/// One rule of a criterion.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The rule as the user wrote it.
    pub text: String,
    /// What is measured.
    pub term: Term,
    /// How it compares.
    pub op: Op,
    /// With what.
    pub limit: Limit,
}
