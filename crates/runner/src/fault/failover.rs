//! A failover by Sentinel.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::FaultError;
use super::admin_client::{connect_redis, info, redis_command, run_command};
use super::injector::{ActionReport, FaultInjector, Observation};
use cacheproof_stack::{Deployment, Server};
use cacheproof_supervise::Undo;

/// How long replication is blocked before the failover.
const LAG_DURATION: Duration = Duration::from_millis(1500);

/// How long to retry until a Sentinel accepts the failover.
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(10);

/// The Sentinels' name of the master.
const MASTER_NAME: &str = "mymaster";

/// A failover, optionally to a replica without the last writes.
pub(super) struct Failover<'run> {
    deployment: &'run Deployment,
    lagging: bool,
    /// The master before.
    previous_master: String,
    /// Replicas whose replication is blocked, with their `masterauth`.
    blocked: Vec<(&'run Server, String)>,
}

impl<'run> Failover<'run> {
    pub(super) fn new(deployment: &'run Deployment, lagging: bool) -> Self {
        Self { deployment, lagging, previous_master: String::new(), blocked: Vec::new() }
    }

    /// Blocks the replication for a while: the master rejects replicas with a wrong password. Returns by how many bytes they
    /// lag.
    async fn block_replication(&mut self, master: &'run Server) -> Result<u64, FaultError> {
        for replica in self.deployment.replicas().await {
            let server = &replica.server;
            let mut connection = connect_redis(server).await?;
            let password: Vec<String> = run_command(server, &mut connection, &["CONFIG", "GET", "masterauth"]).await?;
            self.blocked.push((server, password.into_iter().nth(1).unwrap_or_default()));
            run_command::<()>(server, &mut connection, &["CONFIG", "SET", "masterauth", "blocked-by-cacheproof"])
                .await?;
        }
        let mut connection = connect_redis(master).await?;
        run_command::<redis::Value>(master, &mut connection, &["CLIENT", "KILL", "TYPE", "replica"]).await?;
        let start = Instant::now();
        let mut written = 0;
        // Makes a lag even if the app writes nothing.
        while start.elapsed() < LAG_DURATION {
            run_command::<()>(master, &mut connection, &["SET", "cacheproof:lag", &written.to_string(), "EX", "60"])
                .await?;
            written += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let offset = |text: String| text.parse::<u64>().unwrap_or(0);
        let master_offset = offset(info(master, &mut connection, "replication", "master_repl_offset").await?);
        let mut replica_offset = master_offset;
        for (replica, _) in &self.blocked {
            let mut connection = connect_redis(replica).await?;
            replica_offset =
                replica_offset.min(offset(info(replica, &mut connection, "replication", "slave_repl_offset").await?));
        }
        Ok(master_offset - replica_offset)
    }

    async fn resume_replication(&mut self) -> Result<(), FaultError> {
        while let Some((server, password)) = self.blocked.pop() {
            if let Err(error) = redis_command::<()>(server, &["CONFIG", "SET", "masterauth", &password]).await {
                self.blocked.push((server, password));
                return Err(error);
            }
        }
        Ok(())
    }

    async fn current_master(&self) -> Option<String> {
        self.deployment.master().await.map(|node| node.name.clone())
    }
}

#[async_trait]
impl FaultInjector for Failover<'_> {
    fn undo_record(&self) -> Undo {
        Undo::Nothing
    }

    async fn inject(&mut self) -> Result<ActionReport, FaultError> {
        let no_master = || FaultError::NoTarget("no server reports that it is the master".into());
        let master = self.deployment.master().await.ok_or_else(no_master)?;
        self.previous_master = master.name.clone();
        let lag = if self.lagging { Some(self.block_replication(&master.server).await?) } else { None };
        let start = Instant::now();
        loop {
            let mut last = None;
            for sentinel in self.deployment.sentinels() {
                match redis_command::<()>(&sentinel.server, &["SENTINEL", "FAILOVER", MASTER_NAME]).await {
                    Ok(()) => {
                        let lag = lag.map_or_else(String::new, |lag| format!("; its replicas lack {lag} bytes"));
                        return Ok(
                            format!("SENTINEL FAILOVER at {} of {}{lag}", sentinel.name, self.previous_master).into()
                        );
                    }
                    Err(error) => last = Some(error),
                }
            }
            if start.elapsed() > FAILOVER_TIMEOUT {
                return Err(last.unwrap_or_else(|| FaultError::NoTarget("there is no Sentinel".into())));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn observe_effect(&mut self) -> Option<Observation> {
        let now = self.current_master().await.filter(|now| *now != self.previous_master)?;
        // So that the other replicas can replicate from the new master.
        self.resume_replication().await.ok()?;
        Some(format!("{now} is the master now"))
    }

    async fn undo(&mut self, stopping: bool) -> Result<ActionReport, FaultError> {
        if !stopping {
            self.resume_replication().await?;
        }
        Ok("a failover needs no undo".to_owned().into())
    }

    async fn observe_recovery(&mut self) -> Option<Observation> {
        let master = self.deployment.master().await?;
        let written = redis_command::<()>(&master.server, &["SET", "cacheproof:failover", "1", "EX", "60"]).await;
        written.is_ok().then(|| format!("{} accepts writes", master.name))
    }
}
