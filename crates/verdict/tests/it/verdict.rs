//! What breaks when the judge errs: a broken deployment passes, or a healthy one fails.

use std::time::Duration;

use cacheproof_core::journal::CachePath;
use cacheproof_core::journal::{Event, JournalEntry, Outcome, RunStatus, SendLag, TestResult, TestState};
use cacheproof_core::measurements::Measurements;
use cacheproof_core::scenario::{Criterion, Limit, Metric, Op, Quantity, Rule, Scenario, Term};
use cacheproof_verdict::{RuleResult, Ruling, Verdict, judge};

use cacheproof_simulated::{SimulationPlan, journal, scenario};

fn judged(plan: &SimulationPlan) -> Verdict {
    judge(&scenario(plan), &Measurements::of(&journal(plan)))
}

/// The metric that a rule writes so.
pub fn metric(name: &str) -> Metric {
    Metric::find(name).unwrap_or_else(|why| panic!("{name}: {why:?}"))
}

/// One rule judged on a journal.
pub fn judge_one_rule(plan: &SimulationPlan, lines: &[JournalEntry], rule: Rule) -> (RuleResult, Verdict) {
    let criteria = vec![Criterion { says: "it".to_owned(), rules: vec![rule], proved_by: Vec::new() }];
    let scenario = Scenario { criteria, ..scenario(plan) };
    let verdict = judge(&scenario, &Measurements::of(lines));
    (verdict.criteria[0].rules[0].clone(), verdict)
}

/// A rule against a fixed value.
pub fn rule_against(
    text: &str,
    metric: Metric,
    path: Option<CachePath>,
    phase: Option<usize>,
    op: Op,
    limit: Quantity,
) -> Rule {
    let term = Term { metric, path, request: None, phase };
    Rule { text: text.to_owned(), term, op, limit: Limit::Value(limit) }
}

pub fn findings(verdict: &Verdict, blocking: bool) -> Vec<&str> {
    verdict
        .validity
        .iter()
        .filter(|finding| finding.blocking == blocking)
        .map(|finding| finding.text.as_str())
        .collect()
}

#[test]
fn a_healthy_run_passes_with_every_number_in_its_evidence() {
    let verdict = judged(&SimulationPlan::default());
    insta::assert_debug_snapshot!(verdict);
}

#[test]
fn a_cache_that_never_hits_fails_its_hit_rate_and_nothing_else_is_blamed_on_freshness() {
    let verdict = judged(&SimulationPlan { hit_share: 0.0, ..SimulationPlan::default() });
    let rulings: Vec<Ruling> = verdict.criteria.iter().map(|criterion| criterion.ruling).collect();
    use Ruling::{Claimed, Fail, Pass};
    assert_eq!(rulings, [Fail, Fail, Fail, Pass, Pass, Claimed]);
    assert_eq!(verdict.ruling, Fail);
    assert!(verdict.summary.starts_with("3 of 6 criteria failed"), "{}", verdict.summary);
}

#[test]
fn one_stale_answer_breaks_a_rule_of_none_even_in_a_run_that_broke_off() {
    let plan = SimulationPlan { stale_every: 9_000, stop_at: Some(70.2), ..SimulationPlan::default() };
    let verdict = judged(&plan);
    let stale = &verdict.criteria[3];
    assert_eq!(stale.rules[0].ruling, Ruling::Fail, "{}", stale.rules[0].evidence);
    assert_eq!(stale.rules[1].ruling, Ruling::Inconclusive, "none seen so far proves nothing about the rest");
    assert_eq!(verdict.criteria[0].ruling, Ruling::Pass, "'steady' was over: it is judged");
    assert_eq!(verdict.criteria[4].ruling, Ruling::Inconclusive, "'redis down' was not over");
    assert_eq!(verdict.ruling, Ruling::Fail);
    assert!(findings(&verdict, true)[0].contains("cacheproof itself was killed or crashed"), "{:?}", verdict.validity);
}

#[test]
fn a_run_that_was_stopped_never_passes_though_all_it_measured_was_good() {
    let plan = SimulationPlan { stop_at: Some(70.2), ..SimulationPlan::default() };
    let mut lines = journal(&plan);
    lines.push(JournalEntry {
        at: 70.3,
        event: Event::PhaseEnded { phase: 3, reason: "the run was stopped".to_owned() },
    });
    lines.push(JournalEntry {
        at: 70.4,
        event: Event::RunEnded(cacheproof_core::journal::RunEnded {
            how: RunStatus::Interrupted,
            why: Some("Ctrl-C".to_owned()),
            goose_requests: None,
            unsent: 0,
            steady_after: None,
            labels: None,
        }),
    });
    let verdict = judge(&scenario(&plan), &Measurements::of(&lines));
    assert_eq!(verdict.ruling, Ruling::Inconclusive);
    assert!(findings(&verdict, true)[0].contains("Ctrl-C"));
    assert_eq!(verdict.criteria[4].ruling, Ruling::Inconclusive, "its last phase was cut short, though it has an end");
}

#[test]
fn a_saturated_generator_decides_nothing_about_times_but_still_about_freshness() {
    let verdict = judged(&SimulationPlan { harness_cpu: 1.9, hit_time: 0.2, ..SimulationPlan::default() });
    assert_eq!(verdict.criteria[1].ruling, Ruling::Inconclusive, "200 ms of a saturated generator are no failure");
    assert_eq!(verdict.criteria[3].ruling, Ruling::Pass);
    assert_eq!(verdict.ruling, Ruling::Inconclusive);
    assert!(findings(&verdict, true)[0].contains("95 % of the 2 cores"), "{:?}", verdict.validity);
}

#[test]
fn a_late_generator_is_seen_though_its_cpu_is_idle() {
    let verdict = lagging(|lag| (lag.p50, lag.p99) = (60_000_000, 80_000_000));
    assert!(findings(&verdict, true)[0].contains("in 6 of 30 seconds"), "{:?}", verdict.validity);
    assert_eq!(verdict.criteria[1].ruling, Ruling::Inconclusive);
}

#[test]
fn a_machine_that_was_not_quiet_is_told_but_decides_nothing() {
    let verdict = lagging(|lag| lag.p99 = 80_000_000);
    assert!(findings(&verdict, true).is_empty(), "{:?}", verdict.validity);
    let is_reported =
        findings(&verdict, false).iter().any(|text| text.contains("not quiet") && text.contains("in 6 of 30"));
    assert!(is_reported, "{:?}", verdict.validity);
    assert_eq!(verdict.criteria[1].ruling, Ruling::Pass);
}

/// The verdict on a healthy run whose generator lags so in six seconds.
fn lagging(late: impl Fn(&mut SendLag)) -> Verdict {
    let plan = SimulationPlan::default();
    let mut lines = journal(&plan);
    for line in &mut lines {
        if let Event::CoarseSlice(window) = &mut line.event
            && line.at > 35.0
            && line.at < 41.0
        {
            late(window.send_lag.as_mut().expect("a lag in every window"));
        }
    }
    judge(&scenario(&plan), &Measurements::of(&lines))
}

#[test]
fn one_late_second_does_not_undo_a_short_phase() {
    let plan = SimulationPlan::default();
    let mut lines = journal(&plan);
    for line in &mut lines {
        if let Event::CoarseSlice(window) = &mut line.event
            && (84.0..85.0).contains(&line.at)
        {
            let lag = window.send_lag.as_mut().unwrap();
            (lag.p50, lag.p99) = (60_000_000, 80_000_000);
        }
    }
    let mut scenario = scenario(&plan);
    let mut measurements = Measurements::of(&lines);
    // The last phase, cut to its first five seconds.
    measurements.coarse_slices.retain(|slice| slice.to < 87.0);
    scenario.criteria.truncate(1);
    assert_eq!(judge(&scenario, &measurements).ruling, Ruling::Pass);
}

#[test]
fn a_fault_without_a_seen_effect_proves_no_fallback() {
    let verdict = judged(&SimulationPlan { fault_seen: false, ..SimulationPlan::default() });
    assert_eq!(verdict.criteria[4].ruling, Ruling::Inconclusive);
    assert_eq!(verdict.criteria[0].ruling, Ruling::Pass, "other phases stand");
    assert_eq!(verdict.ruling, Ruling::Inconclusive);
}

#[test]
fn a_count_that_differs_from_gooses_proves_nothing() {
    let plan = SimulationPlan::default();
    let mut lines = journal(&plan);
    let Some(JournalEntry { event: Event::RunEnded(end), .. }) = lines.last_mut() else { panic!("no end") };
    end.goose_requests = end.goose_requests.map(|requests| requests * 102 / 100);
    let verdict = judge(&scenario(&plan), &Measurements::of(&lines));
    assert_eq!(verdict.ruling, Ruling::Inconclusive);
    assert_eq!(verdict.criteria[0].ruling, Ruling::Inconclusive);
}

#[test]
fn a_generator_that_sends_too_little_is_told() {
    let plan = SimulationPlan::default();
    let mut lines = journal(&plan);
    let thin = |line: &mut JournalEntry| {
        let Event::CoarseSlice(window) = &mut line.event else { return true };
        window.cells.iter().all(|cell| cell.phase != 4) || !(line.at as u64).is_multiple_of(3)
    };
    lines.retain_mut(thin);
    let verdict = judge(&scenario(&plan), &Measurements::of(&lines));
    let graves = findings(&verdict, true);
    assert!(graves.iter().any(|text| text.starts_with("Arrivals in 'recovered': 420/s planned")), "{graves:?}");
}

#[test]
fn answers_that_come_after_their_phase_are_arrivals_but_no_throughput() {
    let plan = SimulationPlan::default();
    let mut lines = journal(&plan);
    // Half of the answers meant for 'steady' come in while 'redis down' lasts.
    let moved = |line: &mut JournalEntry| {
        let Event::CoarseSlice(window) = &mut line.event else { return };
        if (line.at as u64).is_multiple_of(2) && window.cells.iter().any(|cell| cell.phase == 2) {
            line.at += 60.0;
        }
    };
    lines.iter_mut().for_each(moved);
    lines.sort_by(|a, b| a.at.total_cmp(&b.at));
    let limit = Quantity::Rate(300.0);
    let rule = rule_against("it", metric("throughput"), None, Some(2), Op::AtLeast, limit);
    let (result, verdict) = judge_one_rule(&plan, &lines, rule);
    assert_eq!(result.ruling, Ruling::Fail, "{}", result.evidence);
    let light = findings(&verdict, false);
    let text = light.iter().find(|text| text.starts_with("Arrivals in 'steady'")).expect("it is reported");
    assert!(text.contains("418/s achieved; answered in time: 2"), "{text}");
}

#[test]
fn a_rule_without_samples_fails() {
    let plan = SimulationPlan::default();
    let lines = journal(&plan);
    for metric in [metric("hit_rate"), metric("p95"), metric("throughput"), metric("errors")] {
        // The uncached phase has no cached requests.
        let rule = rule_against("it", metric, Some(CachePath::Cached), Some(0), Op::AtLeast, Quantity::Share(0.0));
        let (result, _) = judge_one_rule(&plan, &lines, rule);
        assert_eq!((result.ruling, result.evidence.as_str()), (Ruling::Fail, "no samples"), "{metric:?}");
    }
}

#[test]
fn a_percentile_of_too_few_samples_is_not_decided_unless_the_count_proves_it() {
    let plan = SimulationPlan { rate: 4, ..SimulationPlan::default() };
    let lines = journal(&plan);
    let at_most = |metric, ms| {
        let limit = Quantity::Time(Duration::from_millis(ms));
        rule_against("it", metric, None, Some(0), Op::AtMost, limit)
    };
    let (result, _) = judge_one_rule(&plan, &lines, at_most(metric("p95"), 150));
    assert_eq!(result.ruling, Ruling::Inconclusive);
    assert!(result.evidence.ends_with("too few to tell, 200 are needed"), "{}", result.evidence);

    // All of some 60 above the limit: more samples would not save it.
    let mut slow = lines.clone();
    let limit = 150_000_000;
    for line in &mut slow {
        if let Event::CoarseSlice(window) = &mut line.event {
            for cell in &mut window.cells {
                let index = 0;
                cell.over[index] = cell.response.count();
            }
        }
    }
    assert!(matches!(&slow[0].event, Event::RunStarted(start) if start.limits[0] == limit));
    let (result, _) = judge_one_rule(&plan, &slow, at_most(metric("p95"), 150));
    assert_eq!(result.ruling, Ruling::Fail, "{}", result.evidence);
}

#[test]
fn a_limit_is_judged_by_the_exact_count_not_by_the_rounded_histogram() {
    let plan = SimulationPlan::default();
    let mut lines = journal(&plan);
    // 4.9 % of the answers in 'steady' above the limit, whatever the histogram says.
    let total: u64 = Measurements::of(&lines).count(|key| key.phase == 2);
    let share = |lines: &mut Vec<JournalEntry>, permille: u64| {
        let mut left = total * permille / 1_000;
        for line in lines.iter_mut() {
            if let Event::CoarseSlice(window) = &mut line.event {
                for cell in window.cells.iter_mut().filter(|cell| cell.phase == 2) {
                    cell.over[0] = left.min(cell.response.count());
                    left -= cell.over[0];
                }
            }
        }
    };
    let limit = Quantity::Time(Duration::from_millis(150));
    let rule = rule_against("it", metric("p95"), None, Some(2), Op::AtMost, limit);
    share(&mut lines, 49);
    assert_eq!(judge_one_rule(&plan, &lines, rule.clone()).0.ruling, Ruling::Pass);
    share(&mut lines, 51);
    let (result, _) = judge_one_rule(&plan, &lines, rule);
    assert_eq!(result.ruling, Ruling::Fail);
    assert!(result.evidence.contains("above 150 ms = 5.09 %"), "{}", result.evidence);
}

#[test]
fn a_limit_relative_to_the_uncached_path_needs_the_uncached_path() {
    let plan = SimulationPlan::default();
    let lines = journal(&plan);
    let term = |path, phase| Term { metric: metric("throughput"), path: Some(path), request: None, phase };
    let rule = |phase| Rule {
        text: "it".to_owned(),
        term: term(CachePath::Cached, Some(2)),
        op: Op::AtLeast,
        limit: Limit::Of { factor: 2.5, term: term(CachePath::Uncached, phase) },
    };
    let (result, _) = judge_one_rule(&plan, &lines, rule(None));
    assert_eq!(result.ruling, Ruling::Fail, "an open loop sends the same rate both ways");
    assert!(result.evidence.contains("times (limit 2.5 times)"), "{}", result.evidence);
    let (result, _) = judge_one_rule(&plan, &lines, rule(Some(2)));
    assert_eq!(result.ruling, Ruling::Fail);
    assert_eq!(result.evidence, "no samples for what is compared with");
}

#[test]
fn warm_up_is_not_judged() {
    let plan = SimulationPlan::default();
    let lines = journal(&plan);
    let rule = rule_against("it", metric("requests"), Some(CachePath::Cached), None, Op::More, Quantity::Count(0.0));
    let all = Measurements::of(&lines);
    let warm_up = all.count(|key| key.phase == 1);
    let cached = all.count(|key| key.path == CachePath::Cached);
    assert!(warm_up > 0);
    assert_eq!(judge_one_rule(&plan, &lines, rule).0.samples, cached - warm_up);
}

#[test]
fn an_error_is_unavailable_and_a_wrong_answer_is_wrong() {
    let plan = SimulationPlan::default();
    let mut lines = journal(&plan);
    for line in &mut lines {
        if let Event::CoarseSlice(window) = &mut line.event {
            for cell in window.cells.iter_mut().filter(|cell| cell.phase == 4 && cell.outcome == Outcome::Miss) {
                cell.outcome = Outcome::Wrong;
            }
        }
    }
    let rule = |metric, op, limit| rule_against("it", metric, None, Some(4), op, limit);
    let (wrong, _) = judge_one_rule(&plan, &lines, rule(metric("wrong_answers"), Op::Equal, Quantity::Count(0.0)));
    assert_eq!(wrong.ruling, Ruling::Fail, "{}", wrong.evidence);
    let (available, _) = judge_one_rule(&plan, &lines, rule(metric("availability"), Op::AtLeast, Quantity::Share(1.0)));
    assert_eq!(available.ruling, Ruling::Pass, "{}", available.evidence);
}

#[test]
fn a_limit_between_the_least_and_the_most_that_an_age_can_be_is_not_kept() {
    let plan = SimulationPlan { stale_every: 50, stale_examples: 1, ..SimulationPlan::default() };
    let lines = journal(&plan);
    let judged = |op, limit| {
        let limit = Quantity::Time(Duration::from_secs_f64(limit));
        judge_one_rule(&plan, &lines, rule_against("it", metric("stale_age.max"), None, None, op, limit)).0
    };
    let far_above = judged(Op::Less, 60.0);
    assert_eq!(far_above.ruling, Ruling::Pass, "{}", far_above.evidence);
    // In these journals, the most that an age can be is at least 10 ms above the least.
    let least = far_above.observed.expect("there are stale reads");
    assert!(least >= 0.3, "{}", far_above.evidence);
    let between = judged(Op::Less, least + 0.005);
    assert_eq!(between.ruling, Ruling::Inconclusive, "{}", between.evidence);
    assert!(between.evidence.contains("; it may have been "), "{}", between.evidence);
    assert_eq!(judged(Op::More, least + 0.005).ruling, Ruling::Inconclusive);
    assert_eq!(judged(Op::Less, least - 0.01).ruling, Ruling::Fail);
}

/// The ruling of the run and of a criterion with these rules, whose test has this result.
fn with_test(rules: &[&str], state: Option<TestState>, others: bool) -> (Ruling, Ruling, String) {
    let test = "t.rs::it".to_owned();
    let proofs = state.map(|state| (test.clone(), TestResult { state, ..TestResult::default() })).into_iter().collect();
    let plan = SimulationPlan { proofs, ..SimulationPlan::default() };
    let mut scenario = scenario(&plan);
    let known: Vec<Rule> = scenario.criteria.iter().flat_map(|criterion| criterion.rules.clone()).collect();
    let rules = rules.iter().map(|text| known.iter().find(|rule| rule.text == *text).expect(text).clone()).collect();
    scenario.criteria.truncate(usize::from(others));
    scenario.criteria.push(Criterion { says: "it".to_owned(), rules, proved_by: vec![test] });
    let verdict = judge(&scenario, &Measurements::of(&journal(&plan)));
    // The errors while Redis was down, on which there is no rule here, are told after it.
    let summary = verdict.summary.split(" Seen where").next().expect("a sentence").to_owned();
    (verdict.ruling, verdict.criteria.last().expect("it").ruling, summary)
}

#[test]
fn all_tests_that_a_criterion_names_must_have_passed() {
    use Ruling::{Claimed, Fail, Pass};
    use TestState::{Failed, Passed, Skipped};
    let ruling_of = |states: &[(&str, TestState)]| {
        let result = |state| TestResult { state, ..TestResult::default() };
        let proofs = states.iter().map(|(name, state)| ((*name).to_owned(), result(*state))).collect();
        let plan = SimulationPlan { proofs, ..SimulationPlan::default() };
        let mut scenario = scenario(&plan);
        let proved_by = ["t.rs::one", "t.rs::two", "t.rs::three"].map(str::to_owned).to_vec();
        scenario.criteria.push(Criterion { says: "it".to_owned(), rules: Vec::new(), proved_by });
        let verdict = judge(&scenario, &Measurements::of(&journal(&plan)));
        let criterion = verdict.criteria.last().expect("it");
        assert_eq!(criterion.evidence().len(), 3, "one line a test: {:?}", criterion.evidence());
        criterion.ruling
    };
    let all = |third| [("t.rs::one", Passed), ("t.rs::two", Passed), ("t.rs::three", third)];
    assert_eq!(ruling_of(&all(Passed)), Pass);
    assert_eq!(ruling_of(&all(Failed)), Fail);
    assert_eq!(ruling_of(&all(Skipped)), Claimed);
    assert_eq!(ruling_of(&all(Passed)[..2]), Claimed, "one was not run");
    assert_eq!(ruling_of(&[("t.rs::one", Failed), ("t.rs::two", Skipped)]), Fail, "one failed, the others say nothing");
}

#[test]
fn a_test_proves_its_criterion_by_its_result_alone() {
    use Ruling::{Claimed, Fail, Inconclusive, Pass};
    use TestState::{Ambiguous, Empty, Failed, Missing, NotRun, Outdated, Passed, Skipped};
    let rule = ["stale == 0"];
    assert_eq!(with_test(&[], Some(Passed), true).1, Pass);
    assert_eq!(with_test(&[], Some(Passed), false).0, Pass);
    let (run, criterion, summary) = with_test(&[], Some(Failed), true);
    assert_eq!((run, criterion, summary.as_str()), (Fail, Fail, "1 of 2 criteria failed."));
    for state in [None, Some(NotRun), Some(Skipped), Some(Outdated), Some(Ambiguous), Some(Missing), Some(Empty)] {
        let (run, criterion, summary) = with_test(&[], state, true);
        assert_eq!((run, criterion), (Pass, Claimed), "{state:?} counts neither way");
        assert_eq!(summary, "2 criteria: 1 proved by this run, 1 claimed by a test that was not run here.");
        let (run, _, summary) = with_test(&[], state, false);
        assert_eq!(run, Inconclusive, "{state:?}: nothing was proved");
        assert!(summary.starts_with("Nothing was proved. The only criterion is claimed by a test"), "{summary}");
        // Rules that hold are half of what the criterion asks for.
        assert_eq!(with_test(&rule, state, true).1, Claimed);
    }
    assert_eq!(with_test(&rule, Some(Passed), false).1, Pass);
    assert_eq!(with_test(&rule, Some(Failed), false).0, Fail);
}
