//! Metrics got hold of once: a family's lock and hash on every hit cost more than the hit in memory itself.

use std::fmt;
use std::sync::{Arc, OnceLock};

const SLOTS: usize = 256;
const PROBES: usize = 8;

/// Where each label lies: labels are `'static`, so the place says which it is. One that lies in two places has two handles on
/// the same metric.
type Place<const N: usize> = [(usize, usize); N];

/// The metrics of a family by the places of their labels. Only ever grows, to a fixed size; whatever does not fit is looked up in the family.
pub(super) struct Handles<const N: usize, M> {
    slots: Arc<[OnceLock<(Place<N>, M)>]>,
}

impl<const N: usize, M> Handles<N, M> {
    /// Does something with the metric of these labels; `find` gets it out of the family.
    pub(super) fn with<T>(
        &self,
        labels: [&'static str; N],
        find: impl FnOnce() -> M,
        use_it: impl FnOnce(&M) -> T,
    ) -> T {
        let place = labels.map(|label| (label.as_ptr() as usize, label.len()));
        let mixed = place.iter().fold(0_usize, |mixed, (at, len)| {
            (mixed ^ at ^ (len << 5)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
        });
        for probe in 0..PROBES {
            let slot = &self.slots[(mixed.wrapping_add(probe)) % SLOTS];
            match slot.get() {
                Some((there, metric)) if *there == place => return use_it(metric),
                Some(_) => {}
                None => {
                    let metric = find();
                    let used = use_it(&metric);
                    // Another may have been faster; then the next call looks on.
                    slot.set((place, metric)).ok();
                    return used;
                }
            }
        }
        use_it(&find())
    }
}

impl<const N: usize, M> Default for Handles<N, M> {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| OnceLock::new()).collect() }
    }
}

impl<const N: usize, M> Clone for Handles<N, M> {
    fn clone(&self) -> Self {
        Self { slots: Arc::clone(&self.slots) }
    }
}

impl<const N: usize, M> fmt::Debug for Handles<N, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handles").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn each_metric_is_found_by_its_labels_also_when_there_are_more_than_fit() {
        let labels: Vec<&'static str> = (0..400).map(|n| &*Box::leak(format!("label {n}").into_boxed_str())).collect();
        let family: HashMap<_, _> = labels.iter().map(|label| (*label, Arc::new(AtomicU64::new(0)))).collect();
        let handles = Handles::<1, Arc<AtomicU64>>::default();
        for _ in 0..3 {
            for label in &labels {
                handles.with([label], || family[label].clone(), |metric| metric.fetch_add(1, Ordering::Relaxed));
            }
        }
        assert!(family.values().all(|metric| metric.load(Ordering::Relaxed) == 3));
    }

    #[test]
    fn a_label_is_not_taken_for_one_that_begins_like_it() {
        let (whole, handles) = ("get_many", Handles::<1, &str>::default());
        let part: &'static str = &whole[..3];
        handles.with([whole], || "whole", |_| ());
        assert_eq!(handles.with([part], || "part", |metric| *metric), "part");
    }
}
