//! One load at a time for each key in this process.
//!
//! Whoever comes second waits for the first load, but takes its value only if that cannot show it the past: either the
//! load began after the request did, or the lease stood until the fill, so that no invalidation came in between.

use bytes::Bytes;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

const SHARDS: usize = 16;

/// The loads that go on, each with its id.
type Shard = HashMap<String, (u64, watch::Receiver<Progress>)>;

#[derive(Debug)]
pub(crate) struct Flights {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    /// Orders the beginnings of requests and loads.
    clock: AtomicU64,
    aloft: AtomicUsize,
}

#[derive(Clone, Debug)]
pub(crate) enum Progress {
    /// The load has not ended.
    Loading,
    /// The load ended; whether its value was stored is not known yet.
    Loaded(Loaded),
    /// The fill ended.
    Done { loaded: Loaded, stored: bool },
    /// The load failed.
    Failed,
}

#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) began: u64,
    pub(crate) value: Option<Bytes>,
    /// The cache could not be asked.
    pub(crate) fallback: bool,
}

/// How waiting for another's load ended.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A value that is no older than this request.
    Shared { loaded: Loaded, stored: bool },
    /// A value that may be older than this request: look again.
    TooOld { fallback: bool },
    /// The load failed: do not queue up behind the next one.
    Failed,
}

#[derive(Debug)]
pub(crate) enum Boarding<'a> {
    Lead(Flight<'a>),
    Follow(Follower),
}

/// The one load of a key. Dropped without an end, its followers look again.
#[derive(Debug)]
pub(crate) struct Flight<'a> {
    flights: &'a Flights,
    key: String,
    id: u64,
    landed: bool,
    progress: watch::Sender<Progress>,
}

#[derive(Debug)]
pub(crate) struct Follower {
    progress: watch::Receiver<Progress>,
    /// Joined when the fill may have been under way: an invalidation may have come after it, before this request.
    late: bool,
}

impl Flights {
    pub(crate) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            clock: AtomicU64::new(0),
            aloft: AtomicUsize::new(0),
        }
    }

    pub(crate) fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// The load of this key that is going on, if any.
    pub(crate) fn find(&self, key: &str) -> Option<Follower> {
        if self.aloft.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.shard(key).get(key).map(|(_, progress)| Follower::join(progress))
    }

    pub(crate) fn board(&self, key: &str) -> Boarding<'_> {
        let mut shard = self.shard(key);
        if let Some((_, progress)) = shard.get(key) {
            return Boarding::Follow(Follower::join(progress));
        }
        let (sender, receiver) = watch::channel(Progress::Loading);
        let id = self.tick();
        shard.insert(key.to_owned(), (id, receiver));
        self.aloft.fetch_add(1, Ordering::Relaxed);
        Boarding::Lead(Flight { flights: self, key: key.to_owned(), id, landed: false, progress: sender })
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, Shard> {
        let at = (self.hasher.hash_one(key) % SHARDS as u64) as usize;
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight<'_> {
    /// The load ended; the fill begins. Who joins from here on waits for its end, but then looks for itself.
    pub(crate) fn loaded(&self, loaded: Loaded) {
        self.progress.send_replace(Progress::Loaded(loaded));
    }

    pub(crate) fn failed(mut self) {
        self.land();
        self.progress.send_replace(Progress::Failed);
    }

    pub(crate) fn done(mut self, stored: bool) {
        self.land();
        self.progress.send_modify(|progress| {
            if let Progress::Loaded(loaded) = progress {
                *progress = Progress::Done { loaded: loaded.clone(), stored };
            }
        });
    }

    fn land(&mut self) {
        if !self.landed {
            self.landed = true;
            let mut shard = self.flights.shard(&self.key);
            if shard.get(&self.key).is_some_and(|(id, _)| *id == self.id) {
                shard.remove(&self.key);
                self.flights.aloft.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.land();
    }
}

impl Follower {
    fn join(progress: &watch::Receiver<Progress>) -> Self {
        let late = !matches!(*progress.borrow(), Progress::Loading);
        Self { progress: progress.clone(), late }
    }

    /// Waits for the load, for a request that began at `begun`.
    pub(crate) async fn arrive(mut self, begun: u64) -> Arrival {
        loop {
            match &*self.progress.borrow_and_update() {
                Progress::Loaded(loaded) if loaded.began > begun => {
                    return Arrival::Shared { loaded: loaded.clone(), stored: false };
                }
                Progress::Done { loaded, stored } if (*stored && !self.late) || loaded.began > begun => {
                    return Arrival::Shared { loaded: loaded.clone(), stored: *stored };
                }
                Progress::Done { loaded, .. } => return Arrival::TooOld { fallback: loaded.fallback },
                Progress::Failed => return Arrival::Failed,
                Progress::Loading | Progress::Loaded(_) => {}
            }
            if self.progress.changed().await.is_err() {
                return Arrival::TooOld { fallback: false };
            }
        }
    }
}
