//! What a rule's term comes to, measured on the journal.

use crate::observe::{CellKey, Measurements, Outcome, Sample, Totals};
use crate::scenario::{Limit, Metric, Quantity, Rule, Scenario, Term};

use super::Unit;

/// A term, measured.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    /// The value, in `unit`. `None`: there was nothing to measure it on.
    pub value: Option<f64>,
    /// Its unit.
    pub unit: Option<Unit>,
    /// How many samples stand behind it.
    pub samples: u64,
    /// The events counted by a count or a share: errors, stale answers…
    pub events: Option<u64>,
    /// How many samples a percentile of this kind needs.
    pub needs: u64,
    /// Response times above a limit, exact. By [`Measured::above`].
    totals: Option<Totals>,
    /// Why there is no value, where that is not plain.
    pub why_not: Option<&'static str>,
}

impl Measured {
    fn of(value: Option<f64>, unit: Unit, samples: u64) -> Self {
        Self { value, unit: Some(unit), samples, ..Self::default() }
    }

    /// How many response times were above `limit` nanoseconds, counted exactly; `None` where nobody counted.
    pub fn above(&self, limits: &[u64], limit: u64) -> Option<u64> {
        let index = limits.iter().position(|known| *known == limit)?;
        Some(self.totals.as_ref()?.over.get(index).copied().unwrap_or(0))
    }
}

/// The phases that a term speaks of, by index.
pub(super) fn phases_of(scenario: &Scenario, term: &Term) -> Vec<usize> {
    match term.phase {
        Some(phase) => vec![phase],
        None => scenario
            .phases
            .iter()
            .enumerate()
            .filter(|(_, phase)| !phase.warm_up && term.path.is_none_or(|path| path == phase.path))
            .map(|(index, _)| index)
            .collect(),
    }
}

/// Whether a rule wants a share of the requests rather than a count (or, for memory, rather than bytes).
fn wants_share(rule: &Rule) -> bool {
    match rule.limit {
        Limit::Value(Quantity::Share(_)) => true,
        Limit::Value(_) => false,
        // Two counts from phases of different length say nothing; two shares do.
        Limit::Of { .. } => true,
    }
}

/// Measures a term of a rule.
pub(super) fn measure(scenario: &Scenario, seen: &Measurements, rule: &Rule, term: &Term) -> Measured {
    let phases = phases_of(scenario, term);
    let selected = |key: &CellKey| {
        phases.contains(&key.phase)
            && term.path.is_none_or(|path| path == key.path)
            && term.request.is_none_or(|request| request == key.request)
    };
    let cacheable = |key: &CellKey| scenario.traffic.requests.get(key.request).is_some_and(|request| request.cacheable);
    let read =
        |key: &CellKey| scenario.traffic.requests.get(key.request).is_some_and(|request| request.method.is_read());
    let outcome = |outcome: Outcome| seen.count(|key| selected(key) && key.outcome == outcome);
    let requests = || seen.count(selected);
    let events = |events: u64, of: u64| {
        let share = wants_share(rule);
        let value = if share { events as f64 / of as f64 } else { events as f64 };
        Measured {
            events: Some(events),
            ..Measured::of((of > 0).then_some(value), if share { Unit::Share } else { Unit::Count }, of)
        }
    };
    let percentile = |q: f64, service: bool| {
        let totals = seen.total(selected);
        let histogram = if service { &totals.service } else { &totals.response };
        let value = histogram.quantile(q).map(|nanoseconds| nanoseconds as f64 / 1e9);
        let needs = (10.0 / (1.0 - q) - 1e-6).ceil() as u64;
        let counted = Measured { needs, ..Measured::of(value, Unit::Seconds, totals.count()) };
        // The exact counts are of response times only.
        Measured { totals: (!service).then_some(totals), ..counted }
    };
    let samples = || {
        seen.samples.iter().filter(|(at, _)| {
            phases
                .iter()
                .filter_map(|phase| seen.phases.get(phase))
                .any(|span| *at >= span.from && *at <= span.to.unwrap_or(seen.last_at))
        })
    };
    match term.metric {
        Metric::ResponsePercentile(q) => percentile(q, false),
        Metric::ServicePercentile(q) => percentile(q, true),
        Metric::Mean => {
            let totals = seen.total(selected);
            Measured::of(totals.mean().map(|mean| mean / 1e9), Unit::Seconds, totals.count())
        }
        Metric::Max => {
            let totals = seen.total(selected);
            let max = totals.response.max().map(|max| max as f64 / 1e9);
            let counted = Measured::of(max, Unit::Seconds, totals.count());
            Measured { totals: Some(totals), ..counted }
        }
        // None sent is a number too, but a rule about nothing proves nothing: it fails as "no samples".
        Metric::Requests => {
            let sent = requests();
            Measured::of((sent > 0).then_some(sent as f64), Unit::Count, sent)
        }
        Metric::Throughput => {
            let answered = seen.count(|key| selected(key) && key.outcome != Outcome::Error);
            let value = seen.throughput(&phases, selected).filter(|_| requests() > 0);
            Measured::of(value, Unit::PerSecond, answered)
        }
        Metric::Errors => events(outcome(Outcome::Error), requests()),
        Metric::Availability => {
            let of = requests();
            let errors = outcome(Outcome::Error);
            let value = (of > 0).then(|| 1.0 - errors as f64 / of as f64);
            Measured { events: Some(of - errors), ..Measured::of(value, Unit::Share, of) }
        }
        Metric::HitRate => {
            let hits = seen.count(|key| selected(key) && cacheable(key) && key.outcome == Outcome::Hit);
            let misses = seen.count(|key| selected(key) && cacheable(key) && key.outcome == Outcome::Miss);
            let known = hits + misses;
            let value = (known > 0).then(|| hits as f64 / known as f64);
            let why_not = (known == 0 && requests() > 0).then_some("no answer said whether it was a hit or a miss");
            Measured { events: Some(hits), why_not, ..Measured::of(value, Unit::Share, known) }
        }
        Metric::Hits | Metric::Misses => {
            let wanted = if term.metric == Metric::Hits { Outcome::Hit } else { Outcome::Miss };
            let of = seen.count(|key| selected(key) && cacheable(key));
            events(seen.count(|key| selected(key) && cacheable(key) && key.outcome == wanted), of)
        }
        Metric::Fallbacks => events(outcome(Outcome::Fallback), requests()),
        Metric::WrongAnswers => events(outcome(Outcome::Wrong), requests()),
        Metric::Stale => {
            let reads = seen.total(|key| selected(key) && read(key));
            events(reads.stale, reads.count())
        }
        Metric::DbQueries | Metric::DbQueriesPerRequest => {
            let of = seen.count(|key| phases.contains(&key.phase));
            let grown: Option<u64> = phases.iter().map(|phase| seen.db_queries(*phase)).sum();
            let why_not = grown.is_none().then_some("the database did not answer the probe at the phase's edges");
            let per = if term.metric == Metric::DbQueries { 1.0 } else { of as f64 };
            let value = grown.filter(|_| of > 0).map(|queries| queries as f64 / per);
            Measured { events: grown, why_not, ..Measured::of(value, Unit::Count, of) }
        }
        Metric::RedisMemory => {
            let share = wants_share(rule) && matches!(rule.limit, Limit::Value(_));
            let values = samples().filter_map(|(_, sample)| sample.redis.as_ref()).filter_map(|redis| match share {
                false => Some(redis.memory as f64),
                true => (redis.max_memory > 0).then(|| redis.memory as f64 / redis.max_memory as f64),
            });
            let largest = largest(values, if share { Unit::Share } else { Unit::Bytes });
            let why_not = match share {
                true => "Redis gave no statistics, or has no maxmemory to compare with",
                false => "Redis gave no statistics",
            };
            Measured { why_not: largest.value.is_none().then_some(why_not), ..largest }
        }
        Metric::Evictions => {
            let counter = |sample: &Sample| sample.redis.as_ref().map(|redis| redis.evicted);
            let grown: Option<u64> = phases.iter().map(|phase| seen.evictions(*phase)).sum();
            let why_not = grown.is_none().then_some("Redis gave no statistics");
            let count = samples().filter(|(_, sample)| counter(sample).is_some()).count();
            Measured { events: grown, why_not, ..Measured::of(grown.map(|n| n as f64), Unit::Count, count as u64) }
        }
        Metric::AppMemory => {
            let values = samples().filter_map(|(_, sample)| sample.app.as_ref()).map(|app| app.memory as f64);
            let largest = largest(values, Unit::Bytes);
            let why_not =
                largest.value.is_none().then_some("the app's process is unknown: cacheproof did not start it");
            Measured { why_not, ..largest }
        }
    }
}

fn largest(values: impl Iterator<Item = f64>, unit: Unit) -> Measured {
    let (mut largest, mut samples) = (None, 0);
    for value in values {
        largest = Some(largest.map_or(value, |largest: f64| largest.max(value)));
        samples += 1;
    }
    Measured::of(largest, unit, samples)
}
