//! Freshness in the journal: what a window adds to its cells, what a stale read looked like, what became of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CachePath, Histogram, StaleKind, WrongKind};

/// What was judged in one window beyond what its cells count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FreshnessCell {
    /// What it speaks of.
    #[serde(flatten)]
    pub of: FreshnessKey,
    /// The counts.
    pub counts: FreshnessCounts,
}

/// What judgements are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FreshnessKey {
    /// Phase that the request was meant for.
    pub phase: usize,
    /// Way it took.
    pub path: CachePath,
    /// Index into the scenario's requests.
    pub request: usize,
}

impl Default for FreshnessKey {
    fn default() -> Self {
        Self { phase: 0, path: CachePath::Cached, request: 0 }
    }
}

/// Judgements counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FreshnessCounts {
    /// Probe reads that could be judged: cacheproof's own, sent after writes, not among any cell's answers.
    pub probes: u64,
    /// How many of them were stale.
    pub probes_stale: u64,
    /// How many were wrong.
    pub probes_wrong: u64,
    /// Reads that brought what a write of unknown outcome may have stored late: not judged.
    pub indeterminate: u64,
    /// Reads older than what an earlier read brought, though not older than an acknowledged write; probes among them.
    #[serde(default)]
    pub non_monotonic: u64,
    /// Wrong answers by kind, probes among them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub wrong: BTreeMap<WrongKind, u64>,
    /// How long stale answers had been superseded at least, nanoseconds; probes among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_at_least: Option<Histogram>,
    /// And at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_at_most: Option<Histogram>,
    /// Judged reads by the time since the write before them was acknowledged, probes among them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub curve: BTreeMap<u8, FreshStaleCount>,
}

/// How many reads of one bucket were fresh, and how many stale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreshStaleCount {
    /// As new as the last acknowledged write.
    pub fresh: u64,
    /// Older.
    pub stale: u64,
}

impl FreshnessCounts {
    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.probes += other.probes;
        self.probes_stale += other.probes_stale;
        self.probes_wrong += other.probes_wrong;
        self.indeterminate += other.indeterminate;
        self.non_monotonic += other.non_monotonic;
        for (kind, count) in &other.wrong {
            *self.wrong.entry(*kind).or_default() += count;
        }
        let merge = |mine: &mut Option<Histogram>, theirs: &Option<Histogram>| {
            if let Some(theirs) = theirs {
                mine.get_or_insert_default().merge(theirs);
            }
        };
        merge(&mut self.age_at_least, &other.age_at_least);
        merge(&mut self.age_at_most, &other.age_at_most);
        for (bucket, counts) in &other.curve {
            let sum = self.curve.entry(*bucket).or_default();
            sum.fresh += counts.fresh;
            sum.stale += counts.stale;
        }
    }
}

/// Buckets of a decade of time.
const BUCKETS_PER_DECADE: u32 = 4;
/// Where the first bucket ends, seconds.
const FIRST_BUCKET_END: f64 = 1e-4;
/// The last bucket, which has no end: above 1 000 s.
pub(crate) const LAST_BUCKET: u8 = 7 * BUCKETS_PER_DECADE as u8 + 1;

/// The bucket of a time since an acknowledgement, nanoseconds.
pub fn freshness_bucket(nanoseconds: u64) -> u8 {
    let seconds = nanoseconds as f64 / 1e9;
    if seconds < FIRST_BUCKET_END {
        return 0;
    }
    let bucket = (f64::from(BUCKETS_PER_DECADE) * (seconds / FIRST_BUCKET_END).log10()).floor() + 1.0;
    (bucket as u8).min(LAST_BUCKET)
}

/// Where a bucket begins, seconds.
pub(crate) fn bucket_start(bucket: u8) -> f64 {
    if bucket == 0 {
        0.0
    } else {
        FIRST_BUCKET_END * 10_f64.powf(f64::from(bucket - 1) / f64::from(BUCKETS_PER_DECADE))
    }
}

/// One point of the curve P(fresh | time since the write was acknowledged).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FreshnessPoint {
    /// From so many seconds after the acknowledgement.
    pub from: f64,
    /// To so many; infinite for the last.
    pub to: f64,
    /// Reads sent then that were fresh.
    pub fresh: u64,
    /// Reads sent then that were stale.
    pub stale: u64,
}

impl FreshnessPoint {
    /// How many reads stand behind it: never 0.
    pub fn count(&self) -> u64 {
        self.fresh + self.stale
    }

    /// The share that was fresh.
    pub fn share(&self) -> f64 {
        self.fresh as f64 / self.count() as f64
    }
}

/// A stale answer worth showing: the first of those that were looked into together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StaleRead {
    /// Tells it from the run's others; [`StaleClassification::id`] is the same.
    pub id: u64,
    /// Phase, path and request.
    #[serde(flatten)]
    pub of: FreshnessKey,
    /// The request line: `GET /posts/17`.
    pub call: String,
    /// The item by its path: `/posts/17`; of a list, the item in it that was stale.
    pub item: String,
    /// Whether cacheproof itself sent it, after a write.
    pub probe: bool,
    /// What was wrong, in words.
    pub detail: String,
    /// The version it carried.
    pub version: Option<u64>,
    /// The lowest version that would have been right.
    pub floor: u64,
    /// The item had been deleted.
    pub gone: bool,
    /// How long it had been superseded at least, seconds.
    pub age_at_least: f64,
    /// And at most.
    pub age_at_most: f64,
    /// From the last acknowledged write to the read's start, seconds.
    pub since_ack: Option<f64>,
    /// The item's last writes and reads, this one among them, by their start.
    pub history: Vec<HistoryEntry>,
}

/// One write or read of an item, with times relative to the start of the stale read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When it was sent, seconds.
    pub from: f64,
    /// When its answer was in; `None`: not yet.
    pub to: Option<f64>,
    /// `write`, `delete` or `read`.
    pub what: String,
    /// Version written or read.
    pub version: Option<u64>,
    /// `acknowledged`, `refused`, `outcome unknown`, `in flight`, `answered` or `not found`.
    pub how: String,
}

/// What became of stale answers of one item when it was looked at again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StaleClassification {
    /// As in [`StaleRead::id`].
    pub id: u64,
    /// The kind.
    pub kind: StaleKind,
    /// Every look.
    pub looks: Vec<Recheck>,
    /// The stale reads that it speaks of: all of this item until it was sorted.
    pub reads: Vec<StaleCount>,
}

impl StaleClassification {
    /// Whether it may be of this kind after all: the look that tells was not made, or not answered.
    pub fn may_be(&self, kind: StaleKind) -> bool {
        let found = |past_cache: bool, stale: bool| {
            self.looks.iter().any(|look| look.past_cache == past_cache && look.stale == Some(stale))
        };
        // What was seen to be right again on its own path is neither too old nor the source's.
        !found(false, false)
            && match (kind, self.kind) {
                // What is still there after its TTL is no longer called stuck.
                (StaleKind::BeyondTtl, StaleKind::Stuck) => true,
                (StaleKind::SourceRegressed, StaleKind::Stuck | StaleKind::BeyondTtl) => !found(true, false),
                _ => false,
            }
    }
}

/// A second look at a stale item.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recheck {
    /// So many seconds after the first stale read.
    pub after: f64,
    /// Whether it went past the cache.
    pub past_cache: bool,
    /// The version it found.
    pub version: Option<u64>,
    /// Whether that is still too old; `None` where there was no answer.
    pub stale: Option<bool>,
}

/// Stale reads of one kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaleCount {
    /// Phase, path and request.
    #[serde(flatten)]
    pub of: FreshnessKey,
    /// How many.
    pub count: u64,
}

/// Cached and uncached answers held against each other while nothing was written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AtQuiescence {
    /// The phase before.
    pub phase: usize,
    /// Items that were compared.
    pub compared: u64,
    /// Items whose cached answer was another than the uncached one.
    pub differ: u64,
    /// Items whose uncached answers differ among themselves: nothing can be said of these.
    pub incomparable: u64,
    /// The first few that differ: `GET /posts/17`.
    pub examples: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_falls_into_the_bucket_that_it_lies_in() {
        for nanoseconds in [0, 99_999, 100_000, 100_001, 178_000, 1_000_000, 999_999_999, 5_000_000_000, u64::MAX / 2] {
            let bucket = freshness_bucket(nanoseconds);
            let seconds = nanoseconds as f64 / 1e9;
            assert!(bucket_start(bucket) <= seconds * (1.0 + 1e-9), "{nanoseconds} in {bucket}");
            assert!(
                bucket == LAST_BUCKET || seconds <= bucket_start(bucket + 1) * (1.0 + 1e-9),
                "{nanoseconds} in {bucket}"
            );
        }
        assert_eq!(freshness_bucket(u64::MAX), LAST_BUCKET);
    }

    #[test]
    fn a_kind_is_ruled_out_only_by_a_look_that_would_have_shown_it() {
        let look = |after, past_cache, stale| Recheck { after, past_cache, version: None, stale };
        let sorted =
            |kind, looks: &[Recheck]| StaleClassification { id: 1, kind, looks: looks.to_vec(), reads: Vec::new() };
        let (first, past) = (look(1.0, false, Some(true)), look(1.1, true, Some(false)));
        let unlooked = sorted(StaleKind::Stuck, &[first]);
        assert!(unlooked.may_be(StaleKind::BeyondTtl) && unlooked.may_be(StaleKind::SourceRegressed));
        let nobody = sorted(StaleKind::Stuck, &[first, look(1.1, true, None)]);
        assert!(nobody.may_be(StaleKind::SourceRegressed), "a look without an answer is none");
        let right_at_the_source = sorted(StaleKind::Stuck, &[first, past]);
        assert!(right_at_the_source.may_be(StaleKind::BeyondTtl));
        assert!(!right_at_the_source.may_be(StaleKind::SourceRegressed));
        let gone_later = sorted(StaleKind::Stuck, &[first, past, look(5.0, false, Some(false))]);
        assert!(!gone_later.may_be(StaleKind::BeyondTtl));
        let transient = sorted(StaleKind::Transient, &[look(1.0, false, Some(false))]);
        assert!(!transient.may_be(StaleKind::BeyondTtl) && !transient.may_be(StaleKind::SourceRegressed));
    }

    #[test]
    fn a_window_with_freshness_is_read_back_and_one_without_is_an_old_one() {
        let of = FreshnessKey { phase: 1, path: CachePath::Cached, request: 2 };
        let counts = FreshnessCounts {
            probes: 3,
            wrong: [(WrongKind::Lost, 1)].into(),
            curve: [(4, FreshStaleCount { fresh: 2, stale: 1 })].into(),
            ..FreshnessCounts::default()
        };
        let cell = FreshnessCell { of, counts };
        let text = serde_json::to_string(&cell).expect("it serialises");
        assert_eq!(serde_json::from_str::<FreshnessCell>(&text).expect("it is read back"), cell, "{text}");
    }
}
