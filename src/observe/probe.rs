//! Probes: ask Redis, Postgres and /proc how they are.
//!
//! A probe never waits long and never fails a run: a server that does not answer gives `None`. The probes
//! hold one connection to each server and make it anew when it broke.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::time::timeout;

use super::{PostgresSample, ProcessSample, RedisSample, Sample};

/// How long one server may take to answer one probe.
const PATIENCE: Duration = Duration::from_millis(700);

/// Asks the servers and processes of one run.
#[derive(Default)]
pub struct Prober {
    redis: Option<RedisProbe>,
    postgres: Option<PostgresProbe>,
}

struct RedisProbe {
    client: redis::Client,
    connection: Option<redis::aio::MultiplexedConnection>,
}

struct PostgresProbe {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
    exact: bool,
}

impl Prober {
    /// For the servers with these URLs. A URL that cannot be read gives no samples, as a dead server does.
    pub fn new(redis: Option<&str>, postgres: Option<&str>) -> Self {
        Self {
            redis: redis
                .and_then(|url| redis::Client::open(url).ok())
                .map(|client| RedisProbe { client, connection: None }),
            postgres: postgres.and_then(|url| url.parse::<PgConnectOptions>().ok()).map(|options| PostgresProbe {
                options: options.application_name("cacheproof"),
                connection: None,
                exact: true,
            }),
        }
    }

    /// One look at everything. `app`: the pid of the app, where cacheproof started it.
    pub async fn sample(&mut self, app: Option<u32>) -> Sample {
        let redis = async {
            let probe = self.redis.as_mut()?;
            let sample = timeout(PATIENCE, probe.ask()).await.ok().flatten();
            if sample.is_none() {
                probe.connection = None;
            }
            sample
        };
        let postgres = async {
            let probe = self.postgres.as_mut()?;
            let sample = timeout(PATIENCE, probe.ask()).await.ok().flatten();
            if sample.is_none() {
                probe.connection = None;
            }
            sample
        };
        let (redis, postgres) = tokio::join!(redis, postgres);
        Sample { redis, postgres, app: app.and_then(process_sample), harness: process_sample(std::process::id()) }
    }
}

impl RedisProbe {
    async fn ask(&mut self) -> Option<RedisSample> {
        if self.connection.is_none() {
            self.connection = Some(self.client.get_multiplexed_async_connection().await.ok()?);
        }
        let info: String = redis::cmd("INFO").query_async(self.connection.as_mut()?).await.ok()?;
        Some(read_info(&info))
    }
}

/// Reads the fields that matter out of an INFO reply; a field that is missing counts as 0.
fn read_info(info: &str) -> RedisSample {
    let field = |name: &str| {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default().trim()
    };
    let number = |name: &str| field(name).parse().unwrap_or(0);
    let keys = info
        .lines()
        .filter(|line| line.starts_with("db"))
        .filter_map(|line| line.split_once("keys=")?.1.split(',').next()?.parse::<u64>().ok())
        .sum();
    RedisSample {
        run_id: field("run_id").into(),
        role: field("role").into(),
        hits: number("keyspace_hits"),
        misses: number("keyspace_misses"),
        evicted: number("evicted_keys"),
        expired: number("expired_keys"),
        memory: number("used_memory"),
        max_memory: number("maxmemory"),
        clients: number("connected_clients"),
        keys,
    }
}

impl PostgresProbe {
    async fn ask(&mut self) -> Option<PostgresSample> {
        if self.connection.is_none() {
            self.connection = Some(PgConnection::connect_with(&self.options).await.ok()?);
        }
        let connection = self.connection.as_mut()?;
        // Every statement of ours carries the mark, so that none of them counts as the app's work.
        let connections: i64 = sqlx::query(
            "SELECT /* cacheproof */ count(*) FROM pg_stat_activity \
             WHERE backend_type = 'client backend' AND datname = current_database() AND application_name <> 'cacheproof'",
        )
        .fetch_one(&mut *connection)
        .await
        .ok()?
        .get(0);
        let connections = u64::try_from(connections).unwrap_or(0);
        if self.exact {
            let row = sqlx::query(
                "SELECT /* cacheproof */ coalesce(sum(calls), 0)::int8, coalesce(sum(total_exec_time), 0)::float8 \
                 FROM pg_stat_statements WHERE query NOT LIKE '%/* cacheproof */%' \
                 AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())",
            )
            .fetch_one(&mut *connection)
            .await;
            match row {
                Ok(row) => {
                    return Some(PostgresSample {
                        queries: u64::try_from(row.get::<i64, _>(0)).unwrap_or(0),
                        exact: true,
                        busy: row.get::<f64, _>(1) / 1000.0,
                        connections,
                    });
                }
                // The extension is not there: from now on count transactions.
                Err(sqlx::Error::Database(_)) => self.exact = false,
                Err(_) => return None,
            }
        }
        let transactions: i64 = sqlx::query(
            "SELECT /* cacheproof */ xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()",
        )
        .fetch_one(&mut *connection)
        .await
        .ok()?
        .get(0);
        Some(PostgresSample { queries: u64::try_from(transactions).unwrap_or(0), exact: false, busy: 0.0, connections })
    }
}

/// CPU, memory and files of a process from /proc; `None` where there is no such process or no /proc.
pub fn process_sample(pid: u32) -> Option<ProcessSample> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name may hold spaces and parentheses; what follows its last `)` is regular.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let pages: u64 = fields.get(21)?.parse().ok()?;
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |entries| entries.count() as u64);
    // Linux reports both in fixed units to user space on every architecture Rust's std supports: 100 Hz and,
    // where it matters, 4 KiB pages.
    Some(ProcessSample { cpu: ticks as f64 / 100.0, memory: pages * 4096, files })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_is_read_by_field_name() {
        let sample = read_info(
            "# Server\r\nrun_id:abc\r\nrole:master\r\nused_memory:1048576\r\nused_memory_rss:9\r\nmaxmemory:67108864\r\n\
             connected_clients:3\r\nkeyspace_hits:90\r\nkeyspace_misses:10\r\nevicted_keys:1\r\nexpired_keys:2\r\n\
             db0:keys=5,expires=5,avg_ttl=1\r\ndb1:keys=2,expires=0,avg_ttl=0\r\n",
        );
        assert_eq!(sample.run_id, "abc");
        assert_eq!((sample.memory, sample.max_memory), (1_048_576, 67_108_864));
        assert_eq!((sample.hits, sample.misses, sample.keys), (90, 10, 7));
    }

    #[test]
    fn this_process_has_memory_and_files() {
        let sample = process_sample(std::process::id()).expect("this process is running");
        assert!(sample.memory > 1_000_000, "{sample:?}");
        assert!(sample.files >= 3, "{sample:?}");
    }
}
