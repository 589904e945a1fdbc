//! Metrics of what became of requests: how many, how many a second, failed, from the cache, wrong.

use super::evidence::nothing;
use super::{Comparison, Coverage, Dimension, Measured, MetricDefinition, Requirement, Scope, Wording};
use crate::journal::{CachePath, Outcome, WrongKind};

/// A number of requests, which is a share of them in a comparison.
const SHARE_OF_REQUESTS: MetricDefinition =
    MetricDefinition { only_grows: true, comparison: Comparison::ShareOfRequests, ..MetricDefinition::COMMON };

/// Wrong answers of one kind.
const WRONG: MetricDefinition = MetricDefinition { dimension: Dimension::Count, ..SHARE_OF_REQUESTS };

pub(super) static ROWS: &[MetricDefinition] = &[
    MetricDefinition {
        name: "requests",
        dimension: Dimension::Count,
        // None at all is "no samples" and no number: a rule about nothing proves nothing.
        measure: |scope| {
            let sent = scope.requests();
            Measured::of((sent > 0).then_some(sent as f64), sent)
        },
        wording: Wording::Noun("requests"),
        details: nothing,
        only_grows: true,
        comparison: Comparison::Total("use throughput: it does not grow with a phase's length"),
        ..MetricDefinition::COMMON
    },
    MetricDefinition {
        name: "throughput",
        synonyms: &[("rps", "throughput"), ("qps", "throughput")],
        dimension: Dimension::Rate,
        measure: |scope| {
            let answered = scope.count(|key| key.outcome != Outcome::Error);
            let value = scope.measurements.throughput(&scope.phases, |key| scope.selects(key));
            Measured::of(value.filter(|_| scope.requests() > 0), answered)
        },
        wording: Wording::Label("throughput"),
        is_timing: true,
        ..MetricDefinition::COMMON
    },
    MetricDefinition {
        name: "errors",
        synonyms: &[("error_rate", "errors"), ("failures", "errors")],
        dimension: Dimension::CountOrShare,
        measure: |scope| scope.events(scope.outcomes(Outcome::Error), scope.requests()),
        wording: Wording::Noun("errors"),
        can_be_steady: true,
        ..SHARE_OF_REQUESTS
    },
    MetricDefinition {
        name: "availability",
        dimension: Dimension::Share,
        measure: |scope| {
            let (errors, sent) = (scope.outcomes(Outcome::Error), scope.requests());
            let value = (sent > 0).then(|| 1.0 - errors as f64 / sent as f64);
            Measured { events: Some(sent - errors), ..Measured::of(value, sent) }
        },
        wording: Wording::Label("availability"),
        can_be_steady: true,
        ..MetricDefinition::COMMON
    },
    MetricDefinition {
        name: "hit_rate",
        synonyms: &[("hitrate", "hit_rate"), ("hit_ratio", "hit_rate"), ("hits_rate", "hit_rate")],
        dimension: Dimension::Share,
        requires: &[Requirement::CachedPath, Requirement::CacheableRequest],
        measure: hit_rate,
        wording: Wording::Label("hit rate"),
        can_be_steady: true,
        ..MetricDefinition::COMMON
    },
    MetricDefinition {
        name: "hits",
        dimension: Dimension::Count,
        requires: &[Requirement::CacheableRequest],
        measure: |scope| cacheable_events(scope, Outcome::Hit),
        wording: Wording::Noun("hits"),
        ..SHARE_OF_REQUESTS
    },
    MetricDefinition {
        name: "misses",
        dimension: Dimension::Count,
        requires: &[Requirement::CacheableRequest],
        measure: |scope| cacheable_events(scope, Outcome::Miss),
        wording: Wording::Noun("misses"),
        ..SHARE_OF_REQUESTS
    },
    // Answers that the cache kept beyond their lifetime and served all the same: during a revalidation, or because the
    // source failed.
    MetricDefinition {
        name: "stale_served",
        dimension: Dimension::CountOrShare,
        requires: &[Requirement::CachedPath, Requirement::CacheableRequest],
        measure: |scope| cacheable_events(scope, Outcome::StaleServed),
        wording: Wording::Noun("served beyond their lifetime"),
        can_be_steady: true,
        ..SHARE_OF_REQUESTS
    },
    MetricDefinition {
        name: "fallbacks",
        dimension: Dimension::CountOrShare,
        requires: &[Requirement::Cache],
        measure: |scope| scope.events(scope.outcomes(Outcome::Fallback), scope.requests()),
        wording: Wording::Noun("fallbacks"),
        can_be_steady: true,
        ..SHARE_OF_REQUESTS
    },
    MetricDefinition {
        name: "wrong_answers",
        synonyms: &[("wrong", "wrong_answers")],
        requires: &[Requirement::CheckedAnswers(None)],
        measure: |scope| wrong(scope, None),
        wording: Wording::Noun("wrong answers"),
        can_be_steady: true,
        ..WRONG
    },
    MetricDefinition {
        name: "wrong_answers.other_item",
        requires: &[Requirement::CheckedAnswers(Some(WrongKind::OtherItem))],
        measure: |scope| wrong(scope, Some(WrongKind::OtherItem)),
        wording: Wording::Noun("answers of another item"),
        ..WRONG
    },
    MetricDefinition {
        name: "wrong_answers.other_user",
        requires: &[Requirement::CheckedAnswers(Some(WrongKind::OtherUser))],
        measure: |scope| wrong(scope, Some(WrongKind::OtherUser)),
        wording: Wording::Noun("answers of another user"),
        ..WRONG
    },
    MetricDefinition {
        name: "wrong_answers.never_written",
        requires: &[Requirement::CheckedAnswers(Some(WrongKind::NeverWritten))],
        measure: |scope| wrong(scope, Some(WrongKind::NeverWritten)),
        wording: Wording::Noun("answers that were never written"),
        ..WRONG
    },
    MetricDefinition {
        name: "wrong_answers.torn",
        requires: &[Requirement::CheckedAnswers(Some(WrongKind::Torn))],
        measure: |scope| wrong(scope, Some(WrongKind::Torn)),
        wording: Wording::Noun("torn answers"),
        ..WRONG
    },
    MetricDefinition {
        name: "wrong_answers.lost",
        requires: &[Requirement::CheckedAnswers(Some(WrongKind::Lost))],
        measure: |scope| wrong(scope, Some(WrongKind::Lost)),
        wording: Wording::Noun("lost items"),
        ..WRONG
    },
];

/// Cacheable requests that were answered so. One whose answer does not say where it came from may be any of them.
fn cacheable_events(scope: &Scope<'_>, outcome: Outcome) -> Measured {
    let count = |wanted: &dyn Fn(Outcome) -> bool| {
        scope.count(|key| scope.is_cacheable(key) && key.outcome != Outcome::Error && wanted(key.outcome))
    };
    let answered = count(&|_| true);
    let failed = scope.count(|key| scope.is_cacheable(key) && key.outcome == Outcome::Error);
    let known = count(&|outcome| outcome.is_served_from_cache().is_some());
    let coverage = Some(told(known, answered, failed));
    Measured { coverage, ..scope.events(count(&|other| other == outcome), answered) }
}

/// Served from the cache ÷ all answered cacheable reads that were sent through it, see
/// [`Outcome::is_served_from_cache`].
fn hit_rate(scope: &Scope<'_>) -> Measured {
    let count = |wanted: &dyn Fn(Outcome) -> bool| {
        scope.count(|key| {
            key.path == CachePath::Cached
                && scope.is_cacheable(key)
                && key.outcome != Outcome::Error
                && wanted(key.outcome)
        })
    };
    let answered = count(&|_| true);
    let known = count(&|outcome| outcome.is_served_from_cache().is_some());
    let served = count(&|outcome| outcome.is_served_from_cache() == Some(true));
    let value = (known > 0).then(|| served as f64 / known as f64);
    let missing_reason = scope.if_none_judged(known, "no answer said whether it was a hit or a miss");
    let failed =
        scope.count(|key| key.path == CachePath::Cached && scope.is_cacheable(key) && key.outcome == Outcome::Error);
    let coverage = Some(told(known, answered, failed));
    Measured { events: Some(served), missing_reason, coverage, ..Measured::of(value, known) }
}

/// A read that failed may have been a hit or a miss.
fn told(judged: u64, answered: u64, failed: u64) -> Coverage {
    let what = if failed > 0 {
        "cacheable reads were answered and said where the answer came from"
    } else {
        "answers to cacheable reads said where they came from"
    };
    Coverage { judged, scope: answered + failed, what }
}

/// Wrong answers among those that can be seen to be wrong in this way (`None`: in any), probe reads among both.
fn wrong(scope: &Scope<'_>, kind: Option<WrongKind>) -> Measured {
    let is_checked = |request: usize| {
        scope.facts.requests.get(request).is_some_and(|request| match kind {
            Some(kind) => request.can_be_wrong.contains(&kind),
            None => !request.can_be_wrong.is_empty(),
        })
    };
    let answers = scope.count(|key| is_checked(key.request) && key.outcome != Outcome::Error);
    let probes = scope.measurements.freshness(|key| scope.selects_freshness(key) && is_checked(key.request));
    let wrong = match kind {
        Some(kind) => probes.wrong.get(&kind).copied().unwrap_or(0),
        None => scope.outcomes(Outcome::Wrong) + probes.probes_wrong,
    };
    let checked = answers + probes.probes;
    let why = "no answer could be checked for wrong content";
    Measured { missing_reason: scope.if_none_judged(checked, why), ..scope.events(wrong, checked) }
}
