//! When the load fails: what the cache has all the same, if its class allows that.

use super::look::Accept;
use super::{Found, Inner, LoadError, Lookup, Reading, Stale, StaleReason};
use crate::key::{Key, ServeStale};

impl Inner {
    /// After another's load failed: something in the cache that may be served all the same. Who joined at once has not looked yet.
    pub(super) async fn rescued(
        &self,
        key: &Key,
        reading: &mut Reading,
        accept: Accept<'_>,
        too_late: bool,
    ) -> Option<Lookup> {
        if key.class().serve_stale == ServeStale::Never {
            return None;
        }
        if reading.looked_at.is_none() && reading.reachable {
            match self.look(key, reading, accept).await {
                Ok(Found::Fresh { value, ttl, .. }) => return Some(self.hit(key, value, ttl)),
                Ok(Found::Stale(_) | Found::Nothing) => {}
                Err(_) => reading.reachable = false,
            }
        }
        let why = if too_late { StaleReason::LoadSlow } else { StaleReason::LoadFailed };
        self.fallen_back(key, reading, accept, why).await
    }

    /// A stale value instead of the error, if one may be served.
    pub(super) async fn despite<E>(
        &self,
        key: &Key,
        reading: &mut Reading,
        accept: Accept<'_>,
        error: LoadError<E>,
    ) -> Result<Lookup, LoadError<E>> {
        let why = StaleReason::of(&error);
        self.fallen_back(key, reading, accept, why).await.ok_or(error)
    }

    /// The stale value, if there is one and its class allows it; where the cache only was not trusted, the one that is there.
    pub(super) async fn fallen_back(
        &self,
        key: &Key,
        reading: &mut Reading,
        accept: Accept<'_>,
        why: StaleReason,
    ) -> Option<Lookup> {
        let class = key.class();
        if class.serve_stale == ServeStale::Never {
            return None;
        }
        if let Some(stale) = reading.stale.take() {
            return Some(self.stale(class, stale, why));
        }
        if reading.reachable {
            return None;
        }
        let stale = self.doubtful(key, reading, accept).await?;
        Some(self.stale(class, stale, StaleReason::Untrusted))
    }

    async fn doubtful(&self, key: &Key, reading: &mut Reading, accept: Accept<'_>) -> Option<Stale> {
        let asking = self.store.get_untrusted(std::slice::from_ref(key));
        let cached = reading.budget.wait_all(asking).await?.pop()?.ok()??;
        self.open_doubtful(key, cached, accept)
    }
}
