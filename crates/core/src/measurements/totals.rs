//! Totals of the responses by phase, path, request and outcome.

use crate::journal::{CachePath, Histogram, Outcome, ResponseCell};

/// What responses are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResponseKey {
    /// Phase that the request was meant for.
    pub phase: usize,
    /// Path it took.
    pub path: CachePath,
    /// Index into the scenario's requests.
    pub request: usize,
    /// Its outcome.
    pub outcome: Outcome,
}

impl ResponseKey {
    pub(super) fn of(cell: &ResponseCell) -> Self {
        Self { phase: cell.phase, path: cell.path, request: cell.request, outcome: cell.outcome }
    }
}

/// Responses of one kind, or of several kinds together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Response times, nanoseconds.
    pub response: Histogram,
    /// Service times, nanoseconds.
    pub service: Histogram,
    /// Exact sum of the response times, nanoseconds.
    pub response_sum: u128,
    /// For each limit of [`RunStarted::limits`](crate::journal::RunStarted::limits), how many response times were above
    /// it.
    pub over: Vec<u64>,
    /// How many were stale.
    pub stale: u64,
    /// How many could be stale: see [`ResponseCell::judged_fresh`].
    pub judged_fresh: u64,
}

impl Totals {
    /// Number of responses.
    pub fn count(&self) -> u64 {
        self.response.count()
    }

    /// How many different times its histograms hold.
    pub(super) fn distinct(&self) -> usize {
        self.response.distinct() + self.service.distinct()
    }

    /// Mean response time in nanoseconds, exact. `None` when empty.
    pub fn mean(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.response_sum as f64 / self.count() as f64)
    }

    /// Adds the responses of another.
    pub fn add(&mut self, other: &Self) {
        self.response.merge(&other.response);
        self.service.merge(&other.service);
        self.response_sum += other.response_sum;
        self.stale += other.stale;
        self.judged_fresh += other.judged_fresh;
        add_over(&mut self.over, &other.over);
    }

    pub(super) fn add_cell(&mut self, cell: &ResponseCell) {
        self.response.merge(&cell.response);
        self.service.merge(&cell.service);
        self.response_sum += u128::from(cell.response_sum);
        self.stale += cell.stale;
        self.judged_fresh += cell.judged_fresh;
        add_over(&mut self.over, &cell.over);
    }
}

fn add_over(sum: &mut Vec<u64>, more: &[u64]) {
    sum.resize(sum.len().max(more.len()), 0);
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum += more;
    }
}
