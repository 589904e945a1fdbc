//! The responses that came in while their phase lasted, summed as the slices come in.

use std::collections::BTreeMap;

use super::{Measurements, PhaseSpan, ResponseKey};
use crate::journal::{CoarseSlice, Outcome};

/// What came in during a phase, for its requests.
#[derive(Clone, Debug, Default)]
pub(super) struct CompletedInPhase {
    /// The end of the last slice that ended in the phase.
    last: Option<f64>,
    inside: BTreeMap<ResponseKey, u64>,
    /// The slice in which the phase ended.
    beyond: Option<BTreeMap<ResponseKey, u64>>,
}

impl CompletedInPhase {
    /// Adds a slice that ended at a time. Whether later slices may belong to the phase as well.
    pub fn add(&mut self, phase: usize, span: &PhaseSpan, to: f64, slice: &CoarseSlice) -> bool {
        if to <= span.from {
            return true;
        }
        let is_beyond = span.to.is_some_and(|end| to > end);
        let counts = if is_beyond {
            self.beyond.get_or_insert_default()
        } else {
            self.last = Some(self.last.map_or(to, |last| last.max(to)));
            &mut self.inside
        };
        for cell in slice.cells.iter().filter(|cell| cell.phase == phase) {
            *counts.entry(ResponseKey::of(cell)).or_default() += cell.response.count();
        }
        !is_beyond
    }
}

impl Measurements {
    /// Number of responses whose key passes that came in while their phase lasted, and how many seconds that was.
    /// Responses that come in after the phase, from a backlog, do not count to its throughput.
    pub fn completed_in_phase(&self, phase: usize, mut wanted: impl FnMut(&ResponseKey) -> bool) -> (u64, f64) {
        let Some(span) = self.phases.get(&phase) else { return (0, 0.0) };
        let to = span.to.unwrap_or(self.last_at);
        let none = CompletedInPhase::default();
        let completed = self.completed.get(&phase).unwrap_or(&none);
        let mut count = |counts: &BTreeMap<ResponseKey, u64>| -> u64 {
            counts.iter().filter(|(key, _)| wanted(key)).map(|(_, count)| count).sum()
        };
        // The slice in which the phase ends holds late responses as well: it is left out with its seconds, unless the
        // phase is so short that little else remains.
        match completed.last {
            Some(last) if last - span.from >= (to - span.from) / 2.0 => (count(&completed.inside), last - span.from),
            _ => (count(&completed.inside) + completed.beyond.as_ref().map_or(0, count), to - span.from),
        }
    }

    /// Requests answered (not failed) a second while the phases lasted. `None` where there is no such time.
    pub fn throughput(&self, phases: &[usize], mut wanted: impl FnMut(&ResponseKey) -> bool) -> Option<f64> {
        let (mut answers, mut seconds) = (0, 0.0);
        for phase in phases {
            let (count, of) = self.completed_in_phase(*phase, |key| key.outcome != Outcome::Error && wanted(key));
            answers += count;
            seconds += of;
        }
        (seconds > 0.0).then(|| answers as f64 / seconds)
    }
}
