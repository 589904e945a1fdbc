//! Live probes: samples of Redis, Postgres and processes during a run; the host; the cost of the proxy.
//!
//! A probe never waits long and never fails a run: a server that does not answer gives `None`. The probes keep one
//! connection to each server and replace it when it breaks.

use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::time::timeout;

mod host;
mod proxy_cost;
mod redis;

pub(crate) use host::{git_commit, host};
pub(crate) use proxy_cost::measure as proxy_cost;

use cacheproof_core::journal::{PostgresSample, ProcessSample, RedisSample, Sample};

use self::redis::RedisProbes;

/// How long one server may take to answer one probe.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_millis(700);

/// Samples the servers and processes of one run.
#[derive(Default)]
pub struct Prober {
    redis: Option<RedisProbes>,
    postgres: Option<PostgresProbe>,
}

struct PostgresProbe {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
    exact: bool,
}

impl Prober {
    /// For the servers with these names and URLs: every Redis that stores data, and Postgres. An invalid URL gives no
    /// samples, like a dead server.
    pub fn new(redis: &[(String, String)], postgres: Option<&str>) -> Self {
        Self {
            redis: RedisProbes::new(redis),
            postgres: postgres.and_then(|url| url.parse::<PgConnectOptions>().ok()).map(|options| PostgresProbe {
                options: options.application_name("cacheproof"),
                connection: None,
                exact: true,
            }),
        }
    }

    /// One sample of everything. `app`: the pids of the app's instances, if cacheproof started them; the values of the
    /// running ones are added up.
    pub async fn sample(&mut self, app: &[u32]) -> Sample {
        let redis = async {
            let sample = self.redis.as_mut()?.fetch_sample().await?;
            Some((sample, Instant::now()))
        };
        let postgres = async {
            let probe = self.postgres.as_mut()?;
            let sample = timeout(PROBE_TIMEOUT, probe.fetch_sample()).await.ok().flatten();
            if sample.is_none() {
                probe.connection = None;
            }
            Some((sample?, Instant::now()))
        };
        let (redis, postgres) = tokio::join!(redis, postgres);
        // A server that hangs delays the sample, and `age` says how old the other server's values are by then.
        Sample {
            app: app.iter().filter_map(|pid| process_sample(*pid)).reduce(ProcessSample::combine),
            harness: process_sample(std::process::id()),
            redis: redis.map(|(sample, at)| RedisSample { age: at.elapsed().as_secs_f64(), ..sample }),
            postgres: postgres.map(|(sample, at)| PostgresSample { age: at.elapsed().as_secs_f64(), ..sample }),
        }
    }
}

impl PostgresProbe {
    async fn fetch_sample(&mut self) -> Option<PostgresSample> {
        if self.connection.is_none() {
            self.connection = Some(PgConnection::connect_with(&self.options).await.ok()?);
        }
        let connection = self.connection.as_mut()?;
        // All statements of cacheproof contain this comment, so that they are not counted as the app's.
        let row = sqlx::query(
            "SELECT /* cacheproof */ count(*), pg_postmaster_start_time()::text FROM pg_stat_activity \
             WHERE backend_type = 'client backend' AND datname = current_database() AND application_name <> 'cacheproof'",
        )
        .fetch_one(&mut *connection)
        .await
        .ok()?;
        let connections = u64::try_from(row.get::<i64, _>(0)).unwrap_or(0);
        let sample = PostgresSample { connections, started: row.get(1), ..PostgresSample::default() };
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
                        ..sample
                    });
                }
                // From now on, transactions are counted instead.
                Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| is_missing(&code)) => {
                    self.exact = false;
                }
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
        Some(PostgresSample { queries: u64::try_from(transactions).unwrap_or(0), ..sample })
    }
}

/// Whether this error code of Postgres means that pg_stat_statements is not available: no such table or function, no
/// permission, not loaded. Other errors are temporary: a server that shuts down, a cancelled statement.
fn is_missing(code: &str) -> bool {
    matches!(code, "42P01" | "42883" | "42501" | "55000")
}

/// CPU, memory and open files of a process from /proc; `None` if there is no such process or no /proc.
#[cfg(target_os = "linux")]
fn process_sample(pid: u32) -> Option<ProcessSample> {
    let stat = procfs::process::Process::new(pid.try_into().ok()?).ok()?.stat().ok()?;
    // Not procfs' `fd_count`: before Linux 6.2 it counts `.` and `..` as well.
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |entries| entries.count() as u64);
    Some(ProcessSample {
        cpu: (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64,
        memory: stat.rss * procfs::page_size(),
        files,
        log: None,
    })
}

/// Only Linux has /proc.
#[cfg(not(target_os = "linux"))]
fn process_sample(_pid: u32) -> Option<ProcessSample> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_extension_ends_exact_counting() {
        assert!(["42P01", "42883", "42501", "55000"].into_iter().all(is_missing));
        // Shutting down, cancelled, out of memory, too many connections: the next sample may be exact again.
        assert!(!["57P01", "57P03", "57014", "53200", "53300"].into_iter().any(is_missing));
    }

    #[tokio::test]
    async fn a_server_that_hangs_does_not_change_the_time_of_the_other_sample() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        use tokio::net::TcpListener;
        let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let answering = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = |scheme, listener: &TcpListener| format!("{scheme}://{}/", listener.local_addr().unwrap());
        let mut prober = Prober::new(&[("redis".into(), url("redis", &answering))], Some(&url("postgres", &hanging)));
        // A minimal Redis: errors for the client's setup commands, then INFO.
        let server = tokio::spawn(async move {
            let (mut stream, _) = answering.accept().await.unwrap();
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
                for _ in 0..request.matches("CLIENT").count() {
                    stream.write_all(b"-ERR unknown\r\n").await.unwrap();
                }
                if request.contains("INFO\r\n") && !request.contains("CLIENT") {
                    stream.write_all(b"$11\r\nrun_id:abc\n\r\n").await.unwrap();
                }
            }
        });
        let sample = prober.sample(&[]).await;
        server.abort();
        assert_eq!(sample.postgres, None);
        let redis = sample.redis.expect("it answered");
        assert!(
            redis.age > PROBE_TIMEOUT.as_secs_f64() / 2.0,
            "it answered long before the sample was done: {redis:?}"
        );
    }

    #[test]
    fn this_process_has_memory_and_files() {
        let sample = process_sample(std::process::id()).expect("this process is running");
        assert!(sample.memory > 1_000_000, "{sample:?}");
        assert!(sample.files >= 3, "{sample:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn memory_is_right_whatever_the_page_size() {
        let allocated = vec![1_u8; 64 << 20];
        let memory = process_sample(std::process::id()).expect("this process is running").memory;
        // The kernel writes it in kB here. Its number of pages in `stat` is less exact, but far less than by a wrong page size.
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim();
        let resident = resident.strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024;
        assert!(resident > allocated.len() as u64);
        assert!(memory.abs_diff(resident) < resident / 4, "{memory} instead of {resident}");
        assert_eq!(memory % procfs::page_size(), 0);
    }
}
