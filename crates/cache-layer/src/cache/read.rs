//! `get_or_load`: look, then join a load or lead one.

use super::flight::{Arrival, Follower};
use super::look::{Accept, First};
use super::observe::observed;
use super::{
    Boarding, Budget, Cache, Deadline, Found, Inner, LoadError, Lookup, Purpose, Source, Stale, StaleReason, Status,
    Ttl,
};
use crate::config::Strategy;
use crate::key::{Key, KeyClass};
use bytes::Bytes;
use std::pin::pin;
use std::time::{Duration, Instant};

tokio::task_local! {
    /// Set while a load runs that has a pass.
    static ADMITTED: ();
}

/// Whether this task is in a load already that counts as one: what that calls need not wait for another one to end.
pub(crate) fn is_admitted() -> bool {
    ADMITTED.try_with(|()| ()).is_ok()
}

/// Runs what has a pass.
pub(crate) async fn admitted<T>(work: impl Future<Output = T>) -> T {
    ADMITTED.scope((), work).await
}

/// How far one request has come.
#[derive(Debug)]
pub(crate) struct Reading {
    /// When it began, in the order of the flights.
    pub(super) begun: u64,
    pub(super) budget: Budget,
    /// Whether the cache answered so far.
    pub(super) reachable: bool,
    /// A value past its TTL that may be served when nothing better comes.
    pub(super) stale: Option<Stale>,
    /// Something is in the cache that a load replaces.
    pub(super) replaces: bool,
    pub(super) looked_at: Option<Instant>,
    /// The same in the order of the flights.
    pub(super) looked_since: u64,
    pub(super) deadline: Option<Deadline>,
}

enum Next {
    Return(Lookup),
    Again,
    Failed,
    TooLate,
}

impl Reading {
    pub(crate) fn new(inner: &Inner) -> Self {
        let begun = inner.flights.tick();
        Self {
            begun,
            budget: Budget(inner.settings.request_budget),
            reachable: true,
            stale: None,
            replaces: false,
            looked_at: None,
            looked_since: begun,
            deadline: None,
        }
    }

    /// Of a request that found this at hand.
    pub(super) fn having(inner: &Inner, found: &Found, since: u64) -> Self {
        let mut reading = Self::new(inner);
        reading.looked(found, Instant::now(), since);
        reading
    }

    pub(super) fn looked(&mut self, found: &Found, at: Instant, since: u64) {
        self.looked_at = Some(at);
        self.looked_since = since;
        self.replaces = *found != Found::Nothing;
        self.stale = if let Found::Stale(stale) = found { Some(stale.clone()) } else { None };
    }

    /// Runs from the first time it is asked for.
    pub(super) fn deadline(&mut self, class: KeyClass) -> Deadline {
        *self.deadline.get_or_insert_with(|| Deadline::after(class.hard_timeout))
    }
}

impl Cache {
    /// The value of `key`: from the cache, or else from `load`, and then into the cache.
    ///
    /// `load` must read a snapshot of the database that was taken after it was called, on the primary: a statement of its own
    /// is right, an older `REPEATABLE READ` transaction or a lagging replica is not. It is called at most once, by the calling task, and
    /// dropped with it; requests for one key in this process share a load where that cannot show one of them the past, and
    /// other processes are waited for a while ([`Cache::with_lease_wait`]). `Ok(None)` means that there is no such thing.
    ///
    /// Of what the key's class says, this honours the jitter, [`KeyClass::absent_for`], stale values when the load fails, and
    /// the hard timeout. What needs loads in the background is honoured by [`Cache::get_or_refresh`].
    ///
    /// # Errors
    /// Those of `load`, and the hard timeout; whatever goes wrong with the cache, the value comes from `load`.
    pub async fn get_or_load<L, F, E>(&self, key: &Key, ttl: Ttl, load: L) -> Result<Lookup, LoadError<E>>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<Option<Bytes>, E>>,
    {
        let mut any = |_: &Bytes| true;
        // Not by way of `Inner::get_or_load`: each `async` function between the value and the caller copies it once more.
        match self.inner.begin(key, any, true) {
            Ok(lookup) => Ok(lookup),
            Err(first) => Box::pin(self.inner.wait(key, ttl, first, &mut any, load)).await,
        }
    }
}

impl Inner {
    /// What [`Cache::get_or_load`] does, of values that the reader takes.
    pub(crate) async fn get_or_load<L, F, E>(
        &self,
        key: &Key,
        ttl: Ttl,
        accept: Accept<'_>,
        load: L,
    ) -> Result<Lookup, LoadError<E>>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<Option<Bytes>, E>>,
    {
        match self.begin(key, &mut *accept, true) {
            Ok(lookup) => Ok(lookup),
            Err(first) => Box::pin(self.wait(key, ttl, first, accept, load)).await,
        }
    }

    /// The rest of a read. To be put into a box, so that the futures of reads stay small: those that need not wait are moved
    /// with the room for it.
    async fn wait<L, F, E>(
        &self,
        key: &Key,
        ttl: Ttl,
        first: First,
        accept: Accept<'_>,
        load: L,
    ) -> Result<Lookup, LoadError<E>>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<Option<Bytes>, E>>,
    {
        let reading = match first {
            Some((found, since)) => Reading::having(self, &found, since),
            None => Reading::new(self),
        };
        let read = pin!(self.read(key, ttl, reading, accept, load));
        observed(key, read).await
    }

    pub(super) async fn read<L, F, E>(
        &self,
        key: &Key,
        ttl: Ttl,
        mut reading: Reading,
        accept: Accept<'_>,
        load: L,
    ) -> Result<Lookup, LoadError<E>>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<Option<Bytes>, E>>,
    {
        // Somebody may have looked before the call.
        let mut look = reading.looked_at.is_none();
        loop {
            let next = if let Some(follower) = self.flights.find(key.name()) {
                self.follow(key, follower, &mut reading).await
            } else {
                if look && reading.reachable {
                    match self.look(key, &mut reading, accept).await {
                        Ok(Found::Fresh { value, ttl, .. }) => return Ok(self.hit(key, value, ttl)),
                        Ok(Found::Stale(_) | Found::Nothing) => {}
                        Err(_) => reading.reachable = false,
                    }
                }
                // Without a cache nothing is shared: every read costs what it costs.
                if self.store.strategy() == Strategy::None {
                    return self.alone(key, &mut reading, accept, load).await;
                }
                if self.background.paused(key)
                    && let Some(stale) = self.fallen_back(key, &mut reading, accept, StaleReason::LoadFailed).await
                {
                    return Ok(stale);
                }
                match self.flights.board(key.name(), Purpose::Miss, reading.looked_since) {
                    Boarding::Lead(flight) => return self.lead(key, ttl, &mut reading, flight, accept, load).await,
                    Boarding::Follow(follower) => self.follow(key, follower, &mut reading).await,
                }
            };
            look = true;
            match next {
                Next::Return(lookup) => return Ok(lookup),
                Next::Again => {}
                Next::Failed | Next::TooLate => {
                    let too_late = matches!(next, Next::TooLate);
                    if let Some(lookup) = self.rescued(key, &mut reading, accept, too_late).await {
                        return Ok(lookup);
                    }
                    if too_late {
                        return Err(LoadError::TimedOut);
                    }
                    return self.alone(key, &mut reading, accept, load).await;
                }
            }
        }
    }

    pub(crate) fn hit(&self, key: &Key, value: Option<Bytes>, ttl: Duration) -> Lookup {
        self.metrics.hit(key.class().name);
        Lookup { value, status: Status::Hit { ttl } }
    }

    async fn follow(&self, key: &Key, follower: Follower, reading: &mut Reading) -> Next {
        let deadline = reading.deadline(key.class());
        match deadline.within(follower.arrive(reading.begun)).await {
            Some(Arrival::Shared { loaded, stored }) => {
                let status = self.missed(key, loaded.source, stored, true);
                Next::Return(Lookup { value: loaded.value, status })
            }
            Some(Arrival::TooOld { source }) => {
                // What the first one waited for in vain need not be waited for again.
                reading.reachable &= source != Some(Source::Fallback);
                Next::Again
            }
            Some(Arrival::Failed) => Next::Failed,
            Some(Arrival::TimedOut) | None => Next::TooLate,
        }
    }

    async fn alone<L, F, E>(
        &self,
        key: &Key,
        reading: &mut Reading,
        accept: Accept<'_>,
        load: L,
    ) -> Result<Lookup, LoadError<E>>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<Option<Bytes>, E>>,
    {
        match self.load(key.class(), reading.deadline(key.class()), load).await {
            Ok((value, _)) => Ok(Lookup { value, status: self.missed(key, reading.source(), false, false) }),
            Err(error) => self.despite(key, reading, accept, error).await,
        }
    }

    /// Calls the loader when it is its turn, within the deadline; how long it took.
    pub(crate) async fn load<L, F, T, E>(
        &self,
        class: KeyClass,
        deadline: Deadline,
        load: L,
    ) -> Result<(T, Duration), LoadError<E>>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<T, E>>,
    {
        let pass = match &self.settings.bulkhead {
            Some(bulkhead) => match deadline.within(bulkhead.enter()).await {
                Some(entered) => Some(entered.map_err(LoadError::Overloaded)?),
                None => return Err(LoadError::TimedOut),
            },
            None => None,
        };
        let mut counted = Counted { inner: self, class, start: Instant::now(), outcome: "cancelled" };
        let result = match &pass {
            Some(_) => deadline.within(admitted(load())).await,
            None => deadline.within(load()).await,
        };
        counted.outcome = match &result {
            Some(Ok(_)) => "loaded",
            Some(Err(_)) => "failed",
            None => "timed_out",
        };
        match result {
            Some(Ok(value)) => Ok((value, counted.start.elapsed())),
            Some(Err(error)) => Err(LoadError::Failed(error)),
            None => Err(LoadError::TimedOut),
        }
    }

    pub(crate) fn missed(&self, key: &Key, source: Source, stored: bool, collapsed: bool) -> Status {
        if source == Source::Fallback {
            self.metrics.fallback(key.class());
            return Status::Fallback;
        }
        self.metrics.miss(key.class());
        Status::Miss { stored: stored || source == Source::Elsewhere, collapsed }
    }
}

impl Reading {
    pub(super) fn source(&self) -> Source {
        if self.reachable { Source::Loader } else { Source::Fallback }
    }
}

/// Counts a load when it ends, also when it is dropped.
struct Counted<'a> {
    inner: &'a Inner,
    class: KeyClass,
    start: Instant,
    outcome: &'static str,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.inner.metrics.load(self.class, self.outcome, self.start.elapsed());
    }
}
