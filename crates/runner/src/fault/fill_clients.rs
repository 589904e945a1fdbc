//! Opens connections to a server until it rejects more.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::{Connection as _, PgConnection};

use super::FaultError;
use super::admin_client::{RedisConnection, connect_redis, info, redis_command, run_command};
use super::injector::{ActionReport, FaultInjector, Observation};
use cacheproof_stack::Server;
use cacheproof_supervise::{Undo, max_open_files};

/// The limit of a Redis that the run started is lowered to its current connections plus this; by default it is in the
/// thousands.
const SPARE_CONNECTIONS: u64 = 32;

/// File descriptors that cacheproof needs for other things.
const RESERVED_FILE_DESCRIPTORS: u64 = 300;

/// The timeout of one connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to retry restoring the limit of a server that does not answer, for example frozen by another fault.
const UNREACHABLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A server without free connections.
pub(super) struct FillClients<'run> {
    server: &'run Server,
    is_postgres: bool,
    /// Opened before the server was full, to restore the limit.
    control: Option<RedisConnection>,
    /// The original limit, if it was lowered.
    limit: Option<u64>,
    redis: Vec<RedisConnection>,
    postgres: Vec<PgConnection>,
}

impl<'run> FillClients<'run> {
    pub(super) fn new(server: &'run Server, is_postgres: bool) -> Self {
        Self { server, is_postgres, control: None, limit: None, redis: Vec::new(), postgres: Vec::new() }
    }

    fn refused(&self, why: impl ToString) -> FaultError {
        FaultError::Refused {
            victim: self.server.name().to_owned(),
            what: "using up its connections".into(),
            why: why.to_string(),
        }
    }

    /// How many connections a Redis has rejected since its start. The client does not always get the reason: if it has
    /// already sent a command, it sees a reset.
    async fn rejected_connections(&self, control: &mut RedisConnection) -> Result<u64, FaultError> {
        Ok(info(self.server, control, "stats", "rejected_connections").await?.parse().unwrap_or(0))
    }

    /// One more connection to a Redis; `None` if it was rejected.
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
            .ok_or_else(|| self.refused("it does not show its maxclients"))?;
        let clients: String = run_command(self.server, &mut control, &["CLIENT", "LIST"]).await?;
        let connected = clients.lines().count() as u64;
        let lower = connected + SPARE_CONNECTIONS;
        if self.server.facts().provider != "external" && lower < limit {
            run_command::<()>(self.server, &mut control, &["CONFIG", "SET", "maxclients", &lower.to_string()]).await?;
            self.limit = Some(limit);
        } else if limit.saturating_sub(connected) + RESERVED_FILE_DESCRIPTORS > open_files() {
            self.control = Some(control);
            let why =
                format!("it accepts {limit} connections, and cacheproof may open {}: raise `ulimit -n`", open_files());
            return Err(self.refused(why));
        }
        self.control = Some(control.clone());
        while let Some(connection) = self.open_another(&mut control).await? {
            self.redis.push(connection);
        }
        let lowered = self.limit.map_or_else(String::new, |_| format!(" (maxclients lowered to {lower})"));
        let connections = self.redis.len() as u64;
        Ok(ActionReport {
            detail: format!("{connections} connections opened{lowered}; it rejects more"),
            connections: Some(connections),
        })
    }

    /// Restores the limit, through the control connection or a new one.
    async fn restore_limit(&self, limit: &str) -> Result<(), FaultError> {
        let set = ["CONFIG", "SET", "maxclients", limit];
        let start = Instant::now();
        loop {
            if let Some(mut control) = self.control.clone()
                && run_command::<()>(self.server, &mut control, &set).await.is_ok()
            {
                return Ok(());
            }
            match redis_command::<()>(self.server, &set).await {
                Ok(()) => return Ok(()),
                // Killed by another fault: it restarts with its original limit.
                Err(_) if self.is_dead().await => return Ok(()),
                Err(error) if start.elapsed() > UNREACHABLE_TIMEOUT => return Err(error),
                // Frozen by another fault: it answers later.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Unknown for containers; there, the caller waits.
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
            detail: format!("{connections} connections opened; it rejects more"),
            connections: Some(connections),
        })
    }
}

/// Whether this error of Postgres means that it accepts no more connections.
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
            // A client has disconnected: its connection is used up, too.
            if let Some(connection) = self.open_another(&mut control).await.ok()? {
                self.redis.push(connection);
                return None;
            }
            let rejected_connections = self.rejected_connections(&mut control).await.ok()?;
            return Some(format!("a new connection is rejected; {rejected_connections} were so far"));
        }
        match tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect(self.server.url())).await {
            Ok(Ok(connection)) => {
                self.postgres.push(connection);
                None
            }
            Ok(Err(error)) => {
                let why = error.to_string();
                is_too_many_clients(&why).then(|| format!("a new connection is rejected: {why}"))
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
            let _already_dead = tokio::time::timeout(CONNECT_TIMEOUT, connection.close()).await;
        }
        Ok(ActionReport { detail: format!("closed {closed} connections"), connections: Some(closed as u64) })
    }

    async fn observe_recovery(&mut self) -> Option<Observation> {
        self.server.answers().await.then(|| format!("{} accepts a new connection", self.server.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_server_is_distinguished_from_a_dead_one() {
        assert!(is_too_many_clients("FATAL: sorry, too many clients already"));
        assert!(!is_too_many_clients("Connection refused (os error 111)"));
        assert!(open_files() > 16);
    }
}
