//! What is done to a cache rather than with it: warming, looking, measuring.

use super::{ALL, Boarding, Cache, Deadline, Found, Held, Inner, LoadError, Loaded, Purpose, Reading, Source, Ttl};
use crate::advice::{Advice, advice};
use crate::health::Health;
use crate::key::Key;
use crate::metrics::Reading as Counted;
use crate::statistics::Statistics;
use crate::store::{CacheError, Leased, Peeked, ServerInfo};
use bytes::Bytes;
use std::time::Duration;
use tokio::time::timeout;

/// The longest a look at the servers takes, all of them together.
const LOOK: Duration = Duration::from_millis(500);

/// What became of warming one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Warmed {
    /// Loaded and stored.
    Stored,
    /// It was there already; nothing was loaded.
    Present,
    /// Somebody else is loading it; nothing was loaded.
    Elsewhere,
    /// Loaded, but invalidated meanwhile, or not stored in time.
    NotStored,
    /// The loader found nothing; nothing is stored.
    Absent,
    /// The cache gave no answer, or keeps nothing at all; nothing was loaded.
    NoCache,
}

impl Warmed {
    /// A short name for metrics and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Present => "present",
            Self::Elsewhere => "elsewhere",
            Self::NotStored => "not-stored",
            Self::Absent => "absent",
            Self::NoCache => "no-cache",
        }
    }
}

impl Cache {
    /// Puts the value of `key` into the cache unless it is there or being loaded already, by whomever. It takes a lease like any
    /// miss, so that it cannot store what was invalidated meanwhile, and many warmers at once load each key once. It counts neither
    /// as hit nor as miss.
    ///
    /// # Errors
    /// Those of [`Cache::get_or_load`]; the lease is given back then.
    pub async fn warm<L, F, E>(&self, key: &Key, ttl: Ttl, load: L) -> Result<Warmed, LoadError<E>>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<Option<Bytes>, E>>,
    {
        let inner = &*self.inner;
        let mut reading = Reading::new(inner);
        if let Some(done) = inner.there(key, &mut reading).await {
            return Ok(done);
        }
        let Boarding::Lead(flight) = inner.flights.board(key.name(), Purpose::Refresh, 0) else {
            return Ok(Warmed::Elsewhere);
        };
        let held = match inner.lease(key, &mut reading).await {
            Ok(Leased::Granted(lease)) => Held::new(&inner.store, vec![lease]),
            Ok(Leased::Held(_)) => return Ok(Warmed::Elsewhere),
            Ok(Leased::Never) | Err(_) => return Ok(Warmed::NoCache),
        };
        // Somebody may have loaded it between the look and the lease.
        if let Some(done) = inner.there(key, &mut reading).await {
            return Ok(done);
        }
        let (began, class) = (inner.flights.tick(), key.class());
        let (value, took) = match inner.load(class, Deadline::after(class.hard_timeout), load).await {
            Ok(loaded) => loaded,
            Err(error) => {
                flight.failed(matches!(error, LoadError::TimedOut));
                return Err(error);
            }
        };
        flight.loaded(Loaded { began, value: value.clone(), source: Source::Loader });
        let absent = value.is_none();
        // The database may have taken longer than a request may wait for the cache.
        reading.budget = inner.budget();
        let stored = inner.fill(key, ttl, &mut reading, held, value, took).await;
        flight.done(stored);
        Ok(match (stored, absent) {
            (true, _) => Warmed::Stored,
            (false, true) => Warmed::Absent,
            (false, false) => Warmed::NotStored,
        })
    }

    /// How the cache is, its servers asked now, in at most half a second. For `/health`: an app whose cache is down still answers.
    pub async fn health(&self) -> Health {
        let status = self.status();
        let servers = self.look_at_servers().await;
        Health::of(self.strategy(), &status, &servers, &Counted::of(&self.inner.metrics))
    }

    /// What was counted since the process began; the same numbers that Prometheus gets.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let _sets_gauges = self.status();
        Statistics::of(&Counted::of(&self.inner.metrics), self.inner.born.elapsed())
    }

    /// What the figures suggest to change: classes of keys that are hit rarely, servers that run out of memory. The servers are asked now,
    /// in at most half a second.
    pub async fn advice(&self) -> Vec<Advice> {
        let servers = self.look_at_servers().await;
        advice(&self.statistics(), &servers)
    }

    /// What is kept under a name (without namespace), whatever its tags say: for people who look.
    ///
    /// # Errors
    /// The cache gave no answer in time.
    pub async fn peek(&self, name: &str) -> Result<Option<Peeked>, CacheError> {
        let mut budget = self.inner.budget();
        let looking = budget.wait(self.inner.store.peek(name));
        self.inner.timed(ALL, "peek", looking, |found| if found.is_some() { "found" } else { "absent" }).await
    }

    /// Asks the servers, and shows the answers in the gauges.
    pub(crate) async fn look_at_servers(&self) -> Vec<ServerInfo> {
        let servers = timeout(LOOK, self.inner.store.servers()).await.unwrap_or_default();
        self.inner.metrics.servers(&servers);
        servers
    }

    /// Counts a key that warming went through.
    pub(crate) fn count_warmed(&self, plan: &'static str, outcome: &'static str) {
        self.inner.metrics.warmed(plan, outcome);
    }

    pub(crate) fn reading(&self) -> Counted {
        let _sets_gauges = self.status();
        Counted::of(&self.inner.metrics)
    }
}

impl Inner {
    /// What there is to say of a key that need not be loaded.
    async fn there(&self, key: &Key, reading: &mut Reading) -> Option<Warmed> {
        match self.look(key, reading, &mut |_| true).await {
            Ok(Found::Fresh { .. }) => Some(Warmed::Present),
            Ok(Found::Stale(_) | Found::Nothing) => None,
            Err(_) => Some(Warmed::NoCache),
        }
    }
}
