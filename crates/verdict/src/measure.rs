//! What a rule's term comes to, measured on the journal.

use cacheproof_core::journal::CachePath;
use cacheproof_core::journal::{Outcome, Sample};
use cacheproof_core::measurements::{Measurements, ResponseKey, Totals};
use cacheproof_core::scenario::{Limit, Metric, Quantity, Rule, Scenario, Term};

use super::measure_faults::measure_fault_metric;
use super::measure_growth::{log_per_request, measure_growth};
use super::{FaultOutcome, Unit, freshness};

/// A mean or a longest time of fewer answers says nothing.
const MIN_SAMPLES: u64 = 20;

/// A term, measured.
#[derive(Clone, Debug, Default)]
pub(super) struct MeasuredTerm {
    /// The value, in `unit`. `None`: there was nothing to measure it on.
    pub value: Option<f64>,
    /// Its unit.
    pub unit: Option<Unit>,
    /// How many samples stand behind it.
    pub samples: u64,
    /// The events counted by a count or a share: errors, stale answers…
    pub events: Option<u64>,
    /// How many samples a measurement of this kind needs.
    pub needs: u64,
    /// Errors among the samples of a time: an error is slower than any limit.
    pub errors: u64,
    /// So many errors that no limit can hold.
    pub beyond: bool,
    /// Response times above a limit, exact. By [`MeasuredTerm::above`].
    pub(super) totals: Option<Totals>,
    /// Why there is no value, where that is not plain.
    pub missing_reason: Option<String>,
    /// Why a limit that looks kept may not be.
    pub uncertainty: Option<String>,
    /// Something that was waited for so many seconds, at most, did not come; infinite where it never will.
    pub not_within: Option<f64>,
    /// What the value is of, where it is the worst of several.
    pub which: Option<String>,
}

impl MeasuredTerm {
    pub(super) fn of(value: Option<f64>, unit: Unit, samples: u64) -> Self {
        Self { value, unit: Some(unit), samples, ..Self::default() }
    }

    /// How many response times were above `limit` nanoseconds, counted exactly, and the errors; `None` where nobody
    /// counted.
    pub fn above(&self, limits: &[u64], limit: u64) -> Option<u64> {
        let index = limits.iter().position(|known| *known == limit)?;
        Some(self.totals.as_ref()?.over.get(index).copied().unwrap_or(0) + self.errors)
    }
}

/// How many samples a percentile needs.
pub(super) fn min_samples_for_percentile(q: f64) -> u64 {
    (10.0 / (1.0 - q) - 1e-6).ceil() as u64
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

/// What errors do to a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorTreatment {
    /// They count as slower than any limit: a short time is good for the rule.
    CountAsSlowest,
    /// They are left out: a long time is good for the rule.
    Exclude,
}

/// "The database counted nothing", where it did so in these phases.
pub(super) fn no_queries(scenario: &Scenario, phases: &[usize]) -> String {
    let names: Vec<String> =
        phases.iter().filter_map(|phase| Some(format!("'{}'", scenario.phases.get(*phase)?.name))).collect();
    format!("the database counted no queries at all in {}", names.join(", "))
}

/// Phases past the cache in which requests were answered and the database counted nothing: then it is not the
/// app's database, or its statistics are off.
pub(super) fn phases_without_db_queries(scenario: &Scenario, seen: &Measurements) -> Vec<usize> {
    let silent = |index: usize| {
        seen.db_queries(index) == Some(0) && seen.count(|key| key.phase == index && key.outcome != Outcome::Error) > 0
    };
    let uncached = scenario.phases.iter().enumerate().filter(|(_, phase)| phase.path == CachePath::Uncached);
    uncached.map(|(index, _)| index).filter(|index| silent(*index)).collect()
}

/// Measures a term of a rule.
pub(super) fn measure(
    scenario: &Scenario,
    seen: &Measurements,
    faults: &[FaultOutcome],
    rule: &Rule,
    term: &Term,
    error_treatment: ErrorTreatment,
) -> MeasuredTerm {
    let phases = phases_of(scenario, term);
    let selected = |key: &ResponseKey| {
        phases.contains(&key.phase)
            && term.path.is_none_or(|path| path == key.path)
            && term.request.is_none_or(|request| request == key.request)
    };
    let cacheable =
        |key: &ResponseKey| scenario.traffic.requests.get(key.request).is_some_and(|request| request.cacheable);
    let outcome = |outcome: Outcome| seen.count(|key| selected(key) && key.outcome == outcome);
    let requests = || seen.count(selected);
    let events = |events: u64, of: u64| {
        let share = wants_share(rule);
        let value = if share { events as f64 / of as f64 } else { events as f64 };
        MeasuredTerm {
            events: Some(events),
            ..MeasuredTerm::of((of > 0).then_some(value), if share { Unit::Share } else { Unit::Count }, of)
        }
    };
    let answers = || seen.total(|key| selected(key) && key.outcome != Outcome::Error);
    let slowest = error_treatment == ErrorTreatment::CountAsSlowest;
    // A quick refusal must not make an app look fast.
    let percentile = |q: f64, service: bool| {
        let (totals, errors) = (answers(), outcome(Outcome::Error));
        let sent = totals.count() + errors;
        let beyond = errors as f64 > (1.0 - q) * sent as f64 * (1.0 + 1e-9);
        let (samples, q_of_answers) =
            if slowest { (sent, (q * sent as f64 / totals.count() as f64).min(1.0)) } else { (totals.count(), q) };
        let histogram = if service { &totals.service } else { &totals.response };
        let value = if beyond { None } else { histogram.quantile(q_of_answers) };
        let value = value.map(|nanoseconds| nanoseconds as f64 / 1e9);
        let needs = min_samples_for_percentile(q);
        let errors = if slowest || beyond { errors } else { 0 };
        let samples = if beyond { sent } else { samples };
        let counted = MeasuredTerm { needs, errors, beyond, ..MeasuredTerm::of(value, Unit::Seconds, samples) };
        // The exact counts are of response times only.
        MeasuredTerm { totals: (!service).then_some(totals), ..counted }
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
            let totals = answers();
            // Timeouts left out would make it better: errors may only make it worse.
            let all = if slowest { seen.total(selected).mean() } else { None };
            let value = totals.mean().map(|mean| mean.max(all.unwrap_or(mean)) / 1e9);
            let missing_reason = (value.is_none() && requests() > 0).then(|| "not one request was answered".to_owned());
            MeasuredTerm {
                needs: MIN_SAMPLES,
                missing_reason,
                ..MeasuredTerm::of(value, Unit::Seconds, totals.count())
            }
        }
        Metric::Max => {
            let totals = answers();
            let errors = if slowest { outcome(Outcome::Error) } else { 0 };
            let max = if errors > 0 { None } else { totals.response.max() }.map(|max| max as f64 / 1e9);
            let counted = MeasuredTerm::of(max, Unit::Seconds, totals.count() + errors);
            MeasuredTerm { needs: MIN_SAMPLES, errors, beyond: errors > 0, totals: Some(totals), ..counted }
        }
        // None sent is a number too, but a rule about nothing proves nothing: it fails as "no samples".
        Metric::Requests => {
            let sent = requests();
            MeasuredTerm::of((sent > 0).then_some(sent as f64), Unit::Count, sent)
        }
        Metric::Throughput => {
            let answered = seen.count(|key| selected(key) && key.outcome != Outcome::Error);
            let value = seen.throughput(&phases, selected).filter(|_| requests() > 0);
            MeasuredTerm::of(value, Unit::PerSecond, answered)
        }
        Metric::Errors => events(outcome(Outcome::Error), requests()),
        Metric::Availability => {
            let of = requests();
            let errors = outcome(Outcome::Error);
            let value = (of > 0).then(|| 1.0 - errors as f64 / of as f64);
            MeasuredTerm { events: Some(of - errors), ..MeasuredTerm::of(value, Unit::Share, of) }
        }
        Metric::HitRate => {
            let hits = seen.count(|key| selected(key) && cacheable(key) && key.outcome == Outcome::Hit);
            let misses = seen.count(|key| selected(key) && cacheable(key) && key.outcome == Outcome::Miss);
            let known = hits + misses;
            let value = (known > 0).then(|| hits as f64 / known as f64);
            let missing_reason =
                (known == 0 && requests() > 0).then(|| "no answer said whether it was a hit or a miss".to_owned());
            MeasuredTerm { events: Some(hits), missing_reason, ..MeasuredTerm::of(value, Unit::Share, known) }
        }
        Metric::Hits | Metric::Misses => {
            let wanted = if term.metric == Metric::Hits { Outcome::Hit } else { Outcome::Miss };
            let of = seen.count(|key| selected(key) && cacheable(key));
            events(seen.count(|key| selected(key) && cacheable(key) && key.outcome == wanted), of)
        }
        Metric::Fallbacks => events(outcome(Outcome::Fallback), requests()),
        Metric::WrongAnswers | Metric::WrongOf(_) => {
            let (wrong, answers) = freshness::wrong(scenario, seen, term, selected);
            let missing_reason = "no request whose answers can be told to be wrong was answered";
            let missing_reason = (answers == 0 && requests() > 0).then(|| missing_reason.to_owned());
            MeasuredTerm { missing_reason, ..events(wrong, answers) }
        }
        Metric::Stale => {
            let (stale, judged) = freshness::stale(scenario, seen, &phases, selected);
            let uncertainty = freshness::uncertainty_at_quiescence(scenario, seen, &phases);
            let missing_reason =
                (judged == 0 && requests() > 0 && uncertainty.is_none()).then_some(freshness::missing_reason(scenario));
            MeasuredTerm { missing_reason: missing_reason.map(str::to_owned), uncertainty, ..events(stale, judged) }
        }
        Metric::NonMonotonic => {
            let (_, judged) = freshness::stale(scenario, seen, &phases, selected);
            let back = freshness::non_monotonic(seen, selected);
            let missing_reason = freshness::missing_reason(scenario).to_owned();
            MeasuredTerm {
                missing_reason: (judged == 0 && requests() > 0).then_some(missing_reason),
                ..events(back, judged)
            }
        }
        Metric::StaleOf(kind) => {
            let (stale, judged) = freshness::stale(scenario, seen, &phases, selected);
            let (of_kind, unsorted) = freshness::of_kind(seen, kind, stale, selected);
            let missing_reason = freshness::missing_reason(scenario).to_owned();
            let uncertainty = freshness::uncertainty_of_kind(seen, kind, unsorted, selected);
            MeasuredTerm {
                missing_reason: (judged == 0 && requests() > 0).then_some(missing_reason),
                uncertainty,
                ..events(of_kind, judged)
            }
        }
        Metric::StaleAge(_) | Metric::StaleAgeMax => {
            let (_, judged) = freshness::stale(scenario, seen, &phases, selected);
            let q = if let Metric::StaleAge(q) = term.metric { q } else { 1.0 };
            let (age, stale) = freshness::age(seen, q, selected);
            // Nothing stale is as young as can be.
            let value = if stale > 0 { age } else { (judged > 0).then_some(0.0) };
            let missing_reason = freshness::missing_reason(scenario).to_owned();
            let samples = if stale > 0 { stale } else { judged };
            let counted = MeasuredTerm::of(value, Unit::Seconds, samples);
            MeasuredTerm {
                missing_reason: (judged == 0 && requests() > 0).then_some(missing_reason),
                events: Some(stale),
                ..counted
            }
        }
        Metric::DbQueries | Metric::DbQueriesPerRequest => {
            // An error asks the database for nothing, or cannot be known to.
            let per_request = term.metric == Metric::DbQueriesPerRequest;
            let of = seen.count(|key| phases.contains(&key.phase) && !(per_request && key.outcome == Outcome::Error));
            let grown: Option<u64> = phases.iter().map(|phase| seen.db_queries(*phase)).sum();
            let silent: Vec<usize> =
                phases_without_db_queries(scenario, seen).into_iter().filter(|phase| phases.contains(phase)).collect();
            let missing_reason = match grown {
                None => Some("the database did not answer the probe at the phase's edges".to_owned()),
                Some(_) if !silent.is_empty() => Some(no_queries(scenario, &silent)),
                Some(_) => None,
            };
            let per = if per_request { of as f64 } else { 1.0 };
            let value = grown.filter(|_| of > 0 && silent.is_empty()).map(|queries| queries as f64 / per);
            MeasuredTerm { events: grown, missing_reason, ..MeasuredTerm::of(value, Unit::Count, of) }
        }
        Metric::RedisMemory => {
            let share = wants_share(rule) && matches!(rule.limit, Limit::Value(_));
            let values = samples().filter_map(|(_, sample)| sample.redis.as_ref()).filter_map(|redis| match share {
                false => Some(redis.memory as f64),
                true => (redis.max_memory > 0).then(|| redis.memory as f64 / redis.max_memory as f64),
            });
            let largest = largest(values, if share { Unit::Share } else { Unit::Bytes });
            let missing_reason = match samples().any(|(_, sample)| sample.redis.is_some()) {
                true => "Redis has no maxmemory to compare with: set it in [stack.redis], or compare with a size",
                false => "Redis gave no statistics",
            };
            MeasuredTerm { missing_reason: largest.value.is_none().then(|| missing_reason.to_owned()), ..largest }
        }
        Metric::Evictions => {
            let counter = |sample: &Sample| sample.redis.as_ref().map(|redis| redis.evicted);
            let grown: Option<u64> = phases.iter().map(|phase| seen.evictions(*phase)).sum();
            let missing_reason = grown.is_none().then(|| "Redis gave no statistics".to_owned());
            let count = samples().filter(|(_, sample)| counter(sample).is_some()).count();
            MeasuredTerm {
                events: grown,
                missing_reason,
                ..MeasuredTerm::of(grown.map(|n| n as f64), Unit::Count, count as u64)
            }
        }
        Metric::AppMemory => {
            let values = samples().filter_map(|(_, sample)| sample.app.as_ref()).map(|app| app.memory as f64);
            let largest = largest(values, Unit::Bytes);
            let missing_reason = largest.value.is_none().then(|| UNKNOWN_APP.to_owned());
            MeasuredTerm { missing_reason, ..largest }
        }
        Metric::AppFiles | Metric::RedisClients | Metric::DbConnections => {
            let (reading, missing_reason) = resource(term.metric);
            let largest = largest(samples().filter_map(|(_, sample)| reading(sample)), Unit::Count);
            MeasuredTerm { missing_reason: largest.value.is_none().then(|| missing_reason.to_owned()), ..largest }
        }
        Metric::AppMemoryGrowth | Metric::AppFilesGrowth | Metric::RedisClientsGrowth | Metric::DbConnectionsGrowth => {
            let (reading, missing_reason) = resource(term.metric);
            let unit = match rule.limit {
                _ if term.metric != Metric::AppMemoryGrowth => Unit::Count,
                Limit::Value(Quantity::Share(_)) => Unit::Share,
                _ => Unit::Bytes,
            };
            measure_growth(scenario, seen, &phases, unit, reading, missing_reason)
        }
        Metric::LogBytesPerRequest => log_per_request(seen, &phases),
        Metric::Recovery | Metric::Notice | Metric::HitRateRecovery | Metric::Refill => {
            measure_fault_metric(term.metric, &phases, faults)
        }
    }
}

const UNKNOWN_APP: &str = "the app's process is unknown: cacheproof did not start it";

type ResourceReader = fn(&Sample) -> Option<f64>;

/// How a resource of a server or process is read, and why there may be no reading.
fn resource(metric: Metric) -> (ResourceReader, &'static str) {
    match metric {
        Metric::RedisClients | Metric::RedisClientsGrowth => {
            (|sample| Some(sample.redis.as_ref()?.clients as f64), "Redis gave no statistics")
        }
        Metric::DbConnections | Metric::DbConnectionsGrowth => {
            (|sample| Some(sample.postgres.as_ref()?.connections as f64), "the database gave no statistics")
        }
        Metric::AppFiles | Metric::AppFilesGrowth => (|sample| Some(sample.app.as_ref()?.files as f64), UNKNOWN_APP),
        _ => (|sample| Some(sample.app.as_ref()?.memory as f64), UNKNOWN_APP),
    }
}

fn largest(values: impl Iterator<Item = f64>, unit: Unit) -> MeasuredTerm {
    let (mut largest, mut samples) = (None, 0);
    for value in values {
        largest = Some(largest.map_or(value, |largest: f64| largest.max(value)));
        samples += 1;
    }
    MeasuredTerm::of(largest, unit, samples)
}
