//! The answers of one path in short stretches of time without a hole: what recoveries are timed by.

use super::Measurements;
use crate::journal::{CachePath, Outcome, PulseCell};
use crate::scenario::Scenario;

/// Pulses that are less apart than this follow upon each other, seconds.
const MAX_GAP: f64 = 0.02;

/// The answers of one path in one stretch of time, of all phases together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beat {
    /// Its start, seconds since the run began.
    pub from: f64,
    /// Its end.
    pub to: f64,
    /// How many were answered, rightly or wrongly.
    pub answered: u64,
    /// How many failed.
    pub errors: u64,
    /// Answers for something else than was asked for.
    pub wrong: u64,
    /// Answers older than the last write acknowledged before.
    pub stale: u64,
    /// Cacheable reads answered from the cache.
    pub hits: u64,
    /// Cacheable reads that the cache did not have.
    pub misses: u64,
    /// Reads answered past a cache that could not be reached.
    pub fallbacks: u64,
    /// Median response time, nanoseconds; 0 where nothing was answered. Of several put together, the largest.
    pub p50: u64,
    /// 95th percentile of response time, likewise.
    pub p95: u64,
    /// Longest response time.
    pub max: u64,
}

impl Beat {
    /// Nothing came in.
    pub fn empty(from: f64, to: f64) -> Self {
        Self {
            from,
            to,
            answered: 0,
            errors: 0,
            wrong: 0,
            stale: 0,
            hits: 0,
            misses: 0,
            fallbacks: 0,
            p50: 0,
            p95: 0,
            max: 0,
        }
    }

    /// Its length in seconds.
    pub fn seconds(&self) -> f64 {
        self.to - self.from
    }

    /// What was answered and what failed.
    pub fn requests(&self) -> u64 {
        self.answered + self.errors
    }

    /// Takes in the beat that follows. Percentiles can't be put together: the worse one stands, which hides nothing.
    pub fn join(&mut self, next: &Self) {
        self.to = self.to.max(next.to);
        self.add(next.answered, next.errors, next);
    }

    fn add(&mut self, answered: u64, errors: u64, more: &Self) {
        self.answered += answered;
        self.errors += errors;
        self.wrong += more.wrong;
        self.stale += more.stale;
        self.hits += more.hits;
        self.misses += more.misses;
        self.fallbacks += more.fallbacks;
        self.p50 = self.p50.max(more.p50);
        self.p95 = self.p95.max(more.p95);
        self.max = self.max.max(more.max);
    }

    fn add_cell(&mut self, cell: &PulseCell) {
        let PulseCell { wrong, stale, hits, misses, fallbacks, p50, p95, max, .. } = *cell;
        let more = Self { wrong, stale, hits, misses, fallbacks, p50, p95, max, ..Self::empty(0.0, 0.0) };
        self.add(cell.answered, cell.errors, &more);
    }
}

impl Measurements {
    /// The answers of a path from the first pulse to the last, in order of time and without a hole: where no pulse
    /// was written, nothing came in. Of a journal without pulses (cacheproof 0.1), one beat a second, from its
    /// windows.
    pub fn beats(&self, scenario: &Scenario, path: CachePath) -> Vec<Beat> {
        let found = if self.pulses.is_empty() { self.of_windows(scenario, path) } else { self.of_pulses(path) };
        let mut beats: Vec<Beat> = Vec::with_capacity(found.len());
        for mut beat in found {
            if let Some(before) = beats.last().map(|before| before.to) {
                if beat.from - before > MAX_GAP {
                    beats.push(Beat::empty(before, beat.from));
                } else {
                    // Clocks that are a little apart make no overlap and no hole.
                    beat.from = before;
                    beat.to = beat.to.max(before);
                }
            }
            beats.push(beat);
        }
        beats
    }

    fn of_pulses(&self, path: CachePath) -> Vec<Beat> {
        self.pulses
            .iter()
            .map(|(at, pulse)| {
                let mut beat = Beat::empty(at - pulse.seconds, *at);
                pulse.cells.iter().filter(|cell| cell.path == path).for_each(|cell| beat.add_cell(cell));
                beat
            })
            .collect()
    }

    fn of_windows(&self, scenario: &Scenario, path: CachePath) -> Vec<Beat> {
        self.windows
            .iter()
            .map(|(at, window)| {
                let mut beat = Beat::empty(at - window.seconds, *at);
                beat.stale = window.stale.get(&path).copied().unwrap_or(0);
                if let Some(response) = window.response.get(&path) {
                    (beat.p50, beat.p95, beat.max) = (response.p50, response.p95, response.p99);
                }
                for (key, count) in window.counts.iter().filter(|(key, _)| key.path == path) {
                    let request = scenario.traffic.requests.get(key.request);
                    let cacheable = request.is_some_and(|request| request.cacheable);
                    match key.outcome {
                        Outcome::Error => beat.errors += count,
                        Outcome::Hit if cacheable => beat.hits += count,
                        Outcome::Miss if cacheable => beat.misses += count,
                        Outcome::Fallback => beat.fallbacks += count,
                        Outcome::Wrong => beat.wrong += count,
                        _ => {}
                    }
                    beat.answered += if key.outcome == Outcome::Error { 0 } else { *count };
                }
                beat
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Event, JournalEntry, Pulse};

    fn pulse(at: f64, seconds: f64, answered: u64) -> JournalEntry {
        let cell = PulseCell { answered, ..PulseCell::new(0, CachePath::Cached) };
        JournalEntry { at, event: Event::Pulse(Pulse { seconds, cells: vec![cell] }) }
    }

    #[test]
    fn a_stretch_without_pulses_is_a_beat_without_answers() {
        let seen = Measurements::of(&[pulse(1.0, 0.1, 4), pulse(1.101, 0.1, 5), pulse(2.0, 0.1, 6)]);
        let scenario =
            crate::scenario::parse("app.toml", include_str!("../scenario/tests/app.toml")).expect("it is right");
        let beats = seen.beats(&scenario, CachePath::Cached);
        let answered: Vec<u64> = beats.iter().map(|beat| beat.answered).collect();
        assert_eq!(answered, [4, 5, 0, 6]);
        assert!(beats.windows(2).all(|pair| pair[0].to == pair[1].from), "{beats:?}");
        let other = seen.beats(&scenario, CachePath::Uncached);
        assert!(other.iter().all(|beat| beat.requests() == 0) && other.len() == 4);
    }
}
