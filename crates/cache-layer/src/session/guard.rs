//! Changing one record at a time.

use super::SessionError;
use crate::key::Key;
use crate::store::{CacheError, CacheStore, Cached, Lease, Leased};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The right to change a record, given back when this is dropped.
pub(super) struct Guard {
    store: Arc<dyn CacheStore>,
    lease: Option<Lease>,
}

impl Guard {
    /// Takes the lease on a record and then reads it. Waits for others, at most for so long.
    pub(super) async fn take(
        store: &Arc<dyn CacheStore>,
        key: &Key,
        patience: Duration,
    ) -> Result<(Self, Option<Cached>), SessionError> {
        let end = Instant::now() + patience;
        loop {
            match asked(store, key).await? {
                Asked::Granted(guard) => {
                    let current = store.get(key).await?;
                    return Ok((guard, current));
                }
                Asked::Held(left) => {
                    let now = Instant::now();
                    if now >= end {
                        return Err(SessionError::Busy);
                    }
                    // Nobody says when a lease ends; a change takes about a millisecond.
                    let wait = Duration::from_micros(rand::random_range(500..5_000));
                    sleep(wait.min(left).min(end - now).max(Duration::from_micros(100))).await;
                }
            }
        }
    }

    /// Writes the record, unless it was deleted or replaced since the lease was taken. Whether it did.
    pub(super) async fn write(mut self, record: Vec<u8>, ttl: Duration) -> Result<bool, SessionError> {
        let Some(lease) = &self.lease else { return Ok(false) };
        let written = self.store.fill(lease, &Bytes::from(record), ttl).await?;
        // Filled or void: nothing to give back.
        self.lease = None;
        Ok(written)
    }
}

enum Asked {
    Granted(Guard),
    Held(Duration),
}

/// Asks for the lease in a task of its own: whoever wanted it may be gone when it is granted, and it must be given back then.
async fn asked(store: &Arc<dyn CacheStore>, key: &Key) -> Result<Asked, SessionError> {
    let (store, key) = (Arc::clone(store), key.clone());
    let asking = tokio::spawn(async move {
        Ok(match store.lease(&key).await? {
            Leased::Granted(lease) => Asked::Granted(Guard { store, lease: Some(lease) }),
            Leased::Held(left) => Asked::Held(left),
            Leased::Never => return Err(CacheError::Unavailable("the store keeps nothing")),
        })
    });
    Ok(asking.await.unwrap_or(Err(CacheError::Unavailable("the runtime ends")))?)
}

impl Drop for Guard {
    fn drop(&mut self) {
        let (Some(lease), Ok(runtime)) = (self.lease.take(), tokio::runtime::Handle::try_current()) else { return };
        let store = Arc::clone(&self.store);
        runtime.spawn(async move { store.release(lease).await });
    }
}
