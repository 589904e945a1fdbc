//! The rows of the tables: phases, kinds of request, outcomes.

use std::collections::BTreeMap;

use cacheproof_core::journal::{CachePath, Outcome};
use cacheproof_core::numbers;

use super::request_stats::{RequestStats, request_stats};
use super::{ReportInput, or_dash};

/// The numbers of a row, in words. A dash: not measured.
pub(crate) struct Figures {
    pub requests: String,
    pub throughput: String,
    pub p50: String,
    pub p95: String,
    pub p99: String,
    pub max: String,
    pub service_p95: String,
    pub hit_rate: String,
    pub queries_per_request: String,
    pub errors: String,
}

impl Figures {
    fn of(stats: &RequestStats) -> Self {
        Self {
            requests: numbers::count(stats.requests),
            throughput: or_dash(stats.throughput, numbers::rate),
            p50: or_dash(stats.p50, numbers::time),
            p95: or_dash(stats.p95, numbers::time),
            p99: or_dash(stats.p99, numbers::time),
            max: or_dash(stats.max, numbers::time),
            service_p95: or_dash(stats.service_p95, numbers::time),
            hit_rate: or_dash(stats.hit_rate, numbers::share),
            queries_per_request: or_dash(stats.db_queries_per_request, numbers::plain),
            errors: errors_in_words(stats),
        }
    }
}

/// A phase that began.
pub(crate) struct PhaseRow<'a> {
    /// Its index in the scenario.
    pub index: usize,
    pub name: &'a str,
    pub path: CachePath,
    pub warm_up: bool,
    /// `15 s`, `incomplete`.
    pub length: String,
    pub stats: RequestStats,
    pub figures: Figures,
}

/// One kind of request in one phase, on one path.
pub(crate) struct RequestRow<'a> {
    pub request: &'a str,
    pub phase: &'a str,
    pub path: CachePath,
    pub figures: Figures,
}

/// How many requests of each phase had which outcome.
pub(crate) struct OutcomeTable<'a> {
    /// The outcomes that occurred: one column each.
    pub outcomes: Vec<Outcome>,
    pub rows: Vec<OutcomeRow<'a>>,
}

pub(crate) struct OutcomeRow<'a> {
    pub phase: &'a str,
    /// In the order of the columns.
    pub counts: Vec<String>,
    pub stale: String,
}

pub(super) fn phases(input: ReportInput<'_>) -> Vec<PhaseRow<'_>> {
    let row = |(index, span): (&usize, &cacheproof_core::measurements::PhaseSpan)| {
        let phase = input.scenario.phases.get(*index)?;
        let stats = request_stats(input.scenario, input.measurements, &[*index], |_| true);
        Some(PhaseRow {
            index: *index,
            name: &phase.name,
            path: phase.path,
            warm_up: phase.warm_up,
            length: span.to.map_or_else(|| "incomplete".to_owned(), |to| numbers::moment(to - span.from)),
            figures: Figures::of(&stats),
            stats,
        })
    };
    input.measurements.phases.iter().filter_map(row).collect()
}

pub(super) fn requests(input: ReportInput<'_>) -> Vec<RequestRow<'_>> {
    let cells = input.measurements.cells.keys();
    let mut keys: Vec<(usize, usize, CachePath)> = cells.map(|key| (key.request, key.phase, key.path)).collect();
    keys.sort_unstable();
    keys.dedup();
    let row = |(request, phase, path)| {
        let stats = request_stats(input.scenario, input.measurements, &[phase], |key| {
            key.request == request && key.path == path
        });
        RequestRow {
            request: input.request_name(request),
            phase: input.phase_name(phase),
            path,
            figures: Figures::of(&stats),
        }
    };
    keys.into_iter().map(row).collect()
}

pub(super) fn outcomes(input: ReportInput<'_>) -> OutcomeTable<'_> {
    let measurements = input.measurements;
    let mut counts: BTreeMap<(usize, Outcome), u64> = BTreeMap::new();
    for (key, totals) in &measurements.cells {
        *counts.entry((key.phase, key.outcome)).or_default() += totals.count();
    }
    let occurred = |outcome: &Outcome| counts.keys().any(|(_, other)| other == outcome);
    let outcomes: Vec<Outcome> = Outcome::ALL.into_iter().filter(occurred).collect();
    let row = |phase: &usize| OutcomeRow {
        phase: input.phase_name(*phase),
        counts: outcomes
            .iter()
            .map(|outcome| {
                counts.get(&(*phase, *outcome)).map_or_else(|| "–".to_owned(), |count| numbers::count(*count))
            })
            .collect(),
        stale: numbers::count(measurements.total(|key| key.phase == *phase).stale),
    };
    let rows = measurements.phases.keys().map(row).collect();
    OutcomeTable { outcomes, rows }
}

/// The statements of the database.
pub struct StatementsTable<'a> {
    /// How many there were, and how many of them pools sent.
    pub sentence: String,
    /// The text, how often, and the share of all.
    pub rows: Vec<(&'a str, String, String)>,
}

/// What the database executed during the load.
pub(super) fn statements(input: ReportInput<'_>) -> Option<StatementsTable<'_>> {
    let counts = input.measurements.statements.as_ref().filter(|counts| counts.all > 0)?;
    let share = |calls: u64| numbers::share(calls as f64 / counts.all as f64);
    let sentence = format!(
        "The database executed {} statements during the whole run. {} of them ({}) are those that pools, drivers and transactions \
         send by themselves (BEGIN, SET, DISCARD, SELECT 1 …). They count as queries like all others.",
        numbers::count(counts.all),
        numbers::count(counts.by_pools),
        share(counts.by_pools)
    );
    let rows = counts.most_frequent.iter().map(|(text, calls)| (text.as_str(), numbers::count(*calls), share(*calls)));
    Some(StatementsTable { sentence, rows: rows.collect() })
}

/// What Redis itself counted in each judged cached phase, beside what the answers said; a sentence each. Redis counts lookups of keys,
/// and a read may look up several: its value and the tags that invalidate it.
pub(super) fn redis_lookups(input: ReportInput<'_>) -> Vec<(&str, String)> {
    let ReportInput { scenario, measurements, .. } = input;
    let judged = measurements.phases.keys().filter_map(|index| Some((*index, scenario.phases.get(*index)?)));
    judged
        .filter(|(_, phase)| phase.path == CachePath::Cached && !phase.warm_up)
        .filter_map(|(index, _)| {
            let (hits, misses) = measurements.redis_lookups(index)?;
            let said = |wanted| numbers::count(measurements.count(|key| key.phase == index && key.outcome == wanted));
            let text = format!(
                "answers reported {} hits and {} misses; Redis counted {} keyspace_hits and {} keyspace_misses (all look-ups, also \
                 those for tags and for other keys of the cache).",
                said(Outcome::Hit),
                said(Outcome::Miss),
                numbers::count(hits),
                numbers::count(misses)
            );
            Some((input.phase_name(index), text))
        })
        .collect()
}

/// `12 (0.12 %)`, or `0`.
pub(super) fn errors_in_words(request_stats: &RequestStats) -> String {
    match request_stats.error_share {
        Some(share) if request_stats.errors > 0 => {
            format!("{} ({})", numbers::count(request_stats.errors), numbers::share(share))
        }
        _ => "0".to_owned(),
    }
}
