//! What breaks when a rule without judgeable samples passes.

use std::time::Duration;

use cacheproof_core::journal::{CachePath, StaleKind};
use cacheproof_core::journal::{
    Event, FreshnessKey, Histogram, JournalEntry, Outcome, Recheck, ResponseCell, StaleClassification, StaleCount,
};
use cacheproof_core::measurements::Measurements;
use cacheproof_core::scenario::{Limit, Metric, Op, Quantity, Rule, Term};
use cacheproof_verdict::{RuleResult, Ruling};

use crate::verdict::{findings, judge_one_rule, metric, rule_against};
use cacheproof_simulated::{SimulationPlan, journal};

/// Changes every cell of a phase, or of all.
fn change(lines: &mut [JournalEntry], phase: Option<usize>, mut how: impl FnMut(&mut ResponseCell)) {
    for line in lines {
        if let Event::CoarseSlice(window) = &mut line.event {
            window.cells.iter_mut().filter(|cell| phase.is_none_or(|phase| phase == cell.phase)).for_each(&mut how);
        }
    }
}

/// A rule on a phase.
fn judge_in(lines: &[JournalEntry], metric: Metric, phase: usize, op: Op, limit: Quantity) -> RuleResult {
    judge_one_rule(&SimulationPlan::default(), lines, rule_against("it", metric, None, Some(phase), op, limit)).0
}

/// A rule on a phase against a multiple of another.
fn compared(metric: Metric, phase: usize, factor: f64, other: usize) -> Rule {
    let term = |phase| Term { metric, path: None, request: None, phase: Some(phase) };
    let limit = Limit::Of { factor, term: term(other) };
    Rule { text: "it".to_owned(), term: term(phase), op: Op::AtMost, limit }
}

const NONE: Quantity = Quantity::Count(0.0);

#[test]
fn freshness_is_judged_on_the_reads_that_can_be_compared_with_a_write() {
    let mut lines = journal(&SimulationPlan::default());
    let judged = judge_in(&lines, metric("stale"), 2, Op::Equal, NONE);
    let measurements = Measurements::of(&lines);
    assert_eq!(
        judged.samples,
        measurements.count(|key| key.phase == 2 && key.request == 0),
        "lists and writes have no floor"
    );
    assert_eq!(judged.ruling, Ruling::Pass);

    // 200 reads that could be stale are too few for a limit of one in a thousand.
    let mut left = 200;
    change(&mut lines, Some(2), |cell| {
        cell.judged_fresh = cell.judged_fresh.min(left);
        left -= cell.judged_fresh;
    });
    let share = judge_in(&lines, metric("stale"), 2, Op::Less, Quantity::Share(0.001));
    assert_eq!((share.ruling, share.samples), (Ruling::Inconclusive, 200), "{}", share.evidence);
    let count = judge_in(&lines, metric("stale"), 2, Op::Equal, NONE);
    assert!(count.evidence.contains("n = 200 (true share below 1.5 %"), "{}", count.evidence);

    change(&mut lines, None, |cell| cell.judged_fresh = 0);
    for limit in [NONE, Quantity::Share(0.001)] {
        let vacuous = judge_in(&lines, metric("stale"), 2, Op::AtMost, limit);
        assert_eq!(vacuous.ruling, Ruling::Fail);
        assert!(vacuous.evidence.starts_with("no samples"), "{}", vacuous.evidence);
    }
}

#[test]
fn a_kind_of_stale_answer_is_not_ruled_out_without_its_recheck() {
    let lines = journal(&SimulationPlan { stale_every: 50, ..SimulationPlan::default() });
    let count = Measurements::of(&lines).total(|key| key.phase == 2).stale;
    assert!(count > 0);
    let of = FreshnessKey { phase: 2, path: CachePath::Cached, request: 0 };
    let judged = |name, looks: &[Recheck]| {
        let reads = vec![StaleCount { of, count }];
        let sorted = StaleClassification { id: 1, kind: StaleKind::Stuck, rechecks: looks.to_vec(), reads };
        let mut lines = lines.clone();
        let last = lines.len() - 1;
        lines.insert(last, JournalEntry { at: lines[last].at, event: Event::StaleClassification(sorted) });
        judge_in(&lines, metric(name), 2, Op::Equal, NONE)
    };
    let look = |after, past_cache, stale| Recheck { after, past_cache, version: None, stale: Some(stale) };
    let (first, past) = (look(1.0, false, true), look(1.1, true, false));
    let (beyond, source) = ("stale.beyond_ttl", "stale.source");

    let early = judged(beyond, &[first, past]);
    assert_eq!(early.ruling, Ruling::Inconclusive, "{}", early.evidence);
    assert!(early.evidence.contains("not rechecked a second after the TTL"), "{}", early.evidence);
    assert_eq!(judged(beyond, &[first, past, look(5.0, false, false)]).ruling, Ruling::Pass, "it was gone by then");

    let unasked = judged(source, &[first]);
    assert_eq!(unasked.ruling, Ruling::Inconclusive, "{}", unasked.evidence);
    assert!(unasked.evidence.contains("not rechecked with the cache bypassed"), "{}", unasked.evidence);
    assert_eq!(judged(source, &[first, past]).ruling, Ruling::Pass, "the source was right");
    assert_eq!(judged("stale.transient", &[first]).ruling, Ruling::Pass);
}

#[test]
fn wrong_answers_are_judged_on_the_requests_that_name_an_item() {
    let mut lines = journal(&SimulationPlan::default());
    let measurements = Measurements::of(&lines);
    let judged = judge_in(&lines, metric("wrong_answers"), 3, Op::Equal, NONE);
    let named = measurements.count(|key| key.phase == 3 && key.request != 1 && key.outcome != Outcome::Error);
    assert_eq!((judged.ruling, judged.samples), (Ruling::Pass, named), "neither lists nor errors can be wrong");

    change(&mut lines, None, |cell| cell.request = 1);
    let vacuous = judge_in(&lines, metric("wrong_answers"), 3, Op::Equal, NONE);
    assert_eq!(vacuous.ruling, Ruling::Fail);
    assert!(vacuous.evidence.starts_with("no samples"), "{}", vacuous.evidence);
}

/// A journal whose database counts nothing from a moment on.
fn silent_from(at: f64) -> Vec<JournalEntry> {
    let mut lines = journal(&SimulationPlan::default());
    let mut last = None;
    for line in &mut lines {
        if let Event::Sample(sample) = &mut line.event
            && let Some(postgres) = &mut sample.postgres
        {
            postgres.queries = if line.at > at { *last.get_or_insert(postgres.queries) } else { postgres.queries };
        }
    }
    lines
}

#[test]
fn a_database_that_counts_nothing_proves_nothing() {
    let lines = silent_from(0.0);
    for metric in [metric("db_queries"), metric("db_queries_per_request")] {
        let (result, verdict) = judge_one_rule(&SimulationPlan::default(), &lines, compared(metric, 2, 0.4, 0));
        assert_eq!(result.ruling, Ruling::Fail, "0 of 0 is not a reduction: {}", result.evidence);
        assert!(result.evidence.contains("counted no queries at all in 'uncached'"), "{}", result.evidence);
        let blocking = findings(&verdict, true);
        assert!(blocking.len() == 1 && blocking[0].contains("Is this the app's database?"), "{blocking:?}");
        let plain = judge_in(&lines, metric, 0, Op::Less, Quantity::Count(1e9));
        assert_eq!(plain.ruling, Ruling::Fail, "{}", plain.evidence);
        // Of two cached phases the first has nothing to be compared with either.
        let (cached, _) = judge_one_rule(&SimulationPlan::default(), &silent_from(21.4), compared(metric, 4, 0.4, 2));
        assert_eq!(cached.ruling, Ruling::Fail, "{}", cached.evidence);
    }
}

#[test]
fn a_cache_that_takes_every_query_off_the_database_passes() {
    let (result, verdict) = judge_one_rule(
        &SimulationPlan::default(),
        &silent_from(21.6),
        compared(metric("db_queries_per_request"), 2, 0.4, 0),
    );
    assert_eq!((result.ruling, result.observed), (Ruling::Pass, Some(0.0)), "{}", result.evidence);
    assert!(findings(&verdict, true).is_empty());
}

/// The lists of a phase, 6 % of its requests, refused in a microsecond.
fn refused_at_once(phase: usize) -> Vec<JournalEntry> {
    let mut lines = journal(&SimulationPlan::default());
    change(&mut lines, Some(phase), |cell| {
        if cell.request == 1 {
            let count = cell.response.count();
            let mut quick = Histogram::new();
            (0..count).for_each(|_| quick.record(1_000));
            (cell.response, cell.service, cell.outcome) = (quick.clone(), quick, Outcome::Error);
            cell.response_sum = count * 1_000;
            cell.over.fill(0);
        }
    });
    lines
}

#[test]
fn quick_refusals_do_not_make_an_app_fast() {
    let lines = refused_at_once(2);
    let time = |milliseconds| Quantity::Time(Duration::from_millis(milliseconds));
    let at_most = |metric| judge_in(&lines, metric, 2, Op::AtMost, time(150));
    for metric in [metric("p95"), metric("service.p95"), metric("max")] {
        let result = at_most(metric);
        assert_eq!((result.ruling, result.observed), (Ruling::Fail, None), "{}", result.evidence);
        assert!(result.evidence.contains("beyond any limit") && result.evidence.contains("errors of n ="));
    }
    // 6 % of errors are not beyond P90, but raise it among the answers.
    let measurements = Measurements::of(&lines);
    let answers = measurements.total(|key| key.phase == 2 && key.outcome != Outcome::Error);
    let p90 = at_most(metric("p90"));
    assert_eq!(p90.ruling, Ruling::Pass, "{}", p90.evidence);
    assert!(p90.observed > answers.response.quantile(0.9).map(|p90| p90 as f64 / 1e9), "{}", p90.evidence);
    assert!(p90.evidence.contains("of them errors"), "{}", p90.evidence);
    assert_eq!(p90.over, Some(measurements.count(|key| key.phase == 2) - answers.count()));
    // A mean between that of the answers and that of everything.
    let all = measurements.total(|key| key.phase == 2).mean().unwrap();
    let between = (all + answers.mean().unwrap()) / 2.0;
    let mean = judge_in(&lines, metric("mean"), 2, Op::Less, Quantity::Time(Duration::from_nanos(between as u64)));
    assert_eq!(mean.ruling, Ruling::Fail, "{}", mean.evidence);
}

#[test]
fn errors_on_neither_side_help_a_comparison() {
    let (cached, _) =
        judge_one_rule(&SimulationPlan::default(), &refused_at_once(2), compared(metric("p95"), 2, 9.0, 0));
    assert_eq!(cached.ruling, Ruling::Fail, "{}", cached.evidence);
    let lines = refused_at_once(0);
    let answers = Measurements::of(&lines).total(|key| key.phase == 0 && key.outcome != Outcome::Error);
    let (base, _) = judge_one_rule(&SimulationPlan::default(), &lines, compared(metric("p90"), 2, 1.0, 0));
    assert_eq!(base.limit, answers.response.quantile(0.9).map(|p90| p90 as f64 / 1e9), "errors do not raise the base");
}

#[test]
fn timeouts_left_out_do_not_make_the_mean_better() {
    let mut lines = journal(&SimulationPlan::default());
    change(&mut lines, Some(2), |cell| {
        if cell.request == 1 {
            cell.outcome = Outcome::Error;
            cell.response_sum = cell.response.count() * 2_000_000_000;
        }
    });
    let limit = Quantity::Time(Duration::from_millis(50));
    assert_eq!(judge_in(&lines, metric("mean"), 2, Op::Less, limit).ruling, Ruling::Fail);
}

#[test]
fn the_databases_work_is_shared_out_among_the_answers() {
    let lines = refused_at_once(2);
    let answered = Measurements::of(&lines).count(|key| key.phase == 2 && key.outcome != Outcome::Error);
    let result = judge_in(&lines, metric("db_queries_per_request"), 2, Op::Less, Quantity::Count(9.0));
    assert_eq!(result.samples, answered);
}

#[test]
fn a_share_of_too_few_is_not_decided_unless_it_is_broken_beyond_doubt() {
    let plan = SimulationPlan { rate: 4, errors_down: 0.0, ..SimulationPlan::default() };
    let mut lines = journal(&plan);
    let judged = |lines: &[JournalEntry], metric, op, share| {
        judge_one_rule(
            &plan,
            lines,
            rule_against("it", metric, Some(CachePath::Cached), Some(2), op, Quantity::Share(share)),
        )
        .0
    };
    let errors = judged(&lines, metric("errors"), Op::Less, 0.01);
    assert_eq!(errors.ruling, Ruling::Inconclusive, "{}", errors.evidence);
    assert!(errors.evidence.ends_with("too few to tell, 300 are needed"), "{}", errors.evidence);
    let available = judged(&lines, metric("availability"), Op::AtLeast, 0.999);
    assert!(available.evidence.ends_with("too few to tell, 3 000 are needed"), "{}", available.evidence);
    assert_eq!(judged(&lines, metric("hit_rate"), Op::More, 0.6).ruling, Ruling::Pass, "8 are enough for 60 %");
    assert_eq!(judged(&lines, metric("errors"), Op::AtMost, 0.0).ruling, Ruling::Inconclusive, "never needs 300");

    // One error among some 100 is over 1 % only by bad luck; all of them are not.
    let mut one = true;
    change(&mut lines, Some(2), |cell| {
        if std::mem::take(&mut one) {
            cell.outcome = Outcome::Error;
        }
    });
    let unlucky = judged(&lines, metric("errors"), Op::Less, 0.01);
    assert!(unlucky.observed > Some(0.0), "{}", unlucky.evidence);
    change(&mut lines, Some(2), |cell| cell.outcome = Outcome::Error);
    assert_eq!(judged(&lines, metric("errors"), Op::Less, 0.01).ruling, Ruling::Fail);
    assert_eq!(judged(&lines, metric("availability"), Op::AtLeast, 0.999).ruling, Ruling::Fail);
}

#[test]
fn a_mean_of_a_few_says_nothing_but_one_that_took_too_long_is_too_long() {
    let plan = SimulationPlan { rate: 4, ..SimulationPlan::default() };
    let mut lines = journal(&plan);
    lines.retain(|line| !matches!(line.event, Event::CoarseSlice(_)) || line.at < 84.0);
    let limit = Quantity::Time(Duration::from_millis(250));
    for metric in [metric("mean"), metric("max")] {
        let (result, _) = judge_one_rule(&plan, &lines, rule_against("it", metric, None, Some(4), Op::Less, limit));
        assert!(result.samples > 0 && result.samples < 20, "{}", result.samples);
        assert_eq!(result.ruling, Ruling::Inconclusive, "{}", result.evidence);
    }
    change(&mut lines, Some(4), |cell| cell.over.fill(1));
    let (result, _) = judge_one_rule(&plan, &lines, rule_against("it", metric("max"), None, Some(4), Op::Less, limit));
    assert_eq!(result.ruling, Ruling::Fail, "{}", result.evidence);
}
