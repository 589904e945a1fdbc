//! Metrics of stale answers.

use super::evidence::counted_with_bound;
use super::{Comparison, Coverage, Dimension, Evidence, Measured, MetricDefinition, Requirement, Scope, Wording};
use crate::journal::{AnswerCounts, AtQuiescence, CachePath, FreshnessKey, Histogram, Outcome, StaleKind};
use crate::measurements::{Measurements, ResponseKey};
use crate::numbers;

/// What the counts have in common.
const STALE: MetricDefinition = MetricDefinition {
    dimension: Dimension::CountOrShare,
    requires: &[Requirement::Version, Requirement::WrittenItem],
    only_grows: true,
    comparison: Comparison::ShareOfRequests,
    ..MetricDefinition::COMMON
};

/// What the ages have in common.
const AGE: MetricDefinition = MetricDefinition {
    dimension: Dimension::Time,
    requires: &[Requirement::Version, Requirement::WrittenItem],
    measure: age,
    details: |evidence: &Evidence<'_>| match evidence.events() {
        0 => format!(" (none stale of n = {})", evidence.samples()),
        stale => format!(" ({} stale)", numbers::count(stale)),
    },
    ..MetricDefinition::COMMON
};

pub(super) static ROWS: &[MetricDefinition] = &[
    // Answers older than the last write that was acknowledged before the read was sent.
    MetricDefinition {
        name: "stale",
        requires: &[Requirement::VersionOrBypass, Requirement::WrittenItem],
        measure: |scope| {
            let (stale, judged) = stale(scope);
            let uncertainty = not_compared(scope).or_else(|| no_version_of_a_write(scope, judged));
            let missing_reason = if uncertainty.is_none() { none_judged(scope, judged) } else { None };
            // Without versions each written item is compared once: where none was left out, those are all there are.
            let is_census = !scope.facts.has_versions && all_were_chosen(scope);
            let coverage = if scope.facts.has_versions { versioned(scope, judged) } else { compared(scope) };
            Measured {
                missing_reason,
                uncertainty,
                is_census,
                coverage: Some(coverage),
                // A read of an item that was not written yet is fresh.
                opportunities: Some(answers(scope).items.max(judged)),
                ..scope.events(stale, judged)
            }
        },
        wording: Wording::Noun("stale"),
        details: counted_with_bound,
        can_be_steady: true,
        ..STALE
    },
    // Answers older than an earlier one, though not older than an acknowledged write.
    MetricDefinition {
        name: "non_monotonic",
        measure: |scope| {
            let (_, judged) = stale(scope);
            let older = scope.measurements.freshness(|key| scope.selects_freshness(key)).non_monotonic;
            let coverage = Some(versioned(scope, judged));
            Measured { missing_reason: none_judged(scope, judged), coverage, ..scope.events(older, judged) }
        },
        wording: Wording::Noun("older than an earlier answer"),
        ..STALE
    },
    MetricDefinition {
        name: "stale.transient",
        measure: |scope| of_kind(scope, StaleKind::Transient),
        wording: Wording::Noun("transiently stale"),
        ..STALE
    },
    MetricDefinition {
        name: "stale.stuck",
        measure: |scope| of_kind(scope, StaleKind::Stuck),
        wording: Wording::Noun("stale and stuck"),
        ..STALE
    },
    MetricDefinition {
        name: "stale.beyond_ttl",
        requires: &[Requirement::Version, Requirement::Ttl, Requirement::WrittenItem],
        measure: |scope| of_kind(scope, StaleKind::BeyondTtl),
        wording: Wording::Noun("stale beyond the TTL"),
        ..STALE
    },
    MetricDefinition {
        name: "stale.source",
        requires: &[Requirement::Version, Requirement::Bypass, Requirement::WrittenItem],
        measure: |scope| of_kind(scope, StaleKind::SourceRegressed),
        wording: Wording::Noun("stale at the source"),
        ..STALE
    },
    // Acknowledged writes after which the item has no new version (this write is lost, or the one before it), and items that
    // do not show their last write when they are read past the cache at the end.
    MetricDefinition {
        name: "lost_updates",
        requires: &[Requirement::VersionOrTokens, Requirement::Write],
        measure: |scope| {
            let answers = answers(scope);
            let why =
                "no two acknowledged writes of one item carried a version, and none was read past the cache at the end";
            let of = answers.updates + answers.final_reads;
            let missing_reason = scope.if_none_judged(of, why);
            let coverage = Coverage {
                judged: of,
                scope: of + answers.unread_at_end + answers.behind_at_end,
                what: "writes, and items that were read at the end, could be compared",
            };
            let events = scope.events(answers.lost_updates + answers.lost_at_end, of);
            Measured { missing_reason, coverage: Some(coverage), ..events }
        },
        wording: Wording::Noun("lost updates"),
        can_be_steady: true,
        ..STALE
    },
    MetricDefinition {
        name: "stale_age.p{}",
        synonyms: &[("stale_age", "stale_age.p99"), ("staleness", "stale_age.p99")],
        wording: Wording::Label("age of stale reads at P{} at least"),
        ..AGE
    },
    MetricDefinition {
        name: "stale_age.max",
        synonyms: &[("stale_age", "stale_age.max"), ("staleness", "stale_age.max")],
        wording: Wording::Label("the oldest stale read's age at least"),
        only_grows: true,
        ..AGE
    },
];

/// Stale reads, and those that could be compared with a write, probe reads among both; for an app without versions,
/// items whose cached answer differed after the load, and those that were compared.
pub fn stale_reads(
    measurements: &Measurements,
    has_versions: bool,
    phases: &[usize],
    selected: impl Fn(&ResponseKey) -> bool,
) -> (u64, u64) {
    if !has_versions {
        let sum =
            |count: fn(&AtQuiescence) -> u64| comparisons(measurements, phases, &selected).map(count).sum::<u64>();
        let (differ, all) = (sum(|one| one.differ), sum(|one| one.compared));
        // What comes after a deletion is judged during the load as well.
        let judged = measurements.total(&selected);
        let stale = differ + judged.stale;
        return (stale, all.max(stale));
    }
    let as_response = |key: &FreshnessKey| ResponseKey {
        phase: key.phase,
        path: key.path,
        request: key.request,
        outcome: Outcome::Plain,
    };
    let all = measurements.total(&selected);
    let counts = measurements.freshness(|key| selected(&as_response(key)));
    (all.stale + counts.probes_stale, all.judged_fresh + counts.probes - counts.probes_wrong.min(counts.probes))
}

/// The comparisons at rest after these phases, of the selected requests.
fn comparisons<'a>(
    measurements: &'a Measurements,
    phases: &'a [usize],
    selected: impl Fn(&ResponseKey) -> bool + 'a,
) -> impl Iterator<Item = &'a AtQuiescence> {
    measurements.at_quiescence.iter().filter(move |one| {
        let (phase, path, outcome) = (one.phase, CachePath::Cached, Outcome::Plain);
        let is_selected = |request| selected(&ResponseKey { phase, path, request, outcome });
        phases.contains(&phase) && one.request.is_none_or(is_selected)
    })
}

/// What the answers of a scope were good for.
fn answers(scope: &Scope<'_>) -> AnswerCounts {
    scope.measurements.freshness(|key| scope.selects_freshness(key)).answers
}

/// How many reads of written items carried the version by which they are judged.
fn versioned(scope: &Scope<'_>, judged: u64) -> Coverage {
    let scope = judged + answers(scope).unversioned_written;
    Coverage { judged, scope, what: "reads of written items carried a version" }
}

/// How many written items could be compared.
fn compared(scope: &Scope<'_>) -> Coverage {
    let (mut judged, mut all) = (0, 0);
    for one in comparisons(scope.measurements, &scope.phases, |key| scope.selects(key)) {
        judged += one.compared;
        all += one.compared + one.incomparable + one.not_bypassed + one.unchanged + one.unread;
    }
    Coverage { judged, scope: all, what: "written items could be compared with an uncached answer" }
}

/// Whether every written item was to be compared, and not only some of many.
fn all_were_chosen(scope: &Scope<'_>) -> bool {
    comparisons(scope.measurements, &scope.phases, |key| scope.selects(key)).all(|one| one.skipped == 0)
}

fn stale(scope: &Scope<'_>) -> (u64, u64) {
    stale_reads(scope.measurements, scope.facts.has_versions, &scope.phases, |key| scope.selects(key))
}

/// Why no read could be judged.
fn none_judged(scope: &Scope<'_>, judged: u64) -> Option<String> {
    let why = if scope.facts.has_versions {
        "no answer carried a version of an item that was written before"
    } else {
        "no written item could be compared while no request was in flight"
    };
    scope.if_none_judged(judged, why)
}

/// That the reads carried versions and could not be compared, because no write said which one it made.
fn no_version_of_a_write(scope: &Scope<'_>, judged: u64) -> Option<String> {
    let answers = answers(scope);
    let reads_have_versions = scope.facts.has_versions && answers.items > answers.unversioned;
    (judged == 0 && reads_have_versions).then(|| {
        "the reads carried versions, and no acknowledged write did: let the answer to a write carry the new version, or let \
         cacheproof number the writes ({version})"
            .to_owned()
    })
}

/// Why there may be more stale items in an app without versions than were seen: a phase after which nothing could be
/// compared.
fn not_compared(scope: &Scope<'_>) -> Option<String> {
    let measurements = scope.measurements;
    let is_over = |phase: usize| measurements.phases.get(&phase).is_some_and(|span| span.to.is_some());
    let was_compared = |phase: usize| measurements.at_quiescence.iter().any(|one| one.phase == phase);
    let phases = scope.phases.iter().filter_map(|phase| Some((*phase, scope.facts.phases.get(*phase)?)));
    let (_, missing) = phases
        .filter(|(index, phase)| phase.is_compared && is_over(*index))
        .find(|(index, _)| !was_compared(*index))?;
    Some(format!("requests were still in flight after '{}', so no item was compared", missing.name))
}

/// Stale reads of one kind.
fn of_kind(scope: &Scope<'_>, kind: StaleKind) -> Measured {
    let (stale, judged) = stale(scope);
    let of = |kind| scope.measurements.stale_of_kind(kind, |key| scope.selects_freshness(key));
    let sorted: u64 = StaleKind::ALL.into_iter().filter(|kind| *kind != StaleKind::Unclassified).map(of).sum();
    let uncertainty = uncertainty_of_kind(scope, kind, stale.saturating_sub(sorted));
    let coverage = Some(versioned(scope, judged));
    Measured { missing_reason: none_judged(scope, judged), uncertainty, coverage, ..scope.events(of(kind), judged) }
}

/// Why there may be more stale reads of a kind than were counted.
fn uncertainty_of_kind(scope: &Scope<'_>, kind: StaleKind, unsorted: u64) -> Option<String> {
    if unsorted > 0 {
        return Some(format!(
            "{unsorted} stale reads were not sorted into kinds: the run ended, or there were too many"
        ));
    }
    let open = scope.measurements.stale_that_may_be(kind, |key| scope.selects_freshness(key));
    let recheck = match kind {
        StaleKind::BeyondTtl => "a second after the TTL",
        _ => "with the cache bypassed",
    };
    (open > 0).then(|| format!("{open} stale reads were not rechecked {recheck}: the run or the item ended before"))
}

/// How old stale answers were at least and at most, at the percentile.
fn age(scope: &Scope<'_>) -> Measured {
    let (_, judged) = stale(scope);
    let counts = scope.measurements.freshness(|key| scope.selects_freshness(key));
    let seconds = |ages: Option<Histogram>| {
        let ages = ages?;
        let age = if scope.percentile < 1.0 { ages.quantile(scope.percentile) } else { ages.max() };
        age.map(|nanoseconds| nanoseconds as f64 / 1e9)
    };
    let stale = counts.age_at_least.as_ref().map_or(0, Histogram::count);
    let missing_reason = none_judged(scope, judged);
    let measured = if stale > 0 {
        let at_most = seconds(counts.age_at_most);
        Measured { at_most, ..Measured::of(seconds(counts.age_at_least), stale) }
    } else {
        // Nothing stale is as young as can be.
        Measured::of((judged > 0).then_some(0.0), judged)
    };
    Measured { missing_reason, events: Some(stale), coverage: Some(versioned(scope, judged)), ..measured }
}
