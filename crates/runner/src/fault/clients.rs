//! A server's connections, all taken.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::{Connection as _, PgConnection};

use super::FaultError;
use super::act::{Act, Done, Sight};
use super::says::{RedisLine, ask, info, redis_line, redis_says};
use cacheproof_stack::Server;
use cacheproof_supervise::Undo;

/// Connections that a Redis of the run is left with before it is full; its own limit is in the thousands.
const ROOM: u64 = 32;

/// Descriptors that cacheproof keeps for itself.
const RESERVE: u64 = 300;

/// How long one connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a server may be away, frozen by another fault, before its limit counts as lost.
const AWAY: Duration = Duration::from_secs(30);

/// A server that takes no more connections.
pub(super) struct FillClients<'run> {
    pub(super) server: &'run Server,
    pub(super) is_postgres: bool,
    /// Opened before it was full, for taking the limit back.
    pub(super) control: Option<RedisLine>,
    /// The limit as it was, where it was lowered.
    pub(super) limit: Option<u64>,
    pub(super) redis: Vec<RedisLine>,
    pub(super) postgres: Vec<PgConnection>,
}

impl<'run> FillClients<'run> {
    pub(super) fn new(server: &'run Server, is_postgres: bool) -> Self {
        Self { server, is_postgres, control: None, limit: None, redis: Vec::new(), postgres: Vec::new() }
    }

    fn refused(&self, why: impl ToString) -> FaultError {
        FaultError::Refused {
            victim: self.server.name().to_owned(),
            what: "take connections".into(),
            why: why.to_string(),
        }
    }

    /// How many connections a Redis has turned away since its start. One that is turned away does not always hear
    /// why: what it said meanwhile makes a reset of it.
    async fn turned_away(&self, control: &mut RedisLine) -> Result<u64, FaultError> {
        Ok(info(self.server, control, "stats", "rejected_connections").await?.parse().unwrap_or(0))
    }

    /// One more connection to a Redis: `None` when it takes no more.
    async fn one_more(&self, control: &mut RedisLine) -> Result<Option<RedisLine>, FaultError> {
        let before = self.turned_away(control).await?;
        match redis_line(self.server).await {
            Ok(line) => Ok(Some(line)),
            Err(_) if self.turned_away(control).await? > before => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn fill_redis(&mut self) -> Result<Done, FaultError> {
        let mut control = redis_line(self.server).await?;
        let answer: Vec<String> = ask(self.server, &mut control, &["CONFIG", "GET", "maxclients"]).await?;
        let limit: u64 = answer
            .get(1)
            .and_then(|limit| limit.parse().ok())
            .ok_or_else(|| self.refused("it hides its maxclients"))?;
        let clients: String = ask(self.server, &mut control, &["CLIENT", "LIST"]).await?;
        let connected = clients.lines().count() as u64;
        let lower = connected + ROOM;
        if self.server.facts().provider != "external" && lower < limit {
            ask::<()>(self.server, &mut control, &["CONFIG", "SET", "maxclients", &lower.to_string()]).await?;
            self.limit = Some(limit);
        } else if limit.saturating_sub(connected) + RESERVE > open_files() {
            self.control = Some(control);
            let why =
                format!("it takes {limit} connections, and cacheproof may open {}: raise `ulimit -n`", open_files());
            return Err(self.refused(why));
        }
        self.control = Some(control.clone());
        while let Some(line) = self.one_more(&mut control).await? {
            self.redis.push(line);
        }
        let lowered = self.limit.map_or_else(String::new, |_| format!(" (maxclients lowered to {lower})"));
        let connections = self.redis.len() as u64;
        Ok(Done {
            words: format!("{connections} connections opened{lowered}; it refuses more"),
            connections: Some(connections),
        })
    }

    /// Puts the limit back, over whichever connection gets through.
    async fn raise(&self, limit: &str) -> Result<(), FaultError> {
        let set = ["CONFIG", "SET", "maxclients", limit];
        let begun = Instant::now();
        loop {
            if let Some(mut control) = self.control.clone()
                && ask::<()>(self.server, &mut control, &set).await.is_ok()
            {
                return Ok(());
            }
            match redis_says::<()>(self.server, &set).await {
                Ok(()) => return Ok(()),
                // Killed by another fault, it comes up with its own limit.
                Err(_) if self.is_dead().await => return Ok(()),
                Err(error) if begun.elapsed() > AWAY => return Err(error),
                // Frozen by another fault, it answers later.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Not seen of containers: there it is waited for.
    async fn is_dead(&self) -> bool {
        self.server.pid().await.is_none() && self.server.container_id().await.is_none()
    }

    async fn fill_postgres(&mut self) -> Result<Done, FaultError> {
        loop {
            match tokio::time::timeout(PATIENCE, PgConnection::connect(self.server.url())).await {
                Ok(Ok(connection)) => self.postgres.push(connection),
                Ok(Err(error)) if is_full(&error.to_string()) => break,
                Ok(Err(error)) => return Err(self.refused(error)),
                Err(_) => return Err(self.refused("it does not answer")),
            }
        }
        let connections = self.postgres.len() as u64;
        Ok(Done { words: format!("{connections} connections opened; it refuses more"), connections: Some(connections) })
    }
}

/// What a Postgres says when it takes no more connections.
fn is_full(why: &str) -> bool {
    let why = why.to_lowercase();
    ["too many clients", "too many connections", "remaining connection slots"].iter().any(|full| why.contains(full))
}

/// How many descriptors this process may have open.
fn open_files() -> u64 {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(1024)
}

#[async_trait]
impl Act for FillClients<'_> {
    fn undo_record(&self) -> Undo {
        Undo::WithCacheproof
    }

    async fn inject(&mut self) -> Result<Done, FaultError> {
        if self.is_postgres { self.fill_postgres().await } else { self.fill_redis().await }
    }

    async fn seen(&mut self) -> Option<Sight> {
        if let Some(mut control) = self.control.clone() {
            // Somebody left: his place is taken.
            if let Some(line) = self.one_more(&mut control).await.ok()? {
                self.redis.push(line);
                return None;
            }
            let turned_away = self.turned_away(&mut control).await.ok()?;
            return Some(format!("a new connection is refused; {turned_away} were so far"));
        }
        match tokio::time::timeout(PATIENCE, PgConnection::connect(self.server.url())).await {
            Ok(Ok(connection)) => {
                self.postgres.push(connection);
                None
            }
            Ok(Err(error)) => {
                let why = error.to_string();
                is_full(&why).then(|| format!("a new connection is refused: {why}"))
            }
            Err(_) => None,
        }
    }

    async fn undo(&mut self, _stopping: bool) -> Result<Done, FaultError> {
        let closed = self.redis.len() + self.postgres.len();
        self.redis.clear();
        if let Some(limit) = self.limit {
            self.raise(&limit.to_string()).await?;
            self.limit = None;
        }
        self.control = None;
        for connection in self.postgres.drain(..) {
            let _dead_already = tokio::time::timeout(PATIENCE, connection.close()).await;
        }
        Ok(Done { words: format!("closed {closed} connections"), connections: Some(closed as u64) })
    }

    async fn seen_undone(&mut self) -> Option<Sight> {
        self.server.answers().await.then(|| format!("{} takes a new connection", self.server.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_server_is_told_from_a_dead_one() {
        assert!(is_full("FATAL: sorry, too many clients already"));
        assert!(!is_full("Connection refused (os error 111)"));
        assert!(open_files() > 16);
    }
}
