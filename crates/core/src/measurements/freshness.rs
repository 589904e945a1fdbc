//! Freshness checks, summed over a run.

use super::Measurements;
use crate::journal::{
    FreshStaleCount, FreshnessCounts, FreshnessKey, FreshnessPoint, LAST_BUCKET, StaleKind, bucket_start,
};

impl Measurements {
    /// The sum of all freshness checks whose key passes.
    pub fn freshness(&self, mut wanted: impl FnMut(&FreshnessKey) -> bool) -> FreshnessCounts {
        let mut sum = FreshnessCounts::default();
        for (_, counts) in self.fresh.iter().filter(|(key, _)| wanted(key)) {
            sum.add(counts);
        }
        sum
    }

    /// The share of fresh reads by the time since the last write of their item was acknowledged (PBS' t-visibility),
    /// in order of time; times without any read are left out.
    pub fn freshness_curve(&self, wanted: impl FnMut(&FreshnessKey) -> bool) -> Vec<FreshnessPoint> {
        let point = |(bucket, counts): (u8, FreshStaleCount)| FreshnessPoint {
            from: bucket_start(bucket),
            to: if bucket == LAST_BUCKET { f64::INFINITY } else { bucket_start(bucket + 1) },
            fresh: counts.fresh,
            stale: counts.stale,
        };
        self.freshness(wanted).curve.into_iter().map(point).collect()
    }

    /// Stale reads of a kind; those not (yet) classified are not among them.
    pub fn stale_of_kind(&self, kind: StaleKind, mut wanted: impl FnMut(&FreshnessKey) -> bool) -> u64 {
        let counts = self
            .stale_classifications
            .iter()
            .filter(|classified| classified.kind == kind)
            .flat_map(|classified| &classified.reads);
        counts.filter(|count| wanted(&count.of)).map(|count| count.count).sum()
    }

    /// Stale reads of other kinds that may be of this one: no recheck was made at the time, or on the path, that would
    /// have shown it.
    pub fn stale_that_may_be(&self, kind: StaleKind, mut wanted: impl FnMut(&FreshnessKey) -> bool) -> u64 {
        let counts = self
            .stale_classifications
            .iter()
            .filter(|classified| classified.may_be(kind))
            .flat_map(|classified| &classified.reads);
        counts.filter(|count| wanted(&count.of)).map(|count| count.count).sum()
    }
}
