//! One load at a time for each key in this process.
//!
//! Whoever comes second waits for the first load, but takes its value only if that cannot show it the past: either the
//! load began after the request did, or the lease stood until the fill, so that no invalidation came in between.

use bytes::Bytes;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

const SHARDS: usize = 16;

#[derive(Debug, Default)]
struct Shard {
    aloft: HashMap<String, Aloft>,
    /// When the last one landed.
    landed: u64,
}

/// A load that goes on.
#[derive(Debug)]
struct Aloft {
    id: u64,
    purpose: Purpose,
    progress: watch::Receiver<Progress>,
}

/// What a load is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A value that is missing: requests wait for it before they ask the cache.
    Miss,
    /// A value that is there and may be served meanwhile: only those who find it gone wait.
    Refresh,
}

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
    /// The load failed, or was given up after its time.
    Failed { timed_out: bool },
}

#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) began: u64,
    pub(crate) value: Option<Bytes>,
    pub(crate) source: Source,
}

/// Where the value of a load came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// From its loader, after the cache had been asked.
    Loader,
    /// From its loader; the cache could not be asked.
    Fallback,
    /// From the cache: another process had loaded it meanwhile.
    Elsewhere,
}

/// How waiting for another's load ended.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A value that is no older than this request.
    Shared { loaded: Loaded, stored: bool },
    /// A value that may be older than this request, or none: look again.
    TooOld { source: Option<Source> },
    /// The load failed: do not queue up behind the next one.
    Failed,
    /// The load took too long, and would again.
    TimedOut,
}

#[derive(Debug)]
pub(crate) enum Boarding {
    Lead(Flight),
    Follow(Follower),
}

/// The one load of a key. Dropped without an end, its followers look again.
#[derive(Debug)]
pub(crate) struct Flight {
    flights: Arc<Flights>,
    key: String,
    id: u64,
    landed: bool,
    progress: watch::Sender<Progress>,
    /// Another one may have landed between the request's last look and this one's beginning.
    pub(crate) look_again: bool,
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
            clock: AtomicU64::new(1),
            aloft: AtomicUsize::new(0),
        }
    }

    pub(crate) fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// The last tick there was: what ticks from here on is later.
    pub(crate) fn ticked(&self) -> u64 {
        self.clock.load(Ordering::SeqCst) - 1
    }

    /// The load of this key that is going on because it was missed, if any.
    pub(crate) fn find(&self, key: &str) -> Option<Follower> {
        if self.aloft.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let shard = self.shard(key);
        shard.aloft.get(key).filter(|aloft| aloft.purpose == Purpose::Miss).map(|aloft| Follower::join(&aloft.progress))
    }

    /// Joins the load of this key that is going on, or begins one, for a request that looked at `since`.
    pub(crate) fn board(self: &Arc<Self>, key: &str, purpose: Purpose, since: u64) -> Boarding {
        let mut shard = self.shard(key);
        if let Some(aloft) = shard.aloft.get(key) {
            return Boarding::Follow(Follower::join(&aloft.progress));
        }
        let (sender, receiver) = watch::channel(Progress::Loading);
        let id = self.tick();
        shard.aloft.insert(key.to_owned(), Aloft { id, purpose, progress: receiver });
        self.aloft.fetch_add(1, Ordering::Relaxed);
        let look_again = shard.landed > since;
        let (flights, key) = (Arc::clone(self), key.to_owned());
        Boarding::Lead(Flight { flights, key, id, landed: false, progress: sender, look_again })
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, Shard> {
        let at = (self.hasher.hash_one(key) % SHARDS as u64) as usize;
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// The load ended; the fill begins. Who joins from here on waits for its end, but then looks for itself.
    pub(crate) fn loaded(&self, loaded: Loaded) {
        self.progress.send_replace(Progress::Loaded(loaded));
    }

    pub(crate) fn failed(mut self, timed_out: bool) {
        self.land();
        self.progress.send_replace(Progress::Failed { timed_out });
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
            shard.landed = self.flights.tick();
            if shard.aloft.get(&self.key).is_some_and(|aloft| aloft.id == self.id) {
                shard.aloft.remove(&self.key);
                self.flights.aloft.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Flight {
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
                Progress::Done { loaded, .. } => return Arrival::TooOld { source: Some(loaded.source) },
                Progress::Failed { timed_out: true } => return Arrival::TimedOut,
                Progress::Failed { timed_out: false } => return Arrival::Failed,
                Progress::Loading | Progress::Loaded(_) => {}
            }
            if self.progress.changed().await.is_err() {
                return Arrival::TooOld { source: None };
            }
        }
    }
}
