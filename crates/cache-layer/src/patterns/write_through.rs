//! A write goes to the database and, as part of the write, into the cache: the next read is a hit.
//!
//! **Promises**: what [`cache_aside`](super::cache_aside) does. In particular two writers cannot leave the cache with the
//! older value, whatever their order.
//!
//! **Gives up**: one read of the database for each write, and that time before the write is acknowledged.
//!
//! Why a read, when the writer knows what it wrote? Because another writer may commit a newer value between this one's commit and
//! its fill. Setting the older value then leaves it in the cache for its whole TTL, with no fault at all; and a lease taken after the
//! commit does not notice, for the other's invalidation may have come before it. A value may be filled only if it was *read* after the
//! lease was taken. So: commit; invalidate (which voids the leases of slow readers); take a lease; read; fill.

use super::cache_aside::Written;
use crate::cache::{Cache, Invalidated, Ttl};
use crate::key::Key;
use crate::store::Invalidation;
use crate::{Lookup, Status};
use bytes::Bytes;

/// A write that was committed, and whether its value is cached already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenThrough<W> {
    /// What the write answered.
    pub answer: W,
    /// What became of the invalidation.
    pub invalidated: Invalidated,
    /// Whether the cache has the value of the key, as of this write or a later one. If not, the next read loads it.
    pub cached: bool,
}

impl Cache {
    /// Commits a write, invalidates its key and `also` what else shows it, then reads the new value with `load` into the cache.
    /// All in a task of its own: a caller that goes away does not stop it half-way.
    ///
    /// `load` as for [`Cache::get_or_load`]. Should it fail, the write stands and is only not cached.
    ///
    /// # Errors
    /// Those of the write; see [`Cache::write_around`].
    pub async fn write_through<W, E, L, F, R>(
        &self,
        key: &Key,
        ttl: Ttl,
        also: Invalidation,
        write: impl Future<Output = Result<W, E>> + Send + 'static,
        load: L,
    ) -> Result<WrittenThrough<W>, E>
    where
        W: Send + 'static,
        E: Send + 'static,
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Option<Bytes>, R>> + Send + 'static,
        R: Send + 'static,
    {
        let (cache, key) = (self.clone(), key.clone());
        in_own_task(async move {
            let Written { answer, invalidated } = {
                let answer = write.await?;
                Written { answer, invalidated: cache.invalidate(&also.key(&key)).await }
            };
            let cached = match invalidated {
                Invalidated::Done(_) => is_cached(&cache.get_or_load(&key, ttl, load).await),
                Invalidated::Owed => false,
            };
            Ok(WrittenThrough { answer, invalidated, cached })
        })
        .await
    }
}

fn is_cached<E>(read: &Result<Lookup, E>) -> bool {
    matches!(read, Ok(Lookup { status: Status::Hit { .. } | Status::Miss { stored: true, .. }, .. }))
}

/// Runs to its end whatever becomes of the caller; a panic is the caller's.
pub(super) async fn in_own_task<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(stopped) if stopped.is_panic() => std::panic::resume_unwind(stopped.into_panic()),
        // Only the end of the runtime stops it otherwise, and with that this task.
        Err(_) => std::future::pending().await,
    }
}
