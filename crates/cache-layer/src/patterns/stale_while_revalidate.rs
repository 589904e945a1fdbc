//! A value past its TTL is served at once, marked as stale, while it is loaded anew in the background.
//!
//! **Promises**: a read waits for the database only when nothing is kept. A value that was invalidated is gone and is never
//! served, however young: what may be late is the *expiry*, by at most [`KeyClass::stale_for`](crate::KeyClass::stale_for). What is
//! served past its TTL says so ([`Status::Stale`](crate::Status::Stale)). The load in the background takes a lease, so an invalidation
//! during it voids it.
//!
//! **Gives up**: changes that nobody invalidates (another system's, a clock's) show up one read later than the TTL, or later still when
//! reads are rare. While loads fail, values are served until `stale_for` ends, with one try a second for each key
//! ([`Cache::with_retry_after`](crate::Cache::with_retry_after)).
//!
//! With [`ServeStale::OnError`](crate::ServeStale::OnError) instead, the read waits for the load, and has the stale value only when that
//! fails or takes longer than the soft timeout (fail-safe).
//!
//! ```no_run
//! use cache_layer::{Cache, Key, KeyClass, ServeStale, Ttl};
//! use std::time::Duration;
//!
//! const MINUTE: Duration = Duration::from_secs(60);
//! const DASHBOARDS: KeyClass =
//!     KeyClass::new("dashboards", MINUTE).stale(ServeStale::WhileRevalidating, MINUTE.saturating_mul(10));
//!
//! # async fn doc(cache: Cache) -> Result<(), Box<dyn std::error::Error>> {
//! let load = || async { Ok::<_, std::io::Error>(Some("from the database".into())) };
//! let found = cache.get_or_refresh(&Key::new(DASHBOARDS, "dashboards:7"), Ttl::Class, load).await?;
//! # Ok(()) }
//! ```
