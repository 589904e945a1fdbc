//! Freshness in the journal: counts per slice, examples of stale reads, and their classification.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CachePath, Histogram, StaleKind, WrongKind};

/// Freshness checks in one [`CoarseSlice`](super::CoarseSlice), beyond the counts in its cells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FreshnessCell {
    /// Phase, path and request.
    #[serde(flatten)]
    pub of: FreshnessKey,
    /// The counts.
    pub counts: FreshnessCounts,
}

/// What freshness checks are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FreshnessKey {
    /// Phase that the request was meant for.
    pub phase: usize,
    /// Path it took.
    pub path: CachePath,
    /// Index into the scenario's requests.
    pub request: usize,
}

impl Default for FreshnessKey {
    fn default() -> Self {
        Self { phase: 0, path: CachePath::Cached, request: 0 }
    }
}

/// Results of freshness checks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FreshnessCounts {
    /// Probe reads whose freshness could be checked: sent by cacheproof after writes, not counted in any cell.
    pub probes: u64,
    /// How many of them were stale.
    pub probes_stale: u64,
    /// How many were wrong.
    pub probes_wrong: u64,
    /// Reads that returned what a write of unknown outcome may have stored late: not judged.
    pub indeterminate: u64,
    /// Reads older than what an earlier read returned, though not older than an acknowledged write; with the probes.
    #[serde(default)]
    pub non_monotonic: u64,
    /// What the answers to the load's requests were good for.
    #[serde(default, skip_serializing_if = "AnswerCounts::is_empty")]
    pub answers: AnswerCounts,
    /// Wrong responses by kind, with the probes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub wrong: BTreeMap<WrongKind, u64>,
    /// How long stale responses had been superseded at least, nanoseconds; with the probes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_at_least: Option<Histogram>,
    /// And at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_at_most: Option<Histogram>,
    /// Judged reads by the time since the last write was acknowledged, with the probes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub curve: BTreeMap<u8, FreshStaleCount>,
}

/// What the answers to requests for one item (`/posts/{post}`) were good for: how much of them could be judged. Zeros
/// are left out of the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AnswerCounts {
    /// Reads that returned an item.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub items: u64,
    /// Reads of requests that name no item, answered with a status of success.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub others: u64,
    /// Reads that returned a status of `expect` from 400 on instead, such as 404.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub absent: u64,
    /// Those of [`Self::items`] and [`Self::others`] that look like an error page or a sign-in page.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub substitutes: u64,
    /// Items without the version that the scenario declares.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub unversioned: u64,
    /// Those of [`Self::unversioned`] that had been written before, so that their version would have been judged.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub unversioned_written: u64,
    /// Items whose body was compared with that of the answer before, which was of another item.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub compared: u64,
    /// Those of [`Self::compared`] that were the same, byte for byte.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub same: u64,
    /// Acknowledged writes whose version could be compared with an earlier one of the item.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub updates: u64,
    /// Those of [`Self::updates`] whose version was not a new one: one of the two writes is lost.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub lost_updates: u64,
    /// Acknowledged writes that left the version as it was, and that sent the same body as the others: they are lost, or
    /// changed nothing. They are not among [`Self::updates`].
    #[serde(skip_serializing_if = "super::is_zero")]
    pub unchanged: u64,
    /// Written items that were read past the cache at the end of the run, counted where their last write was.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub final_reads: u64,
    /// Those of [`Self::final_reads`] that did not show their last acknowledged write, and said that they were not from the
    /// cache: it is lost.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub lost_at_end: u64,
    /// Written items that did not show their last acknowledged write at the end, in answers that did not say where they came
    /// from: the write is lost, or the bypass does not work. They are not among [`Self::final_reads`].
    #[serde(skip_serializing_if = "super::is_zero")]
    pub behind_at_end: u64,
    /// Written items that were read at the end and could not be compared.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub unread_at_end: u64,
}

impl AnswerCounts {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds the counts of another.
    pub fn add(&mut self, other: &Self) {
        let Self {
            items,
            others,
            absent,
            substitutes,
            unversioned,
            unversioned_written,
            compared,
            same,
            updates,
            lost_updates,
            unchanged,
            final_reads,
            lost_at_end,
            behind_at_end,
            unread_at_end,
        } = *other;
        self.items += items;
        self.others += others;
        self.absent += absent;
        self.substitutes += substitutes;
        self.unversioned += unversioned;
        self.unversioned_written += unversioned_written;
        self.compared += compared;
        self.same += same;
        self.updates += updates;
        self.lost_updates += lost_updates;
        self.unchanged += unchanged;
        self.final_reads += final_reads;
        self.lost_at_end += lost_at_end;
        self.behind_at_end += behind_at_end;
        self.unread_at_end += unread_at_end;
    }
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
    /// How many different times its histograms hold.
    pub(crate) fn distinct(&self) -> usize {
        self.age_at_least.iter().chain(&self.age_at_most).map(Histogram::distinct).sum()
    }

    /// Adds the counts of another.
    pub fn add(&mut self, other: &Self) {
        self.probes += other.probes;
        self.probes_stale += other.probes_stale;
        self.probes_wrong += other.probes_wrong;
        self.indeterminate += other.indeterminate;
        self.non_monotonic += other.non_monotonic;
        self.answers.add(&other.answers);
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

/// Buckets per decade of time.
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
    /// Start of the bucket, seconds after the acknowledgement.
    pub from: f64,
    /// Its end; infinite for the last.
    pub to: f64,
    /// Reads sent then that were fresh.
    pub fresh: u64,
    /// Reads sent then that were stale.
    pub stale: u64,
}

impl FreshnessPoint {
    /// Number of reads: never 0.
    pub fn count(&self) -> u64 {
        self.fresh + self.stale
    }

    /// The share that was fresh.
    pub fn share(&self) -> f64 {
        self.fresh as f64 / self.count() as f64
    }
}

/// An example of a stale response: the first of those that are classified together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StaleRead {
    /// Unique in the run; [`StaleClassification::id`] is the same.
    pub id: u64,
    /// Phase, path and request.
    #[serde(flatten)]
    pub of: FreshnessKey,
    /// The request line: `GET /posts/17`.
    pub call: String,
    /// The item by its path: `/posts/17`; of a list, the item in it that was stale.
    pub item: String,
    /// Whether it is a probe: sent by cacheproof after a write.
    pub probe: bool,
    /// What was wrong, in words.
    pub detail: String,
    /// The version it carried.
    pub version: Option<u64>,
    /// Whether versions are times, in nanoseconds since 1970.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub versions_are_times: bool,
    /// The lowest version that would have been fresh.
    pub floor: u64,
    /// Whether the item had been deleted.
    pub gone: bool,
    /// How long it had been superseded at least, seconds.
    pub age_at_least: f64,
    /// And at most.
    pub age_at_most: f64,
    /// From the last acknowledged write to the read's start, seconds.
    pub since_ack: Option<f64>,
    /// The item's last writes and reads with this one, by their start.
    pub history: Vec<HistoryEntry>,
}

/// One write or read of an item, with times relative to the start of the stale read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When it was sent, seconds.
    pub from: f64,
    /// When its response was complete; `None`: not yet.
    pub to: Option<f64>,
    /// `write`, `delete` or `read`.
    pub what: String,
    /// Version written or read.
    pub version: Option<u64>,
    /// `acknowledged`, `refused`, `outcome unknown`, `in flight`, `answered` or `not found`.
    pub how: String,
}

/// The kind of the stale responses of one item, found by reading it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StaleClassification {
    /// As in [`StaleRead::id`].
    pub id: u64,
    /// The kind.
    pub kind: StaleKind,
    /// Every recheck.
    #[serde(rename = "looks")]
    pub rechecks: Vec<Recheck>,
    /// The stale reads of this item until it was classified.
    pub reads: Vec<StaleCount>,
}

impl StaleClassification {
    /// Whether it may be of this kind all the same: the recheck that would show it was not made, or not answered.
    pub fn may_be(&self, kind: StaleKind) -> bool {
        let found = |past_cache: bool, stale: bool| {
            self.rechecks.iter().any(|recheck| recheck.past_cache == past_cache && recheck.stale == Some(stale))
        };
        // What was fresh again on its own path is neither beyond its TTL nor the source's error.
        !found(false, false)
            && match (kind, self.kind) {
                // What is still stale after its TTL is no longer called stuck.
                (StaleKind::BeyondTtl, StaleKind::Stuck) => true,
                (StaleKind::SourceRegressed, StaleKind::Stuck | StaleKind::BeyondTtl) => !found(true, false),
                _ => false,
            }
    }
}

/// A later read of an item that was stale.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recheck {
    /// Seconds after the first stale read.
    pub after: f64,
    /// Whether it was sent without the cache.
    pub past_cache: bool,
    /// The version it found.
    pub version: Option<u64>,
    /// Whether that is still stale; `None` where there was no response.
    pub stale: Option<bool>,
}

/// Stale reads of one phase, path and request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaleCount {
    /// Phase, path and request.
    #[serde(flatten)]
    pub of: FreshnessKey,
    /// How many.
    pub count: u64,
}

/// Cached and uncached responses compared while nothing was written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AtQuiescence {
    /// The phase before.
    pub phase: usize,
    /// The request whose answers were compared. `None`: an older journal, which has one line for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<usize>,
    /// Items that were compared.
    pub compared: u64,
    /// Items whose cached response differed from the uncached one.
    pub differ: u64,
    /// Items whose uncached responses differ from each other: these cannot be compared.
    pub incomparable: u64,
    /// Items whose uncached response said that it came from the cache: the comparison shows nothing. They are not among
    /// the others.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub not_bypassed: u64,
    /// Items whose answers were equal, and past the cache the same as before the item was written: the write shows in none of
    /// them, or the bypass does not work. They are not among the others.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub unchanged: u64,
    /// Items that were not answered on both paths.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub unread: u64,
    /// Written items that were not among those that were chosen to be compared.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub skipped: u64,
    /// The first few that differ: `GET /posts/17`.
    pub examples: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_within_the_bounds_of_its_bucket() {
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
    fn a_kind_is_ruled_out_only_by_a_recheck_that_would_have_shown_it() {
        let recheck = |after, past_cache, stale| Recheck { after, past_cache, version: None, stale };
        let classified = |kind, rechecks: &[Recheck]| StaleClassification {
            id: 1,
            kind,
            rechecks: rechecks.to_vec(),
            reads: Vec::new(),
        };
        let (first, past) = (recheck(1.0, false, Some(true)), recheck(1.1, true, Some(false)));
        let without_bypass = classified(StaleKind::Stuck, &[first]);
        assert!(without_bypass.may_be(StaleKind::BeyondTtl) && without_bypass.may_be(StaleKind::SourceRegressed));
        let unanswered = classified(StaleKind::Stuck, &[first, recheck(1.1, true, None)]);
        assert!(unanswered.may_be(StaleKind::SourceRegressed), "a recheck without a response shows nothing");
        let fresh_at_the_source = classified(StaleKind::Stuck, &[first, past]);
        assert!(fresh_at_the_source.may_be(StaleKind::BeyondTtl));
        assert!(!fresh_at_the_source.may_be(StaleKind::SourceRegressed));
        let fresh_later = classified(StaleKind::Stuck, &[first, past, recheck(5.0, false, Some(false))]);
        assert!(!fresh_later.may_be(StaleKind::BeyondTtl));
        let transient = classified(StaleKind::Transient, &[recheck(1.0, false, Some(false))]);
        assert!(!transient.may_be(StaleKind::BeyondTtl) && !transient.may_be(StaleKind::SourceRegressed));
    }

    #[test]
    fn a_freshness_cell_is_read_back_as_it_was_written() {
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
