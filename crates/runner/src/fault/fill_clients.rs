//! A server's connections, all taken.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::{Connection as _, PgConnection};

use super::FaultError;
use super::admin_client::{RedisConnection, connect_redis, info, redis_command, run_command};
use super::injector::{ActionReport, FaultInjector, Observation};
use cacheproof_stack::Server;
use cacheproof_supervise::{Undo, max_open_files};

/// Connections that a Redis of the run is left with before it is full; its own limit is in the thousands.
const SPARE_CONNECTIONS: u64 = 32;

/// Descriptors that cacheproof keeps for itself.
const RESERVED_FILE_DESCRIPTORS: u64 = 300;

/// How long one connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a server may be away, frozen by another fault, before its limit counts as lost.
const UNREACHABLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A server that takes no more connections.
pub(super) struct FillClients<'run> {
    pub(super) server: &'run Server,
    pub(super) is_postgres: bool,
    /// Opened before it was full, for taking the limit back.
    pub(super) control: Option<RedisConnection>,
    /// The limit as it was, where it was lowered.
    pub(super) limit: Option<u64>,
    pub(super) redis: Vec<RedisConnection>,
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
    async fn rejected_connections(&self, control: &mut RedisConnection) -> Result<u64, FaultError> {
        Ok(info(self.server, control, "stats", "rejected_connections").await?.parse().unwrap_or(0))
    }

    /// One more connection to a Redis: `None` when it takes no more.
    async fn open_another(&self, control: &mut RedisConnection) -> Result<Option<RedisConnection>, FaultError> {
        let before = self.rejected_connections(control).await?;
        match connect_redis(self.server).await {
            Ok(connection) => Ok(Some(connection)),
            Err(_) if self.rejected_connections(control).await? > before => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn fill_redis(&mut self) -> Result<ActionReport, FaultError> {
        let mut control = connect_redis(self.server).await?;
        let answer: Vec<String> = run_command(self.server, &mut control, &["CONFIG", "GET", "maxclients"]).await?;
        let limit: u64 = answer
            .get(1)
            .and_then(|limit| limit.parse().ok())
            .ok_or_else(|| self.refused("it hides its maxclients"))?;
        let clients: String = run_command(self.server, &mut control, &["CLIENT", "LIST"]).await?;
        let connected = clients.lines().count() as u64;
        let lower = connected + SPARE_CONNECTIONS;
        if self.server.facts().provider != "external" && lower < limit {
            run_command::<()>(self.server, &mut control, &["CONFIG", "SET", "maxclients", &lower.to_string()]).await?;
            self.limit = Some(limit);
        } else if limit.saturating_sub(connected) + RESERVED_FILE_DESCRIPTORS > open_files() {
            self.control = Some(control);
            let why =
                format!("it takes {limit} connections, and cacheproof may open {}: raise `ulimit -n`", open_files());
            return Err(self.refused(why));
        }
        self.control = Some(control.clone());
        while let Some(connection) = self.open_another(&mut control).await? {
            self.redis.push(connection);
        }
        let lowered = self.limit.map_or_else(String::new, |_| format!(" (maxclients lowered to {lower})"));
        let connections = self.redis.len() as u64;
        Ok(ActionReport {
            detail: format!("{connections} connections opened{lowered}; it refuses more"),
            connections: Some(connections),
        })
    }

    /// Puts the limit back, over whichever connection gets through.
    async fn restore_limit(&self, limit: &str) -> Result<(), FaultError> {
        let set = ["CONFIG", "SET", "maxclients", limit];
        let begun = Instant::now();
        loop {
            if let Some(mut control) = self.control.clone()
                && run_command::<()>(self.server, &mut control, &set).await.is_ok()
            {
                return Ok(());
            }
            match redis_command::<()>(self.server, &set).await {
                Ok(()) => return Ok(()),
                // Killed by another fault, it comes up with its own limit.
                Err(_) if self.is_dead().await => return Ok(()),
                Err(error) if begun.elapsed() > UNREACHABLE_TIMEOUT => return Err(error),
                // Frozen by another fault, it answers later.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Not seen of containers: there it is waited for.
    async fn is_dead(&self) -> bool {
        self.server.pid().await.is_none() && self.server.container_id().await.is_none()
    }

    async fn fill_postgres(&mut self) -> Result<ActionReport, FaultError> {
        loop {
            match tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect(self.server.url())).await {
                Ok(Ok(connection)) => self.postgres.push(connection),
                Ok(Err(error)) if is_too_many_clients(&error.to_string()) => break,
                Ok(Err(error)) => return Err(self.refused(error)),
                Err(_) => return Err(self.refused("it does not answer")),
            }
        }
        let connections = self.postgres.len() as u64;
        Ok(ActionReport {
            detail: format!("{connections} connections opened; it refuses more"),
            connections: Some(connections),
        })
    }
}

/// What a Postgres says when it takes no more connections.
fn is_too_many_clients(why: &str) -> bool {
    let why = why.to_lowercase();
    ["too many clients", "too many connections", "remaining connection slots"].iter().any(|full| why.contains(full))
}

/// How many files this process may have open; 1024, the usual limit, where that is unknown.
fn open_files() -> u64 {
    max_open_files().unwrap_or(1024)
}

#[async_trait]
impl FaultInjector for FillClients<'_> {
    fn undo_record(&self) -> Undo {
        Undo::WithCacheproof
    }

    async fn inject(&mut self) -> Result<ActionReport, FaultError> {
        if self.is_postgres { self.fill_postgres().await } else { self.fill_redis().await }
    }

    async fn observe_effect(&mut self) -> Option<Observation> {
        if let Some(mut control) = self.control.clone() {
            // Somebody left: his place is taken.
            if let Some(connection) = self.open_another(&mut control).await.ok()? {
                self.redis.push(connection);
                return None;
            }
            let rejected_connections = self.rejected_connections(&mut control).await.ok()?;
            return Some(format!("a new connection is refused; {rejected_connections} were so far"));
        }
        match tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect(self.server.url())).await {
            Ok(Ok(connection)) => {
                self.postgres.push(connection);
                None
            }
            Ok(Err(error)) => {
                let why = error.to_string();
                is_too_many_clients(&why).then(|| format!("a new connection is refused: {why}"))
            }
            Err(_) => None,
        }
    }

    async fn undo(&mut self, _stopping: bool) -> Result<ActionReport, FaultError> {
        let closed = self.redis.len() + self.postgres.len();
        self.redis.clear();
        if let Some(limit) = self.limit {
            self.restore_limit(&limit.to_string()).await?;
            self.limit = None;
        }
        self.control = None;
        for connection in self.postgres.drain(..) {
            let _dead_already = tokio::time::timeout(CONNECT_TIMEOUT, connection.close()).await;
        }
        Ok(ActionReport { detail: format!("closed {closed} connections"), connections: Some(closed as u64) })
    }

    async fn observe_recovery(&mut self) -> Option<Observation> {
        self.server.answers().await.then(|| format!("{} takes a new connection", self.server.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_server_is_told_from_a_dead_one() {
        assert!(is_too_many_clients("FATAL: sorry, too many clients already"));
        assert!(!is_too_many_clients("Connection refused (os error 111)"));
        assert!(open_files() > 16);
    }
}
