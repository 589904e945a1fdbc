//! When the machine stalled: suspended, throttled, or its CPUs given to others by the hypervisor.

use cacheproof_core::journal::MachineSample;
use cacheproof_core::measurements::Measurements;

/// A thread that sleeps is woken so many seconds late when the machine stalls.
const MIN_LAG: f64 = 0.1;

/// Share of the CPU time that the hypervisor took, from which it is to blame.
const MIN_STOLEN_SHARE: f64 = 0.1;

/// So many seconds are longer than any thread waits because others use the CPUs.
const MAX_WAIT_FOR_OTHERS: f64 = 1.0;

/// Seconds after a stall in which what had to wait is answered.
const AFTERMATH: f64 = 1.0;

/// One stall: when it was, with the second after it, and how long a thread waited.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stall {
    from: f64,
    to: f64,
    pub lag: f64,
}

impl Stall {
    /// Whether a stretch of time overlaps it.
    pub(super) fn overlaps(&self, from: f64, to: f64) -> bool {
        self.from < to && from < self.to
    }
}

/// When the machine stalled.
pub(super) fn stalls(measurements: &Measurements) -> Vec<Stall> {
    let readings: Vec<(f64, MachineSample)> =
        measurements.samples.iter().filter_map(|(at, sample)| Some((*at, sample.machine?))).collect();
    let of_pair = |pair: &[(f64, MachineSample)]| {
        let ((from, before), (to, after)) = (pair[0], pair[1]);
        let cpus = f64::from(after.cpus.max(1));
        let (stolen, busy) = (after.stolen - before.stolen, after.busy - before.busy);
        let is_to_blame = after.lag >= MAX_WAIT_FOR_OTHERS
            || stolen >= (to - from) * cpus * MIN_STOLEN_SHARE
            // Even if all that was computed fell into the wait, it would not have filled the CPUs.
            || busy < after.lag * cpus;
        // What was late when it was read may have begun to be so before the sample that it is told in.
        (to > from && after.lag >= MIN_LAG && is_to_blame).then(|| Stall {
            from: from.min(to - after.lag),
            to: to + AFTERMATH,
            lag: after.lag,
        })
    };
    readings.windows(2).filter_map(of_pair).collect()
}
