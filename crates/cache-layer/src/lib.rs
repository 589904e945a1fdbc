//! A cache in front of a database: one interface over Redis, memory and nothing.
//!
//! - [`key`]: every key and TTL, as data in one place.
//! - [`store`]: the [`CacheStore`] interface and its strategies [`RedisStore`], [`MemoryStore`], [`NoopStore`].
//! - [`Cache`]: cache-aside over any store: [`Cache::get_or_load`], [`Cache::invalidate`].
//! - [`breaker`]: the circuit breaker that stands before Redis.
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
//! process reads the cache again. What that does not cover: a writer that dies between its commit and the replay,
//! and *other* processes, which may read the old value until the replay or the TTL. So in this version an outage with
//! several instances can show stale values for at most one TTL; only an outbox in the database closes that.
//!
//! ```no_run
//! use cache_layer::{Cache, CacheConfig, Invalidation, Metrics, Status, Ttl, key::POSTS};
//! # async fn doc() -> Result<(), Box<dyn std::error::Error>> {
//! let cache = CacheConfig::redis("redis://127.0.0.1:6379").open(Metrics::default())?;
//! let found = cache
//!     .get_or_load(&POSTS.item(7), Ttl::Class, || async { Ok::<_, std::io::Error>(Some("from the database".into())) })
//!     .await?;
//! assert!(matches!(found.status, Status::Hit { .. } | Status::Miss { .. } | Status::Fallback));
//! // after the commit of a write:
//! cache.invalidate(&Invalidation::new().key(&POSTS.item(7)).group(POSTS.lists())).await;
//! # Ok(()) }
//! ```

mod backoff;
pub mod breaker;
mod cache;
mod config;
mod flight;
mod glob;
pub mod key;
mod metrics;
pub mod store;

pub use cache::{Cache, Invalidated, Lookup, Status, Ttl};
pub use config::{CacheConfig, ConfigError, Strategy};
pub use key::{Group, Key, KeyClass, Service};
pub use metrics::Metrics;
pub use store::{
    CacheError, CacheStore, Cached, Invalidation, Lease, MemoryConfig, MemoryStore, NoopStore, RedisConfig, RedisStore,
    StoreStatus,
};
