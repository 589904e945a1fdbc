//! Metrics of the database's work, and of what servers and the app's process use.

use super::evidence::readings;
use super::growth::{Growth, MIN_READINGS, growth, growth_of_memory};
use super::{
    Comparison, Dimension, Evidence, Measured, MeasuredOn, MetricDefinition, MinSamples, Requirement, ScenarioFacts,
    Scope, Wording,
};
use crate::journal::{CachePath, Outcome, Sample};
use crate::measurements::Measurements;
use crate::numbers;

const UNKNOWN_APP: &str = "the app's processes are unknown: cacheproof did not start what listens on the app's port";
const UNKNOWN_FILES: &str = "the open files of the app are unknown: cacheproof did not start what listens on the app's port, or may not look at it";
const NO_REDIS: &str = "Redis gave no such statistics";
const NO_DATABASE: &str = "the database gave no such statistics; its user may need the role pg_read_all_stats";

/// What the counts of queries have in common.
const QUERIES: MetricDefinition = MetricDefinition {
    dimension: Dimension::Count,
    measured_on: MeasuredOn::DatabaseQueries,
    requires: &[Requirement::Postgres],
    ..MetricDefinition::COMMON
};

/// The largest of the readings.
const LARGEST: MetricDefinition = MetricDefinition {
    dimension: Dimension::Count,
    measured_on: MeasuredOn::Resources,
    details: readings,
    only_grows: true,
    ..MetricDefinition::COMMON
};

/// How much the readings grew over a phase.
const GROWTH: MetricDefinition = MetricDefinition {
    dimension: Dimension::Count,
    measured_on: MeasuredOn::Resources,
    min_samples: MinSamples::AtLeast(MIN_READINGS as u64),
    is_growth: true,
    details: |evidence: &Evidence<'_>| {
        let place = evidence.measured.which.as_ref().map_or_else(String::new, |which| format!("{which}, "));
        format!(" from its first third to its last ({place}{} readings)", evidence.samples())
    },
    ..MetricDefinition::COMMON
};

pub(super) static ROWS: &[MetricDefinition] = &[
    MetricDefinition {
        name: "db_queries",
        synonyms: &[("queries", "db_queries"), ("db_load", "db_queries")],
        measure: |scope| {
            let sent = scope.measurements.count(|key| scope.phases.contains(&key.phase));
            queries(scope, 1.0, sent)
        },
        wording: Wording::Noun("database queries"),
        details: |evidence| format!(" ({} requests)", evidence.samples()),
        only_grows: true,
        comparison: Comparison::Total("use db_queries_per_request: it does not grow with a phase's length"),
        ..QUERIES
    },
    MetricDefinition {
        name: "db_queries_per_request",
        synonyms: &[("queries", "db_queries_per_request"), ("db_load", "db_queries_per_request")],
        dimension: Dimension::Ratio,
        measure: |scope| {
            // An error asks the database for nothing, or nobody knows for what.
            let answered = |phase: usize, outcome| scope.phases.contains(&phase) && outcome != Outcome::Error;
            let answered = scope.measurements.count(|key| answered(key.phase, key.outcome));
            queries(scope, answered as f64, answered)
        },
        wording: Wording::Noun("queries per request"),
        details: |evidence| {
            format!(" ({} queries, {} requests)", numbers::count(evidence.events()), evidence.samples())
        },
        ..QUERIES
    },
    MetricDefinition {
        name: "redis_memory",
        synonyms: &[("memory", "redis_memory")],
        dimension: Dimension::BytesOrShare,
        requires: &[Requirement::Redis],
        measure: redis_memory,
        wording: Wording::Label("Redis memory at most"),
        ..LARGEST
    },
    MetricDefinition {
        name: "evictions",
        requires: &[Requirement::Redis],
        measure: |scope| {
            let evicted: Option<u64> = scope.phases.iter().map(|phase| scope.measurements.evictions(*phase)).sum();
            let reports = |sample: &Sample| sample.redis.as_ref().is_some_and(|redis| redis.evicted.is_some());
            let readings = scope.samples().filter(|sample| reports(sample)).count();
            let missing_reason = evicted.is_none().then(|| NO_REDIS.to_owned());
            let measured = Measured::of(evicted.map(|keys| keys as f64), readings as u64);
            Measured { events: evicted, missing_reason, ..measured }
        },
        wording: Wording::Noun("evictions"),
        comparison: Comparison::Total("compare phases that last equally long"),
        ..LARGEST
    },
    MetricDefinition {
        name: "redis_clients",
        synonyms: &[("connections", "redis_clients")],
        requires: &[Requirement::Redis],
        measure: |scope| largest(scope, redis_clients, NO_REDIS),
        wording: Wording::Noun("Redis clients at most"),
        ..LARGEST
    },
    MetricDefinition {
        name: "redis_clients_growth",
        requires: &[Requirement::Redis],
        measure: |scope| largest_growth(scope, redis_clients, growth, NO_REDIS),
        wording: Wording::Label("Redis clients grew by"),
        ..GROWTH
    },
    MetricDefinition {
        name: "db_connections",
        synonyms: &[("connections", "db_connections")],
        requires: &[Requirement::Postgres],
        measure: |scope| largest(scope, db_connections, NO_DATABASE),
        wording: Wording::Noun("database connections at most"),
        ..LARGEST
    },
    MetricDefinition {
        name: "db_connections_growth",
        requires: &[Requirement::Postgres],
        measure: |scope| largest_growth(scope, db_connections, growth, NO_DATABASE),
        wording: Wording::Label("database connections grew by"),
        ..GROWTH
    },
    MetricDefinition {
        name: "app_memory",
        synonyms: &[("memory", "app_memory")],
        dimension: Dimension::Bytes,
        requires: &[Requirement::StartedApp],
        measure: |scope| largest(scope, app_memory, UNKNOWN_APP),
        wording: Wording::Label("the app's memory at most"),
        ..LARGEST
    },
    MetricDefinition {
        name: "app_memory_growth",
        synonyms: &[("leak", "app_memory_growth"), ("memory_growth", "app_memory_growth")],
        dimension: Dimension::Growth,
        requires: &[Requirement::StartedApp],
        measure: |scope| largest_growth(scope, app_memory, growth_of_memory, UNKNOWN_APP),
        wording: Wording::Label("the app's memory grew by"),
        ..GROWTH
    },
    MetricDefinition {
        name: "app_files",
        synonyms: &[("connections", "app_files")],
        requires: &[Requirement::StartedApp],
        measure: |scope| largest(scope, app_files, UNKNOWN_FILES),
        wording: Wording::Noun("open files of the app at most"),
        ..LARGEST
    },
    MetricDefinition {
        name: "app_files_growth",
        requires: &[Requirement::StartedApp],
        measure: |scope| largest_growth(scope, app_files, growth, UNKNOWN_FILES),
        wording: Wording::Label("the app's open files grew by"),
        ..GROWTH
    },
    MetricDefinition {
        name: "log_bytes_per_request",
        synonyms: &[("log_bytes", "log_bytes_per_request"), ("log_size", "log_bytes_per_request")],
        dimension: Dimension::Bytes,
        measured_on: MeasuredOn::Resources,
        requires: &[Requirement::StartedApp],
        measure: log_bytes_per_request,
        wording: Wording::Noun("of log per request"),
        details: |evidence| {
            let bytes = numbers::bytes(evidence.events() as f64);
            let failed = evidence.measured.which.as_ref().map_or_else(String::new, |which| format!(", {which}"));
            format!(" ({bytes}, {} requests{failed})", evidence.samples())
        },
        ..MetricDefinition::COMMON
    },
];

/// How a resource of a server or process is read off a sample.
type Reader = fn(&Sample) -> Option<f64>;

/// How growth is told from readings.
type GrowthOf = fn(&[f64]) -> Option<Growth>;

fn redis_clients(sample: &Sample) -> Option<f64> {
    Some(sample.redis.as_ref()?.clients? as f64)
}

fn db_connections(sample: &Sample) -> Option<f64> {
    Some(sample.postgres.as_ref()?.connections? as f64)
}

fn app_memory(sample: &Sample) -> Option<f64> {
    Some(sample.app.as_ref()?.memory as f64)
}

fn app_files(sample: &Sample) -> Option<f64> {
    Some(sample.app.as_ref()?.files? as f64)
}

fn largest(scope: &Scope<'_>, reader: Reader, missing_reason: &str) -> Measured {
    largest_of(scope.samples().filter_map(reader), missing_reason)
}

fn largest_of(values: impl Iterator<Item = f64>, missing_reason: &str) -> Measured {
    let (mut largest, mut samples) = (None, 0);
    for value in values {
        largest = Some(largest.map_or(value, |largest: f64| largest.max(value)));
        samples += 1;
    }
    let missing_reason = largest.is_none().then(|| missing_reason.to_owned());
    Measured { missing_reason, ..Measured::of(largest, samples) }
}

fn redis_memory(scope: &Scope<'_>) -> Measured {
    let values = scope.samples().filter_map(|sample| sample.redis.as_ref()).filter_map(|redis| {
        let memory = redis.memory? as f64;
        match scope.as_share {
            false => Some(memory),
            true => redis.max_memory.filter(|limit| *limit > 0).map(|limit| memory / limit as f64),
        }
    });
    let reports = |sample: &Sample| sample.redis.as_ref().is_some_and(|redis| redis.memory.is_some());
    let missing_reason = match scope.samples().any(reports) {
        true => "Redis has no maxmemory to compare with: set it in [stack.redis], or compare with a size",
        false => NO_REDIS,
    };
    largest_of(values, missing_reason)
}

/// The largest growth over one of the phases, each on its own.
fn largest_growth(scope: &Scope<'_>, reader: Reader, growth_of: GrowthOf, missing_reason: &str) -> Measured {
    let measurements = scope.measurements;
    let mut worst: Option<(f64, usize, f64)> = None;
    let mut fewest = u64::MAX;
    for phase in &scope.phases {
        let Some(span) = measurements.phases.get(phase) else { continue };
        let inside = |at: f64| at >= span.from && at <= span.to.unwrap_or(measurements.last_at);
        let values: Vec<f64> = measurements
            .samples
            .iter()
            .filter(|(at, _)| inside(*at))
            .filter_map(|(_, sample)| reader(sample))
            .collect();
        let Some(Growth { more, first, step }) = growth_of(&values) else { continue };
        let more = if scope.as_share { more / first.max(1.0) } else { more };
        fewest = fewest.min(values.len() as u64);
        if worst.is_none_or(|(most, ..)| more > most) {
            worst = Some((more, *phase, step));
        }
    }
    let place = match worst {
        Some((_, phase, _)) if scope.phases.len() > 1 => {
            scope.facts.phases.get(phase).map(|phase| format!("in '{}'", phase.name))
        }
        _ => None,
    };
    let step = worst.filter(|(.., step)| *step > 0.0);
    let step = step.map(|(.., step)| format!("without a single step of {}", numbers::bytes(step)));
    let which: Vec<String> = [place, step].into_iter().flatten().collect();
    let which = (!which.is_empty()).then(|| which.join(", "));
    let samples = if worst.is_some() { fewest } else { 0 };
    let missing_reason = worst.is_none().then(|| missing_reason.to_owned());
    Measured { missing_reason, which, ..Measured::of(worst.map(|(more, ..)| more), samples) }
}

/// How much the app's log grew for each request, answered or not.
fn log_bytes_per_request(scope: &Scope<'_>) -> Measured {
    let measurements = scope.measurements;
    let requests = measurements.count(|key| scope.phases.contains(&key.phase));
    let failed = measurements.count(|key| scope.phases.contains(&key.phase) && key.outcome == Outcome::Error);
    let bytes: Option<u64> = scope.phases.iter().map(|phase| measurements.log_bytes(*phase)).sum();
    let value = bytes.filter(|_| requests > 0).map(|bytes| bytes as f64 / requests as f64);
    let is_silent =
        measurements.samples.iter().filter_map(|(_, sample)| sample.app.as_ref()).all(|app| app.log == Some(0));
    let missing_reason = bytes.is_none().then(|| "the growth of the app's log in the phase is not known".to_owned());
    // What the app writes to a file of its own is not seen.
    let uncertainty = (bytes.is_some() && is_silent)
        .then(|| "the app wrote nothing to its output in the whole run, so its log is elsewhere".to_owned());
    let which = (failed > 0).then(|| format!("{failed} of them failed"));
    Measured { events: bytes, missing_reason, uncertainty, which, ..Measured::of(value, requests) }
}

/// The database's queries in the phases, divided by `per`.
fn queries(scope: &Scope<'_>, per: f64, requests: u64) -> Measured {
    let executed: Option<u64> = scope.phases.iter().map(|phase| scope.measurements.db_queries(*phase)).sum();
    let silent: Vec<usize> = phases_without_db_queries(scope.facts, scope.measurements)
        .into_iter()
        .filter(|phase| scope.phases.contains(phase))
        .collect();
    // A transaction may hold any number of queries.
    let only_transactions = scope.samples().filter_map(|sample| sample.postgres.as_ref()).any(|sample| !sample.exact);
    let missing_reason = match executed {
        _ if only_transactions => Some(
            "only the number of transactions is known, in each of which there may be many queries: the database needs the extension \
             pg_stat_statements, and its user the right to read it"
                .to_owned(),
        ),
        None => Some(
            "the database gave no statistics at the start or at the end of the phase, or lost counts in between: \
             pg_stat_statements.max may be too small for the number of different statements, or the statistics were reset"
                .to_owned(),
        ),
        Some(_) if !silent.is_empty() => Some(no_queries(scope.facts, &silent)),
        Some(_) => None,
    };
    let value = executed.filter(|_| requests > 0 && missing_reason.is_none()).map(|queries| queries as f64 / per);
    Measured { events: executed, missing_reason, ..Measured::of(value, requests) }
}

/// That the database counted nothing in these phases.
pub fn no_queries(facts: &ScenarioFacts, phases: &[usize]) -> String {
    let names: Vec<String> =
        phases.iter().filter_map(|phase| Some(format!("'{}'", facts.phases.get(*phase)?.name))).collect();
    format!("the database counted no queries at all in {}", names.join(", "))
}

/// Phases past the cache in which requests were answered and the database counted nothing: then it is not the app's
/// database, or its statistics are off.
pub fn phases_without_db_queries(facts: &ScenarioFacts, measurements: &Measurements) -> Vec<usize> {
    let is_silent = |index: usize| {
        measurements.db_queries(index) == Some(0)
            && measurements.count(|key| key.phase == index && key.outcome != Outcome::Error) > 0
    };
    let uncached = facts.phases.iter().enumerate().filter(|(_, phase)| phase.path == CachePath::Uncached);
    uncached.map(|(index, _)| index).filter(|index| is_silent(*index)).collect()
}
