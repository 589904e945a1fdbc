//! Sentinel makes a replica the master.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::FaultError;
use super::act::{Act, Done, Sight};
use super::says::{ask, info, redis_line, redis_says};
use cacheproof_stack::{Deployment, Server};
use cacheproof_supervise::Undo;

/// How long replicas are kept from following before the failover.
const LAG: Duration = Duration::from_millis(1500);

/// How long a Sentinel may be asked before it agrees.
const PATIENCE: Duration = Duration::from_secs(10);

/// The name under which Sentinels know the master.
const MASTER: &str = "mymaster";

/// A failover, also to a replica that lacks the last writes.
pub(super) struct Failover<'run> {
    pub(super) deployment: &'run Deployment,
    pub(super) lagging: bool,
    /// The master before.
    pub(super) before: String,
    /// Replicas that were kept from following, with their own password for the master.
    pub(super) cut: Vec<(&'run Server, String)>,
}

impl<'run> Failover<'run> {
    pub(super) fn new(deployment: &'run Deployment, lagging: bool) -> Self {
        Self { deployment, lagging, before: String::new(), cut: Vec::new() }
    }

    /// Keeps every replica from following for a while: with another password the master refuses them.
    async fn hold_back(&mut self, master: &'run Server) -> Result<u64, FaultError> {
        for replica in self.deployment.replicas().await {
            let server = &replica.server;
            let mut line = redis_line(server).await?;
            let password: Vec<String> = ask(server, &mut line, &["CONFIG", "GET", "masterauth"]).await?;
            self.cut.push((server, password.into_iter().nth(1).unwrap_or_default()));
            ask::<()>(server, &mut line, &["CONFIG", "SET", "masterauth", "kept-from-following"]).await?;
        }
        let mut line = redis_line(master).await?;
        ask::<redis::Value>(master, &mut line, &["CLIENT", "KILL", "TYPE", "replica"]).await?;
        let begun = Instant::now();
        let mut written = 0;
        // There is something to lack even where the app writes nothing.
        while begun.elapsed() < LAG {
            ask::<()>(master, &mut line, &["SET", "cacheproof:lag", &written.to_string(), "EX", "60"]).await?;
            written += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let offset = |text: String| text.parse::<u64>().unwrap_or(0);
        let ahead = offset(info(master, &mut line, "replication", "master_repl_offset").await?);
        let mut behind = ahead;
        for (replica, _) in &self.cut {
            let mut line = redis_line(replica).await?;
            behind = behind.min(offset(info(replica, &mut line, "replication", "slave_repl_offset").await?));
        }
        Ok(ahead - behind)
    }

    async fn let_follow(&mut self) -> Result<(), FaultError> {
        while let Some((server, password)) = self.cut.pop() {
            if let Err(error) = redis_says::<()>(server, &["CONFIG", "SET", "masterauth", &password]).await {
                self.cut.push((server, password));
                return Err(error);
            }
        }
        Ok(())
    }

    async fn master_now(&self) -> Option<String> {
        self.deployment.master().await.map(|node| node.name.clone())
    }
}

#[async_trait]
impl Act for Failover<'_> {
    fn undo_record(&self) -> Undo {
        Undo::Nothing
    }

    async fn inject(&mut self) -> Result<Done, FaultError> {
        let nobody = || FaultError::NobodyThere("no server says that it is the master".into());
        let master = self.deployment.master().await.ok_or_else(nobody)?;
        self.before = master.name.clone();
        let lag = if self.lagging { Some(self.hold_back(&master.server).await?) } else { None };
        let begun = Instant::now();
        loop {
            let mut last = None;
            for sentinel in self.deployment.sentinels() {
                match redis_says::<()>(&sentinel.server, &["SENTINEL", "FAILOVER", MASTER]).await {
                    Ok(()) => {
                        let lag = lag.map_or_else(String::new, |lag| format!("; its replicas lack {lag} bytes"));
                        return Ok(format!("SENTINEL FAILOVER at {} of {}{lag}", sentinel.name, self.before).into());
                    }
                    Err(error) => last = Some(error),
                }
            }
            if begun.elapsed() > PATIENCE {
                return Err(last.unwrap_or_else(|| FaultError::NobodyThere("there is no Sentinel".into())));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn seen(&mut self) -> Option<Sight> {
        let now = self.master_now().await.filter(|now| *now != self.before)?;
        // The new master needs no password for a master, and the others shall follow it.
        self.let_follow().await.ok()?;
        Some(format!("{now} is the master now"))
    }

    async fn undo(&mut self, stopping: bool) -> Result<Done, FaultError> {
        if !stopping {
            self.let_follow().await?;
        }
        Ok("a failover is over as soon as it is done".to_owned().into())
    }

    async fn seen_undone(&mut self) -> Option<Sight> {
        let master = self.deployment.master().await?;
        let asked = redis_says::<()>(&master.server, &["SET", "cacheproof:failover", "1", "EX", "60"]).await;
        asked.is_ok().then(|| format!("{} takes writes", master.name))
    }
}
