//! FLUSHALL.

use async_trait::async_trait;

use super::FaultError;
use super::act::{Act, Done, Sight};
use super::says::{ask, redis_line, redis_says};
use cacheproof_stack::Server;
use cacheproof_supervise::Undo;

/// A key that only a flush takes away.
const MARK: &str = "cacheproof:flush-mark";

/// A flush of every master.
pub(super) struct Flush<'run> {
    pub(super) servers: Vec<&'run Server>,
    /// Where the mark was written; of a Cluster, one server takes it.
    pub(super) marked: Vec<&'run Server>,
}

#[async_trait]
impl Act for Flush<'_> {
    fn undo_record(&self) -> Undo {
        Undo::Nothing
    }

    async fn inject(&mut self) -> Result<Done, FaultError> {
        let mut keys = 0;
        for server in &self.servers {
            let mut line = redis_line(server).await?;
            // Moved to another server of a Cluster: its mark is written there.
            if ask::<()>(server, &mut line, &["SET", MARK, "1", "EX", "600"]).await.is_ok() {
                self.marked.push(server);
            }
            keys += ask::<u64>(server, &mut line, &["DBSIZE"]).await?;
        }
        for server in &self.servers {
            redis_says::<()>(server, &["FLUSHALL"]).await?;
        }
        // The mark is not the app's.
        Ok(format!("FLUSHALL: {} keys", keys.saturating_sub(self.marked.len() as u64)).into())
    }

    async fn seen(&mut self) -> Option<Sight> {
        if self.marked.is_empty() {
            return None;
        }
        for server in &self.marked {
            if redis_says::<u64>(server, &["EXISTS", MARK]).await.ok()? != 0 {
                return None;
            }
        }
        let mut keys = 0;
        for server in &self.servers {
            let mut line = redis_line(server).await.ok()?;
            keys += ask::<u64>(server, &mut line, &["DBSIZE"]).await.ok()?;
        }
        Some(format!("a key written before is gone; {keys} keys are there"))
    }

    async fn undo(&mut self, _stopping: bool) -> Result<Done, FaultError> {
        Ok("a flush is over as soon as it is done".to_owned().into())
    }

    async fn seen_undone(&mut self) -> Option<Sight> {
        for server in &self.servers {
            if !server.answers().await {
                return None;
            }
        }
        Some("redis answers".into())
    }
}
