//! What breaks when a rule passes on the part of the answers that could be judged, and the larger part could not.

use cacheproof_core::journal::{
    AnswerCounts, AtQuiescence, CachePath, Event, FreshnessCell, FreshnessCounts, FreshnessKey, JournalEntry, Outcome,
    ResponseCell,
};
use cacheproof_core::scenario::{Criterion, EvidenceSpec, Limit, Op, Quantity, Rule, Scenario, Term};
use cacheproof_verdict::{RuleResult, Ruling, Verdict, judge};

use crate::verdict::{findings, metric, rule_against};
use cacheproof_core::measurements::Measurements;
use cacheproof_simulated::{SimulationPlan, journal, scenario};

/// The judged cached phase without a fault.
const STEADY: usize = 2;
/// The only request that reads one item.
const READ_POST: usize = 0;

/// The cells of the steady phase in which posts are read.
fn change_reads(lines: &mut [JournalEntry], mut how: impl FnMut(&mut ResponseCell)) {
    for line in lines {
        if let Event::CoarseSlice(slice) = &mut line.event {
            let reads = slice.cells.iter_mut().filter(|cell| cell.phase == STEADY && cell.request == READ_POST);
            reads.for_each(&mut how);
        }
    }
}

fn judge_with(evidence: EvidenceSpec, lines: &[JournalEntry], rule: Rule) -> RuleResult {
    let criteria = vec![Criterion { says: "it".to_owned(), rules: vec![rule], proved_by: Vec::new() }];
    let scenario = Scenario { criteria, evidence, ..scenario(&SimulationPlan::default()) };
    judge(&scenario, &Measurements::of(lines)).criteria[0].rules[0].clone()
}

fn judge_steady(lines: &[JournalEntry], name: &str, op: Op, limit: Quantity) -> RuleResult {
    judge_with(EvidenceSpec::default(), lines, rule_against("it", metric(name), None, Some(STEADY), op, limit))
}

/// The default run, in whose steady phase every answer to a read of this outcome has another.
fn with_outcome(from: Outcome, to: Outcome) -> Vec<JournalEntry> {
    let mut lines = journal(&SimulationPlan::default());
    change_reads(&mut lines, |cell| {
        if cell.outcome == from {
            cell.outcome = to;
        }
    });
    lines
}

#[test]
fn hits_that_are_marked_and_misses_that_are_not_are_no_hit_rate() {
    // As an app that says HIT and nothing else: nine in ten answers here are hits, so the rate of the rest may decide.
    let lines = with_outcome(Outcome::Miss, Outcome::Plain);
    let hit_rate = judge_steady(&lines, "hit_rate", Op::More, Quantity::Share(0.95));
    assert_eq!(hit_rate.ruling, Ruling::Inconclusive, "{}", hit_rate.evidence);
    assert!(
        hit_rate.evidence.contains("answers to cacheable reads said where they came from"),
        "{}",
        hit_rate.evidence
    );
    assert!(hit_rate.evidence.ends_with("95 % are needed"), "{}", hit_rate.evidence);
    // Most misses unmarked: the hit rate of the marked ones is 100 %.
    let lines = with_outcome(Outcome::Hit, Outcome::Plain);
    let misses = judge_steady(&lines, "misses", Op::Less, Quantity::Count(10_000.0));
    assert_eq!(misses.ruling, Ruling::Inconclusive, "{}", misses.evidence);
}

#[test]
fn a_scenario_may_ask_for_less_coverage_and_is_told_how_much_there_was() {
    let lines = with_outcome(Outcome::Miss, Outcome::Plain);
    let rule = || rule_against("it", metric("hit_rate"), None, Some(STEADY), Op::More, Quantity::Share(0.95));
    let spec = |coverage| EvidenceSpec { coverage, ..EvidenceSpec::default() };
    let result = judge_with(spec(0.8), &lines, rule());
    assert_eq!(result.ruling, Ruling::Pass, "{}", result.evidence);
    assert!(result.evidence.contains("; only "), "{}", result.evidence);
    assert_eq!(judge_with(spec(1.0), &journal(&SimulationPlan::default()), rule()).ruling, Ruling::Fail);
}

#[test]
fn what_went_past_the_cache_was_not_served_from_it() {
    for passed in [Outcome::Bypass, Outcome::Fallback, Outcome::Wrong] {
        let lines = with_outcome(Outcome::Hit, passed);
        let hit_rate = judge_steady(&lines, "hit_rate", Op::More, Quantity::Share(0.6));
        assert_eq!(hit_rate.ruling, Ruling::Fail, "{passed:?}: {}", hit_rate.evidence);
        assert!(hit_rate.observed < Some(0.1), "{passed:?}: {:?}", hit_rate.observed);
    }
}

#[test]
fn what_was_served_beyond_its_lifetime_was_served_from_the_cache_and_is_counted_apart() {
    let lines = with_outcome(Outcome::Hit, Outcome::StaleServed);
    assert_eq!(judge_steady(&lines, "hit_rate", Op::More, Quantity::Share(0.6)).ruling, Ruling::Pass);
    let served = judge_steady(&lines, "stale_served", Op::Less, Quantity::Share(0.01));
    assert_eq!(served.ruling, Ruling::Fail, "{}", served.evidence);
    let none = judge_steady(&journal(&SimulationPlan::default()), "stale_served", Op::Equal, Quantity::Count(0.0));
    assert_eq!(none.ruling, Ruling::Pass, "{}", none.evidence);
}

#[test]
fn a_rule_fails_only_if_the_unknown_answers_could_not_save_it() {
    // Nothing but hits can be told from nothing: they may all have been hits.
    let lines = with_outcome(Outcome::Hit, Outcome::Plain);
    let open = judge_steady(&lines, "hit_rate", Op::More, Quantity::Share(0.6));
    assert_eq!(open.ruling, Ruling::Inconclusive, "{}", open.evidence);
    // Had every unmarked answer been a hit, it would still be less.
    let lines = with_outcome(Outcome::Miss, Outcome::Plain);
    let mut all_miss = lines;
    change_reads(&mut all_miss, |cell| {
        if cell.outcome == Outcome::Hit {
            cell.outcome = Outcome::Miss;
        }
    });
    let broken = judge_steady(&all_miss, "hit_rate", Op::More, Quantity::Share(0.6));
    assert_eq!(broken.ruling, Ruling::Fail, "{}", broken.evidence);
    // A count can only grow by what is unknown.
    let hits = judge_steady(&with_outcome(Outcome::Miss, Outcome::Plain), "hits", Op::More, Quantity::Count(0.0));
    assert_eq!(hits.ruling, Ruling::Pass, "{}", hits.evidence);
}

#[test]
fn a_comparison_needs_both_of_its_sides() {
    let term = |phase| Term { metric: metric("hit_rate"), path: None, request: None, phase: Some(phase) };
    let rule = |phase, other| Rule {
        text: "it".to_owned(),
        term: term(phase),
        op: Op::AtLeast,
        limit: Limit::Of { factor: 0.5, term: term(other) },
    };
    let lines = with_outcome(Outcome::Miss, Outcome::Plain);
    let recovered = 4;
    for (phase, other) in [(STEADY, recovered), (recovered, STEADY)] {
        let result = judge_with(EvidenceSpec::default(), &lines, rule(phase, other));
        assert_eq!(result.ruling, Ruling::Inconclusive, "{}", result.evidence);
        let healthy = judge_with(EvidenceSpec::default(), &journal(&SimulationPlan::default()), rule(phase, other));
        assert_eq!(healthy.ruling, Ruling::Pass, "{}", healthy.evidence);
    }
}

#[test]
fn never_needs_three_hundred_opportunities_and_one_event_breaks_it() {
    let plan = SimulationPlan { rate: 4, errors_down: 0.0, ..SimulationPlan::default() };
    let mut lines = journal(&plan);
    let rules = [
        ("errors", Op::Equal, Quantity::Count(0.0)),
        ("errors", Op::Less, Quantity::Count(1.0)),
        ("errors", Op::AtMost, Quantity::Share(0.0)),
        ("availability", Op::AtLeast, Quantity::Share(1.0)),
        ("stale", Op::Equal, Quantity::Count(0.0)),
        ("wrong_answers", Op::Equal, Quantity::Count(0.0)),
        ("fallbacks", Op::Equal, Quantity::Count(0.0)),
    ];
    for (name, op, limit) in rules {
        let few = judge_steady(&lines, name, op, limit);
        assert_eq!(few.ruling, Ruling::Inconclusive, "{name} {op:?}: {}", few.evidence);
        assert!(few.evidence.contains("too few to tell, 300 are needed"), "{name}: {}", few.evidence);
        let spec = EvidenceSpec { opportunities: 20, ..EvidenceSpec::default() };
        let rule = rule_against("it", metric(name), None, Some(STEADY), op, limit);
        let enough = judge_with(spec, &lines, rule);
        assert_eq!(enough.ruling, Ruling::Pass, "{name} {op:?}: {}", enough.evidence);
    }
    let mut one = true;
    change_reads(&mut lines, |cell| {
        if std::mem::take(&mut one) {
            cell.outcome = Outcome::Error;
        }
    });
    let broken = judge_steady(&lines, "errors", Op::Equal, Quantity::Count(0.0));
    assert_eq!(broken.ruling, Ruling::Fail, "{}", broken.evidence);
}

/// The default run, with what the answers to reads of posts were good for in the steady phase.
fn with_answers(answers: AnswerCounts) -> Vec<JournalEntry> {
    let mut lines = journal(&SimulationPlan::default());
    let of = FreshnessKey { phase: STEADY, path: CachePath::Cached, request: READ_POST };
    let counts = FreshnessCounts { answers, ..FreshnessCounts::default() };
    let slice = lines.iter_mut().find_map(|line| match &mut line.event {
        Event::CoarseSlice(slice) if slice.cells.iter().any(|cell| cell.phase == STEADY) => Some(slice),
        _ => None,
    });
    slice.expect("a slice of the steady phase").freshness.push(FreshnessCell { of, counts });
    lines
}

/// The verdict with one rule, in a scenario that was changed.
fn verdict_with(lines: &[JournalEntry], rule: Rule, change: impl FnOnce(&mut Scenario)) -> Verdict {
    let criteria = vec![Criterion { says: "it".to_owned(), rules: vec![rule], proved_by: Vec::new() }];
    let mut scenario = Scenario { criteria, ..scenario(&SimulationPlan::default()) };
    change(&mut scenario);
    judge(&scenario, &Measurements::of(lines))
}

fn quick() -> Rule {
    rule_against("it", metric("errors"), None, Some(STEADY), Op::Less, Quantity::Share(0.01))
}

#[test]
fn an_allowed_status_is_no_answer_to_judge_a_phase_on() {
    let absent = |absent| with_answers(AnswerCounts { items: 1_000, absent, ..AnswerCounts::default() });
    let verdict = verdict_with(&absent(4_000), quick(), |_| {});
    assert_eq!(verdict.criteria[0].ruling, Ruling::Inconclusive);
    let told = findings(&verdict, true);
    assert!(told.iter().any(|text| text.contains("4 000 of 5 000 (80 %) answers to 'read post'")), "{told:?}");
    assert_eq!(verdict_with(&absent(1_200), quick(), |_| {}).ruling, Ruling::Pass, "many items were deleted");
}

#[test]
fn one_page_for_all_items_is_no_item_unless_its_key_is_checked() {
    let same = |same| with_answers(AnswerCounts { items: 1_000, compared: 800, same, ..AnswerCounts::default() });
    let unchecked = |scenario: &mut Scenario| scenario.target.identity = None;
    let verdict = verdict_with(&same(790), quick(), unchecked);
    assert_eq!(verdict.ruling, Ruling::Inconclusive);
    assert!(findings(&verdict, true).iter().any(|text| text.contains("identity = \"id\"")), "it says what to do");
    assert_eq!(verdict_with(&same(300), quick(), unchecked).ruling, Ruling::Pass, "many items may look the same");
    let checked = |scenario: &mut Scenario| scenario.target.identity = Some("id".to_owned());
    assert_eq!(verdict_with(&same(790), quick(), checked).ruling, Ruling::Pass);
}

#[test]
fn a_version_that_no_answer_carries_is_told_and_nothing_passes() {
    let without = |unversioned| {
        let mut lines = with_answers(AnswerCounts { items: 1_000, unversioned, ..AnswerCounts::default() });
        for line in &mut lines {
            if let Event::CoarseSlice(slice) = &mut line.event {
                slice.cells.iter_mut().for_each(|cell| cell.judged_fresh = 0);
            }
        }
        lines
    };
    let verdict = verdict_with(&without(1_000), quick(), |_| {});
    assert_eq!(verdict.ruling, Ruling::Inconclusive);
    assert!(findings(&verdict, true).iter().any(|text| text.starts_with("None of the 1 000 answers")), "it is told");
    let some = verdict_with(&without(400), quick(), |_| {});
    assert_eq!(some.ruling, Ruling::Pass);
    assert!(findings(&some, false).iter().any(|text| text.starts_with("400 of 1 000 answers")), "it is told");
}

#[test]
fn stale_answers_without_a_version_are_reads_that_were_not_judged() {
    let stale = rule_against("it", metric("stale"), None, Some(STEADY), Op::Equal, Quantity::Count(0.0));
    let unjudged = |unversioned_written| {
        let answers = AnswerCounts { items: 12_000, unversioned: 900, unversioned_written, ..AnswerCounts::default() };
        verdict_with(&with_answers(answers), stale.clone(), |_| {})
    };
    let many = unjudged(900);
    let evidence = &many.criteria[0].rules[0].evidence;
    assert_eq!(many.ruling, Ruling::Inconclusive, "{evidence}");
    assert!(evidence.contains("reads of written items carried a version"), "{evidence}");
    assert_eq!(unjudged(100).ruling, Ruling::Pass, "1 % of the reads");
}

#[test]
fn wrong_answers_and_lost_updates_fail_a_run_that_does_not_ask() {
    let lines = with_outcome(Outcome::Miss, Outcome::Wrong);
    let verdict = verdict_with(&lines, quick(), |_| {});
    assert_eq!((verdict.ruling, verdict.criteria.len()), (Ruling::Fail, 2));
    assert!(verdict.criteria[1].says.starts_with("No answer is wrong"), "{}", verdict.criteria[1].says);
    // A rule says how many are allowed.
    let allowed = rule_against("it", metric("wrong_answers"), None, Some(STEADY), Op::Less, Quantity::Count(1e6));
    assert_eq!(verdict_with(&lines, allowed, |_| {}).ruling, Ruling::Pass);

    let lost = with_answers(AnswerCounts { updates: 500, lost_updates: 2, ..AnswerCounts::default() });
    let verdict = verdict_with(&lost, quick(), |_| {});
    assert_eq!(verdict.ruling, Ruling::Fail);
    assert!(verdict.criteria[1].rules[0].evidence.starts_with("2 lost updates"), "{:?}", verdict.criteria[1]);
    let allowed = rule_against("it", metric("lost_updates"), None, None, Op::Less, Quantity::Share(0.01));
    assert_eq!(verdict_with(&lost, allowed, |_| {}).ruling, Ruling::Pass);
}

#[test]
fn an_uncached_phase_that_was_answered_from_the_cache_is_no_baseline() {
    let mut lines = journal(&SimulationPlan::default());
    let uncached = 0;
    for line in &mut lines {
        if let Event::CoarseSlice(slice) = &mut line.event {
            let reads = slice.cells.iter_mut().filter(|cell| cell.phase == uncached && cell.outcome == Outcome::Bypass);
            reads.for_each(|cell| cell.outcome = Outcome::Hit);
        }
    }
    let term = |phase| Term { metric: metric("p50"), path: None, request: None, phase: Some(phase) };
    let limit = Limit::Of { factor: 0.9, term: term(uncached) };
    let faster = Rule { text: "it".to_owned(), term: term(STEADY), op: Op::Less, limit };
    let verdict = verdict_with(&lines, faster.clone(), |_| {});
    assert_eq!(verdict.criteria[0].ruling, Ruling::Inconclusive);
    let evidence = &verdict.criteria[0].rules[0].evidence;
    assert!(evidence.ends_with("the phase 'uncached' was not uncached"), "{evidence}");
    assert_eq!(verdict_with(&journal(&SimulationPlan::default()), faster, |_| {}).ruling, Ruling::Pass);
}

#[test]
fn hits_that_redis_knows_nothing_of_show_nothing_about_it() {
    let mut lines = journal(&SimulationPlan::default());
    for line in &mut lines {
        if let Event::Sample(sample) = &mut line.event
            && let Some(redis) = &mut sample.redis
        {
            (redis.hits, redis.misses) = (Some(0), Some(0));
        }
    }
    let hits = || rule_against("it", metric("hit_rate"), None, Some(STEADY), Op::More, Quantity::Share(0.6));
    let verdict = verdict_with(&lines, hits(), |_| {});
    assert_eq!(verdict.criteria[0].ruling, Ruling::Inconclusive);
    assert!(findings(&verdict, true).iter().any(|text| text.contains("Redis counted no look-up")), "it is told");
    // What answers contain is true of the app, whatever it keeps them in.
    let errors = rule_against("it", metric("errors"), None, Some(STEADY), Op::Less, Quantity::Share(0.01));
    let verdict = verdict_with(&lines, errors, |_| {});
    assert_eq!(verdict.ruling, Ruling::Pass, "{:?}", findings(&verdict, true));
    assert!(findings(&verdict, false).iter().any(|text| text.contains("Redis counted no look-up")), "it is told");
    let in_memory = |scenario: &mut Scenario| scenario.target.cache = cacheproof_core::scenario::CacheKind::Memory;
    assert_eq!(verdict_with(&lines, hits(), in_memory).ruling, Ruling::Pass, "the app's cache is elsewhere");
    // Nor do misses that it knows nothing of.
    for line in &mut lines {
        if let Event::CoarseSlice(slice) = &mut line.event {
            let hits = slice.cells.iter_mut().filter(|cell| cell.outcome == Outcome::Hit);
            hits.for_each(|cell| cell.outcome = Outcome::Miss);
        }
    }
    let misses = rule_against("it", metric("hit_rate"), None, Some(STEADY), Op::AtMost, Quantity::Share(0.6));
    let verdict = verdict_with(&lines, misses, |_| {});
    assert_eq!(verdict.criteria[0].ruling, Ruling::Inconclusive);
    let told = findings(&verdict, true);
    assert!(
        told.iter().any(|text| text.contains("answers said that the cache did not have them, and Redis")),
        "{told:?}"
    );
}

#[test]
fn items_whose_uncached_answer_was_cached_were_not_compared() {
    let at_rest = |not_bypassed| {
        let mut lines = journal(&SimulationPlan::default());
        let at = lines.last().map_or(0.0, |line| line.at);
        let compared =
            AtQuiescence { phase: STEADY, compared: 60 - not_bypassed, not_bypassed, ..AtQuiescence::default() };
        lines.push(JournalEntry { at, event: Event::AtQuiescence(compared) });
        let stale = rule_against("it", metric("stale"), None, Some(STEADY), Op::Equal, Quantity::Count(0.0));
        verdict_with(&lines, stale, |scenario| scenario.target.version = None)
    };
    let verdict = at_rest(20);
    assert_eq!(verdict.ruling, Ruling::Inconclusive, "{:?}", verdict.criteria[0].rules[0].evidence);
    let all = at_rest(0);
    assert_eq!(all.ruling, Ruling::Pass, "60 of 60 written items are all: {:?}", all.criteria[0].rules[0].evidence);
    assert_eq!(at_rest(60).ruling, Ruling::Fail, "nothing was compared");
}

#[test]
fn reads_of_items_that_were_not_written_are_opportunities_but_some_must_be_judged() {
    let stale = || rule_against("it", metric("stale"), None, Some(STEADY), Op::Equal, Quantity::Count(0.0));
    let judged_of = |judged: u64, items| {
        let mut lines = with_answers(AnswerCounts { items, ..AnswerCounts::default() });
        let mut left = judged;
        change_reads(&mut lines, |cell| {
            cell.judged_fresh = cell.judged_fresh.min(left);
            left -= cell.judged_fresh;
        });
        verdict_with(&lines, stale(), |_| {}).criteria[0].rules[0].clone()
    };
    for (judged, items, ruling) in [
        (208, 400, Ruling::Pass),
        (208, 280, Ruling::Inconclusive),
        (99, 4_000, Ruling::Inconclusive),
        (300, 300, Ruling::Pass),
    ] {
        let result = judged_of(judged, items);
        assert_eq!(result.ruling, ruling, "{judged} of {items}: {}", result.evidence);
    }
    assert!(judged_of(99, 4_000).evidence.ends_with("too few to tell, 100 are needed"));
}

#[test]
fn a_rule_on_a_part_does_not_replace_what_is_judged_in_every_run() {
    let lines = with_outcome(Outcome::Miss, Outcome::Wrong);
    let torn = rule_against("it", metric("wrong_answers.torn"), None, None, Op::Less, Quantity::Count(9.0));
    assert_eq!(verdict_with(&lines, torn, |_| {}).ruling, Ruling::Fail);
    let elsewhere = rule_against("it", metric("wrong_answers"), None, Some(4), Op::Equal, Quantity::Count(0.0));
    let verdict = verdict_with(&lines, elsewhere, |_| {});
    assert_eq!(verdict.ruling, Ruling::Fail);
    assert_eq!(verdict.criteria[1].rules[0].text, "wrong_answers in 'steady' == 0");
}

#[test]
fn writes_that_change_nothing_are_told_and_prove_nothing() {
    let unchanged = |unchanged| with_answers(AnswerCounts { updates: 500, unchanged, ..AnswerCounts::default() });
    let verdict = verdict_with(&unchanged(400), quick(), |_| {});
    assert_eq!(verdict.ruling, Ruling::Inconclusive);
    assert!(findings(&verdict, true).iter().any(|text| text.contains("400 of 900 acknowledged writes")), "it is told");
    assert_eq!(verdict_with(&unchanged(10), quick(), |_| {}).ruling, Ruling::Pass);
}

#[test]
fn some_of_many_items_at_rest_are_a_sample_and_those_without_an_answer_are_unknown() {
    let at_rest = |compared, skipped, unread| {
        let mut lines = journal(&SimulationPlan::default());
        let at = lines.last().map_or(0.0, |line| line.at);
        let one = AtQuiescence { phase: STEADY, compared, skipped, unread, ..AtQuiescence::default() };
        lines.push(JournalEntry { at, event: Event::AtQuiescence(one) });
        let stale = rule_against("it", metric("stale"), None, Some(STEADY), Op::Equal, Quantity::Count(0.0));
        verdict_with(&lines, stale, |scenario| scenario.target.version = None).ruling
    };
    assert_eq!(at_rest(60, 0, 0), Ruling::Pass);
    assert_eq!(at_rest(60, 900, 0), Ruling::Inconclusive);
    assert_eq!(at_rest(300, 900, 0), Ruling::Pass);
    assert_eq!(at_rest(60, 0, 40), Ruling::Inconclusive);
}

#[test]
fn a_kind_of_stale_answers_needs_the_coverage_of_all_of_them() {
    let answers =
        AnswerCounts { items: 90_000, unversioned: 90_000, unversioned_written: 90_000, ..AnswerCounts::default() };
    for name in ["stale.stuck", "non_monotonic"] {
        let rule = rule_against("it", metric(name), None, Some(STEADY), Op::Equal, Quantity::Count(0.0));
        let result = verdict_with(&with_answers(answers), rule, |_| {}).criteria[0].rules[0].clone();
        assert_eq!(result.ruling, Ruling::Inconclusive, "{name}: {}", result.evidence);
    }
}
