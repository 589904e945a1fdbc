//! Two tiers: the memory of this process in front of a cache that all share.
//!
//! A hit in the first tier costs no round trip. It is kept coherent between processes: each deletion in the second tier is told to all
//! over Redis Pub/Sub, behind the deletion in the same round trip. The first tier is used only while the news are known to be
//! complete, which a ping on their connection proves several times a second: when the subscription is lost, the tier is emptied, and
//! not used until there is another.
//!
//! *Promised*: what one process deleted, it does not read again; a value read before an invalidation is not put into the first tier
//! after it. *Given up*: another process may serve a value from its memory for the time that the message takes to it (a millisecond or
//! so), and for [`TwoTierConfig::news_good_for`] at most when its connection falls silent. What a process could not delete for want of
//! Redis, it cannot tell either: the others then have no news, and no first tier. Under a lost master that still answers some, values may
//! be served for [`TwoTierConfig::ttl`] at most.
//!
//! # With the outbox
//!
//! Under [`Coherence::Outbox`] the first tier is one more [`Ground`] of the [`Promise`](crate::promise::Promise): each process follows the
//! outbox for its own memory, from a position that it keeps in memory, whatever became of Redis. A round that began at *b* makes the
//! tier usable until *b* + Δ, by this process's monotonic clock; without another by then it is not used, and when one comes, what was committed
//! meanwhile is applied first. Pub/Sub remains, as the faster way, and proves nothing.
//!
//! The process may be ahead of Redis: it has applied a commit that the relay of Redis has not, and Redis rightly goes on to answer with
//! the old value, for Δ at most. Kept here, that value would stay: its invalidation is over. So for 1¼ Δ after an invalidation out of
//! the outbox, what it covers is kept only as loaded from the database under a lease, and not as read from Redis. The quarter is
//! for clocks of Redis hosts that differ at a failover; by more, and a value may be old by [`TwoTierConfig::ttl`].
//!
//! So the promise holds with Redis away, and even with messages lost: a value served as fresh reflects every commit older than Δ.
//!
//! Classes that are [`shared_only`](crate::KeyClass::shared_only), as sessions are, and counters pass by the first tier.

mod ground;
mod local;

pub(super) use local::Local;
pub(crate) use local::Seen;

use super::eviction::Eviction;
use super::{
    CacheError, CacheStore, Cached, Invalidation, Lease, Leased, Peeked, RedisStore, ServerInfo, StoreStatus, bounded,
};
use crate::config::{Coherence, Strategy};
use crate::key::Key;
use crate::metrics::{Metrics, TierMetrics};
use crate::promise::Ground;
use async_trait::async_trait;
use bytes::Bytes;
use ground::MemoryGround;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How the first tier is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwoTierConfig {
    /// Keys and values of the first tier together, in bytes.
    pub max_bytes: u64,
    /// What leaves the first tier first when it is full.
    pub eviction: Eviction,
    /// The longest a value stays in the first tier; also the longest that it can be wrong, whatever goes wrong with the news.
    pub ttl: Duration,
    /// Where the news come from; under [`Coherence::Outbox`] always [`Feed::Relay`].
    pub feed: Feed,
    /// For how long the news are taken for complete after a sign of life was asked for. Asked for four times as often.
    pub news_good_for: Duration,
}

impl Default for TwoTierConfig {
    /// 64 MiB, [`Eviction::Lru`], 10 s, by Pub/Sub, 1 s.
    fn default() -> Self {
        let (ttl, news_good_for) = (Duration::from_secs(10), Duration::from_secs(1));
        Self { max_bytes: 64 << 20, eviction: Eviction::default(), ttl, feed: Feed::PubSub, news_good_for }
    }
}

/// Where the news come from that keep the first tier coherent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// Redis Pub/Sub.
    PubSub,
    /// A [`Promise`](crate::promise::Promise), or whoever else calls [`CacheStore::feed`] and [`CacheStore::feed_alive`]. Until it says
    /// that the feed is alive, the first tier is not used. Pub/Sub is listened to as well, for speed.
    Relay,
}

/// The strategy `two-tier`. See the [module](self).
pub struct TwoTier {
    local: Arc<Local>,
    shared: Arc<dyn CacheStore>,
    metrics: TierMetrics,
    feed: Feed,
    background: Mutex<JoinSet<()>>,
}

impl fmt::Debug for TwoTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TwoTier").field("local_entries", &self.local.len()).finish_non_exhaustive()
    }
}

/// Forgets what is being deleted when the deletion ends, however it ends.
struct Forget<'a> {
    local: &'a Local,
    what: &'a Invalidation,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.local.forget(self.what);
    }
}

impl TwoTier {
    /// In front of a cache in Redis, which must [announce](crate::RedisConfig::announce) its deletions, as must that of every process which
    /// shares it. Needs a tokio runtime.
    #[must_use]
    pub fn over_redis(redis: RedisStore, config: &TwoTierConfig, metrics: &Metrics) -> Self {
        let feed = if redis.coherence() == Coherence::Outbox { Feed::Relay } else { config.feed };
        let config = TwoTierConfig { feed, news_good_for: bounded(config.news_good_for), ..config.clone() };
        let listener = redis.listener();
        let this = Self::new(Arc::new(redis), &config, metrics);
        let local = Arc::clone(&this.local);
        this.lock().spawn(async move { listener.listen(&local, &config).await });
        this
    }

    /// In front of any cache. Until [`CacheStore::feed_alive`] is told so, or a promise runs, the first tier is not used.
    #[must_use]
    pub fn new(shared: Arc<dyn CacheStore>, config: &TwoTierConfig, metrics: &Metrics) -> Self {
        let local = Arc::new(Local::new(config.max_bytes, bounded(config.ttl), config.eviction));
        Self { local, shared, metrics: metrics.tiers(), feed: config.feed, background: Mutex::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.background.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, key: &Key) -> Option<Cached> {
        if key.class().shared_only { None } else { self.local.get(key) }
    }

    fn look_and_count(&self, key: &Key) -> Option<Cached> {
        let found = self.look(key);
        if !key.class().shared_only {
            self.metrics.local(found.is_some());
        }
        found
    }

    fn keep(&self, key: &Key, seen: Option<Seen>, found: &Result<Option<Cached>, CacheError>) {
        if let (Some(seen), Ok(Some(cached))) = (seen, found) {
            self.local.put(key.name(), seen, &cached.value, cached.ttl, Instant::now());
        }
    }

    /// What was stored in the second tier for a lease: kept here too, or else what was here before goes.
    fn keep_filled(&self, lease: &Lease, bytes: &Bytes, ttl: Duration, filled: &Result<bool, CacheError>) {
        let Some((name, seen)) = &lease.seen else { return };
        match filled {
            Ok(true) => self.local.put(name, seen.clone(), bytes, ttl, Instant::now()),
            Ok(false) => {}
            // Whether it was stored is not known.
            Err(_) => self.local.forget(&Invalidation::new().name(name.clone())),
        }
    }
}

#[async_trait]
impl CacheStore for TwoTier {
    fn strategy(&self) -> Strategy {
        Strategy::TwoTier
    }

    fn status(&self) -> StoreStatus {
        self.metrics.alive(self.local.is_alive(Instant::now()));
        self.metrics.entries(self.local.len());
        self.shared.status()
    }

    async fn get(&self, key: &Key) -> Result<Option<Cached>, CacheError> {
        if let Some(cached) = self.look_and_count(key) {
            return Ok(Some(cached));
        }
        let seen = self.local.seen_below(key, Instant::now());
        let found = self.shared.get(key).await;
        self.keep(key, seen, &found);
        found
    }

    fn answers_within(&self) -> Option<Duration> {
        self.shared.answers_within()
    }

    /// From the first tier. What is not there is counted by the `get` that follows.
    fn at_hand(&self, key: &Key) -> Option<Cached> {
        let found = self.look(key);
        if found.is_some() {
            self.metrics.local(true);
        }
        found
    }

    async fn get_many(&self, keys: &[Key]) -> Vec<Result<Option<Cached>, CacheError>> {
        let mut found: Vec<_> = keys.iter().map(|key| Ok(self.look_and_count(key))).collect();
        let missed: Vec<usize> = (0..keys.len()).filter(|i| matches!(found[*i], Ok(None))).collect();
        if missed.is_empty() {
            return found;
        }
        let now = Instant::now();
        let seen: Vec<_> = missed.iter().map(|i| self.local.seen_below(&keys[*i], now)).collect();
        let asked: Vec<Key> = missed.iter().map(|i| keys[*i].clone()).collect();
        let answers = self.shared.get_many(&asked).await;
        for ((i, seen), answer) in missed.into_iter().zip(seen).zip(answers) {
            self.keep(&keys[i], seen, &answer);
            found[i] = answer;
        }
        found
    }

    /// Of the second tier: nothing of it is kept in the first.
    async fn get_untrusted(&self, keys: &[Key]) -> Vec<Result<Option<Cached>, CacheError>> {
        self.shared.get_untrusted(keys).await
    }

    async fn lease(&self, key: &Key) -> Result<Leased, CacheError> {
        let seen = self.local.seen(key, Instant::now());
        Ok(with_seen(self.shared.lease(key).await?, key, seen))
    }

    async fn lease_many(&self, keys: &[Key]) -> Vec<Result<Leased, CacheError>> {
        let now = Instant::now();
        let seen: Vec<_> = keys.iter().map(|key| self.local.seen(key, now)).collect();
        let leased = self.shared.lease_many(keys).await.into_iter();
        leased.zip(keys).zip(seen).map(|((leased, key), seen)| Ok(with_seen(leased?, key, seen))).collect()
    }

    async fn fill(&self, lease: &Lease, value: &Bytes, ttl: Duration) -> Result<bool, CacheError> {
        let filled = self.shared.fill(lease, value, ttl).await;
        self.keep_filled(lease, value, ttl, &filled);
        filled
    }

    async fn fill_many(&self, fills: &[(Lease, Bytes, Duration)]) -> Vec<Result<bool, CacheError>> {
        let filled = self.shared.fill_many(fills).await;
        for ((lease, value, ttl), filled) in fills.iter().zip(&filled) {
            self.keep_filled(lease, value, *ttl, filled);
        }
        filled
    }

    async fn release(&self, lease: Lease) {
        self.shared.release(lease).await;
    }

    async fn set(&self, key: &Key, value: &Bytes, ttl: Duration) -> Result<(), CacheError> {
        let what = Invalidation::new().key(key);
        let _forget = Forget { local: &self.local, what: &what };
        self.shared.set(key, value, ttl).await
    }

    async fn set_many(&self, values: &[(Key, Bytes, Duration)]) -> Vec<Result<(), CacheError>> {
        let what = values.iter().fold(Invalidation::new(), |what, (key, ..)| what.key(key));
        let _forget = Forget { local: &self.local, what: &what };
        self.shared.set_many(values).await
    }

    async fn set_if_absent(&self, key: &Key, value: &Bytes, ttl: Duration) -> Result<bool, CacheError> {
        let what = Invalidation::new().key(key);
        let _forget = Forget { local: &self.local, what: &what };
        self.shared.set_if_absent(key, value, ttl).await
    }

    async fn add(&self, key: &Key, by: i64, ttl: Duration) -> Result<i64, CacheError> {
        self.shared.add(key, by, ttl).await
    }

    async fn ttl(&self, key: &Key) -> Result<Option<Duration>, CacheError> {
        self.shared.ttl(key).await
    }

    async fn expire(&self, key: &Key, ttl: Duration) -> Result<bool, CacheError> {
        let what = Invalidation::new().key(key);
        let _forget = Forget { local: &self.local, what: &what };
        self.shared.expire(key, ttl).await
    }

    async fn confirm(&self, what: &Invalidation) -> bool {
        self.shared.confirm(what).await
    }

    async fn delete(&self, what: &Invalidation) -> Result<u64, CacheError> {
        let _forget = Forget { local: &self.local, what };
        self.shared.delete(what).await
    }

    async fn clear(&self) -> Result<u64, CacheError> {
        let what = Invalidation::everything();
        let _forget = Forget { local: &self.local, what: &what };
        self.shared.clear().await
    }

    async fn scan(&self, pattern: &str, at_most: usize) -> Result<Vec<String>, CacheError> {
        self.shared.scan(pattern, at_most).await
    }

    async fn exists(&self, key: &Key) -> Result<bool, CacheError> {
        self.shared.exists(key).await
    }

    async fn peek(&self, name: &str) -> Result<Option<Peeked>, CacheError> {
        self.shared.peek(name).await
    }

    fn feed(&self, what: &Invalidation) {
        self.local.forget(what);
    }

    fn feed_alive(&self, alive: bool) {
        if alive { self.local.alive(None) } else { self.local.lost() }
    }

    fn grounds(&self, delta: Duration) -> Vec<Arc<dyn Ground>> {
        let mut grounds = self.shared.grounds(delta);
        if self.feed == Feed::Relay {
            grounds.push(Arc::new(MemoryGround::new(Arc::clone(&self.local), delta)));
        }
        grounds
    }

    async fn servers(&self) -> Vec<ServerInfo> {
        self.shared.servers().await
    }

    /// When the second tier is; the first follows when its news come in.
    async fn ready(&self) {
        self.shared.ready().await;
    }

    async fn ping(&self) -> Vec<(String, Result<Duration, CacheError>)> {
        self.shared.ping().await
    }

    async fn close(&self, at_most: Duration) {
        self.lock().abort_all();
        self.local.close();
        self.shared.close(at_most).await;
    }
}

fn with_seen(leased: Leased, key: &Key, seen: Option<Seen>) -> Leased {
    match leased {
        Leased::Granted(mut lease) => {
            lease.seen = seen.map(|seen| (key.name().to_owned(), seen));
            Leased::Granted(lease)
        }
        Leased::Held(left) => Leased::Held(left),
        Leased::Never => Leased::Never,
    }
}
