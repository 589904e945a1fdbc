//! One rule, judged.

use std::collections::BTreeSet;

use cacheproof_core::journal::{StaleKind, WrongKind};
use cacheproof_core::measurements::Measurements;
use cacheproof_core::scenario::{Limit, Metric, Op, Quantity, Rule, Scenario, Term};

use super::measure::{ErrorTreatment, MeasuredTerm, measure, no_queries, phases_of};
use super::validity::ValidityIssues;
use super::{FaultOutcome, RuleResult, Ruling, Unit, numbers};

/// Judges a rule, then weakens the ruling by what is doubtful about the phases it speaks of.
pub(super) fn judge_rule(
    scenario: &Scenario,
    seen: &Measurements,
    faults: &[FaultOutcome],
    issues: &ValidityIssues,
    rule: &Rule,
) -> RuleResult {
    // Errors never help a rule, on neither side.
    let (errors, errors_of_other) = match rule.op {
        Op::More | Op::AtLeast => (ErrorTreatment::Exclude, ErrorTreatment::CountAsSlowest),
        Op::Less | Op::AtMost | Op::Equal | Op::NotEqual => (ErrorTreatment::CountAsSlowest, ErrorTreatment::Exclude),
    };
    let observed = measure(scenario, seen, faults, rule, &rule.term, errors);
    let mut result = match &rule.limit {
        Limit::Value(limit) => against_value(seen, rule, &observed, *limit),
        Limit::Of { factor, term } => {
            let mut other = measure(scenario, seen, faults, rule, term, errors_of_other);
            if is_db(term.metric) && other.value == Some(0.0) {
                other.value = None;
                other.missing_reason = Some(no_queries(scenario, &phases_of(scenario, term)));
            }
            against_term(rule, &observed, &other, *factor)
        }
    };
    let mut phases: BTreeSet<usize> = phases_of(scenario, &rule.term).into_iter().collect();
    if let Limit::Of { term, .. } = &rule.limit {
        phases.extend(phases_of(scenario, term));
    }
    apply_validity_issues(scenario, issues, rule, &phases, &mut result);
    result
}

fn against_value(seen: &Measurements, rule: &Rule, observed: &MeasuredTerm, limit: Quantity) -> RuleResult {
    let (limit, limit_unit) = in_unit(limit);
    let unit = observed.unit.unwrap_or(limit_unit);
    let mut result = RuleResult {
        text: rule.text.clone(),
        ruling: Ruling::Fail,
        observed: observed.value,
        limit: Some(limit),
        unit,
        samples: observed.samples,
        over: None,
        evidence: String::new(),
    };
    let nanoseconds = (limit * 1e9).round();
    if unit == Unit::Seconds && nanoseconds >= 0.0 && observed.samples > 0 {
        let limits = seen.start.as_ref().map_or(&[][..], |start| &start.limits);
        result.over = observed.above(limits, nanoseconds as u64);
    }
    if let Some(watched) = observed.not_within {
        not_within(&mut result, rule, observed, watched, limit);
        return result;
    }
    let Some(value) = observed.value else {
        result.evidence = no_value(rule.term.metric, unit, observed);
        if mark_undecidable(&mut result, observed) {
            return result;
        }
        if observed.beyond && !errors_are_significant(rule.term.metric, observed) {
            too_few(&mut result, observed.needs);
        }
        return result;
    };
    result.ruling = match (rule.term.metric, result.over) {
        (Metric::ResponsePercentile(q), Some(over)) => percentile_by_count(rule.op, q, observed.samples, over),
        (Metric::Max, Some(over)) => percentile_by_count(rule.op, 1.0, observed.samples, over),
        _ => None,
    }
    .unwrap_or_else(|| compare(rule.op, value, limit));
    result.evidence = evidence(rule, observed, value, limit, unit, &result);

    let needs = observed.needs.max(min_samples_for_share(rule.term.metric, unit, limit));
    if observed.samples < needs {
        let n = observed.samples;
        let proof = match (rule.term.metric, result.over) {
            (Metric::ResponsePercentile(q), Some(over)) => n >= 20 && is_significant(over, n, q),
            // One is enough.
            (Metric::Max, Some(over)) => over > 0 && matches!(rule.op, Op::Less | Op::AtMost),
            _ if unit == Unit::Share => share_is_broken(rule.op, observed.events.unwrap_or(0), n, limit),
            _ => false,
        };
        if result.ruling != Ruling::Fail || !proof {
            too_few(&mut result, needs);
        }
    }
    mark_uncertain(&mut result, observed);
    result
}

/// Nothing was measured because there was too little to measure it on: that breaks no rule.
fn mark_undecidable(result: &mut RuleResult, observed: &MeasuredTerm) -> bool {
    let Some(why) = observed.uncertainty.as_ref().filter(|_| observed.missing_reason.is_none()) else { return false };
    result.ruling = Ruling::Inconclusive;
    result.evidence.clone_from(why);
    true
}

/// A limit that looks kept and may not be is not held to be.
fn mark_uncertain(result: &mut RuleResult, observed: &MeasuredTerm) {
    if let Some(why) = observed.uncertainty.as_ref().filter(|_| result.ruling == Ruling::Pass) {
        result.ruling = Ruling::Inconclusive;
        result.evidence += &format!("; {why}");
    }
}

/// Something was waited for and did not come: whether the limit is broken depends on how long was waited.
fn not_within(result: &mut RuleResult, rule: &Rule, observed: &MeasuredTerm, watched: f64, limit: f64) {
    let over = observed.value.is_some_and(|value| value > limit);
    let long_enough = watched >= limit || over;
    result.observed = None;
    result.ruling = match rule.op {
        Op::Less | Op::AtMost | Op::Equal if long_enough => Ruling::Fail,
        Op::More | Op::AtLeast | Op::NotEqual if long_enough => Ruling::Pass,
        _ => Ruling::Inconclusive,
    };
    let what = match rule.term.metric {
        Metric::Notice => "never noticed: the service stayed inside its limits".to_owned(),
        Metric::HitRateRecovery => format!("the hit rate was not back within the {} watched", numbers::moment(watched)),
        _ => format!("the service was not back within the {} watched", numbers::moment(watched)),
    };
    let which = observed.which.as_ref().map_or_else(String::new, |which| format!(" ({which})"));
    let tail = match result.ruling {
        Ruling::Inconclusive => format!(": too short to tell, {} are allowed", numbers::time(limit)),
        Ruling::Fail if watched.is_finite() => format!(", limit {}", numbers::time(limit)),
        _ => String::new(),
    };
    result.evidence = format!("{what}{tail}{which}");
}

fn too_few(result: &mut RuleResult, needs: u64) {
    result.ruling = Ruling::Inconclusive;
    result.evidence += &format!(": too few to tell, {} are needed", numbers::count(needs));
}

/// How many samples a limit on a share needs: so many that three are to be expected on its rarer side (the rule of
/// three: with fewer, none at all seen would not yet show that the limit is kept).
fn min_samples_for_share(metric: Metric, unit: Unit, limit: f64) -> u64 {
    // Memory is a share of what is allotted, not of samples.
    if unit != Unit::Share || metric == Metric::RedisMemory || limit <= 0.0 || limit >= 1.0 {
        return 0;
    }
    (3.0 / limit.min(1.0 - limit) - 1e-6).ceil() as u64
}

/// Whether few samples show already, beyond chance, that a limit on a share is broken.
fn share_is_broken(op: Op, events: u64, n: u64, limit: f64) -> bool {
    match op {
        Op::Less | Op::AtMost => is_significant(events, n, 1.0 - limit),
        Op::More | Op::AtLeast => is_significant(n.saturating_sub(events), n, limit),
        Op::Equal | Op::NotEqual => false,
    }
}

/// Whether so many errors are more than chance allows beyond a percentile.
fn errors_are_significant(metric: Metric, observed: &MeasuredTerm) -> bool {
    let (errors, n) = (observed.errors, observed.samples);
    match metric {
        Metric::ResponsePercentile(q) | Metric::ServicePercentile(q) => {
            n >= observed.needs || (n >= 20 && is_significant(errors, n, q))
        }
        _ => true,
    }
}

fn against_term(rule: &Rule, observed: &MeasuredTerm, other: &MeasuredTerm, factor: f64) -> RuleResult {
    let unit = observed.unit.unwrap_or(Unit::Count);
    let mut result = RuleResult {
        text: rule.text.clone(),
        ruling: Ruling::Fail,
        observed: observed.value,
        limit: other.value.map(|other| other * factor),
        unit,
        samples: observed.samples.min(other.samples),
        over: None,
        evidence: String::new(),
    };
    if let (Some(watched), Some(base)) = (observed.not_within, other.value.filter(|_| other.not_within.is_none())) {
        not_within(&mut result, rule, observed, watched, base * factor);
        return result;
    }
    if other.not_within.is_some() {
        result.ruling = Ruling::Inconclusive;
        result.limit = None;
        result.evidence = "what it is compared with did not come back while it was watched".to_owned();
        return result;
    }
    let (Some(value), Some(base)) = (observed.value, other.value) else {
        let missing = if observed.value.is_none() { observed } else { other };
        let side = if observed.value.is_none() { "measured" } else { "compared with" };
        result.evidence = format!("{} for what is {side}", no_value(rule.term.metric, unit, missing));
        if mark_undecidable(&mut result, missing) {
            return result;
        }
        if missing.beyond && !errors_are_significant(rule.term.metric, missing) {
            too_few(&mut result, missing.needs);
        }
        return result;
    };
    let name = name(rule.term.metric, unit);
    let both = if name.is_empty() {
        // `4.1 queries → 0.35 queries a request`
        let word = noun(rule.term.metric);
        format!("{} → {} {word}", numbers::quantity(base, unit), numbers::quantity(value, unit))
    } else {
        format!("{name} {} → {}", numbers::quantity(base, unit), numbers::quantity(value, unit))
    };
    if base == 0.0 && factor != 0.0 && rule.op != Op::Less && rule.op != Op::AtMost {
        result.ruling = Ruling::Inconclusive;
        result.evidence = format!("{both}: nothing to take a multiple of");
        return result;
    }
    result.ruling = compare(rule.op, value, base * factor);
    // A rule against 40 % is answered in per cent, one against 2.5 times in times.
    let (ratio, limit) = if factor < 1.0 {
        (numbers::share(value / base), numbers::share(factor))
    } else {
        (format!("{} times", numbers::plain(value / base)), format!("{} times", numbers::plain(factor)))
    };
    result.evidence = if base == 0.0 { both } else { format!("{both}: {ratio} (limit {limit})") };
    let errors = observed.errors + other.errors;
    if errors > 0 {
        result.evidence += &format!(", {} counted as slower than any", errors_of(errors, 0));
    }
    let needs = observed.needs.max(other.needs);
    if result.samples < needs {
        result.ruling = Ruling::Inconclusive;
        let (n, needs) = (numbers::count(result.samples), numbers::count(needs));
        result.evidence += &format!("; n = {n}: too few to tell, {needs} are needed");
    }
    mark_uncertain(&mut result, observed);
    mark_uncertain(&mut result, other);
    result
}

fn apply_validity_issues(
    scenario: &Scenario,
    issues: &ValidityIssues,
    rule: &Rule,
    phases: &BTreeSet<usize>,
    result: &mut RuleResult,
) {
    let name = |phase: usize| scenario.phases.get(phase).map_or("?", |phase| phase.name.as_str());
    let why = if let Some(phase) = phases.intersection(&issues.incomplete).next() {
        let seen = result.observed.is_some() || result.over.is_some_and(|over| over > 0);
        if result.ruling == Ruling::Fail && seen && only_grows(rule) {
            return;
        }
        format!("the run broke off before '{}' was over", name(*phase))
    } else if let Some(phase) = phases.intersection(&issues.saturated).next()
        && is_timing(rule.term.metric)
    {
        format!("the load generator was saturated in '{}'", name(*phase))
    } else if result.ruling != Ruling::Pass {
        return;
    } else if let Some(phase) = phases.intersection(&issues.ineffective_faults).next() {
        format!("the fault in '{}' was never seen to work", name(*phase))
    } else if issues.count_mismatch {
        "the run's count of requests is in doubt".to_owned()
    } else {
        return;
    };
    result.ruling = Ruling::Inconclusive;
    result.evidence += &format!("; {why}");
}

/// Judges a limit on a percentile by the exact number of samples above it: the share above is at most 1 − q
/// exactly where the quantile is at most the limit. `None` for `==` and `!=`.
fn percentile_by_count(op: Op, q: f64, samples: u64, over: u64) -> Option<Ruling> {
    let below = over as f64 <= (1.0 - q) * samples as f64 * (1.0 + 1e-9);
    match op {
        Op::Less | Op::AtMost => Some(ruling(below)),
        Op::More | Op::AtLeast => Some(ruling(!below)),
        Op::Equal | Op::NotEqual => None,
    }
}

/// Whether `over` of `n` above the limit is more than chance allows where the true share is 1 − q: the
/// binomial tail P(X ≥ over) is below 5 %.
fn is_significant(over: u64, n: u64, q: f64) -> bool {
    let p = 1.0 - q;
    let mut term = q.powf(n as f64);
    let mut below = 0.0;
    for k in 0..over {
        below += term;
        term *= (n - k) as f64 / (k + 1) as f64 * p / q;
    }
    1.0 - below < 0.05
}

fn compare(op: Op, value: f64, limit: f64) -> Ruling {
    ruling(match op {
        Op::Less => value < limit,
        Op::AtMost => value <= limit,
        Op::Equal => value == limit,
        Op::NotEqual => value != limit,
        Op::AtLeast => value >= limit,
        Op::More => value > limit,
    })
}

fn ruling(holds: bool) -> Ruling {
    if holds { Ruling::Pass } else { Ruling::Fail }
}

fn in_unit(limit: Quantity) -> (f64, Unit) {
    match limit {
        Quantity::Time(time) => (time.as_nanos() as f64 / 1e9, Unit::Seconds),
        Quantity::Share(share) => (share, Unit::Share),
        Quantity::Count(count) => (count, Unit::Count),
        Quantity::Bytes(bytes) => (bytes as f64, Unit::Bytes),
        Quantity::Rate(rate) => (rate, Unit::PerSecond),
    }
}

/// Whether a broken limit stays broken, however the phase would have gone on.
fn only_grows(rule: &Rule) -> bool {
    let Term { metric, .. } = rule.term;
    let counted = matches!(rule.limit, Limit::Value(Quantity::Count(_)));
    let bounded = match (rule.op, &rule.limit) {
        (Op::Less | Op::AtMost, _) => true,
        (Op::Equal, Limit::Value(Quantity::Count(count))) => *count == 0.0,
        _ => false,
    };
    let grows = match metric {
        Metric::Errors | Metric::Fallbacks | Metric::Stale | Metric::StaleOf(_) | Metric::NonMonotonic => counted,
        Metric::Requests | Metric::Hits | Metric::Misses => counted,
        Metric::WrongAnswers | Metric::WrongOf(_) | Metric::DbQueries | Metric::Evictions => counted,
        Metric::Max | Metric::StaleAgeMax | Metric::RedisMemory | Metric::AppMemory => {
            matches!(rule.limit, Limit::Value(_))
        }
        Metric::AppFiles | Metric::RedisClients | Metric::DbConnections => matches!(rule.limit, Limit::Value(_)),
        _ => false,
    };
    bounded && grows
}

/// Whether a busy generator falsifies it.
fn is_timing(metric: Metric) -> bool {
    matches!(
        metric,
        Metric::ResponsePercentile(_)
            | Metric::ServicePercentile(_)
            | Metric::Mean
            | Metric::Max
            | Metric::Throughput
            | Metric::Recovery
            | Metric::Notice
    )
}

/// Whether it counts the database's work.
fn is_db(metric: Metric) -> bool {
    matches!(metric, Metric::DbQueries | Metric::DbQueriesPerRequest)
}

/// Why there is no value: nothing to measure, or too many errors.
fn no_value(metric: Metric, unit: Unit, observed: &MeasuredTerm) -> String {
    if observed.beyond {
        let share = numbers::share(observed.errors as f64 / observed.samples as f64);
        let errors = errors_of(observed.errors, observed.samples);
        return format!("{} beyond any limit: {errors} = {share}", name(metric, unit));
    }
    observed.missing_reason.as_ref().map_or_else(|| "no samples".to_owned(), |why| format!("no samples: {why}"))
}

/// `1 error`, `3 errors of n = 1 200`.
fn errors_of(errors: u64, of: u64) -> String {
    let word = if errors == 1 { "error" } else { "errors" };
    let of = if of > 0 { format!(" of n = {}", numbers::count(of)) } else { String::new() };
    format!("{} {word}{of}", numbers::count(errors))
}

/// How a metric is called in evidence, before its number; empty where the number comes first.
fn name(metric: Metric, unit: Unit) -> String {
    match metric {
        Metric::ResponsePercentile(q) => format!("P{}", numbers::plain_percentile(q)),
        Metric::ServicePercentile(q) => format!("service time P{}", numbers::plain_percentile(q)),
        Metric::Mean => "mean".to_owned(),
        Metric::Max => "longest".to_owned(),
        Metric::StaleAge(q) => format!("age of stale reads at P{} at least", numbers::plain_percentile(q)),
        Metric::StaleAgeMax => "the oldest stale read's age at least".to_owned(),
        Metric::Throughput => "throughput".to_owned(),
        Metric::Availability => "availability".to_owned(),
        Metric::HitRate => "hit rate".to_owned(),
        Metric::RedisMemory => "Redis memory at most".to_owned(),
        Metric::AppMemory => "the app's memory at most".to_owned(),
        Metric::Recovery => "service back after".to_owned(),
        Metric::Notice => "noticed after".to_owned(),
        Metric::HitRateRecovery => "hit rate back after".to_owned(),
        Metric::Refill => "a cold cache back after".to_owned(),
        Metric::AppMemoryGrowth => "the app's memory grew by".to_owned(),
        Metric::AppFilesGrowth => "the app's open files grew by".to_owned(),
        Metric::RedisClientsGrowth => "Redis clients grew by".to_owned(),
        Metric::DbConnectionsGrowth => "database connections grew by".to_owned(),
        _ if unit == Unit::Share => noun(metric).to_owned(),
        _ => String::new(),
    }
}

/// What a count counts.
fn noun(metric: Metric) -> &'static str {
    match metric {
        Metric::Errors => "errors",
        Metric::Hits => "hits",
        Metric::Misses => "misses",
        Metric::Fallbacks => "fallbacks",
        Metric::WrongAnswers => "wrong answers",
        Metric::WrongOf(WrongKind::OtherItem) => "answers of another item",
        Metric::WrongOf(WrongKind::OtherUser) => "answers of another user",
        Metric::WrongOf(WrongKind::NeverWritten) => "answers that were never written",
        Metric::WrongOf(WrongKind::Torn) => "torn answers",
        Metric::WrongOf(WrongKind::Lost) => "lost items",
        Metric::Stale => "stale",
        Metric::NonMonotonic => "older than an answer before",
        Metric::StaleOf(StaleKind::Transient) => "stale and gone again",
        Metric::StaleOf(StaleKind::Stuck) => "stale and stuck",
        Metric::StaleOf(StaleKind::BeyondTtl) => "stale beyond the TTL",
        Metric::StaleOf(StaleKind::SourceRegressed) => "stale at the source",
        Metric::StaleOf(StaleKind::Unclassified) => "stale and unsorted",
        Metric::DbQueries => "database queries",
        Metric::DbQueriesPerRequest => "queries a request",
        Metric::Evictions => "evictions",
        Metric::LogBytesPerRequest => "of log a request",
        Metric::AppFiles => "open files of the app at most",
        Metric::RedisClients => "Redis clients at most",
        Metric::DbConnections => "database connections at most",
        _ => "requests",
    }
}

fn evidence(rule: &Rule, observed: &MeasuredTerm, value: f64, limit: f64, unit: Unit, result: &RuleResult) -> String {
    let metric = rule.term.metric;
    let name = name(metric, unit);
    let shown = numbers::quantity(value, unit);
    let mut text = if name.is_empty() { format!("{shown} {}", noun(metric)) } else { format!("{name} {shown}") };
    if result.ruling == Ruling::Fail && !(unit == Unit::Count && limit == 0.0) {
        text += &format!(", limit {}", numbers::quantity(limit, unit));
    }
    let n = numbers::count(observed.samples);
    match metric {
        _ if result.over.is_some() => {
            let over = result.over.unwrap_or(0);
            let share = if over > 0 {
                format!(" = {}", numbers::share(over as f64 / observed.samples as f64))
            } else {
                String::new()
            };
            let errors = if observed.errors > 0 {
                format!(", {} of them errors", numbers::count(observed.errors))
            } else {
                String::new()
            };
            text += &format!(" (n = {n}, {} above {}{share}{errors})", numbers::count(over), numbers::time(limit));
        }
        Metric::Requests => {}
        Metric::DbQueries | Metric::DbQueriesPerRequest => {
            let queries = observed.events.unwrap_or(0);
            text += &match metric {
                Metric::DbQueries => format!(" ({n} requests)"),
                _ => format!(" ({} queries, {n} requests)", numbers::count(queries)),
            };
        }
        Metric::RedisMemory | Metric::AppMemory | Metric::Evictions => text += &format!(" ({n} readings)"),
        Metric::StaleAge(_) | Metric::StaleAgeMax => {
            text += &match observed.events {
                Some(0) | None => format!(" (none stale of n = {n})"),
                Some(stale) => format!(" ({} stale)", numbers::count(stale)),
            };
        }
        Metric::Stale if observed.events.is_some_and(|events| events > 0) => {
            let events = observed.events.unwrap_or(0);
            let bound = numbers::share(super::freshness::clopper_pearson_upper_bound(events, observed.samples));
            let of = if unit == Unit::Share {
                format!(" ({} of {n}", numbers::count(events))
            } else {
                format!(" of n = {n} (")
            };
            let comma = if unit == Unit::Share { ", " } else { "" };
            text += &format!("{of}{comma}true share below {bound} with 95 % confidence)");
        }
        Metric::AppFiles | Metric::RedisClients | Metric::DbConnections => text += &format!(" ({n} readings)"),
        _ if metric.is_fault_metric() => {
            let which = observed.which.as_deref().unwrap_or("?");
            text += &format!(" ({which})");
        }
        Metric::LogBytesPerRequest => {
            let bytes = numbers::bytes(observed.events.unwrap_or(0) as f64);
            let failed = observed.which.as_ref().map_or_else(String::new, |which| format!(", {which}"));
            text += &format!(" ({bytes}, {n} requests{failed})");
        }
        _ if metric.is_resource_metric() => {
            let place = observed.which.as_ref().map_or_else(String::new, |which| format!("{which}, "));
            text += &format!(" from its first third to its last ({place}{n} readings)");
        }
        _ if unit == Unit::Count && observed.events == Some(0) && limit == 0.0 => {
            // Rule of three: with none seen in n, the true share is below 3/n with 95 % confidence.
            let bound = numbers::share((3.0 / observed.samples as f64).min(1.0));
            text += &format!(" of n = {n} (true share below {bound} with 95 % confidence)");
        }
        _ if unit == Unit::Count => text += &format!(" of n = {n}"),
        _ => match observed.events {
            Some(events) => text += &format!(" ({} of {n})", numbers::count(events)),
            None => text += &format!(" (n = {n})"),
        },
    }
    text
}
