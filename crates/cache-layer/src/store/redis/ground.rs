//! One Redis server as the relay sees it.

use super::servers::{Line, Server};
use super::{BATCH, scripts, trust};
use crate::glob;
use crate::key::Tag;
use crate::promise::{Begun, Ground, Position, Session};
use crate::store::CacheError;
use async_trait::async_trait;
use redis::{FromRedisValue, Pipeline, RedisResult, Value, cmd};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a position stays, in ms. Far longer than any outbox is kept; but when slots move, it is left behind under its old name.
const POSITION_FOR: u64 = 24 * 3600 * 1000;

pub(super) struct RedisGround {
    pub(super) server: Arc<Server>,
    pub(super) namespace: String,
    /// The longest wait for one round trip.
    pub(super) patience: Duration,
}

#[async_trait]
impl Ground for RedisGround {
    fn name(&self) -> String {
        self.server.address()
    }

    /// The place of the server in memory: another that comes to the same address is another object while this one is held.
    fn incarnation(&self) -> usize {
        Arc::as_ptr(&self.server).addr()
    }

    async fn connect(&self) -> Result<Box<dyn Session>, CacheError> {
        let line = self.server.dedicated().await.map_err(|error| CacheError::Connection(error.to_string()))?;
        let (position, watermark) = trust::names(&self.namespace);
        let own = |name: String| {
            self.server.own_name(&name).ok_or(CacheError::Unavailable("the server holds no part of the keys"))
        };
        let (position, watermark) = (own(position)?, own(watermark)?);
        let (server, namespace) = (Arc::clone(&self.server), self.namespace.clone());
        Ok(Box::new(RedisSession { line, server, namespace, position, watermark, patience: self.patience }))
    }
}

/// A connection that is never replaced by another: when it breaks, all that follows fails.
struct RedisSession {
    line: Line,
    server: Arc<Server>,
    namespace: String,
    position: String,
    watermark: String,
    patience: Duration,
}

impl RedisSession {
    /// All replies, each of them a success.
    async fn ask(&mut self, pipe: &Pipeline, replies: usize) -> Result<Vec<Value>, CacheError> {
        let asking = self.line.inner.send_packed_commands(pipe, 0, replies);
        let values = timeout(self.patience, asking).await.map_err(|_| CacheError::Timeout)?;
        let values = values.map_err(|error| CacheError::Connection(error.to_string()))?;
        let checked: RedisResult<Vec<Value>> = values.into_iter().map(Value::extract_error).collect();
        let checked = checked.map_err(|error| CacheError::Server(error.to_string()))?;
        if checked.len() == replies { Ok(checked) } else { Err(CacheError::Server("an answer is missing".into())) }
    }

    async fn unlink(&mut self, names: impl Iterator<Item = String>) -> Result<(), CacheError> {
        // One command for each: in a cluster, keys of one command must share a slot.
        let (mut pipe, mut count) = (Pipeline::new(), 0);
        for name in names {
            pipe.cmd("UNLINK").arg(name);
            count += 1;
        }
        if count > 0 {
            self.ask(&pipe, count).await?;
        }
        Ok(())
    }
}

fn understood<T: FromRedisValue>(value: Value) -> Result<T, CacheError> {
    T::from_redis_value(value).map_err(|error| CacheError::Server(error.to_string()))
}

#[async_trait]
impl Session for RedisSession {
    async fn begin(&mut self) -> Result<Begun, CacheError> {
        // Other slots, other names: the server's past is another one, and a new session begins with it.
        if self.server.own_name(&trust::names(&self.namespace).0).as_ref() != Some(&self.position) {
            return Err(CacheError::Unavailable("the server holds other keys than before"));
        }
        let mut pipe = Pipeline::new();
        pipe.cmd("ROLE").cmd("TIME").cmd("GET").arg(&self.position);
        let mut replies = self.ask(&pipe, 3).await?.into_iter();
        let mut next = || replies.next().unwrap_or(Value::Nil);
        let role: Vec<Value> = understood(next())?;
        let role: String = understood(role.into_iter().next().unwrap_or(Value::Nil))?;
        if role != "master" {
            return Err(CacheError::Server(format!("it is no master but a {role}")));
        }
        let (seconds, micros): (u64, u64) = understood(next())?;
        let position: Option<Vec<u8>> = understood(next())?;
        let position = position.and_then(|text| String::from_utf8(text).ok()).map(Position::from_text);
        Ok(Begun { now: seconds.saturating_mul(1000).saturating_add(micros / 1000), position })
    }

    async fn remove(&mut self, keys: &[String], tags: &[String]) -> Result<(), CacheError> {
        // In a cluster each master has a relay's eye on its own keys. One that moves away meanwhile is refused, and the round begins
        // anew; one that comes is covered by the emptying that a change of slots brings.
        let tags = tags.iter().map(|tag| scripts::tag_name(&self.namespace, &Tag::new(tag.clone())));
        let tags: Vec<_> = tags.filter(|name| self.server.owns(name)).collect();
        for tags in tags.chunks(BATCH) {
            let mut pipe = Pipeline::new();
            for name in tags {
                pipe.add_command(scripts::new_generation(name).command);
            }
            self.ask(&pipe, tags.len()).await?;
        }
        let keys = keys.iter().map(|key| format!("{}{key}", self.namespace));
        let keys: Vec<_> = keys.filter(|name| self.server.owns(name)).collect();
        for keys in keys.chunks(BATCH) {
            self.unlink(keys.iter().cloned()).await?;
        }
        Ok(())
    }

    /// Not at once, and need not be: every entry and every lease from before the pass is there when it begins, so the pass meets
    /// it; what is made during the pass was loaded after the outbox was read. Names that begin with `!` are the layer's own notes
    /// and hold no values.
    async fn remove_everything(&mut self) -> Result<(), CacheError> {
        let pattern = format!("{}*", glob::escaped(&self.namespace));
        let own = format!("{}!", self.namespace);
        let mut cursor = 0_u64;
        loop {
            let mut scan = Pipeline::new();
            scan.add_command(cmd("SCAN").arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(BATCH).clone());
            let reply = self.ask(&scan, 1).await?.pop().unwrap_or(Value::Nil);
            let (next, names): (u64, Vec<String>) = understood(reply)?;
            self.unlink(names.into_iter().filter(|name| !name.starts_with(&own))).await?;
            cursor = next;
            if cursor == 0 {
                return Ok(());
            }
        }
    }

    async fn trust(&mut self, position: &Position, trusted_until: u64) -> Result<(), CacheError> {
        // Both or neither: should the server refuse the position, it must not be trusted for it.
        let mut pipe = Pipeline::new();
        pipe.cmd("MULTI");
        pipe.cmd("SET").arg(&self.position).arg(position.as_str()).arg("PX").arg(POSITION_FOR);
        pipe.cmd("SET").arg(&self.watermark).arg(position.as_str()).arg("PXAT").arg(trusted_until);
        pipe.cmd("EXEC");
        let done = self.ask(&pipe, 4).await?.pop().unwrap_or(Value::Nil);
        let done: Vec<Value> = understood(done)?;
        match done.into_iter().map(Value::extract_error).collect::<RedisResult<Vec<_>>>() {
            Ok(done) if done.len() == 2 => Ok(()),
            Ok(_) => Err(CacheError::Server("the watermark was not written".into())),
            Err(error) => Err(CacheError::Server(error.to_string())),
        }
    }
}
