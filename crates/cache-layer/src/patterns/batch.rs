//! Many keys at once: what the cache has, and one load for all that it has not.
//!
//! **Promises**: one round trip to look, one to lease, one load, one round trip to fill (for each server that has some of the keys).
//! Each value has its own lease: what is invalidated during the load is not stored, the others are. Duplicate keys are
//! asked for once. Failures are partial: what the cache had is answered although the load fails.
//!
//! **Gives up**: the waiting for others. A key that somebody else is loading is loaded here as well and not stored, since a batch that
//! waited for one key would hold up all. Nothing is refreshed in the background.

use crate::cache::{
    Budget, Cache, Deadline, Found, Held, Inner, LoadError, Lookup, Source, Stale, StaleReason, Status, Ttl, asked,
};
use crate::config::Strategy;
use crate::key::{Key, KeyClass, ServeStale};
use crate::store::{Lease, Leased};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The answers for many keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch<E> {
    /// In the order of the keys asked for; `None` for those whose load failed.
    pub answers: Vec<Option<Lookup>>,
    /// Why some are missing.
    pub failed: Option<LoadError<E>>,
}

impl<E> Batch<E> {
    /// All answers, or why some are missing.
    ///
    /// # Errors
    /// The load failed, and there was nothing to serve instead for some keys.
    pub fn complete(self) -> Result<Vec<Lookup>, LoadError<E>> {
        let all = self.answers.into_iter().collect();
        match (all, self.failed) {
            (Some(all), _) => Ok(all),
            (None, Some(error)) => Err(error),
            (None, None) => unreachable!("an answer is missing only after a failure"),
        }
    }

    /// The places, in the order of the keys asked for, of those that the cache did not have.
    pub fn missed(&self) -> impl Iterator<Item = usize> {
        let had = |answer: &Option<Lookup>| {
            matches!(answer, Some(Lookup { status: Status::Hit { .. } | Status::Stale { .. }, .. }))
        };
        self.answers.iter().enumerate().filter(move |(_, answer)| !had(answer)).map(|(at, _)| at)
    }
}

/// A key that the cache did not have.
struct Missing {
    /// Its place among the keys.
    at: usize,
    stale: Option<Stale>,
    reachable: bool,
    /// Its lease was granted.
    leased: bool,
    /// There is something in the cache that a load replaces.
    replaces: bool,
}

impl Cache {
    /// The values of many keys: from the cache, and the others from `load`, which is called once with the keys that are missing,
    /// if there are any. What it leaves out does not exist.
    ///
    /// `load` as for [`Cache::get_or_load`]. The hard timeout is the longest of the missing keys' classes.
    pub async fn get_many_or_load<L, F, E>(&self, keys: &[Key], ttl: Ttl, load: L) -> Batch<E>
    where
        L: FnOnce(Vec<Key>) -> F,
        F: Future<Output = Result<HashMap<Key, Bytes>, E>>,
    {
        let mut places = HashMap::with_capacity(keys.len());
        let mut unique = Vec::with_capacity(keys.len());
        for key in keys {
            places.entry(key).or_insert_with(|| {
                unique.push(key.clone());
                unique.len() - 1
            });
        }
        let (answers, failed) = self.inner.batch(&unique, ttl, load).await;
        let answers = keys.iter().map(|key| answers[places[key]].clone()).collect();
        Batch { answers, failed }
    }
}

impl Inner {
    async fn batch<L, F, E>(&self, keys: &[Key], ttl: Ttl, load: L) -> (Vec<Option<Lookup>>, Option<LoadError<E>>)
    where
        L: FnOnce(Vec<Key>) -> F,
        F: Future<Output = Result<HashMap<Key, Bytes>, E>>,
    {
        let mut budget = self.budget();
        let (mut answers, mut missing) = self.sorted(keys, &mut budget).await;
        if missing.is_empty() {
            return (answers, None);
        }
        let held = Held::new(&self.store, self.leases(keys, &mut missing, &mut budget).await);
        let wanted: Vec<_> = missing.iter().map(|missing| keys[missing.at].clone()).collect();
        let longest = missing.iter().map(|missing| keys[missing.at].class()).max_by_key(hard_timeout);
        let Some(class) = longest else { return (answers, None) };
        let deadline = Deadline::after(class.hard_timeout);
        match self.load(class, deadline, || load(wanted)).await {
            Ok((mut values, took)) => {
                let values: Vec<_> = missing.iter().map(|missing| values.remove(&keys[missing.at])).collect();
                let stored = self.fill_all(keys, ttl, &missing, &values, took, held, &mut budget).await;
                for ((missing, value), stored) in missing.iter().zip(values).zip(stored) {
                    let source = if missing.reachable { Source::Loader } else { Source::Fallback };
                    let status = self.missed(&keys[missing.at], source, stored, false);
                    answers[missing.at] = Some(Lookup { value, status });
                }
                (answers, None)
            }
            Err(error) => {
                budget.wait_all(held.release()).await;
                let why = StaleReason::of(&error);
                let (known, unknown): (Vec<_>, Vec<_>) =
                    missing.into_iter().filter(|missing| may_be_stale(&keys[missing.at])).partition(|m| m.reachable);
                for missing in known {
                    let class = keys[missing.at].class();
                    answers[missing.at] = missing.stale.map(|stale| self.stale(class, stale, why));
                }
                // Where the cache only was not trusted: what is there all the same.
                let doubtful: Vec<_> = unknown.iter().map(|missing| keys[missing.at].clone()).collect();
                if !doubtful.is_empty() {
                    let there = budget.wait_all(self.store.get_untrusted(&doubtful)).await.unwrap_or_default();
                    for ((missing, key), there) in unknown.into_iter().zip(doubtful).zip(there) {
                        let doubtful = |cached| self.open_doubtful(&key, cached, &mut |_| true);
                        let there =
                            there.ok().flatten().and_then(doubtful).map(|stale| (stale, StaleReason::Untrusted));
                        let stale = missing.stale.map(|stale| (stale, why)).or(there);
                        answers[missing.at] = stale.map(|(stale, why)| self.stale(key.class(), stale, why));
                    }
                }
                (answers, Some(error))
            }
        }
    }

    /// What the cache has, and what not.
    async fn sorted(&self, keys: &[Key], budget: &mut Budget) -> (Vec<Option<Lookup>>, Vec<Missing>) {
        let mut answers = vec![None; keys.len()];
        let mut missing = Vec::new();
        for (at, answer) in self.get_all(budget, keys).await.into_iter().enumerate() {
            let reachable = answer.is_ok();
            let found = match answer {
                Ok(Some(cached)) => self.open(&keys[at], cached, &mut |_| true),
                Ok(None) | Err(_) => Found::Nothing,
            };
            let (stale, replaces) = match found {
                Found::Fresh { value, ttl, .. } => {
                    answers[at] = Some(self.hit(&keys[at], value, ttl));
                    continue;
                }
                Found::Stale(stale) => (Some(stale), true),
                Found::Nothing => (None, false),
            };
            missing.push(Missing { at, stale, reachable, leased: false, replaces });
        }
        (answers, missing)
    }

    /// Leases for what is missing, as far as they are granted.
    async fn leases(&self, keys: &[Key], missing: &mut [Missing], budget: &mut Budget) -> Vec<Lease> {
        let mut leases = Vec::new();
        if self.store.strategy() == Strategy::None {
            return leases;
        }
        let reachable = missing.iter_mut().filter(|missing| missing.reachable);
        let mut reachable: Vec<_> = reachable.collect();
        let wanted: Vec<_> = reachable.iter().map(|missing| keys[missing.at].clone()).collect();
        let outcome = |leased: &Leased| match leased {
            Leased::Granted(_) => "granted",
            Leased::Held(_) => "held",
            Leased::Never => "never",
        };
        let (store, these) = (Arc::clone(&self.store), wanted.clone());
        let leasing = asked(&self.store, async move { store.lease_many(&these).await });
        let leased = self.timed_all("lease", wanted.iter().map(Key::class), budget, leasing, outcome).await;
        for (missing, leased) in reachable.iter_mut().zip(leased) {
            match leased {
                Ok(Leased::Granted(lease)) => {
                    missing.leased = true;
                    leases.push(lease);
                }
                Ok(Leased::Held(_) | Leased::Never) => {}
                Err(_) => missing.reachable = false,
            }
        }
        leases
    }
}

impl Inner {
    /// Fills what may be filled; for each missing key, whether its value is stored now.
    #[expect(clippy::too_many_arguments, reason = "one step of a batch, with all that came before it")]
    async fn fill_all(
        &self,
        keys: &[Key],
        ttl: Ttl,
        missing: &[Missing],
        values: &[Option<Bytes>],
        took: Duration,
        held: Held,
        budget: &mut Budget,
    ) -> Vec<bool> {
        let mut stored = vec![false; missing.len()];
        let (mut fills, mut unused, mut places) = (Vec::new(), Vec::new(), Vec::new());
        let leased = missing.iter().zip(values).enumerate().filter(|(_, (missing, _))| missing.leased);
        // Leases stand in the order of their keys.
        for (lease, (at, (missing, value))) in held.take().into_iter().zip(leased) {
            let packed = self.pack(&keys[missing.at], ttl, value.clone(), took);
            match packed.or_else(|| missing.replaces.then(|| self.nothing(&keys[missing.at]))) {
                Some(packed) => {
                    places.push(at);
                    fills.push((lease, packed.bytes, packed.kept_for));
                }
                None => unused.push(lease),
            }
        }
        let (fills, unused) = (Held::new(&self.store, fills), Held::new(&self.store, unused));
        let outcome = |stored: &bool| if *stored { "stored" } else { "rejected" };
        let filling = self.store.fill_many(fills.items());
        let classes = places.iter().map(|at| keys[missing[*at].at].class());
        let filled = self.timed_all("fill", classes, budget, filling, outcome).await;
        for (at, filled) in places.into_iter().zip(&filled) {
            let class = keys[missing[at].at].class();
            if *filled == Ok(false) {
                self.metrics.lease_rejected(class);
            }
            stored[at] = *filled == Ok(true) && (values[at].is_some() || !class.absent_for.is_zero());
        }
        fills.filled(&filled);
        // Nothing was found for these, and that is not kept: it cost no answer to say so later.
        drop(unused);
        stored
    }
}

fn may_be_stale(key: &Key) -> bool {
    key.class().serve_stale != ServeStale::Never
}

fn hard_timeout(class: &KeyClass) -> Duration {
    if class.hard_timeout.is_zero() { Duration::MAX } else { class.hard_timeout }
}
