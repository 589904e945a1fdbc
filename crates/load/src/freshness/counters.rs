//! Counts freshness checks, one slice at a time.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::judge::{ReadVerdict, Staleness};
use cacheproof_core::journal::WrongKind;
use cacheproof_core::journal::{AnswerCounts, FreshnessCell, FreshnessCounts, FreshnessKey, freshness_bucket};

/// The freshness checks since the last slice.
#[derive(Debug, Default)]
pub(super) struct FreshnessCounters(Mutex<BTreeMap<FreshnessKey, FreshnessCounts>>);

impl FreshnessCounters {
    /// Counts a verdict. `probe`: whether it is on a read of cacheproof's own.
    pub(super) fn record_verdict(&self, of: FreshnessKey, verdict: &ReadVerdict, probe: bool) {
        if *verdict == ReadVerdict::NotJudged {
            return;
        }
        self.change(of, |counts| {
            let probes = u64::from(probe);
            match verdict {
                ReadVerdict::NotJudged => {}
                ReadVerdict::Fresh { since_ack } => {
                    counts.probes += probes;
                    if let Some(since) = since_ack {
                        counts.curve.entry(freshness_bucket(*since)).or_default().fresh += 1;
                    }
                }
                ReadVerdict::Stale(staleness) => {
                    counts.probes += probes;
                    counts.probes_stale += probes;
                    record_age(counts, staleness);
                }
                ReadVerdict::NonMonotonic(_) => {
                    counts.probes += probes;
                    counts.non_monotonic += 1;
                }
                ReadVerdict::Indeterminate => counts.indeterminate += 1,
                ReadVerdict::Wrong(kind) => record_wrong(counts, *kind, probe),
            }
        });
    }

    /// Counts a response that is wrong by its content.
    pub(super) fn record_wrong(&self, of: FreshnessKey, kind: WrongKind, probe: bool) {
        self.change(of, |counts| record_wrong(counts, kind, probe));
    }

    /// Counts what an answer was good for.
    pub(super) fn record_answer(&self, of: FreshnessKey, answer: &AnswerCounts) {
        self.change(of, |counts| counts.answers.add(answer));
    }

    /// Everything since the last call.
    pub(super) fn drain(&self) -> Vec<FreshnessCell> {
        let taken = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        taken.into_iter().map(|(of, counts)| FreshnessCell { of, counts }).collect()
    }

    fn change(&self, of: FreshnessKey, change: impl FnOnce(&mut FreshnessCounts)) {
        change(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(of).or_default());
    }
}

fn record_wrong(counts: &mut FreshnessCounts, kind: WrongKind, probe: bool) {
    *counts.wrong.entry(kind).or_default() += 1;
    counts.probes += u64::from(probe);
    counts.probes_wrong += u64::from(probe);
}

fn record_age(counts: &mut FreshnessCounts, staleness: &Staleness) {
    counts.age_at_least.get_or_insert_default().record(staleness.at_least);
    counts.age_at_most.get_or_insert_default().record(staleness.at_most);
    if let Some(since) = staleness.since_ack {
        counts.curve.entry(freshness_bucket(since)).or_default().stale += 1;
    }
}
