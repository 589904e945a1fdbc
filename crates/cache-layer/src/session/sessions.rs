use super::core::{Content, Core, key_of_record, now_ms};
use super::guard::Guard;
use super::user::{Line, key_of};
use super::{SESSION, Session, SessionConfig, SessionConfigError, SessionError, SessionId, SessionInfo};
use crate::config::{Coherence, Strategy};
use crate::encryption::KeyRing;
use crate::metrics::Metrics;
use crate::store::{CacheStore, Invalidation, RedisConfig, RedisStore, StoreStatus};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, UNIX_EPOCH};

/// All sessions of an app, each with data of type `T`. Cheap to clone. See [`crate::session`] for what is promised.
pub struct Sessions<T> {
    core: Arc<Core>,
    data: PhantomData<fn() -> T>,
}

impl<T> Clone for Sessions<T> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core), data: PhantomData }
    }
}

impl<T> fmt::Debug for Sessions<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("config", &self.core.config).field("keys", &self.core.ring).finish()
    }
}

fn raw(data: &impl Serialize) -> Result<Box<RawValue>, SessionError> {
    serde_json::value::to_raw_value(data).map_err(|_| SessionError::Data("cannot be written as JSON"))
}

fn session<T: DeserializeOwned>(id: SessionId, content: Content) -> Result<Session<T>, SessionError> {
    let data = serde_json::from_str(content.data.get()).map_err(|_| SessionError::Data("are of another type"))?;
    let started = UNIX_EPOCH + Duration::from_millis(content.started_ms);
    Ok(Session { id, user: content.user, handle: content.handle, started, data })
}

impl<T: Serialize + DeserializeOwned> Sessions<T> {
    /// Sessions in a Redis that is asked directly, with [`Coherence::Lease`].
    ///
    /// # Errors
    /// The URL cannot be understood, or the times cannot work.
    pub fn redis(
        mut redis: RedisConfig,
        ring: KeyRing,
        config: SessionConfig,
        metrics: Metrics,
    ) -> Result<Self, SessionConfigError> {
        // Changes rely on leases, and no outbox says anything of sessions.
        redis.coherence = Coherence::Lease;
        let store = RedisStore::open(redis, &metrics)?;
        Self::new(Arc::new(store), ring, config, metrics)
    }

    /// Sessions in a store of your own. Only Redis itself and memory can be: two tiers would show a session that ended elsewhere, and
    /// nothing at all would log everyone out. One in Redis must have [`Coherence::Lease`].
    ///
    /// # Errors
    /// Another store, or times that cannot work.
    pub fn new(
        store: Arc<dyn CacheStore>,
        ring: KeyRing,
        config: SessionConfig,
        metrics: Metrics,
    ) -> Result<Self, SessionConfigError> {
        if !matches!(store.strategy(), Strategy::Redis | Strategy::Memory) {
            return Err(SessionConfigError::Store(store.strategy()));
        }
        if config.idle.is_zero() || config.idle > config.longest {
            return Err(SessionConfigError::Times("idle is more than nothing and at most as long as longest"));
        }
        if config.touch_every >= config.idle {
            return Err(SessionConfigError::Times("touch_every is shorter than idle"));
        }
        if config.per_user == 0 {
            return Err(SessionConfigError::Times("per_user is at least 1"));
        }
        let core = Core { store, config, ring, metrics, warned_at: AtomicU64::new(0) };
        Ok(Self { core: Arc::new(core), data: PhantomData })
    }

    /// How long sessions live.
    #[must_use]
    pub fn config(&self) -> &SessionConfig {
        &self.core.config
    }

    /// Waits until the sessions can be reached for the first time, at most so long. Whether they can.
    pub async fn ready(&self, at_most: Duration) -> bool {
        tokio::time::timeout(at_most, self.core.store.ready()).await.is_ok()
    }

    /// How their store is at this moment. Its owed invalidations are sessions that were ended and are not gone yet.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        self.core.store.status()
    }

    /// Ends the store's connections; what is owed is tried once more, within `at_most`. Nothing is found afterwards.
    pub async fn close(&self, at_most: Duration) {
        self.core.store.close(at_most).await;
    }

    /// A new session, under a new id: also for a client that had one before it logged in (or anybody could have given it that). `note` is
    /// shown in lists.
    ///
    /// # Errors
    /// Redis gave no answer; then there is no session.
    pub async fn start(&self, user: &str, note: &str, data: &T) -> Result<Session<T>, SessionError> {
        let core = &*self.core;
        let handle = format!("{:032x}", rand::random::<u128>());
        let content = Content { user: user.to_owned(), handle, started_ms: now_ms(), data: raw(data)? };
        let id = SessionId::random();
        let record = core.sealed(&id, &content)?;
        // Record first: until it is listed it opens nothing, and what breaks off here ends by itself.
        core.store.set(&key_of_record(&id.hash()), &record.into(), core.config.idle).await?;
        let line = Line {
            handle: content.handle.clone(),
            record: id.hash(),
            started_ms: content.started_ms,
            note: note.to_owned(),
        };
        let ended = core.alter_list(user, |list| {
            // There already, when a write that went through was not vouched for.
            list.remove(|other| other.handle == line.handle);
            let too_many = (list.sessions.len() + 1).saturating_sub(core.config.per_user);
            list.sessions.sort_by_key(|line| line.started_ms);
            let ended: Vec<_> = list.sessions.drain(..too_many).map(|line| line.record).collect();
            list.sessions.push(line.clone());
            (true, ended)
        });
        // They are off the list, and end by themselves if they cannot be deleted.
        core.delete(ended.await?, Invalidation::new()).await.ok();
        session(id, content)
    }

    /// The session of an id, prolonged; `None` when there is none, or none any more.
    ///
    /// # Errors
    /// Redis gave no answer: that is not "logged out". Or the data are of another type.
    pub async fn load(&self, id: &SessionId) -> Result<Option<Session<T>>, SessionError> {
        let core = &*self.core;
        let Some(found) = core.valid(id).await? else {
            core.metrics.miss(SESSION);
            return Ok(None);
        };
        match core.touch(id, &found).await {
            Ok(true) => {}
            Ok(false) => {
                core.metrics.miss(SESSION);
                return Ok(None);
            }
            // It was valid a moment ago; the next request prolongs it.
            Err(error) => tracing::debug!(%error, "a session was not prolonged"),
        }
        core.metrics.hit(SESSION.name);
        session(id.clone(), found.content).map(Some)
    }

    /// Changes the data of a session; other changes of it wait. `None` when there is none, or when it ended meanwhile: then nothing was
    /// written, though `change` may have been called.
    ///
    /// # Errors
    /// Redis gave no answer (the change may have been written), others change it all the time, or the data do not fit.
    pub async fn change(
        &self,
        id: &SessionId,
        change: impl FnOnce(&mut T),
    ) -> Result<Option<Session<T>>, SessionError> {
        let core = &*self.core;
        if core.valid(id).await?.is_none() {
            return Ok(None);
        }
        let (guard, now) = Guard::take(&core.store, &key_of_record(&id.hash()), core.config.patience).await?;
        let Some(found) = now.and_then(|now| core.opened(id, &now.value, now.ttl)) else { return Ok(None) };
        let Some(ttl) = core.ttl_of(&found.content) else { return Ok(None) };
        let mut changed: Session<T> = session(id.clone(), found.content)?;
        change(&mut changed.data);
        let content = Content {
            user: changed.user.clone(),
            handle: changed.handle.clone(),
            started_ms: u64::try_from(changed.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis())
                .unwrap_or(u64::MAX),
            data: raw(&changed.data)?,
        };
        let written = guard.write(core.sealed(id, &content)?, ttl).await?;
        if !written && core.find(id).await?.is_some() {
            // Not ended: an invalidation of this store got lost meanwhile, and it does not vouch for the write.
            return Err(SessionError::Busy);
        }
        Ok(written.then_some(changed))
    }

    /// The same session under a new id, for the moment when a user gains rights: who learnt the old id has nothing of it. The
    /// old one is no session any more, in requests under way neither. `None` when there was none.
    ///
    /// # Errors
    /// Redis gave no answer; the old id is valid still, or neither is.
    pub async fn renew_id(&self, id: &SessionId) -> Result<Option<Session<T>>, SessionError> {
        let core = &*self.core;
        if core.valid(id).await?.is_none() {
            return Ok(None);
        }
        // Held to the end, so that no change of the old record is lost.
        let (_guard, now) = Guard::take(&core.store, &key_of_record(&id.hash()), core.config.patience).await?;
        let Some(found) = now.and_then(|now| core.opened(id, &now.value, now.ttl)) else { return Ok(None) };
        let (content, Some(ttl)) = (&found.content, core.ttl_of(&found.content)) else { return Ok(None) };
        let (new, old) = (SessionId::random(), id.hash());
        core.store.set(&key_of_record(&new.hash()), &Bytes::from(core.sealed(&new, content)?), ttl).await?;
        let renewed = core.alter_list(&content.user, |list| {
            let line = list.sessions.iter_mut().find(|line| line.handle == content.handle && line.record == old);
            let found = line.map(|line| line.record = new.hash()).is_some();
            (found, found)
        });
        let renewed = renewed.await?;
        // Off the list is off: whichever is not valid goes by itself if it cannot be deleted.
        let gone = if renewed { old } else { new.hash() };
        core.delete([gone], Invalidation::new()).await.ok();
        if renewed { session(new, found.content).map(Some) } else { Ok(None) }
    }

    /// Ends a session. Whether there was one.
    ///
    /// # Errors
    /// Redis gave no answer. The deletion is owed then, and made up for by this process; but say that it failed.
    pub async fn end(&self, id: &SessionId) -> Result<bool, SessionError> {
        let core = &*self.core;
        let found = core.find(id).await;
        // Deleted whatever the look-up came to, so that it is owed if Redis cannot be reached.
        core.delete([id.hash()], Invalidation::new()).await?;
        let Some(found) = found? else { return Ok(false) };
        let (user, handle) = (&found.content.user, &found.content.handle);
        self.end_one(user, handle).await?;
        Ok(true)
    }

    /// The sessions of a user, oldest first: all that are valid.
    ///
    /// # Errors
    /// Redis gave no answer.
    pub async fn list(&self, user: &str) -> Result<Vec<SessionInfo>, SessionError> {
        let core = &*self.core;
        let Some((list, _)) = core.list_of(user).await? else { return Ok(Vec::new()) };
        let keys: Vec<_> = list.sessions.iter().map(|line| key_of_record(&line.record)).collect();
        let mut sessions = Vec::with_capacity(keys.len());
        for (line, found) in list.sessions.into_iter().zip(core.store.get_many(&keys).await) {
            let (Some(found), Some(left)) = (found?, core.left_of(line.started_ms, now_ms())) else { continue };
            let started = UNIX_EPOCH + Duration::from_millis(line.started_ms);
            sessions.push(SessionInfo { handle: line.handle, note: line.note, started, left: found.ttl.min(left) });
        }
        sessions.sort_by_key(|session| session.started);
        Ok(sessions)
    }

    /// Ends one session out of the list of a user. Whether there was one.
    ///
    /// # Errors
    /// Redis gave no answer; the session may be valid still.
    pub async fn end_one(&self, user: &str, handle: &str) -> Result<bool, SessionError> {
        let core = &*self.core;
        let ended = core.alter_list(user, |list| {
            let ended = list.remove(|line| line.handle == handle);
            (!ended.is_empty(), ended)
        });
        let ended = ended.await?;
        let was = !ended.is_empty();
        if was {
            core.delete(ended, Invalidation::new()).await?;
        }
        Ok(was)
    }

    /// Ends all sessions of a user that began before, listed or not.
    ///
    /// # Errors
    /// Redis gave no answer. It is owed then, and made up for by this process; but say that it failed.
    pub async fn end_all(&self, user: &str) -> Result<(), SessionError> {
        let core = &*self.core;
        // The list is what counts; the records are only tidied up.
        let list = core.list_of(user).await.ok().flatten();
        let records = list.into_iter().flat_map(|(list, _)| list.sessions).map(|line| line.record);
        core.delete(records, Invalidation::new().key(&key_of(user))).await
    }
}
