//! Slices of time: what came in during a second, and during 100 ms.
//!
//! The journal holds the same responses at two resolutions. A [`CoarseSlice`] has histograms of all times; a
//! [`FineSlice`] has counts and three response times only, so that a recovery can be timed to a tenth of a second in
//! a small journal.

use serde::{Deserialize, Serialize};

use super::{CachePath, FreshnessCell, Outcome, ResponseCell};

/// The responses of about one second: `window` in the journal. It ends at its line's time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CoarseSlice {
    /// Its length in seconds.
    pub seconds: f64,
    /// Arrivals that were due and waited for a free connection at its end.
    pub backlog: u64,
    /// How late the load generator was: sends by idle users after their intended start.
    pub send_lag: Option<SendLag>,
    /// The responses by phase, path, request and outcome.
    pub cells: Vec<ResponseCell>,
    /// Freshness checks beyond the counts in [`Self::cells`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freshness: Vec<FreshnessCell>,
    /// Requests that were due and that cacheproof never sent. Older journals do not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_sent: Vec<NotSent>,
    /// Reads that were sent once more, because the app had closed the connection before a byte of the answer came: phase and
    /// number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reconnects: Vec<(usize, u64)>,
}

/// Requests of one phase that were never sent, for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotSent {
    /// Phase that they were meant for.
    pub phase: usize,
    /// Why.
    pub reason: NotSentReason,
    /// How many.
    pub count: u64,
}

/// Why cacheproof did not send a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotSentReason {
    /// No connection came free before the run ended: all were waiting for the app. These requests are errors of their phase
    /// as well.
    NoConnection,
    /// This process may not open more files. These requests, and those below, are no errors of the app.
    Files,
    /// The machine has no more file descriptors.
    SystemFiles,
    /// No local port was free.
    Ports,
    /// The system had no memory for the socket.
    Memory,
    /// The name of the app's host was not found.
    Name,
    /// No request: a connection of the app to a server, for which cacheproof's proxy had no file or port.
    Proxy,
}

impl NotSentReason {
    /// Whether cacheproof or its machine failed, whatever the app did.
    pub fn is_client_failure(self) -> bool {
        self != Self::NoConnection
    }

    /// Whether it is the reason for a request that was not sent and is no error of the app.
    pub fn is_failed_request(self) -> bool {
        self.is_client_failure() && self != Self::Proxy
    }

    /// What was missing, in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoConnection => "no connection came free",
            Self::Files => "cacheproof may not open more files",
            Self::SystemFiles => "the machine has no file descriptors left",
            Self::Ports => "the machine has no local port left",
            Self::Memory => "the system has no memory for a socket",
            Self::Name => "the name of the app's host was not found",
            Self::Proxy => "cacheproof's proxy had no file or port left",
        }
    }

    /// What to do about it.
    pub fn help(self) -> &'static str {
        match self {
            Self::NoConnection => "lower traffic.rate, or raise traffic.connections",
            Self::Files | Self::Proxy => "raise the limit (`ulimit -n 65536`), or lower traffic.connections or users",
            Self::SystemFiles => "raise the limit (`sysctl fs.file-max`), or stop other programs",
            Self::Ports => {
                "widen the range (`sysctl net.ipv4.ip_local_port_range`), let the app keep connections open, or lower the rate"
            }
            Self::Memory => "free some memory, or lower traffic.connections or users",
            Self::Name => "write an address that this machine knows into target.url",
        }
    }
}

impl CoarseSlice {
    /// Counts of the cells that pass. `cacheable`: whether the hit rate counts a request, by its index. Response
    /// times are left out.
    pub fn counts(&self, wanted: impl Fn(&ResponseCell) -> bool, cacheable: impl Fn(usize) -> bool) -> SliceCounts {
        let mut counts = SliceCounts::default();
        for cell in self.cells.iter().filter(|cell| wanted(cell)) {
            counts.count(cell.outcome, cell.path, cell.response.count(), cacheable(cell.request));
            counts.stale += cell.stale;
        }
        counts
    }
}

/// Lateness of the load generator, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SendLag {
    /// Median.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
    /// Largest.
    pub max: u64,
}

/// The responses of about 100 ms: `pulse` in the journal. It ends at its line's time. A slice without responses is not
/// written: nothing came in between the end of one slice and the start of the next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FineSlice {
    /// Its length in seconds.
    pub seconds: f64,
    /// The responses by phase and path.
    pub cells: Vec<CountCell>,
}

/// Responses of one phase and path in one [`FineSlice`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CountCell {
    /// Phase that the requests were meant for.
    pub phase: usize,
    /// Path they took.
    pub path: CachePath,
    /// How many there were of each kind.
    #[serde(flatten)]
    pub counts: SliceCounts,
}

/// How many responses of each kind came in during a slice of time. Zeros are left out of the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceCounts {
    /// Requests that were answered, rightly or wrongly.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub answered: u64,
    /// Requests that failed.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub errors: u64,
    /// Responses that are not what was asked for, among those answered.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub wrong: u64,
    /// Responses older than the last write acknowledged before the request was sent, among those answered.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub stale: u64,
    /// Cacheable reads answered from the cache, fresh or beyond their lifetime.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub hits: u64,
    /// Cacheable reads that the cache did not have.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub misses: u64,
    /// Cacheable reads that were sent through the cache and answered past it, [`Self::fallbacks`] among them.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub passed: u64,
    /// Reads answered without the cache because it could not be reached.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub fallbacks: u64,
    /// Median response time, nanoseconds; 0 where nothing was answered. Of several slices, the largest.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub p50: u64,
    /// 95th percentile of the response times, nanoseconds, likewise.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub p95: u64,
    /// Longest response time, nanoseconds.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub max: u64,
}

impl SliceCounts {
    /// Counts responses with this outcome. `cacheable`: whether the hit rate counts their request.
    pub fn count(&mut self, outcome: Outcome, path: CachePath, responses: u64, cacheable: bool) {
        if cacheable && path == CachePath::Cached && matches!(outcome, Outcome::Bypass | Outcome::Fallback) {
            self.passed += responses;
        }
        match outcome {
            Outcome::Error => {
                self.errors += responses;
                return;
            }
            Outcome::Hit | Outcome::StaleServed if cacheable => self.hits += responses,
            Outcome::Miss if cacheable => self.misses += responses,
            Outcome::Fallback => self.fallbacks += responses,
            Outcome::Wrong => self.wrong += responses,
            Outcome::Hit | Outcome::Miss | Outcome::StaleServed | Outcome::Bypass | Outcome::Plain => {}
        }
        self.answered += responses;
    }

    /// Adds the counts of another path or slice. Percentiles cannot be added: the larger one is kept, which hides
    /// nothing.
    pub fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.errors += other.errors;
        self.wrong += other.wrong;
        self.stale += other.stale;
        self.hits += other.hits;
        self.misses += other.misses;
        self.passed += other.passed;
        self.fallbacks += other.fallbacks;
        self.p50 = self.p50.max(other.p50);
        self.p95 = self.p95.max(other.p95);
        self.max = self.max.max(other.max);
    }

    /// Requests that were answered or failed.
    pub fn requests(&self) -> u64 {
        self.answered + self.errors
    }

    /// Cacheable reads whose answer said where it came from.
    pub fn reads(&self) -> u64 {
        self.hits + self.misses + self.passed
    }

    /// Share of the hits among [`Self::reads`]. `None` where there are none.
    pub fn hit_rate(&self) -> Option<f64> {
        (self.reads() > 0).then(|| self.hits as f64 / self.reads() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Event;

    #[test]
    fn a_fine_slice_is_short_in_the_journal_and_is_read_back() {
        let counts = SliceCounts { answered: 41, hits: 38, misses: 2, p50: 1_180_000, ..SliceCounts::default() };
        let cell = CountCell { phase: 2, path: CachePath::Cached, counts };
        let slice = FineSlice { seconds: 0.1, cells: vec![cell] };
        let text = serde_json::to_string(&slice).expect("it serialises");
        assert!(text.len() < 120, "{text}");
        assert_eq!(serde_json::from_str::<FineSlice>(&text).expect("it is read back"), slice);
    }

    #[test]
    fn the_names_in_the_journal_are_those_that_older_journals_have() {
        let counts = SliceCounts { answered: 1, hits: 1, p50: 5, p95: 6, max: 7, ..SliceCounts::default() };
        let cells = vec![CountCell { phase: 2, path: CachePath::Cached, counts }];
        let fine = Event::FineSlice(FineSlice { seconds: 0.1, cells });
        let text = serde_json::to_string(&fine).expect("it serialises");
        let wanted = r#"{"pulse":{"seconds":0.1,"cells":[{"phase":2,"path":"cached","answered":1,"hits":1,"p50":5,"p95":6,"max":7}]}}"#;
        assert_eq!(text, wanted);
        let coarse = Event::CoarseSlice(CoarseSlice { seconds: 1.0, ..CoarseSlice::default() });
        let text = serde_json::to_string(&coarse).expect("it serialises");
        assert_eq!(text, r#"{"window":{"seconds":1.0,"backlog":0,"send_lag":null,"cells":[]}}"#);
    }
}
