//! The first tier as the relay of the outbox sees it.

use super::Local;
use crate::key::Tag;
use crate::promise::{Begun, Ground, Position, Session};
use crate::store::{CacheError, Invalidation};
use async_trait::async_trait;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Its position is this value's own: whoever follows the outbox with another one begins with an empty tier.
pub(super) struct MemoryGround {
    memory: Arc<Memory>,
}

struct Memory {
    local: Arc<Local>,
    /// For how long the second tier may answer with what is forgotten here.
    settles_in: Duration,
    position: Mutex<Option<Position>>,
    born: Instant,
}

impl MemoryGround {
    pub(super) fn new(local: Arc<Local>, delta: Duration) -> Self {
        let memory = Memory { local, settles_in: delta + delta / 4, position: Mutex::default(), born: Instant::now() };
        Self { memory: Arc::new(memory) }
    }
}

impl Memory {
    fn position(&self) -> std::sync::MutexGuard<'_, Option<Position>> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, what: &Invalidation) {
        self.local.forget_ahead(what, Instant::now() + self.settles_in);
    }
}

#[async_trait]
impl Ground for MemoryGround {
    fn name(&self) -> String {
        "memory".into()
    }

    fn is_server(&self) -> bool {
        false
    }

    async fn connect(&self) -> Result<Box<dyn Session>, CacheError> {
        Ok(Box::new(MemorySession(Arc::clone(&self.memory))))
    }
}

struct MemorySession(Arc<Memory>);

#[async_trait]
impl Session for MemorySession {
    async fn begin(&mut self) -> Result<Begun, CacheError> {
        let now = u64::try_from(self.0.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Begun { now, position: self.0.position().clone() })
    }

    async fn remove(&mut self, keys: &[String], tags: &[String]) -> Result<(), CacheError> {
        let tags = tags.iter().cloned().map(Tag::new).collect();
        self.0.forget(&Invalidation { keys: keys.to_vec(), tags, patterns: Vec::new() });
        Ok(())
    }

    async fn remove_everything(&mut self) -> Result<(), CacheError> {
        self.0.forget(&Invalidation::everything());
        Ok(())
    }

    async fn trust(&mut self, position: &Position, trusted_until: u64) -> Result<(), CacheError> {
        *self.0.position() = Some(position.clone());
        self.0.local.alive(Some(self.0.born + Duration::from_millis(trusted_until)));
        Ok(())
    }
}
