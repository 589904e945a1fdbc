//! Whether the machine stalled: how late a thread is woken that only sleeps, and where the CPU time went.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cacheproof_core::journal::MachineSample;

/// How long the thread sleeps.
const NAP: Duration = Duration::from_millis(10);

/// Watches the machine until it is dropped. A thread of its own: what keeps the runtime busy must not look like a machine
/// that stands still.
#[derive(Debug)]
pub(super) struct MachineProbe {
    /// The longest delay since the last sample, in nanoseconds.
    lag: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl MachineProbe {
    /// `None`: there are no more threads.
    pub(super) fn start() -> Option<Self> {
        let probe = Self { lag: Arc::default(), is_over: Arc::default() };
        let (lag, is_over) = (Arc::clone(&probe.lag), Arc::clone(&probe.is_over));
        let watch = move || {
            while !is_over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                std::thread::sleep(NAP);
                let late = begun.elapsed().saturating_sub(NAP);
                lag.fetch_max(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        };
        std::thread::Builder::new().name("machine-probe".into()).spawn(watch).ok()?;
        Some(probe)
    }

    /// What happened since the last sample. `None` where the system does not tell where the time went.
    pub(super) fn sample(&self) -> Option<MachineSample> {
        let lag = Duration::from_nanos(self.lag.swap(0, Ordering::Relaxed)).as_secs_f64();
        let (cpus, busy, stolen) = cpu_time()?;
        Some(MachineSample { lag, cpus, busy, stolen })
    }
}

impl Drop for MachineProbe {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// The CPUs of the machine, and their seconds since its start: used by processes, and stolen by the hypervisor.
#[cfg(target_os = "linux")]
fn cpu_time() -> Option<(u32, f64, f64)> {
    use procfs::CurrentSI as _;
    let procfs::KernelStats { total, cpu_time, .. } = procfs::KernelStats::current().ok()?;
    let seconds = |ticks: u64| ticks as f64 / procfs::ticks_per_second() as f64;
    // `guest` is part of `user`.
    let system = total.system + total.irq.unwrap_or(0) + total.softirq.unwrap_or(0);
    let cpus = u32::try_from(cpu_time.len()).ok()?;
    Some((cpus, seconds(total.user + total.nice + system), seconds(total.steal.unwrap_or(0))))
}

/// Only Linux has /proc.
#[cfg(not(target_os = "linux"))]
fn cpu_time() -> Option<(u32, f64, f64)> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn time_that_processes_use_is_busy_and_the_longest_delay_is_told_once() {
        let probe = MachineProbe::start().expect("a thread");
        let before = probe.sample().expect("/proc/stat");
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(300) {
            std::hint::spin_loop();
        }
        let after = probe.sample().expect("/proc/stat");
        // Other processes may have used more, and none of them less.
        assert!(after.busy - before.busy >= 0.1 && after.cpus >= 1, "{before:?} {after:?}");
        assert!(after.lag > 0.0, "no sleep is exact");
        probe.lag.store(5_000_000_000, Ordering::Relaxed);
        assert!(probe.sample().is_some_and(|sample| sample.lag >= 5.0));
        assert!(probe.sample().is_some_and(|sample| sample.lag < 5.0));
    }
}
