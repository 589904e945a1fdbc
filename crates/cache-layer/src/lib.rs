//! A cache in front of a database: one interface over Redis, memory and nothing.
//!
//! - [`key`]: every key and TTL, as data in one place.
//! - [`store`]: the [`CacheStore`] interface and its strategies [`RedisStore`], [`MemoryStore`], [`TwoTier`],
//!   [`NoopStore`].
//! - [`Cache`]: cache-aside over any store: [`Cache::get_or_load`], [`Cache::get_or_refresh`], [`Cache::invalidate`].
//! - [`patterns`]: the ways to use a cache, each with what it promises and gives up.
//! - [`cached`]: memoises an async function.
//! - [`value`]: what a cached value looks like in a store.
//! - [`promise`]: what makes answers fresh within a stated time, whatever happens to Redis.
//! - `http` (feature): a tower layer that caches responses by itself.
//! - `encryption` (feature): the keys that values of [sealed](KeyClass::sealed) classes, and sessions, are encrypted with.
//! - `session` (feature `sessions`): sessions, encrypted and shared by all instances.
//! - `manage` (feature): endpoints to look at it, clear it and warm it.
//! - [`breaker`]: the circuit breaker that stands before Redis; [`bulkhead`]: the limit that stands before the database.
//! - [`warm`]: putting into the cache what will be read; [`Health`], [`Statistics`], [`Sampler`]: how it is.
//! - [`Metrics`]: what happened, for Prometheus.
//!
//! # What is promised
//!
//! **A value read before an invalidation is never stored after it.** A miss hands out a [`Lease`]; a fill succeeds
//! only while that lease stands; a delete voids it. A lease is a permission that must be *present*: whatever Redis
//! loses (eviction, `FLUSHALL`, an empty restart, an external `DEL`), the fill fails and nothing stale is stored.
//! A cache that merely deletes after commit does not have this property: a slow reader stores the old value after
//! the delete, and it stays for the whole TTL.
//!
//! **No request waits for Redis to come back.** A command waits at most 50 ms and all commands of one request together
//! at most 100 ms; connections are replaced in the background, and while the breaker is open a call answers in microseconds.
//!
//! **An invalidation that Redis did not confirm is owed, not forgotten.** It is kept in memory and replayed before this
//! process reads the cache again. That does not cover a writer that dies between its commit and the replay, nor *other*
//! processes, which may read the old value until the replay or the TTL.
//!
//! **With [`Coherence::Outbox`] nothing served as fresh is older than Δ**, through all of that and through flush, restart, old
//! snapshot and failover; see [`promise`].
//!
//! ```no_run
//! use cache_layer::{Cache, CacheConfig, Invalidation, Metrics, Status, Ttl, key::POSTS};
//! # async fn doc() -> Result<(), Box<dyn std::error::Error>> {
//! let cache = CacheConfig::redis("redis://127.0.0.1:6379").open(Metrics::default())?;
//! let found = cache
//!     .get_or_load(&POSTS.item(7), Ttl::Class, || async { Ok::<_, std::io::Error>(Some("from the database".into())) })
//!     .await?;
//! assert!(!matches!(found.status, Status::Stale { .. } | Status::Bypass));
//! // after the commit of a write:
//! cache.invalidate(&Invalidation::new().key(&POSTS.item(7)).tag(POSTS.lists())).await;
//! # Ok(()) }
//! ```

mod advice;
mod backoff;
pub mod breaker;
pub mod bulkhead;
mod cache;
mod config;
#[cfg(feature = "encryption")]
pub mod encryption;
mod glob;
mod health;
#[cfg(feature = "http")]
pub mod http;
pub mod key;
#[cfg(feature = "manage")]
pub mod manage;
#[doc(hidden)]
pub mod memo;
mod metrics;
pub mod patterns;
pub mod promise;
mod sampler;
#[cfg(feature = "sessions")]
pub mod session;
mod statistics;
pub mod store;
pub mod value;
pub mod warm;

pub use bulkhead::{Bulkhead, BulkheadConfig, Full};
pub use cache::{
    Cache, Clock, Invalidated, LoadError, Lookup, SetError, StaleReason, Status, SystemClock, Ttl, Typed, Warmed,
};
/// ```
/// # use cache_layer::{Cache, CacheConfig, Metrics, cached};
/// struct Reports {
///     cache: Cache,
/// }
///
/// impl Reports {
///     #[cached(cache = "self.cache", ttl = "5m", prefix = "reports")]
///     async fn sales(&self, region: &str, year: u32) -> Result<u64, std::io::Error> {
///         // … a query that takes long …
///         Ok(u64::from(year) + region.len() as u64)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let reports = Reports { cache: CacheConfig::memory().open(Metrics::default())? };
/// assert_eq!(reports.sales("north", 2026).await?, 2031);
/// assert_eq!(reports.cache.scan("reports:*", 10).await?, ["reports:sales:north:2026"]);
/// # Ok(()) }
/// ```
pub use cache_layer_macros::cached;
pub use config::{CacheConfig, Coherence, ConfigError, Environment, Profile, Settings, Strategy};
pub use health::{Health, Outbox, ServerHealth, State};
pub use key::{Key, KeyClass, Refresh, ServeStale, Service, Tag};
pub use metrics::Metrics;
pub use sampler::Sampler;
pub use statistics::{ClassStatistics, Latency, LoadStatistics, OperationStatistics, Statistics};
pub use store::{
    Address, CacheError, CacheStore, Cached, Credentials, Eviction, Feed, Invalidation, Kept, Lease, Leased,
    MemoryConfig, MemoryStore, NoopStore, Peeked, RedisConfig, RedisStore, SentinelTls, ServerInfo, StoreStatus,
    TlsConfig, Topology, TwoTier, TwoTierConfig,
};
