//! Freshness checks and stale reads of a simulated run.

use std::collections::BTreeMap;

use cacheproof_core::journal::*;

use super::{HOSTILE, Simulator};

impl Simulator {
    /// The freshness checks of a second: most reads come long after the write, the stale ones within a second of it.
    pub(crate) fn freshness(
        &mut self,
        phase: usize,
        second: u64,
        cells: &BTreeMap<(usize, Outcome), ResponseCell>,
    ) -> Vec<FreshnessCell> {
        let of = FreshnessKey { phase, path: self.phases[phase].path, request: 0 };
        let posts = || cells.values().filter(|cell| cell.request == 0);
        let (judged, stale) =
            posts().fold((0, 0), |(judged, stale), cell| (judged + cell.judged_fresh, stale + cell.stale));
        let mut counts = FreshnessCounts { probes: 3, indeterminate: second % 2, ..FreshnessCounts::default() };
        for (share, after) in [(40, 500_000), (12, 20_000_000), (4, 300_000_000), (1, 4_000_000_000)] {
            counts.curve.entry(freshness_bucket(after)).or_default().fresh += (judged + 3) / share / 3;
        }
        if stale > 0 {
            counts.curve.entry(freshness_bucket(300_000_000)).or_default().stale += stale;
            let at_least = counts.age_at_least.get_or_insert_default();
            (0..stale).for_each(|nth| at_least.record(300_000_000 + nth * 40_000_000));
            let at_most = counts.age_at_most.get_or_insert_default();
            (0..stale).for_each(|nth| at_most.record(310_000_000 + nth * 41_000_000));
        }
        let first = self.phases.iter().position(|phase| !phase.warm_up && phase.path == CachePath::Cached);
        if first == Some(phase) && second == 4 {
            counts.non_monotonic = 1;
            (1..=self.plan.stale_examples).for_each(|id| self.stale_read(id, of, second));
        }
        vec![FreshnessCell { of, counts }]
    }

    /// A stale read with the history of its item. Every third stays stuck; the last is not classified before the end.
    fn stale_read(&mut self, id: u64, of: FreshnessKey, second: u64) {
        let at = self.second_of(of.phase, second) + 0.1 + id as f64 * 0.01;
        let text_or_hostile = |text: &str| if self.plan.hostile { HOSTILE.repeat(40) } else { text.to_owned() };
        let entry = |from: f64, to: Option<f64>, what: &str, version: Option<u64>, how: &str| HistoryEntry {
            from,
            to,
            what: text_or_hostile(what),
            version,
            how: text_or_hostile(how),
        };
        let read = StaleRead {
            id,
            of,
            call: text_or_hostile(&format!("GET /posts/{id}")),
            item: text_or_hostile(&format!("/posts/{id}")),
            probe: id.is_multiple_of(2),
            detail: text_or_hostile("version 3 after a write was acknowledged with version 4"),
            version: Some(3),
            versions_are_times: false,
            floor: 4,
            gone: false,
            age_at_least: 0.3,
            age_at_most: 0.31,
            since_ack: Some(0.3),
            history: vec![
                entry(-2.5, Some(-2.496), "write", Some(3), "acknowledged"),
                entry(-0.31, Some(-0.3), "write", Some(4), "acknowledged"),
                entry(-0.02, None, "write", None, "in flight"),
                entry(-0.01, Some(-0.008), "read", Some(4), "answered"),
                HistoryEntry { what: "read".to_owned(), ..entry(0.0, Some(0.002), "read", Some(3), "answered") },
            ],
        };
        self.push(at, Event::StaleRead(read));
        if id > 1 && id == self.plan.stale_examples {
            return;
        }
        let stuck = id.is_multiple_of(3);
        let recheck = |after, past_cache, version, stale| Recheck {
            after,
            past_cache,
            version: Some(version),
            stale: Some(stale),
        };
        let rechecks = match stuck {
            true => vec![recheck(1.001, false, 3, true), recheck(1.004, true, 4, false)],
            false => vec![recheck(1.001, false, 4, false)],
        };
        let kind = if stuck { StaleKind::Stuck } else { StaleKind::Transient };
        let classification = StaleClassification { id, kind, rechecks, reads: vec![StaleCount { of, count: 1 }] };
        self.push(at + 1.01, Event::StaleClassification(classification));
    }
}
