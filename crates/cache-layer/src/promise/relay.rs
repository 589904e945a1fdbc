//! The relay: carries committed invalidations from the database's outbox to a cache server, and says up to where.

use super::config::PromiseConfig;
use super::watch::PromiseMetrics;
use crate::backoff::Backoff;
use crate::store::CacheError;
use async_trait::async_trait;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

/// A point in the log's history: everything that had been committed there, and nothing else. Only the log that made it
/// understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position(String);

impl Position {
    /// A position as it was written down. What is no position will be treated as unknown by the log.
    #[must_use]
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As it is written down.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why the log gave no answer. The watermark is not renewed; when it ends, reads go to the database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The database refused, or could not be reached.
    #[error("the outbox cannot be read: {0}")]
    Database(String),
    /// No answer in time.
    #[error("the outbox cannot be read: no answer in {0:?}")]
    Timeout(Duration),
}

/// The source of committed invalidations.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// What was committed after `since`, and the position that this leads to. Both must be of one snapshot.
    ///
    /// `since` is `None`, or from another history, when it is not known what the cache reflects; then, as when too much was
    /// committed or its record was deleted, the answer is [`Replay::Everything`].
    async fn poll(&self, since: Option<&Position>) -> Result<Poll, LogError>;

    /// Deletes a batch of what is older than `retention`, and says how many rows went.
    async fn trim(&self, retention: Duration) -> Result<u64, LogError>;
}

#[async_trait]
impl<L: Log + ?Sized> Log for Arc<L> {
    async fn poll(&self, since: Option<&Position>) -> Result<Poll, LogError> {
        (**self).poll(since).await
    }

    async fn trim(&self, retention: Duration) -> Result<u64, LogError> {
        (**self).trim(retention).await
    }
}

/// What the log answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// Where the cache stands once the replay is applied.
    pub position: Position,
    /// What to apply.
    pub replay: Replay,
}

/// What has to be removed from the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replay {
    /// Some keys and all keys under some tags.
    Rows {
        /// Names of keys, without namespace.
        keys: Vec<String>,
        /// Names of tags, without namespace.
        tags: Vec<String>,
        /// In how many rows they were written down.
        rows: u64,
        /// How long ago the first of them was written.
        lag: Duration,
    },
    /// All of it.
    Everything,
}

/// One cache server that takes writes, or the memory of this process.
#[async_trait]
pub trait Ground: Send + Sync + 'static {
    /// Which server, for logs.
    fn name(&self) -> String;

    /// Tells apart what bears the same name one after the other: a server that left a cluster and came back. Its relay is
    /// started anew.
    fn incarnation(&self) -> usize {
        0
    }

    /// Whether it outlives this process. If not, it begins with nothing, which is no news, and what is applied to it is not counted beside what
    /// is applied to the servers.
    fn is_server(&self) -> bool {
        true
    }

    /// A connection of its own, never replaced by another behind the caller's back: what a round does must
    /// all reach one history of one server.
    async fn connect(&self) -> Result<Box<dyn Session>, CacheError>;
}

/// One connection to one server. After an error it is of no more use.
///
/// Each call returns only when every reply to it was a success.
#[async_trait]
pub trait Session: Send {
    /// The server's own time and the position kept in its data. An error unless it is a master.
    async fn begin(&mut self) -> Result<Begun, CacheError>;

    /// Removes keys, leases on them included, and what is under tags.
    async fn remove(&mut self, keys: &[String], tags: &[String]) -> Result<(), CacheError>;

    /// Removes every key of the layer; never those of others.
    async fn remove_everything(&mut self) -> Result<(), CacheError>;

    /// Writes the position down and then says, until `trusted_until` (by the clock of [`Begun::now`]), that it is reached.
    async fn trust(&mut self, position: &Position, trusted_until: u64) -> Result<(), CacheError>;
}

/// How a round begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Milliseconds by its clock: a server's Unix time; in memory, a monotonic one.
    pub now: u64,
    /// What its data reflects, as far as is known.
    pub position: Option<Position>,
}

/// Why a round was given up.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the round took longer than {0:?}")]
    Slow(Duration),
}

/// Carries from one log to one server until it is dropped.
pub(super) struct Relay<L> {
    pub(super) log: Arc<L>,
    pub(super) ground: Arc<dyn Ground>,
    /// What the ground was called at the start: one that sentinels watch moves on.
    pub(super) name: String,
    pub(super) config: PromiseConfig,
    pub(super) metrics: PromiseMetrics,
    /// Changes when an invalidation of this process did not reach the cache.
    pub(super) nudge: watch::Receiver<u64>,
}

impl<L: Log> Relay<L> {
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(self.config.poll, self.config.backoff_at_most());
        let mut session = None;
        let mut failing = false;
        self.metrics.expect(&self.name);
        loop {
            self.nudge.mark_unchanged();
            let began = Instant::now();
            let wait = match self.step(&mut session).await {
                Ok(()) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!(server = self.name, "the cache is trusted again");
                    }
                    backoff.reset();
                    self.config.next_poll()
                }
                Err(error) => {
                    session = None;
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(server = self.name, %error, "the cache's watermark cannot be renewed");
                    }
                    backoff.next_wait()
                }
            };
            // A nudge cuts the wait short, but many writes must not become as many polls.
            sleep_until(began + self.config.poll / 10).await;
            tokio::select! {
                () = sleep_until(began + wait) => {}
                Ok(()) = self.nudge.changed() => {}
            }
        }
    }

    /// One round, on the connection of the last one if that served.
    async fn step(&self, session: &mut Option<Box<dyn Session>>) -> Result<(), RoundError> {
        let session = match session {
            Some(session) => session,
            None => session.insert(self.ground.connect().await?),
        };
        // Emptying a large cache takes its time; everything else is a matter of milliseconds.
        let at_most = self.config.round_at_most();
        timeout(at_most, self.round(session.as_mut())).await.map_err(|_| RoundError::Slow(at_most))?
    }

    /// The order is what makes it safe: the server's time is read before the database, and the watermark ends by that time. However
    /// late it is written, it does not speak for commits it cannot know of.
    async fn round(&self, session: &mut dyn Session) -> Result<(), RoundError> {
        let begun = session.begin().await?;
        let patience = self.config.delta;
        let polled = timeout(patience, self.log.poll(begun.position.as_ref())).await;
        let poll = polled.map_err(|_| LogError::Timeout(patience))??;
        match &poll.replay {
            Replay::Rows { keys, tags, rows, lag } => {
                let counted = self.ground.is_server();
                if counted {
                    self.metrics.found(*rows, *lag);
                }
                if !keys.is_empty() || !tags.is_empty() {
                    session.remove(keys, tags).await?;
                }
                if counted {
                    self.metrics.replayed(*rows);
                }
            }
            Replay::Everything if self.ground.is_server() => {
                tracing::warn!(server = self.name, "it is not known what the cache reflects: emptying it");
                session.remove_everything().await?;
                self.metrics.flushed();
            }
            Replay::Everything => session.remove_everything().await?,
        }
        let delta = u64::try_from(self.config.delta.as_millis()).unwrap_or(u64::MAX);
        session.trust(&poll.position, begun.now.saturating_add(delta)).await?;
        self.metrics.renewed(&self.name);
        Ok(())
    }
}

impl<L> Drop for Relay<L> {
    fn drop(&mut self) {
        self.metrics.forget(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    type Journal = Arc<Mutex<Vec<String>>>;

    /// A server that keeps a journal, and refuses one kind of call.
    struct Scripted {
        journal: Journal,
        refuses: &'static str,
        position: Option<&'static str>,
    }

    impl Scripted {
        fn say(&self, call: &str, what: &str) -> Result<(), CacheError> {
            self.journal.lock().expect("no panic").push(format!("{call} {what}"));
            if call == self.refuses { Err(CacheError::Server("refused".into())) } else { Ok(()) }
        }
    }

    #[async_trait]
    impl Session for Scripted {
        async fn begin(&mut self) -> Result<Begun, CacheError> {
            self.say("begin", "")?;
            Ok(Begun { now: 1_000, position: self.position.map(Position::from_text) })
        }

        async fn remove(&mut self, keys: &[String], tags: &[String]) -> Result<(), CacheError> {
            self.say("remove", &format!("{keys:?} {tags:?}"))
        }

        async fn remove_everything(&mut self) -> Result<(), CacheError> {
            self.say("empty", "")
        }

        async fn trust(&mut self, position: &Position, trusted_until: u64) -> Result<(), CacheError> {
            self.say("trust", &format!("{position} {trusted_until}"))
        }
    }

    struct Never;

    #[async_trait]
    impl Ground for Never {
        fn name(&self) -> String {
            "scripted".into()
        }

        async fn connect(&self) -> Result<Box<dyn Session>, CacheError> {
            Err(CacheError::Unavailable("not used"))
        }
    }

    struct OneRow {
        journal: Journal,
        fails: bool,
    }

    #[async_trait]
    impl Log for OneRow {
        async fn poll(&self, since: Option<&Position>) -> Result<Poll, LogError> {
            self.journal.lock().expect("no panic").push("poll".into());
            if self.fails {
                return Err(LogError::Database("down".into()));
            }
            let rows = || Replay::Rows { keys: vec!["k".into()], tags: vec!["t".into()], rows: 1, lag: Duration::ZERO };
            let replay = since.map_or(Replay::Everything, |_| rows());
            Ok(Poll { position: Position::from_text("p2"), replay })
        }

        async fn trim(&self, _: Duration) -> Result<u64, LogError> {
            Ok(0)
        }
    }

    async fn round(refuses: &'static str, position: Option<&'static str>, fails: bool) -> (bool, String) {
        let journal = Journal::default();
        let relay = Relay {
            log: Arc::new(OneRow { journal: Arc::clone(&journal), fails }),
            ground: Arc::new(Never),
            name: Never.name(),
            config: PromiseConfig::default(),
            metrics: PromiseMetrics::default(),
            nudge: watch::channel(0).1,
        };
        let mut session = Scripted { journal: Arc::clone(&journal), refuses, position };
        let done = relay.round(&mut session).await.is_ok();
        let journal = journal.lock().expect("no panic").join("; ");
        (done, journal)
    }

    #[tokio::test]
    async fn the_servers_time_comes_before_the_database_and_the_watermark_after_what_it_speaks_for() {
        let (done, journal) = round("", Some("p1"), false).await;
        assert!(done);
        assert_eq!(journal, r#"begin ; poll; remove ["k"] ["t"]; trust p2 3000"#);
        let (_, journal) = round("", None, false).await;
        assert_eq!(journal, "begin ; poll; empty ; trust p2 3000");
    }

    #[tokio::test]
    async fn after_any_failure_no_watermark_is_written() {
        for (refuses, position) in [("begin", Some("p1")), ("remove", Some("p1")), ("empty", None)] {
            let (done, journal) = round(refuses, position, false).await;
            assert!(!done && !journal.contains("trust"), "{refuses}: {journal}");
        }
        let (done, journal) = round("", Some("p1"), true).await;
        assert!(!done && journal == "begin ; poll", "{journal}");
        assert!(!round("trust", Some("p1"), false).await.0);
    }
}
