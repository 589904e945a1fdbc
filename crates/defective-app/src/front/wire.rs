//! The front cache's way to Redis: one connection, a limit of time for each command, a breaker, and the invalidations that are owed.

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, Pipeline};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Why a command did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// Redis gave no answer, or was not asked.
    Down,
    /// Redis answered that it won't.
    Refused,
}

/// How Redis is dealt with. The default is right; a defect changes one thing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    /// The longest wait for a connection, and for a command.
    pub(crate) patience: Duration,
    /// Failures in a row that open the breaker; `None`: it never opens.
    pub(crate) opens_after: Option<u32>,
    /// How long it stays open before one call may try.
    pub(crate) open_for: Duration,
    /// Whether a connection that broke is made anew.
    pub(crate) reconnects: bool,
    /// Whether an invalidation that failed is made up for before anything is read again.
    pub(crate) owes: bool,
    /// Whether each call has a connection of its own, which is never closed.
    pub(crate) leaks: bool,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            patience: Duration::from_millis(50),
            opens_after: Some(3),
            open_for: Duration::from_millis(200),
            reconnects: true,
            owes: true,
            leaks: false,
        }
    }
}

#[derive(Debug, Default)]
struct Breaker {
    failures: u32,
    /// Open: not before this moment is one call let through.
    until: Option<Instant>,
}

pub(crate) struct Wire {
    client: Option<Client>,
    manners: Manners,
    connection: tokio::sync::Mutex<Option<MultiplexedConnection>>,
    /// Whether there was a connection before.
    had_one: Mutex<bool>,
    breaker: Mutex<Breaker>,
    owed: tokio::sync::Mutex<BTreeSet<String>>,
    leaked: Mutex<Vec<MultiplexedConnection>>,
}

impl Wire {
    pub(crate) fn new(url: Option<&str>, manners: Manners) -> Self {
        Self {
            client: url.and_then(|url| Client::open(url).ok()),
            manners,
            connection: tokio::sync::Mutex::default(),
            had_one: Mutex::default(),
            breaker: Mutex::default(),
            owed: tokio::sync::Mutex::default(),
            leaked: Mutex::default(),
        }
    }

    /// Runs commands in one round trip, after what is owed.
    pub(crate) async fn call<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, Failed> {
        self.admitted()?;
        let answer = match self.settle().await {
            Ok(()) => self.send(commands).await,
            Err(failed) => Err(failed),
        };
        self.learn(answer.as_ref().err() != Some(&Failed::Down));
        answer
    }

    /// Removes keys. What could not be removed for sure is owed: see [`Manners::owes`].
    pub(crate) async fn remove(&self, names: &[String]) -> Result<(), Failed> {
        let removed = match self.admitted() {
            Ok(()) => {
                let removed = self.send(redis::pipe().del(names).ignore()).await;
                self.learn(removed != Err(Failed::Down));
                removed
            }
            Err(failed) => Err(failed),
        };
        if removed.is_err() && self.manners.owes {
            self.owed.lock().await.extend(names.iter().cloned());
        }
        removed
    }

    /// Who waits behind the one that pays sees nothing from before.
    async fn settle(&self) -> Result<(), Failed> {
        let mut owed = self.owed.lock().await;
        if owed.is_empty() {
            return Ok(());
        }
        let names: Vec<&String> = owed.iter().collect();
        self.send::<()>(redis::pipe().del(names).ignore()).await?;
        owed.clear();
        Ok(())
    }

    async fn send<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, Failed> {
        let mut connection = self.connected().await?;
        match timeout(self.manners.patience, commands.query_async(&mut connection)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if !error.is_io_error() && !error.is_connection_dropped() => Err(Failed::Refused),
            Ok(Err(_)) | Err(_) => {
                // An answer that comes after all is nobody's.
                *self.connection.lock().await = None;
                Err(Failed::Down)
            }
        }
    }

    async fn connected(&self) -> Result<MultiplexedConnection, Failed> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = held.as_ref() {
            return Ok(connection.clone());
        }
        let had_one = std::mem::replace(&mut *self.had_one.lock().unwrap_or_else(PoisonError::into_inner), true);
        if had_one && !self.manners.reconnects {
            return Err(Failed::Down);
        }
        let client = self.client.as_ref().ok_or(Failed::Down)?;
        let limits =
            AsyncConnectionConfig::new().set_connection_timeout(Some(self.manners.patience)).set_response_timeout(None);
        let made = timeout(self.manners.patience, client.get_multiplexed_async_connection_with_config(&limits)).await;
        let connection = made.map_err(|_| Failed::Down)?.map_err(|_| Failed::Down)?;
        if self.manners.leaks {
            self.leaked.lock().unwrap_or_else(PoisonError::into_inner).push(connection.clone());
        } else {
            *held = Some(connection.clone());
        }
        Ok(connection)
    }

    /// Lets a call through, or not. An open breaker lets one through each time its time is over.
    fn admitted(&self) -> Result<(), Failed> {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        match breaker.until {
            Some(until) if Instant::now() < until => Err(Failed::Down),
            Some(_) => {
                breaker.until = Some(Instant::now() + self.manners.open_for);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn learn(&self, answered: bool) {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        if answered {
            *breaker = Breaker::default();
            return;
        }
        breaker.failures += 1;
        if self.manners.opens_after.is_some_and(|most| breaker.failures >= most) {
            breaker.until = Some(Instant::now() + self.manners.open_for);
        }
    }
}
