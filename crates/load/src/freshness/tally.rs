//! Counts judgements, a window at a time.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::judge::{Staleness, Verdict};
use cacheproof_core::observe::{FreshCell, FreshCounts, FreshKey, fresh_bucket};
use cacheproof_core::scenario::WrongKind;

/// The judgements since the last window.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<BTreeMap<FreshKey, FreshCounts>>);

impl Tally {
    /// Takes a verdict. `probe`: on one of cacheproof's own reads.
    pub(super) fn take(&self, of: FreshKey, verdict: &Verdict, probe: bool) {
        if *verdict == Verdict::NotJudged {
            return;
        }
        self.change(of, |counts| {
            let probes = u64::from(probe);
            match verdict {
                Verdict::NotJudged => {}
                Verdict::Fresh { since_ack } => {
                    counts.probes += probes;
                    if let Some(since) = since_ack {
                        counts.curve.entry(fresh_bucket(*since)).or_default().fresh += 1;
                    }
                }
                Verdict::Stale(staleness) => {
                    counts.probes += probes;
                    counts.probes_stale += probes;
                    age(counts, staleness);
                }
                Verdict::WentBack(_) => {
                    counts.probes += probes;
                    counts.non_monotonic += 1;
                }
                Verdict::Indeterminate => counts.indeterminate += 1,
                Verdict::Wrong(kind) => wrong(counts, *kind, probe),
            }
        });
    }

    /// Takes an answer that is wrong by what stands in it.
    pub(super) fn wrong(&self, of: FreshKey, kind: WrongKind, probe: bool) {
        self.change(of, |counts| wrong(counts, kind, probe));
    }

    /// Everything since the last call.
    pub(super) fn drain(&self) -> Vec<FreshCell> {
        let taken = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        taken.into_iter().map(|(of, counts)| FreshCell { of, counts }).collect()
    }

    fn change(&self, of: FreshKey, change: impl FnOnce(&mut FreshCounts)) {
        change(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(of).or_default());
    }
}

fn wrong(counts: &mut FreshCounts, kind: WrongKind, probe: bool) {
    *counts.wrong.entry(kind).or_default() += 1;
    counts.probes += u64::from(probe);
    counts.probes_wrong += u64::from(probe);
}

fn age(counts: &mut FreshCounts, staleness: &Staleness) {
    counts.age_at_least.get_or_insert_default().record(staleness.at_least);
    counts.age_at_most.get_or_insert_default().record(staleness.at_most);
    if let Some(since) = staleness.since_ack {
        counts.curve.entry(fresh_bucket(since)).or_default().stale += 1;
    }
}
