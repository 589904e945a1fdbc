//! Invalidations that Redis did not confirm, kept until they are made up for.
//!
//! While anything is owed, this process does not read the cache: what it would read may be what the lost
//! invalidation should have removed.

use crate::key::Tag;
use crate::store::Invalidation;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

#[derive(Debug)]
pub(super) struct Owed {
    debts: Mutex<Debts>,
    any: AtomicBool,
    /// Rises with each lost invalidation: a fill whose lease is from before is not to be relied on.
    epoch: AtomicU64,
    at_most: usize,
    pub(super) added: Notify,
}

/// What is owed. `everything` stands for all, once there is too much to remember.
#[derive(Clone, Debug, Default)]
pub(super) struct Debts {
    pub(super) keys: HashSet<String>,
    pub(super) tags: HashSet<Tag>,
    pub(super) patterns: HashSet<String>,
    pub(super) everything: bool,
    being_paid: usize,
}

impl Debts {
    fn len(&self) -> usize {
        self.keys.len() + self.tags.len() + self.patterns.len() + usize::from(self.everything)
    }

    pub(super) fn to_invalidation(&self) -> Invalidation {
        Invalidation {
            keys: self.keys.iter().cloned().collect(),
            tags: self.tags.iter().cloned().collect(),
            patterns: self.patterns.iter().cloned().collect(),
        }
    }
}

impl Owed {
    pub(super) fn new(at_most: usize) -> Self {
        Self {
            debts: Mutex::default(),
            any: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
            at_most,
            added: Notify::new(),
        }
    }

    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::SeqCst)
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    pub(super) fn len(&self) -> usize {
        let debts = self.lock();
        debts.len() + debts.being_paid
    }

    pub(super) fn add(&self, what: &Invalidation) {
        self.merge(&mut self.lock(), what.keys.iter().cloned(), &what.tags, &what.patterns);
        self.added.notify_one();
    }

    pub(super) fn add_everything(&self) {
        let mut debts = self.lock();
        self.owe_everything(&mut debts);
        self.note(&debts);
        drop(debts);
        self.added.notify_one();
    }

    /// Takes all debts to pay them. They still count as owed until [`Owed::paid`] or [`Owed::unpaid`].
    pub(super) fn take(&self) -> Debts {
        let mut debts = self.lock();
        let taken = std::mem::take(&mut *debts);
        debts.being_paid = taken.len();
        taken
    }

    /// The debts taken are paid; true when nothing new came up meanwhile and reading may go on.
    pub(super) fn paid(&self) -> bool {
        let mut debts = self.lock();
        debts.being_paid = 0;
        let free = debts.len() == 0;
        self.any.store(!free, Ordering::SeqCst);
        free
    }

    /// The debts taken could not be paid and are owed again.
    pub(super) fn unpaid(&self, taken: Debts) {
        let mut debts = self.lock();
        debts.being_paid = 0;
        if taken.everything {
            self.owe_everything(&mut debts);
        }
        let tags: Vec<_> = taken.tags.into_iter().collect();
        let patterns: Vec<_> = taken.patterns.into_iter().collect();
        self.merge(&mut debts, taken.keys.into_iter(), &tags, &patterns);
    }

    fn merge(&self, debts: &mut Debts, keys: impl Iterator<Item = String>, tags: &[Tag], patterns: &[String]) {
        if !debts.everything {
            debts.keys.extend(keys);
            debts.tags.extend(tags.iter().cloned());
            debts.patterns.extend(patterns.iter().cloned());
        }
        if debts.len() > self.at_most {
            self.owe_everything(debts);
        }
        self.note(debts);
    }

    fn owe_everything(&self, debts: &mut Debts) {
        *debts = Debts { everything: true, being_paid: debts.being_paid, ..Debts::default() };
    }

    fn note(&self, debts: &Debts) {
        if debts.len() > 0 && !self.any.swap(true, Ordering::SeqCst) {
            tracing::warn!("an invalidation did not reach the cache; not reading from it until that is made up for");
        }
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, Debts> {
        self.debts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::POSTS;

    fn item(id: i64) -> Invalidation {
        Invalidation::new().key(&POSTS.item(id))
    }

    #[test]
    fn what_comes_up_during_a_payment_is_still_owed_after_it() {
        let owed = Owed::new(10);
        owed.add(&item(1));
        let taken = owed.take();
        assert!(owed.any(), "being paid is not paid");
        owed.add(&item(1));
        assert!(!owed.paid(), "the same key was lost again meanwhile");
        assert!(owed.any());
        assert_eq!(taken.keys, owed.take().keys);
        assert!(owed.paid());
        assert!(!owed.any());
    }

    #[test]
    fn a_failed_payment_is_owed_again() {
        let owed = Owed::new(10);
        owed.add(&item(1).tag(POSTS.lists()).pattern("x:*"));
        let taken = owed.take();
        owed.unpaid(taken);
        assert_eq!(owed.len(), 3);
        assert!(owed.any());
    }

    #[test]
    fn too_many_debts_become_one_debt_of_everything() {
        let owed = Owed::new(10);
        (0..11).for_each(|id| owed.add(&item(id)));
        let taken = owed.take();
        assert!(taken.everything && taken.keys.is_empty());
        owed.add(&item(99));
        owed.unpaid(taken);
        assert!(owed.take().everything, "and stays so");
    }

    #[test]
    fn each_lost_invalidation_changes_the_epoch() {
        let owed = Owed::new(10);
        let before = owed.epoch();
        owed.add(&item(1));
        assert_ne!(owed.epoch(), before);
    }
}
