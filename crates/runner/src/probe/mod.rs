//! Live probes: samples of Redis, Postgres and processes during a run; the host; the cost of the proxy.
//!
//! A probe never waits long and never fails a run: a server that does not answer gives `None`. The probes keep one
//! connection to each server and replace it when it breaks.

use std::time::{Duration, Instant};

use tokio::time::timeout;

mod app_processes;
mod host;
mod machine;
mod postgres;
mod proxy_cost;
mod redis;
mod statements;

pub use app_processes::AppRoot;
pub(crate) use host::{git_commit, host};
pub(crate) use proxy_cost::measure as proxy_cost;
pub(crate) use statements::StatementReading;

use cacheproof_core::journal::{PostgresSample, ProcessSample, RedisSample, Sample};

use self::app_processes::AppProcesses;
use self::machine::MachineProbe;
use self::postgres::PostgresProbe;
use self::redis::RedisProbes;

/// How long one server may take to answer one probe.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_millis(700);

/// Samples the servers and processes of one run.
#[derive(Default)]
pub struct Prober {
    redis: Option<RedisProbes>,
    postgres: Option<PostgresProbe>,
    app: AppProcesses,
    machine: Option<MachineProbe>,
}

impl Prober {
    /// For the servers with these names and URLs: every Redis that stores data, and Postgres. An invalid URL gives no
    /// samples, like a dead server.
    pub fn new(redis: &[(String, String)], postgres: Option<&str>) -> Self {
        Self {
            redis: RedisProbes::new(redis),
            postgres: postgres.and_then(PostgresProbe::new),
            app: AppProcesses::default(),
            machine: MachineProbe::start(),
        }
    }

    /// How often the database executed each statement so far. `None` where it does not answer in time or does not count.
    pub(crate) async fn read_statements(&mut self) -> Option<StatementReading> {
        timeout(PROBE_TIMEOUT, self.postgres.as_mut()?.read_statements()).await.ok().flatten()
    }

    /// One sample of everything. `app`: the app's instances, if cacheproof started them; the values of the running ones are
    /// added up.
    pub async fn sample(&mut self, app: &[AppRoot]) -> Sample {
        let redis = async {
            let sample = self.redis.as_mut()?.fetch_sample().await?;
            Some((sample, Instant::now()))
        };
        let postgres = async {
            let probe = self.postgres.as_mut()?;
            let sample = timeout(PROBE_TIMEOUT, probe.fetch_sample()).await.ok().flatten();
            if sample.is_none() {
                probe.disconnect();
            }
            Some((sample?, Instant::now()))
        };
        // With many processes this takes some milliseconds, which no other task should have to wait for.
        let (mut processes, app) = (std::mem::take(&mut self.app), app.to_vec());
        let processes = tokio::task::spawn_blocking(move || {
            let sample = processes.sample(&app);
            (processes, sample)
        });
        let (redis, postgres, processes) = tokio::join!(redis, postgres, processes);
        let (processes, app) = processes.unwrap_or_default();
        self.app = processes;
        // A server that hangs delays the sample, and `age` says how old the other server's values are by then.
        Sample {
            app,
            harness: own_sample(),
            machine: self.machine.as_ref().and_then(MachineProbe::sample),
            redis: redis.map(|(sample, at)| RedisSample { age: at.elapsed().as_secs_f64(), ..sample }),
            postgres: postgres.map(|(sample, at)| PostgresSample { age: at.elapsed().as_secs_f64(), ..sample }),
        }
    }
}

/// cacheproof itself, without the servers and apps that it started and that have ended: their CPU time is no work of the load
/// generator.
fn own_sample() -> Option<ProcessSample> {
    process_sample_with(std::process::id(), false)
}

/// CPU (also of its children that have ended), memory and open files of a process from /proc; `None` if there is no such process or
/// no /proc.
fn process_sample(pid: u32) -> Option<ProcessSample> {
    process_sample_with(pid, true)
}

#[cfg(target_os = "linux")]
fn process_sample_with(pid: u32, with_children: bool) -> Option<ProcessSample> {
    let stat = procfs::process::Process::new(pid.try_into().ok()?).ok()?.stat().ok()?;
    // Not procfs' `fd_count`: before Linux 6.2 it counts `.` and `..` as well.
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).ok().map(|entries| entries.count() as u64);
    let children = if with_children { u64::try_from(stat.cutime + stat.cstime).unwrap_or(0) } else { 0 };
    Some(ProcessSample {
        cpu: (stat.utime + stat.stime + children) as f64 / procfs::ticks_per_second() as f64,
        memory: stat.rss * procfs::page_size(),
        files,
        log: None,
    })
}

/// Only Linux has /proc.
#[cfg(not(target_os = "linux"))]
fn process_sample_with(_pid: u32, _with_children: bool) -> Option<ProcessSample> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_time_of_a_server_that_ended_is_not_cacheproofs() {
        let before = own_sample().expect("this process is running").cpu;
        let of_all = || process_sample(std::process::id()).expect("this process is running").cpu;
        let of_all_before = of_all();
        let burn = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done";
        let status = std::process::Command::new("sh").args(["-c", burn]).status().expect("sh runs");
        assert!(status.success());
        let of_child = of_all() - of_all_before;
        let own = own_sample().expect("this process is running").cpu - before;
        assert!(of_child > 0.05, "the child used {of_child} s");
        assert!(own < of_child / 2.0, "{own} s of {of_child} s");
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
        assert!(sample.files.is_some_and(|files| files >= 3), "{sample:?}");
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
