//! Growth of the servers' counters in a phase, from the samples.

use super::Measurements;
use crate::journal::{RedisSample, Sample};

/// How far from a phase's start and end a server may have been asked for its counters, seconds: a little more
/// than the time between two samples.
const MAX_SAMPLE_DISTANCE: f64 = 1.2;

/// A larger increase is none of one phase.
const MAX_INCREASE: u64 = 1 << 47;

impl Measurements {
    /// How much a counter grew in a phase: between the readings nearest to its start and its end.
    /// `None` where either is more than 1.2 s away, and where the counter decreased although its server was not
    /// restarted: it was reset, and what it had counted is lost.
    fn counter_increase<'a>(
        &'a self,
        phase: usize,
        reading: impl Fn(&'a Sample) -> Option<CounterReading<'a>>,
    ) -> Option<u64> {
        let span = self.phases.get(&phase)?;
        let readings: Vec<(f64, CounterReading<'_>)> =
            self.samples.iter().filter_map(|(at, sample)| reading(sample).map(|read| (at - read.age, read))).collect();
        let nearest = |moment: f64| {
            let away = |index: &usize| (readings[*index].0 - moment).abs();
            (0..readings.len())
                .min_by(|a, b| away(a).total_cmp(&away(b)))
                .filter(|index| away(index) <= MAX_SAMPLE_DISTANCE)
        };
        let (first, last) = (nearest(span.from)?, nearest(span.to.unwrap_or(self.last_at))?);
        let mut grown = None;
        for pair in readings.get(first..=last)?.windows(2) {
            let (before, after) = (&pair[0].1, &pair[1].1);
            let restarted = before.server != after.server;
            let sum: &mut u64 = grown.get_or_insert(0);
            *sum = sum.checked_add(match after.value.checked_sub(before.value) {
                _ if before.exact != after.exact || after.has_lost_since(before) => return None,
                _ if restarted && !after.survives => after.value,
                Some(more) => more,
                None if restarted => after.value,
                None => return None,
            })?;
        }
        // So that the phases of a run can be added.
        grown.filter(|grown| *grown <= MAX_INCREASE)
    }

    fn redis_counter_increase(&self, phase: usize, counter: impl Fn(&RedisSample) -> Option<u64>) -> Option<u64> {
        self.counter_increase(phase, |sample| {
            let redis = sample.redis.as_ref()?;
            let (value, server) = (counter(redis)?, redis.run_id.as_str());
            Some(CounterReading { exact: true, age: redis.age, ..CounterReading::new(value, server) })
        })
    }

    /// Queries that the database executed in a phase for all clients but cacheproof. `None` where the database did
    /// not answer the probe at the start and end of the phase, or lost its count in between.
    pub fn db_queries(&self, phase: usize) -> Option<u64> {
        self.counter_increase(phase, |sample| {
            let postgres = sample.postgres.as_ref()?;
            // Postgres keeps its statistics over an orderly restart.
            let (value, server) = (postgres.queries, postgres.started.as_str());
            Some(CounterReading {
                exact: postgres.exact,
                survives: true,
                age: postgres.age,
                evicted: postgres.evicted,
                since: &postgres.counting_since,
                ..CounterReading::new(value, server)
            })
        })
    }

    /// Bytes by which the app's log grew in a phase. `None` where cacheproof does not keep it, or it was truncated.
    pub fn log_bytes(&self, phase: usize) -> Option<u64> {
        self.counter_increase(phase, |sample| {
            let value = sample.app.as_ref()?.log?;
            Some(CounterReading { exact: true, survives: true, ..CounterReading::new(value, "") })
        })
    }

    /// Keys that Redis evicted in a phase.
    pub fn evictions(&self, phase: usize) -> Option<u64> {
        self.redis_counter_increase(phase, |redis| redis.evicted)
    }

    /// Hits and misses that Redis counted in a phase: of all its clients and all kinds of keys, so not the number of
    /// cached responses.
    pub fn redis_lookups(&self, phase: usize) -> Option<(u64, u64)> {
        Some((
            self.redis_counter_increase(phase, |redis| redis.hits)?,
            self.redis_counter_increase(phase, |redis| redis.misses)?,
        ))
    }
}

/// One reading of a counter.
struct CounterReading<'a> {
    value: u64,
    /// Changes with every start of the server.
    server: &'a str,
    /// Whether it counts statements and not transactions; readings of different kinds have no difference.
    exact: bool,
    /// Whether the counter may continue after a restart.
    survives: bool,
    /// How long before the time of its line it was made, seconds.
    age: f64,
    /// How often counts were thrown out, where that is known.
    evicted: Option<u64>,
    /// Since when it counts, where that is known.
    since: &'a str,
}

impl<'a> CounterReading<'a> {
    fn new(value: u64, server: &'a str) -> Self {
        Self { value, server, exact: false, survives: false, age: 0.0, evicted: None, since: "" }
    }

    /// Whether counts were thrown out since another reading, or set to 0, so that the difference is less than what was counted.
    fn has_lost_since(&self, before: &Self) -> bool {
        // A crash loses them all, and then it counts from 0.
        let restarted = self.server != before.server;
        let evicted = self.evicted != before.evicted && !(restarted && self.evicted == Some(0));
        evicted || (!restarted && self.since != before.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Event, JournalEntry, PostgresSample};

    fn phase(phase: usize, from: f64, to: f64) -> [JournalEntry; 2] {
        let ended = Event::PhaseEnded { phase, reason: String::new() };
        [JournalEntry { at: from, event: Event::PhaseStarted { phase } }, JournalEntry { at: to, event: ended }]
    }

    fn postgres(at: f64, queries: u64, change: impl Fn(&mut PostgresSample)) -> JournalEntry {
        let mut postgres = PostgresSample { queries, exact: true, started: "noon".into(), ..PostgresSample::default() };
        change(&mut postgres);
        JournalEntry { at, event: Event::Sample(Sample { postgres: Some(postgres), ..Sample::default() }) }
    }

    #[test]
    fn the_database_must_answer_at_both_edges_of_a_phase() {
        let of = |times: &[f64]| {
            let mut lines = Vec::from(phase(0, 10.0, 20.0));
            lines.extend(times.iter().map(|at| postgres(*at, (*at * 100.0) as u64, |_| {})));
            Measurements::of(&lines).db_queries(0)
        };
        assert_eq!(of(&[9.5, 10.1, 15.0, 19.2, 20.1]), Some(1_000));
        assert_eq!(of(&[11.0, 12.0, 19.0]), Some(800));
        assert_eq!(of(&[12.0, 19.9]), None, "the start is missing");
        assert_eq!(of(&[10.0, 11.0, 18.0]), None, "the end is missing");
    }

    #[test]
    fn a_reading_counts_from_the_time_at_which_it_was_made() {
        let mut lines = Vec::from(phase(0, 10.0, 20.0));
        // Redis hung for 0.7 s in each sample; Postgres had answered at once.
        lines.extend(
            [9.3, 10.0, 19.3, 20.0].map(|at| postgres(at + 0.7, (at * 100.0) as u64, |postgres| postgres.age = 0.7)),
        );
        assert_eq!(Measurements::of(&lines).db_queries(0), Some(1_000));
    }

    #[test]
    fn a_counter_that_decreases_means_a_restart_only_where_the_start_time_changed() {
        let of = |last: JournalEntry| {
            let mut lines = Vec::from(phase(0, 0.0, 2.0));
            lines.extend([postgres(0.0, 100, |_| {}), postgres(1.0, 150, |_| {}), last]);
            Measurements::of(&lines).db_queries(0)
        };
        assert_eq!(of(postgres(2.0, 30, |postgres| postgres.started = "one".into())), Some(80), "it crashed");
        assert_eq!(of(postgres(2.0, 170, |postgres| postgres.started = "one".into())), Some(70), "orderly restart");
        assert_eq!(of(postgres(2.0, 30, |_| {})), None, "statements were thrown out, or the counts reset");
        assert_eq!(of(postgres(2.0, 900, |postgres| postgres.exact = false)), None, "transactions are no queries");
    }

    #[test]
    fn redis_counts_from_zero_after_a_restart() {
        let redis = |at, run_id: &str, hits| {
            let (hits, misses) = (Some(hits), Some(hits / 10));
            let redis = RedisSample { run_id: run_id.into(), hits, misses, ..RedisSample::default() };
            JournalEntry { at, event: Event::Sample(Sample { redis: Some(redis), ..Sample::default() }) }
        };
        let mut lines = Vec::from(phase(0, 0.0, 2.0));
        lines.extend([redis(0.0, "a", 100), redis(1.0, "a", 140), redis(2.0, "b", 200)]);
        assert_eq!(Measurements::of(&lines).redis_lookups(0), Some((240, 24)));
        assert_eq!(Measurements::of(&lines).evictions(0), None, "it does not report them: that is not 0");
    }

    #[test]
    fn counts_that_were_thrown_out_or_set_to_0_make_the_number_of_queries_unknown() {
        let of = |last: JournalEntry| {
            let mut lines = Vec::from(phase(0, 0.0, 2.0));
            let counted = |postgres: &mut PostgresSample| {
                (postgres.evicted, postgres.counting_since) = (Some(1), "eleven".into());
            };
            lines.extend([postgres(0.0, 100, counted), postgres(1.0, 150, counted), last]);
            Measurements::of(&lines).db_queries(0)
        };
        let last = |evicted, since: &str, started: &str| {
            postgres(2.0, 170, |postgres| {
                (postgres.evicted, postgres.counting_since, postgres.started) = (evicted, since.into(), started.into());
            })
        };
        assert_eq!(of(last(Some(1), "eleven", "noon")), Some(70));
        assert_eq!(of(last(Some(2), "eleven", "noon")), None, "it grew although statements were thrown out");
        assert_eq!(of(last(Some(1), "now", "noon")), None, "it was reset and has grown again");
        assert_eq!(of(last(None, "eleven", "noon")), None);
        assert_eq!(of(last(Some(0), "now", "one")), Some(70), "a crash");
        assert_eq!(of(last(Some(2), "eleven", "one")), None, "thrown out before an orderly restart");
    }
}
