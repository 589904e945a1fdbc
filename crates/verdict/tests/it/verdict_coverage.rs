//! What breaks when a rule passes on the part of the answers that could be judged, and the larger part could not.

use cacheproof_core::journal::{Event, JournalEntry, Outcome, ResponseCell};
use cacheproof_core::scenario::{Criterion, EvidenceSpec, Limit, Op, Quantity, Rule, Scenario, Term};
use cacheproof_verdict::{RuleResult, Ruling, judge};

use crate::verdict::{metric, rule_against};
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
    let criteria = vec![Criterion { says: "it".to_owned(), rules: vec![rule], proved_by: None }];
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
