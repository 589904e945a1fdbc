//! Fills the memory of Redis until it evicts keys or rejects writes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use super::FaultError;
use super::admin_client::{RedisConnection, connect_redis, info, run_command};
use super::injector::{ActionReport, FaultInjector, Observation};
use cacheproof_stack::Server;
use cacheproof_supervise::Undo;

/// Values in one pipeline.
const BATCH: usize = 16;

/// The fault has failed after writing this many times the limit.
const MAX_WRITE_FACTOR: u64 = 4;

/// A full Redis.
pub(super) struct FillMemory<'run> {
    server: &'run Server,
    /// The TTL of the values, in case nothing deletes them.
    expires: Duration,
    /// Makes the keys of each round unique.
    round_id: u64,
    /// A hash tag in a slot that this server of a Cluster owns.
    hash_tag: String,
    written: u64,
    evicted_before: u64,
    out_of_memory: bool,
    limit: u64,
}

impl<'run> FillMemory<'run> {
    pub(super) fn new(server: &'run Server, max_fault: Duration) -> Self {
        Self {
            server,
            expires: max_fault + Duration::from_secs(60),
            round_id: rand::random(),
            hash_tag: String::new(),
            written: 0,
            evicted_before: 0,
            out_of_memory: false,
            limit: 0,
        }
    }

    fn key(&self, number: u64) -> String {
        format!("cacheproof:fill:{:x}:{{{}}}:{number}", self.round_id, self.hash_tag)
    }

    async fn evicted(&self, connection: &mut RedisConnection) -> Result<u64, FaultError> {
        Ok(info(self.server, connection, "stats", "evicted_keys").await?.parse().unwrap_or(0))
    }

    /// Finds a tag in a slot that this server owns. A standalone server accepts the first.
    async fn find_hash_tag(&mut self, connection: &mut RedisConnection) {
        for number in 0..200 {
            self.hash_tag = number.to_string();
            let probe = self.key(0);
            let answer: Result<u64, _> = run_command(self.server, connection, &["EXISTS", &probe]).await;
            if answer.is_ok() {
                return;
            }
        }
    }

    fn refused(&self, why: String) -> FaultError {
        FaultError::Refused { victim: self.server.name().to_owned(), what: "filling its memory".into(), why }
    }
}

#[async_trait]
impl FaultInjector for FillMemory<'_> {
    fn undo_record(&self) -> Undo {
        if self.server.facts().provider != "external" {
            return Undo::WithRun;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Undo::Expires((now + self.expires).as_secs())
    }

    async fn inject(&mut self) -> Result<ActionReport, FaultError> {
        let mut connection = connect_redis(self.server).await?;
        self.limit = info(self.server, &mut connection, "memory", "maxmemory").await?.parse().unwrap_or(0);
        if self.limit == 0 {
            return Err(self.refused("it has no maxmemory, so its memory has no limit".into()));
        }
        self.evicted_before = self.evicted(&mut connection).await?;
        self.find_hash_tag(&mut connection).await;
        let value = vec![b'x'; usize::try_from(self.limit / 256).unwrap_or(1 << 20).clamp(1 << 10, 1 << 18)];
        let seconds = self.expires.as_secs();
        let max_values = MAX_WRITE_FACTOR * self.limit / value.len() as u64 + 1;
        while self.written < max_values {
            let mut pipe = redis::pipe();
            for _ in 0..BATCH {
                pipe.cmd("SET").arg(self.key(self.written)).arg(&value).arg("EX").arg(seconds).ignore();
                self.written += 1;
            }
            match pipe.query_async::<()>(&mut connection).await {
                Ok(()) => {}
                Err(error) if error.to_string().contains("OOM") => {
                    self.out_of_memory = true;
                    return Ok(format!("{} values written; it rejects more: out of memory", self.written).into());
                }
                Err(error) => return Err(self.refused(error.to_string())),
            }
            let evicted = self.evicted(&mut connection).await?.saturating_sub(self.evicted_before);
            if evicted > 0 {
                let detail = format!("{} values of {} kb written; it evicts keys", self.written, value.len() / 1024);
                return Ok(detail.into());
            }
        }
        Err(self.refused(format!("it accepted {MAX_WRITE_FACTOR} times its limit and is still not full")))
    }

    async fn observe_effect(&mut self) -> Option<Observation> {
        let mut connection = connect_redis(self.server).await.ok()?;
        let evicted = self.evicted(&mut connection).await.ok()?.saturating_sub(self.evicted_before);
        if evicted > 0 {
            return Some(format!("evicted_keys grew by {evicted}"));
        }
        let write: Result<(), _> =
            run_command(self.server, &mut connection, &["SET", &self.key(0), "x", "KEEPTTL"]).await;
        match write {
            Err(FaultError::Refused { why, .. }) if why.contains("OOM") => Some(format!("a write is rejected: {why}")),
            _ => None,
        }
    }

    async fn undo(&mut self, stopping: bool) -> Result<ActionReport, FaultError> {
        if self.written == 0 || (stopping && self.server.facts().provider != "external") {
            return Ok("there is nothing to delete".to_owned().into());
        }
        let Ok(mut connection) = connect_redis(self.server).await else {
            // Another fault has stopped it; the values on its disk expire.
            return Ok(format!("it does not answer; the values expire within {} s", self.expires.as_secs()).into());
        };
        let mut deleted = 0;
        let keys: Vec<String> = (0..self.written).map(|number| self.key(number)).collect();
        for keys in keys.chunks(BATCH * 8) {
            let mut command = vec!["UNLINK"];
            command.extend(keys.iter().map(String::as_str));
            deleted += run_command::<u64>(self.server, &mut connection, &command).await?;
        }
        self.written = 0;
        Ok(format!("deleted the remaining {deleted} values").into())
    }

    async fn observe_recovery(&mut self) -> Option<Observation> {
        let mut connection = connect_redis(self.server).await.ok()?;
        let used: u64 = info(self.server, &mut connection, "memory", "used_memory").await.ok()?.parse().ok()?;
        (used < self.limit).then(|| format!("{} mb of {} mb are used", used >> 20, self.limit >> 20))
    }
}
