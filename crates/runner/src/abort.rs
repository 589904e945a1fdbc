//! When a run is given up: looked at all the time, and then everything is undone.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use cacheproof_core::journal::{Outcome, Sample, Window};
use cacheproof_core::scenario::{AbortCondition, Quantity};

/// Watches for the scenario's reasons to give up.
#[derive(Debug)]
pub(super) struct AbortWatch<'run> {
    reasons: &'run [AbortCondition],
    /// Where the disk is looked at.
    places: Vec<PathBuf>,
    /// Length in seconds, failed and all requests of the last windows.
    windows: VecDeque<(f64, u64, u64)>,
}

impl<'run> AbortWatch<'run> {
    pub(super) fn new(reasons: &'run [AbortCondition], report: &Path) -> Self {
        Self { reasons, places: vec![report.to_owned(), std::env::temp_dir()], windows: VecDeque::new() }
    }

    /// Takes the answers of one second; gives a reason to give up.
    pub(super) fn window(&mut self, window: &Window) -> Option<String> {
        let (mut failed, mut all) = (0, 0);
        for cell in &window.cells {
            all += cell.response.count();
            failed += if cell.outcome == Outcome::Error { cell.response.count() } else { 0 };
        }
        self.windows.push_front((window.seconds, failed, all));
        let mut longest = 0.0_f64;
        let mut why = None;
        for reason in self.reasons {
            let AbortCondition::Errors { above, over } = reason else { continue };
            longest = longest.max(over.as_secs_f64());
            let (mut seconds, mut failed, mut all) = (0.0, 0, 0);
            for (length, bad, count) in &self.windows {
                // Windows are a second give or take a little.
                if seconds > over.as_secs_f64() - 0.5 {
                    break;
                }
                (seconds, failed, all) = (seconds + length, failed + bad, all + count);
            }
            let share = failed as f64 / all.max(1) as f64;
            if seconds > over.as_secs_f64() - 0.5 && all > 0 && share > *above {
                why = Some(format!(
                    "'{reason}': {:.1}% of {all} requests failed in the last {seconds:.0} s",
                    share * 100.0
                ));
            }
        }
        self.windows.truncate(longest as usize + 2);
        why.or_else(|| self.disk())
    }

    fn disk(&self) -> Option<String> {
        self.reasons.iter().find_map(|reason| {
            let AbortCondition::Disk { below } = reason else { return None };
            self.places.iter().find_map(|place| {
                let free = free_bytes(place)?;
                (free < *below).then(|| format!("'{reason}': {} are free in {}", size(free), place.display()))
            })
        })
    }

    /// Takes a sample; gives a reason to give up.
    pub(super) fn sample(&self, sample: &Sample) -> Option<String> {
        let memory = sample.app.as_ref()?.memory;
        self.reasons.iter().find_map(|reason| match reason {
            AbortCondition::AppMemory { above } if memory > *above => {
                Some(format!("'{reason}': the app uses {}", size(memory)))
            }
            _ => None,
        })
    }
}

/// In whole megabytes, or what there is below one.
fn size(bytes: u64) -> String {
    Quantity::Bytes(if bytes < 1 << 20 { bytes } else { bytes >> 20 << 20 }).to_string()
}

#[expect(clippy::useless_conversion, reason = "other systems count in u32")]
fn free_bytes(place: &Path) -> Option<u64> {
    let seen = statvfs(place).ok()?;
    Some(u64::from(seen.blocks_available()) * u64::from(seen.fragment_size()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use cacheproof_core::journal::{Histogram, ProcessSample, ResponseCell};

    fn window(good: u64, bad: u64) -> Window {
        let cell = |outcome, count: u64| {
            let mut response = Histogram::new();
            (0..count).for_each(|_| response.record(1));
            ResponseCell {
                phase: 0,
                path: cacheproof_core::journal::CachePath::Cached,
                request: 0,
                outcome,
                service: response.clone(),
                response,
                response_sum: 0,
                over: Vec::new(),
                stale: 0,
                judged_fresh: 0,
            }
        };
        Window { seconds: 1.0, cells: vec![cell(Outcome::Hit, good), cell(Outcome::Error, bad)], ..Window::default() }
    }

    #[test]
    fn errors_count_over_their_whole_time_and_no_sooner() {
        let reasons = [AbortCondition::Errors { above: 0.5, over: Duration::from_secs(3) }];
        let mut watch = AbortWatch::new(&reasons, Path::new("/"));
        assert_eq!(watch.window(&window(100, 0)), None);
        assert_eq!(watch.window(&window(0, 100)), None);
        assert_eq!(watch.window(&window(100, 0)), None, "a third");
        assert_eq!(watch.window(&window(0, 0)), None, "half is not more than half");
        let why = watch.window(&window(0, 100)).or_else(|| watch.window(&window(0, 100))).unwrap();
        assert!(why.starts_with("'errors > 50% for 3s': "), "{why}");
        let mut young = AbortWatch::new(&reasons, Path::new("/"));
        assert_eq!(young.window(&window(0, 100)), None);
        assert_eq!(young.window(&window(0, 100)), None, "two seconds of three");
        assert!(young.window(&window(0, 100)).is_some());
    }

    #[test]
    fn memory_and_disk_are_looked_at() {
        let sample =
            Sample { app: Some(ProcessSample { memory: 5 << 20, ..ProcessSample::default() }), ..Sample::default() };
        let reasons = [AbortCondition::AppMemory { above: 4 << 20 }];
        let why = AbortWatch::new(&reasons, Path::new("/")).sample(&sample).unwrap();
        assert_eq!(why, "'app_memory > 4mb': the app uses 5mb");
        assert_eq!(
            AbortWatch::new(&[AbortCondition::AppMemory { above: 6 << 20 }], Path::new("/")).sample(&sample),
            None
        );
        let full = [AbortCondition::Disk { below: u64::MAX }];
        assert!(AbortWatch::new(&full, Path::new("/")).window(&window(1, 0)).unwrap().contains("are free in"));
        let plenty = [AbortCondition::Disk { below: 1 }];
        assert_eq!(AbortWatch::new(&plenty, Path::new("/")).window(&window(1, 0)), None);
    }
}
