//! Warming: putting into the cache what will be read, before it is read.
//!
//! A [`Plan`] says which things (the 100 most recent users, say) and how to load one; a [`Warmer`] goes through plans, a few loads
//! at a time and so many a second, so that warming does not hurt the database it is meant to spare. It takes the same leases as any
//! miss: what is there already is left alone, what somebody else is loading is left to them, so that two warmers at once
//! load nothing twice; what is invalidated meanwhile is not stored. It stops by itself when the cache or the database
//! fails ten times in a row.
//!
//! ```no_run
//! # use cache_layer::{Cache, key::PROFILES, warm::{Plan, Warmer}};
//! # use std::io::Error;
//! # async fn recent_users(limit: usize) -> Result<Vec<i64>, Error> { Ok(vec![]) }
//! # async fn load_user(id: i64) -> Result<Option<bytes::Bytes>, Error> { Ok(None) }
//! # async fn doc(cache: Cache) -> Result<(), Box<dyn std::error::Error>> {
//! let users = Plan::new("users", 100, recent_users, |id| PROFILES.item(*id), load_user);
//! let warmer = Warmer::new(cache, vec![users.at_once(2).per_second(50)])?;
//! let status = warmer.run(&[]).await?;           // as a command; `start` for an endpoint
//! println!("{} keys", status.plans[0].done);
//! # Ok(()) }
//! ```

mod plan;
mod progress;

pub use plan::Plan;
pub use progress::{PlanState, PlanStatus, WarmStatus};

use crate::cache::{Cache, Ttl, Warmed};
use plan::Unit;
use progress::{Ended, Progress};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Failures in a row after which a plan is given up.
const FAILURES_IN_A_ROW: u32 = 10;

/// Goes through plans, one set of plans at a time. Cheap to clone; when the last clone goes, warming ends.
#[derive(Clone)]
pub struct Warmer {
    desk: Arc<Desk>,
}

/// What the clones share. Work under way holds only the room behind it, so that the desk is left when the last clone goes.
struct Desk {
    room: Arc<Room>,
}

struct Room {
    cache: Cache,
    plans: Vec<(Plan, Mutex<Progress>)>,
    busy: AtomicBool,
    cancelled: watch::Sender<bool>,
}

/// Why warming did not begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WarmError {
    /// There is no such plan.
    #[error("there is no plan `{name}`: choose among {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The plans there are.
        known: String,
    },
    /// It is under way already.
    #[error("warming is under way already: wait for its end or cancel it")]
    Busy,
    /// Two plans of one name.
    #[error("two plans are called `{0}`")]
    Twice(&'static str),
}

impl fmt::Debug for Warmer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Warmer").field("status", &self.status()).finish()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.room.cancelled.send_replace(true);
    }
}

impl Warmer {
    /// A warmer that knows these plans, in the order in which they will be gone through.
    ///
    /// # Errors
    /// [`WarmError::Twice`].
    pub fn new(cache: Cache, plans: Vec<Plan>) -> Result<Self, WarmError> {
        for (at, plan) in plans.iter().enumerate() {
            if plans[..at].iter().any(|before| before.name == plan.name) {
                return Err(WarmError::Twice(plan.name));
            }
        }
        let plans = plans.into_iter().map(|plan| (plan, Mutex::default())).collect();
        let room = Room { cache, plans, busy: AtomicBool::new(false), cancelled: watch::Sender::new(false) };
        Ok(Self { desk: Arc::new(Desk { room: Arc::new(room) }) })
    }

    /// Goes through the plans of these names, or through all of them, and returns when that is done. Dropped, it stops.
    ///
    /// # Errors
    /// There is no plan of a name, or warming is under way. That a plan failed is said in the status.
    pub async fn run(&self, names: &[&str]) -> Result<WarmStatus, WarmError> {
        let shift = self.begin(names)?;
        shift.work().await;
        Ok(self.status())
    }

    /// Begins to go through the plans of these names, or through all of them, in the background. Needs a tokio runtime.
    ///
    /// # Errors
    /// There is no plan of a name, or warming is under way.
    pub fn start(&self, names: &[&str]) -> Result<(), WarmError> {
        let shift = self.begin(names)?;
        tokio::spawn(shift.work());
        Ok(())
    }

    /// Stops warming; loads under way end. Whether there was anything to stop.
    pub fn cancel(&self) -> bool {
        let room = &self.desk.room;
        room.busy.load(Ordering::SeqCst) && !room.cancelled.send_replace(true)
    }

    /// How far each plan got, last time.
    #[must_use]
    pub fn status(&self) -> WarmStatus {
        let room = &self.desk.room;
        let plans = room.plans.iter().map(|(plan, progress)| lock(progress).status(plan.name)).collect();
        WarmStatus { running: room.busy.load(Ordering::SeqCst), plans }
    }

    fn begin(&self, names: &[&str]) -> Result<Shift, WarmError> {
        let room = &self.desk.room;
        let find = |name: &&str| {
            room.plans.iter().position(|(plan, _)| plan.name == *name).ok_or_else(|| WarmError::Unknown {
                name: (*name).to_owned(),
                known: room.plans.iter().map(|(plan, _)| plan.name).collect::<Vec<_>>().join(", "),
            })
        };
        let mut chosen = names.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        if chosen.is_empty() {
            chosen = (0..room.plans.len()).collect();
        }
        if room.busy.swap(true, Ordering::SeqCst) {
            return Err(WarmError::Busy);
        }
        room.cancelled.send_replace(false);
        chosen.iter().for_each(|plan| *lock(&room.plans[*plan].1) = Progress::waiting());
        Ok(Shift { room: Arc::clone(room), chosen })
    }
}

/// One go through some plans. However it ends, the next one may begin then.
struct Shift {
    room: Arc<Room>,
    chosen: Vec<usize>,
}

impl Drop for Shift {
    fn drop(&mut self) {
        // What had not ended by now was cut off.
        self.chosen.iter().for_each(|plan| lock(&self.room.plans[*plan].1).end(Ended::Cancelled));
        self.room.busy.store(false, Ordering::SeqCst);
    }
}

impl Shift {
    async fn work(self) {
        for plan in &self.chosen {
            let (plan, progress) = &self.room.plans[*plan];
            let ended = self.go_through(plan, progress).await;
            if let Ended::Failed(problem) = &ended {
                tracing::warn!(plan = plan.name, problem, "warming stopped");
            }
            let status = {
                let mut progress = lock(progress);
                progress.end(ended);
                progress.status(plan.name)
            };
            tracing::info!(plan = plan.name, keys = status.done, seconds = status.seconds, "warmed");
        }
    }

    async fn go_through(&self, plan: &Plan, progress: &Mutex<Progress>) -> Ended {
        let mut cancelled = self.room.cancelled.subscribe();
        if *cancelled.borrow_and_update() {
            return Ended::Cancelled;
        }
        lock(progress).begin();
        let listed = tokio::select! {
            listed = timeout(plan.patience, (plan.list)(plan.limit)) => listed,
            _ = cancelled.changed() => return Ended::Cancelled,
        };
        let mut units = match listed {
            Ok(Ok(units)) => units,
            Ok(Err(error)) => {
                tracing::warn!(plan = plan.name, %error, "what to warm could not be listed");
                return Ended::Failed("what to warm could not be listed");
            }
            Err(_) => return Ended::Failed("what to warm could not be listed in time"),
        };
        units.truncate(plan.limit);
        lock(progress).listed = units.len();
        let mut pace = interval((Duration::from_secs(1) / plan.per_second).max(Duration::from_nanos(1)));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut under_way, mut trouble) = (JoinSet::new(), Trouble::default());
        for unit in units {
            tokio::select! {
                _ = pace.tick() => {}
                _ = cancelled.changed() => return self.cut_short(plan, progress, under_way).await,
            }
            while under_way.len() >= plan.at_once {
                self.note(plan, progress, under_way.join_next().await, &mut trouble);
            }
            if let Some(problem) = trouble.too_much() {
                return Ended::Failed(problem);
            }
            under_way.spawn(warm(self.room.cache.clone(), unit, plan.name, plan.patience));
        }
        while let Some(done) = under_way.join_next().await {
            self.note(plan, progress, Some(done), &mut trouble);
        }
        trouble.too_much().map_or(Ended::Finished, Ended::Failed)
    }

    async fn cut_short(&self, plan: &Plan, progress: &Mutex<Progress>, mut under_way: JoinSet<Outcome>) -> Ended {
        while let Some(done) = under_way.join_next().await {
            self.note(plan, progress, Some(done), &mut Trouble::default());
        }
        Ended::Cancelled
    }

    fn note(
        &self,
        plan: &Plan,
        progress: &Mutex<Progress>,
        done: Option<Result<Outcome, tokio::task::JoinError>>,
        trouble: &mut Trouble,
    ) {
        // A loader that panics is a loader that failed.
        let outcome = done.and_then(Result::ok).unwrap_or(Outcome::Failed);
        trouble.after(outcome);
        self.room.cache.count_warmed(plan.name, outcome.name());
        lock(progress).count(outcome.name());
    }
}

async fn warm(cache: Cache, unit: Unit, plan: &'static str, patience: Duration) -> Outcome {
    let Unit { key, load } = unit;
    match timeout(patience, cache.warm(&key, Ttl::Class, load)).await {
        Ok(Ok(warmed)) => Outcome::Went(warmed),
        Ok(Err(error)) => {
            tracing::debug!(plan, %error, "a load failed while warming");
            Outcome::Failed
        }
        Err(_) => {
            tracing::debug!(plan, "a load took too long while warming");
            Outcome::Failed
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    Went(Warmed),
    Failed,
}

impl Outcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Went(warmed) => warmed.name(),
            Self::Failed => "failed",
        }
    }
}

/// What goes wrong again and again is not worth going on with.
#[derive(Debug, Default)]
struct Trouble {
    failed: u32,
    no_cache: u32,
}

impl Trouble {
    fn after(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Failed => self.failed += 1,
            Outcome::Went(Warmed::NoCache) => self.no_cache += 1,
            Outcome::Went(_) => *self = Self::default(),
        }
    }

    fn too_much(&self) -> Option<&'static str> {
        if self.failed >= FAILURES_IN_A_ROW {
            return Some("too many loads in a row failed");
        }
        (self.no_cache >= FAILURES_IN_A_ROW).then_some("the cache gives no answer, or keeps nothing")
    }
}

fn lock(progress: &Mutex<Progress>) -> std::sync::MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}
