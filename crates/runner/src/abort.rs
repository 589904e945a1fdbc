//! Abort conditions: checked throughout the run. When one is met, the run ends and every fault is undone.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use cacheproof_core::journal::{CoarseSlice, Sample};
use cacheproof_core::measurements::TimeSlice;
use cacheproof_core::scenario::{AbortCondition, Quantity};

/// Watches the scenario's abort conditions.
#[derive(Debug)]
pub(super) struct AbortWatch<'run> {
    conditions: &'run [AbortCondition],
    /// Directories of which the free space is checked.
    directories: Vec<PathBuf>,
    /// The last slices, the newest at the end.
    slices: VecDeque<TimeSlice>,
}

impl<'run> AbortWatch<'run> {
    pub(super) fn new(conditions: &'run [AbortCondition], report: &Path) -> Self {
        Self { conditions, directories: vec![report.to_owned(), std::env::temp_dir()], slices: VecDeque::new() }
    }

    /// Adds the responses of one second. Returns the reason to abort, if there is one.
    pub(super) fn slice(&mut self, slice: &CoarseSlice) -> Option<String> {
        let begin = self.slices.back().map_or(0.0, |last| last.to);
        let end = begin + slice.seconds;
        self.slices.push_back(TimeSlice { from: begin, to: end, counts: slice.counts(|_| true, |_| true) });
        let mut longest = 0.0_f64;
        let mut why = None;
        for condition in self.conditions {
            let AbortCondition::Errors { above, over } = condition else { continue };
            let over = over.as_secs_f64();
            longest = longest.max(over);
            // Slices are a second long, give or take a little.
            let least = over - 0.5;
            let mut recent = TimeSlice::empty(end, end);
            for slice in self.slices.iter().rev().take_while(|slice| end - slice.to <= least) {
                recent.from = slice.from;
                recent.counts.add(&slice.counts);
            }
            let (seconds, requests) = (recent.seconds(), recent.counts.requests());
            let share = recent.counts.errors as f64 / requests.max(1) as f64;
            if seconds > least && requests > 0 && share > *above {
                why = Some(format!(
                    "'{condition}': {:.1}% of {requests} requests failed in the last {seconds:.0} s",
                    share * 100.0
                ));
            }
        }
        let excess = self.slices.len().saturating_sub(longest as usize + 2);
        self.slices.drain(..excess);
        why.or_else(|| self.disk())
    }

    fn disk(&self) -> Option<String> {
        self.conditions.iter().find_map(|condition| {
            let AbortCondition::Disk { below } = condition else { return None };
            self.directories.iter().find_map(|directory| {
                let free = free_bytes(directory)?;
                (free < *below).then(|| format!("'{condition}': {} are free in {}", size(free), directory.display()))
            })
        })
    }

    /// Checks a sample. Returns the reason to abort, if there is one.
    pub(super) fn sample(&self, sample: &Sample) -> Option<String> {
        let memory = sample.app.as_ref()?.memory;
        self.conditions.iter().find_map(|condition| match condition {
            AbortCondition::AppMemory { above } if memory > *above => {
                Some(format!("'{condition}': the app uses {}", size(memory)))
            }
            _ => None,
        })
    }
}

/// In whole megabytes, or in bytes below one megabyte.
fn size(bytes: u64) -> String {
    Quantity::Bytes(if bytes < 1 << 20 { bytes } else { bytes >> 20 << 20 }).to_string()
}

#[expect(clippy::useless_conversion, reason = "other systems count in u32")]
fn free_bytes(directory: &Path) -> Option<u64> {
    let found = statvfs(directory).ok()?;
    Some(u64::from(found.blocks_available()) * u64::from(found.fragment_size()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use cacheproof_core::journal::{Histogram, Outcome, ProcessSample, ResponseCell};

    fn slice(good: u64, bad: u64) -> CoarseSlice {
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
        let cells = vec![cell(Outcome::Hit, good), cell(Outcome::Error, bad)];
        CoarseSlice { seconds: 1.0, cells, ..CoarseSlice::default() }
    }

    #[test]
    fn errors_abort_only_after_the_whole_time_of_the_condition() {
        let conditions = [AbortCondition::Errors { above: 0.5, over: Duration::from_secs(3) }];
        let mut watch = AbortWatch::new(&conditions, Path::new("/"));
        assert_eq!(watch.slice(&slice(100, 0)), None);
        assert_eq!(watch.slice(&slice(0, 100)), None);
        assert_eq!(watch.slice(&slice(100, 0)), None, "a third");
        assert_eq!(watch.slice(&slice(0, 0)), None, "half is not more than half");
        let why = watch.slice(&slice(0, 100)).or_else(|| watch.slice(&slice(0, 100))).unwrap();
        assert!(why.starts_with("'errors > 50% for 3s': "), "{why}");
        let mut young = AbortWatch::new(&conditions, Path::new("/"));
        assert_eq!(young.slice(&slice(0, 100)), None);
        assert_eq!(young.slice(&slice(0, 100)), None, "two seconds of three");
        assert!(young.slice(&slice(0, 100)).is_some());
    }

    #[test]
    fn memory_and_disk_are_checked() {
        let sample =
            Sample { app: Some(ProcessSample { memory: 5 << 20, ..ProcessSample::default() }), ..Sample::default() };
        let conditions = [AbortCondition::AppMemory { above: 4 << 20 }];
        let why = AbortWatch::new(&conditions, Path::new("/")).sample(&sample).unwrap();
        assert_eq!(why, "'app_memory > 4mb': the app uses 5mb");
        assert_eq!(
            AbortWatch::new(&[AbortCondition::AppMemory { above: 6 << 20 }], Path::new("/")).sample(&sample),
            None
        );
        let full = [AbortCondition::Disk { below: u64::MAX }];
        assert!(AbortWatch::new(&full, Path::new("/")).slice(&slice(1, 0)).unwrap().contains("are free in"));
        let plenty = [AbortCondition::Disk { below: 1 }];
        assert_eq!(AbortWatch::new(&plenty, Path::new("/")).slice(&slice(1, 0)), None);
    }
}
