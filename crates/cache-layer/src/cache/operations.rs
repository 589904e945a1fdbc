//! The store's operations on values in envelopes: timed, and bounded by what one request may wait.

use super::{ALL, Budget, Cache, Found, Inner, Ttl};
use crate::key::{Key, KeyClass};
use crate::store::{CacheError, Cached, Invalidation, ServerInfo};
use bytes::Bytes;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Operations that pass over many keys, or ask servers for their state, are for operators, not for requests: they may take so long.
const OPERATOR_PATIENCE: Duration = Duration::from_secs(10);

/// What became of an invalidation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalidated {
    /// Done; so many keys went.
    Done(u64),
    /// Not confirmed by the cache. It is owed: this process does not read the cache until it is made up for.
    Owed,
}

impl Cache {
    /// The value, if the cache has one that is fresh.
    ///
    /// # Errors
    /// The cache gave no answer.
    pub async fn get(&self, key: &Key) -> Result<Option<Bytes>, CacheError> {
        let mut answers = self.get_many(std::slice::from_ref(key)).await;
        answers.pop().unwrap_or(Ok(None))
    }

    /// [`Cache::get`] for many keys in one round trip (one for each server that has some of them); the answers are in the order
    /// of the keys.
    pub async fn get_many(&self, keys: &[Key]) -> Vec<Result<Option<Bytes>, CacheError>> {
        let inner = &*self.inner;
        let answers = inner.get_all(&mut inner.budget(), keys).await;
        let open = |(key, answer): (&Key, Result<Option<Cached>, CacheError>)| {
            let Some(cached) = answer? else { return Ok(None) };
            Ok(match inner.open(key, cached, &mut |_| true) {
                Found::Fresh { value, .. } => value,
                Found::Stale(_) | Found::Nothing => None,
            })
        };
        keys.iter().zip(answers).map(open).collect()
    }

    /// Stores a value whatever was there, and voids the loads of its key that are going on.
    ///
    /// For values that have their home in the cache. A value that was read from a database may be outdated by now: for those, there are
    /// [`Cache::get_or_load`] and [`Cache::write_through`].
    ///
    /// # Errors
    /// The cache did not confirm it: it may hold this value or the one before.
    pub async fn set(&self, key: &Key, value: Bytes, ttl: Ttl) -> Result<(), CacheError> {
        let mut answers = self.set_many(&[(key.clone(), value)], ttl).await;
        answers.pop().unwrap_or(Ok(()))
    }

    /// [`Cache::set`] for many keys at once; the answers are in their order.
    pub async fn set_many(&self, values: &[(Key, Bytes)], ttl: Ttl) -> Vec<Result<(), CacheError>> {
        let inner = &*self.inner;
        let packed = values.iter().map(|(key, value)| {
            let packed = inner.pack(key, ttl, Some(value.clone()), Duration::ZERO)?;
            Some((key.clone(), packed.bytes, packed.kept_for))
        });
        // What cannot be encrypted is not kept.
        let packed: Vec<Option<_>> = packed.collect();
        let is_kept: Vec<bool> = packed.iter().map(Option::is_some).collect();
        let packed: Vec<_> = packed.into_iter().flatten().collect();
        let classes = packed.iter().map(|(key, ..)| key.class());
        let all = inner.store.set_many(&packed);
        let done = inner.timed_all("set", classes, &mut inner.budget(), all, |()| "done").await;
        let mut done = done.into_iter();
        is_kept.iter().map(|is_kept| if *is_kept { done.next().unwrap_or(Ok(())) } else { Ok(()) }).collect()
    }

    /// Stores a value if the cache has none. Whether it did.
    ///
    /// # Errors
    /// The cache did not confirm it.
    pub async fn set_if_absent(&self, key: &Key, value: Bytes, ttl: Ttl) -> Result<bool, CacheError> {
        let inner = &*self.inner;
        let Some(packed) = inner.pack(key, ttl, Some(value), Duration::ZERO) else { return Ok(false) };
        let setting = inner.store.set_if_absent(key, &packed.bytes, packed.kept_for);
        let outcome = |stored: &bool| if *stored { "stored" } else { "there" };
        inner.timed(key.class().name, "set_if_absent", inner.budget().wait(setting), outcome).await
    }

    /// Removes what a write made invalid. Call it after the commit and before the write is acknowledged, from a task that is not
    /// cancelled when the client goes away ([`Cache::write_around`] does both). Waits at most as long as one request may, and never
    /// fails.
    pub async fn invalidate(&self, what: &Invalidation) -> Invalidated {
        let result = self.inner.timed(ALL, "delete", self.inner.store.delete(what), |_| "done").await;
        // What was told needs no relay in haste; but the first that gets through again says that the cache is back.
        if self.inner.owed_last.swap(result.is_err(), Ordering::Relaxed) || result.is_err() {
            self.inner.invalidations.send_modify(|n| *n += 1);
        }
        self.inner.metrics.invalidation(if result.is_ok() { "done" } else { "owed" });
        result.map_or(Invalidated::Owed, Invalidated::Done)
    }

    /// Whether an invalidation that was [done](Invalidated::Done) is with every replica of Redis, so that no failover brings the old
    /// value back; costs two round trips, and up to four times the command timeout where a replica lags. False: unknown.
    ///
    /// A replica that left its master within the last [15 s](crate::RedisConfig::replicas_remembered) may be the one that takes over, so
    /// it counts. Who left is known of a server that has been watched for so long without a gap; until then, and again after an outage,
    /// this is false, unless the server has had no replica since it started and has been up for so long. Watching begins with the first
    /// call, or [at the start](crate::RedisConfig::watch_replicas).
    pub async fn confirm(&self, what: &Invalidation) -> bool {
        self.inner.store.confirm(what).await
    }

    /// [`Cache::invalidate`] for one key.
    pub async fn delete(&self, key: &Key) -> Invalidated {
        self.invalidate(&Invalidation::new().key(key)).await
    }

    /// [`Cache::invalidate`] for many keys, in one round trip.
    pub async fn delete_many(&self, keys: &[Key]) -> Invalidated {
        self.invalidate(&keys.iter().fold(Invalidation::new(), Invalidation::key)).await
    }

    /// Whether the cache keeps something under a key: a value (fresh, stale, or that there is none) or a counter.
    ///
    /// # Errors
    /// The cache gave no answer.
    pub async fn exists(&self, key: &Key) -> Result<bool, CacheError> {
        Ok(self.ttl(key).await?.is_some())
    }

    /// How long the cache keeps what it has under a key, the time in which it may be served as stale included.
    ///
    /// # Errors
    /// The cache gave no answer.
    pub async fn ttl(&self, key: &Key) -> Result<Option<Duration>, CacheError> {
        let outcome = |ttl: &Option<Duration>| if ttl.is_some() { "found" } else { "absent" };
        self.inner.timed(key.class().name, "ttl", self.inner.budget().wait(self.inner.store.ttl(key)), outcome).await
    }

    /// Keeps what is there for so long from now. Whether something was there. In a class that keeps stale values, this
    /// does not make a value fresh for longer.
    ///
    /// # Errors
    /// The cache did not confirm it.
    pub async fn expire(&self, key: &Key, ttl: Duration) -> Result<bool, CacheError> {
        let outcome = |was: &bool| if *was { "done" } else { "absent" };
        self.inner
            .timed(key.class().name, "expire", self.inner.budget().wait(self.inner.store.expire(key, ttl)), outcome)
            .await
    }

    /// Adds to a counter, which begins at 0 and lives from then on for `ttl`. The new count. A count is lost with its cache: not
    /// for money.
    ///
    /// # Errors
    /// The cache did not confirm it: it may have counted or not.
    pub async fn increment(&self, key: &Key, by: i64, ttl: Ttl) -> Result<i64, CacheError> {
        let ttl = match ttl {
            Ttl::Class => key.class().ttl,
            Ttl::Fixed(ttl) => ttl,
        };
        let adding = self.inner.store.add(key, by, ttl);
        self.inner.timed(key.class().name, "increment", self.inner.budget().wait(adding), |_| "done").await
    }

    /// [`Cache::increment`], the other way.
    ///
    /// # Errors
    /// The cache did not confirm it: it may have counted or not.
    pub async fn decrement(&self, key: &Key, by: i64, ttl: Ttl) -> Result<i64, CacheError> {
        self.increment(key, by.saturating_neg(), ttl).await
    }

    /// Names that match a pattern as Redis has them (`posts:*`), at most so many. A pass over all keys in small steps: it does not block
    /// the server, but is not for every request.
    ///
    /// # Errors
    /// The cache gave no answer, or the pass takes longer than 10 s.
    pub async fn scan(&self, pattern: &str, at_most: usize) -> Result<Vec<String>, CacheError> {
        let scanning = patiently(self.inner.store.scan(pattern, at_most));
        self.inner.timed(ALL, "scan", scanning, |_| "done").await
    }

    /// Removes everything the layer stored.
    ///
    /// # Errors
    /// The cache could not be cleared in time; that is owed now.
    pub async fn clear(&self) -> Result<u64, CacheError> {
        self.inner.timed(ALL, "clear", self.inner.store.clear(), |_| "done").await
    }

    /// What the servers say of themselves, asked now; empty for strategies without any, and where none answers within 10 s.
    pub async fn servers(&self) -> Vec<ServerInfo> {
        timeout(OPERATOR_PATIENCE, self.inner.store.servers()).await.unwrap_or_default()
    }

    /// Asks the servers whether they are there, and how long they took to answer.
    ///
    /// # Errors
    /// None answered within the time that one request may wait.
    pub async fn ping(&self) -> Result<Duration, CacheError> {
        use crate::config::Strategy;
        if matches!(self.strategy(), Strategy::Memory | Strategy::None) {
            return Ok(Duration::ZERO);
        }
        let start = Instant::now();
        let answered = async {
            let servers = self.inner.store.servers().await;
            if servers.is_empty() { Err(CacheError::Unavailable("no server answers")) } else { Ok(start.elapsed()) }
        };
        self.inner.timed(ALL, "ping", self.inner.budget().wait(answered), |_| "done").await
    }
}

impl Inner {
    pub(crate) fn budget(&self) -> Budget {
        Budget(self.settings.request_budget)
    }

    pub(crate) async fn get_all(&self, budget: &mut Budget, keys: &[Key]) -> Vec<Result<Option<Cached>, CacheError>> {
        let outcome = |found: &Option<Cached>| if found.is_some() { "hit" } else { "miss" };
        self.timed_all("get", keys.iter().map(Key::class), budget, self.store.get_many(keys), outcome).await
    }

    /// Runs an operation on many keys (of these classes) and counts it, each key with the time of the whole.
    pub(crate) async fn timed_all<T>(
        &self,
        operation: &'static str,
        classes: impl ExactSizeIterator<Item = KeyClass>,
        budget: &mut Budget,
        work: impl Future<Output = Vec<Result<T, CacheError>>>,
        outcome: impl Fn(&T) -> &'static str,
    ) -> Vec<Result<T, CacheError>> {
        let keys = classes.len();
        if keys == 0 {
            return Vec::new();
        }
        let start = Instant::now();
        let late = || std::iter::repeat_with(|| Err(CacheError::Timeout)).take(keys).collect();
        let answers = budget.wait_all(work).await.unwrap_or_else(late);
        let took = start.elapsed();
        for (class, answer) in classes.zip(&answers) {
            let outcome = match answer {
                Ok(value) => outcome(value),
                Err(error) => self.failed(operation, error),
            };
            self.metrics.operation(class.name, operation, outcome, took);
        }
        answers
    }
}

async fn patiently<T>(work: impl Future<Output = Result<T, CacheError>>) -> Result<T, CacheError> {
    timeout(OPERATOR_PATIENCE, work).await.unwrap_or(Err(CacheError::Timeout))
}
