//! FLUSHALL.

use async_trait::async_trait;

use super::FaultError;
use super::admin_client::{connect_redis, redis_command, run_command};
use super::injector::{ActionReport, FaultInjector, Observation};
use cacheproof_stack::Server;
use cacheproof_supervise::Undo;

/// A key that only a flush removes.
const MARKER_KEY: &str = "cacheproof:flush-mark";

/// A flush of all masters.
pub(super) struct Flush<'run> {
    pub(super) servers: Vec<&'run Server>,
    /// The servers with the marker key; in a Cluster only one accepts it.
    pub(super) marked_servers: Vec<&'run Server>,
}

#[async_trait]
impl FaultInjector for Flush<'_> {
    fn undo_record(&self) -> Undo {
        Undo::Nothing
    }

    async fn inject(&mut self) -> Result<ActionReport, FaultError> {
        let mut keys = 0;
        for server in &self.servers {
            let mut connection = connect_redis(server).await?;
            // In a Cluster only the owner of the slot accepts it.
            if run_command::<()>(server, &mut connection, &["SET", MARKER_KEY, "1", "EX", "600"]).await.is_ok() {
                self.marked_servers.push(server);
            }
            keys += run_command::<u64>(server, &mut connection, &["DBSIZE"]).await?;
        }
        for server in &self.servers {
            redis_command::<()>(server, &["FLUSHALL"]).await?;
        }
        // Without the marker keys.
        Ok(format!("FLUSHALL: {} keys", keys.saturating_sub(self.marked_servers.len() as u64)).into())
    }

    async fn observe_effect(&mut self) -> Option<Observation> {
        if self.marked_servers.is_empty() {
            return None;
        }
        for server in &self.marked_servers {
            if redis_command::<u64>(server, &["EXISTS", MARKER_KEY]).await.ok()? != 0 {
                return None;
            }
        }
        let mut keys = 0;
        for server in &self.servers {
            let mut connection = connect_redis(server).await.ok()?;
            keys += run_command::<u64>(server, &mut connection, &["DBSIZE"]).await.ok()?;
        }
        Some(format!("a key that was written before is gone; there are {keys} keys now"))
    }

    async fn undo(&mut self, _stopping: bool) -> Result<ActionReport, FaultError> {
        Ok("a flush needs no undo".to_owned().into())
    }

    async fn observe_recovery(&mut self) -> Option<Observation> {
        for server in &self.servers {
            if !server.answers().await {
                return None;
            }
        }
        Some("redis answers".into())
    }
}
