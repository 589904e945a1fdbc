//! Rules: `METRIC [on PATH] [for REQUEST] [in PHASE] OP VALUE`, or two metrics compared:
//! `p95 on cached in steady <= 40% of p95 on uncached in uncached`.

use super::{Path, Quantity};

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
    /// Answers for another item: `wrong_answers`.
    WrongAnswers,
    /// Answers older than the last write acknowledged before the read was sent: `stale`, a count or a share.
    Stale,
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
}

/// A metric and what it is taken over. `None` means "all".
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// What is measured.
    pub metric: Metric,
    /// `on cached` / `on uncached`.
    pub path: Option<Path>,
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
