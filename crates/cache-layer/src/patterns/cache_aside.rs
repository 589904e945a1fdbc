//! The application reads the cache first and the database on a miss; it writes the database and then removes what that made invalid.
//!
//! **Promises**: a value read before an invalidation is never stored after it (a fill needs the lease that the miss took).
//! Nothing is lost with the cache: the database has everything.
//!
//! **Gives up**: the first read after each write waits for the database. Between commit and invalidation (a round trip) other
//! readers have the old value; a writer that dies in between leaves it until its TTL, unless an outbox tells the others
//! ([`Coherence::Outbox`](crate::Coherence::Outbox)).
//!
//! ```no_run
//! use cache_layer::{Cache, Invalidation, Ttl, key::POSTS};
//! # async fn read() -> Result<Option<bytes::Bytes>, std::io::Error> { Ok(None) }
//! # async fn commit() -> Result<(), std::io::Error> { Ok(()) }
//! # async fn doc(cache: Cache) -> Result<(), Box<dyn std::error::Error>> {
//! let found = cache.get_or_load(&POSTS.item(7), Ttl::Class, read).await?;
//! let what = Invalidation::new().key(&POSTS.item(7)).tag(POSTS.lists());
//! let written = cache.write_around(what, commit()).await?;
//! # Ok(()) }
//! ```

use super::write_through::in_own_task;
use crate::cache::{Cache, Invalidated};
use crate::store::Invalidation;

/// A committed write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written<W> {
    /// What the write answered.
    pub answer: W,
    /// What became of the invalidation.
    pub invalidated: Invalidated,
}

impl Cache {
    /// Commits a write, then invalidates what it changed. Both in a task of their own: a caller that goes away in between
    /// does not leave a stale value behind.
    ///
    /// # Errors
    /// Those of the write. Nothing is invalidated then: if an error leaves open whether the write was committed (a lost
    /// connection), call [`Cache::invalidate`] all the same.
    pub async fn write_around<W, E>(
        &self,
        what: Invalidation,
        write: impl Future<Output = Result<W, E>> + Send + 'static,
    ) -> Result<Written<W>, E>
    where
        W: Send + 'static,
        E: Send + 'static,
    {
        let cache = self.clone();
        in_own_task(async move {
            let answer = write.await?;
            Ok(Written { answer, invalidated: cache.invalidate(&what).await })
        })
        .await
    }
}
