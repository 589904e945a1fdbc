//! What is asked of the store, and what is made of its records.

use super::guard::Guard;
use super::{SESSION, SessionConfig, SessionError, SessionId};
use crate::encryption::{KeyRing, Opened};
use crate::key::Key;
use crate::metrics::Metrics;
use crate::store::{CacheStore, Invalidation};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) struct Core {
    pub(super) store: Arc<dyn CacheStore>,
    pub(super) config: SessionConfig,
    pub(super) ring: KeyRing,
    pub(super) metrics: Metrics,
    pub(super) warned_at: AtomicU64,
}

/// What is in a session's record.
#[derive(Serialize, Deserialize)]
pub(super) struct Content {
    pub(super) user: String,
    pub(super) handle: String,
    pub(super) started_ms: u64,
    pub(super) data: Box<RawValue>,
}

/// A record that was opened, of a session that may be valid.
pub(super) struct Found {
    pub(super) content: Content,
    /// How long the record lives if nothing happens.
    ttl: Duration,
    newest: bool,
}

pub(super) fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn key_of_record(hash: &str) -> Key {
    Key::new(SESSION, format!("sessions:data:{hash}"))
}

fn belongs_to(id: &SessionId) -> Vec<u8> {
    [b"session\0", &id.bytes()[..]].concat()
}

impl Core {
    pub(super) fn open(&self, record: &[u8], belongs_to: &[u8]) -> Opened {
        let opened = self.ring.open(record, belongs_to);
        let what = match opened {
            Opened::Open { .. } => return opened,
            Opened::UnknownKey => "a session's record has a key that this instance has not",
            Opened::Broken => "a session's record was changed or is none",
        };
        // Either is worth a line, but one in ten seconds.
        let now = now_ms() / 1000;
        let last = self.warned_at.load(Ordering::Relaxed);
        let mine = || self.warned_at.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if now >= last + 10 && mine() {
            tracing::warn!("{what}; it counts as no session");
        }
        opened
    }

    pub(super) fn seal(&self, plain: &[u8], belongs_to: &[u8]) -> Result<Vec<u8>, SessionError> {
        self.ring.seal(plain, belongs_to).ok_or(SessionError::Data("too much to encrypt"))
    }

    /// What is left of the longest life of a session, if anything.
    pub(super) fn left_of(&self, started_ms: u64, now_ms: u64) -> Option<Duration> {
        let age = Duration::from_millis(now_ms.saturating_sub(started_ms));
        self.config.longest.checked_sub(age).filter(|left| *left >= Duration::from_millis(1))
    }

    /// How long a record is to live from now on.
    pub(super) fn ttl_of(&self, content: &Content) -> Option<Duration> {
        Some(self.left_of(content.started_ms, now_ms())?.min(self.config.idle))
    }

    pub(super) fn opened(&self, id: &SessionId, record: &[u8], ttl: Duration) -> Option<Found> {
        match self.open(record, &belongs_to(id)) {
            Opened::Open { plain, newest } => {
                let content: Content = serde_json::from_slice(&plain).ok()?;
                self.left_of(content.started_ms, now_ms())?;
                Some(Found { content, ttl, newest })
            }
            Opened::UnknownKey | Opened::Broken => None,
        }
    }

    /// A record that opens, whether or not its user's list has it.
    pub(super) async fn find(&self, id: &SessionId) -> Result<Option<Found>, SessionError> {
        let found = self.store.get(&key_of_record(&id.hash())).await?;
        Ok(found.and_then(|found| self.opened(id, &found.value, found.ttl)))
    }

    /// A record whose session is valid.
    pub(super) async fn valid(&self, id: &SessionId) -> Result<Option<Found>, SessionError> {
        let Some(mut found) = self.find(id).await? else { return Ok(None) };
        let Some((list, newest)) = self.list_of(&found.content.user).await? else { return Ok(None) };
        found.newest &= newest;
        Ok(list.has(&found.content.handle, &id.hash()).then_some(found))
    }

    pub(super) fn sealed(&self, id: &SessionId, content: &Content) -> Result<Vec<u8>, SessionError> {
        let plain = serde_json::to_vec(content).map_err(|_| SessionError::Data("a session's record"))?;
        self.seal(&plain, &belongs_to(id))
    }

    /// Prolongs a session that was used, and seals it with the newest key. `false`: it has ended meanwhile.
    pub(super) async fn touch(&self, id: &SessionId, found: &Found) -> Result<bool, SessionError> {
        let Some(ttl) = self.ttl_of(&found.content) else { return Ok(false) };
        if found.ttl + self.config.touch_every > ttl {
            return Ok(true);
        }
        let key = key_of_record(&id.hash());
        if found.newest {
            return Ok(self.store.expire(&key, ttl).await?);
        }
        self.alter_list(&found.content.user, |list| (!list.sessions.is_empty(), ())).await?;
        let (guard, now) = Guard::take(&self.store, &key, self.config.patience).await?;
        let Some(now) = now.and_then(|now| self.opened(id, &now.value, now.ttl)) else { return Ok(false) };
        // Not ended where an invalidation of this store got lost meanwhile, and it does not vouch for the write: the next request
        // prolongs it.
        Ok(guard.write(self.sealed(id, &now.content)?, ttl).await? || self.valid(id).await?.is_some())
    }

    pub(super) async fn delete(
        &self,
        records: impl IntoIterator<Item = String>,
        and: Invalidation,
    ) -> Result<(), SessionError> {
        let what = records.into_iter().fold(and, |what, record| what.key(&key_of_record(&record)));
        self.store.delete(&what).await?;
        Ok(())
    }
}
