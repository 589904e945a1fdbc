//! Fails if what cacheproof did not send is blamed on the app, or passes for it.

use cacheproof_core::journal::{
    CachePath, Event, Histogram, JournalEntry, NotSent, NotSentReason, Outcome, ResponseCell,
};
use cacheproof_core::measurements::Measurements;
use cacheproof_core::scenario::{Op, Quantity};
use cacheproof_simulated::{SimulationPlan, journal, scenario};
use cacheproof_verdict::{Ruling, judge};

use crate::verdict::{findings, judge_one_rule, metric, rule_against};

/// The index of the phase 'steady': 30 s, 420 requests a second.
const STEADY: usize = 2;

/// A healthy run in whose steady phase this many requests were not sent; those without a connection are errors as well.
fn not_sent(plan: &SimulationPlan, reason: NotSentReason, count: u64) -> Vec<JournalEntry> {
    let mut lines = journal(plan);
    let last = lines.iter_mut().rev().find_map(|line| match &mut line.event {
        Event::CoarseSlice(slice) => Some(slice),
        _ => None,
    });
    let slice = last.expect("there is a slice");
    slice.not_sent.push(NotSent { phase: STEADY, reason, count });
    if reason == NotSentReason::NoConnection {
        let mut response = Histogram::new();
        (0..count).for_each(|_| response.record(1_000_000_000));
        slice.cells.push(ResponseCell {
            phase: STEADY,
            path: CachePath::Cached,
            request: 0,
            outcome: Outcome::Error,
            service: response.clone(),
            response,
            response_sum: count * 1_000_000_000,
            over: vec![count; slice.cells[0].over.len()],
            stale: 0,
            judged_fresh: 0,
        });
    }
    for line in &mut lines {
        if let Event::RunEnded(end) = &mut line.event {
            match reason {
                NotSentReason::NoConnection => end.unsent = count,
                NotSentReason::Proxy => {}
                // goose counts a request that failed for want of a file.
                _ => end.goose_requests = end.goose_requests.map(|requests| requests + count),
            }
        }
    }
    lines
}

fn errors_rule() -> cacheproof_core::scenario::Rule {
    rule_against("errors in steady < 1%", metric("errors"), None, Some(STEADY), Op::Less, Quantity::Share(0.01))
}

#[test]
fn a_request_for_which_there_was_no_file_is_no_error_and_leaves_its_phase_undecided() {
    let plan = SimulationPlan::default();
    for reason in [NotSentReason::Files, NotSentReason::Ports, NotSentReason::Memory, NotSentReason::Proxy] {
        for count in [1, 3_000] {
            let lines = not_sent(&plan, reason, count);
            let (result, verdict) = judge_one_rule(&plan, &lines, errors_rule());
            assert_eq!(result.observed, Some(0.0), "{reason:?}: none of them is an error");
            assert_eq!(result.ruling, Ruling::Inconclusive, "{reason:?}: {}", result.evidence);
            assert_eq!(verdict.ruling, Ruling::Inconclusive);
            let blocking = findings(&verdict, true);
            assert!(
                blocking.iter().any(|text| text.contains("in 'steady'") && text.contains(reason.as_str())),
                "{blocking:?}"
            );
            assert!(!blocking.iter().any(|text| text.contains("One of them is wrong")), "{blocking:?}");
        }
    }
}

#[test]
fn a_phase_without_such_failures_is_judged() {
    let plan = SimulationPlan::default();
    let lines = not_sent(&plan, NotSentReason::Files, 3_000);
    let rule =
        rule_against("stale == 0", metric("stale"), Some(CachePath::Uncached), None, Op::Equal, Quantity::Count(0.0));
    assert_eq!(judge_one_rule(&plan, &lines, rule).0.ruling, Ruling::Pass);
}

#[test]
fn a_wrong_answer_stays_wrong_whatever_was_not_sent() {
    let plan = SimulationPlan::default();
    let mut lines = not_sent(&plan, NotSentReason::Files, 10);
    for line in &mut lines {
        if let Event::CoarseSlice(slice) = &mut line.event {
            for cell in slice.cells.iter_mut().filter(|cell| cell.phase == STEADY && cell.outcome == Outcome::Hit) {
                cell.outcome = Outcome::Wrong;
            }
        }
    }
    let rule = rule_against(
        "wrong_answers in steady == 0",
        metric("wrong_answers"),
        None,
        Some(STEADY),
        Op::Equal,
        Quantity::Count(0.0),
    );
    assert_eq!(judge_one_rule(&plan, &lines, rule).0.ruling, Ruling::Fail);
}

#[test]
fn the_share_of_arrivals_that_were_never_sent_counts_each_of_them_once() {
    let plan = SimulationPlan::default();
    let sent = Measurements::of(&journal(&plan)).count(|_| true);
    // As many as were sent: half of all.
    let lines = not_sent(&plan, NotSentReason::NoConnection, sent);
    let verdict = judge(&scenario(&plan), &Measurements::of(&lines));
    let blocking = findings(&verdict, true);
    assert!(blocking.iter().any(|text| text.contains("arrivals (50 %) were due but never sent")), "{blocking:?}");
    assert!(!blocking.iter().any(|text| text.contains("One of them is wrong")), "{blocking:?}");
}

#[test]
fn an_app_that_could_not_take_a_rate_that_cacheproof_could_send_has_failed() {
    let plan = SimulationPlan { harness_cpu: 0.1, ..SimulationPlan::default() };
    let (result, verdict) = judge_one_rule(&plan, &not_sent(&plan, NotSentReason::NoConnection, 3_000), errors_rule());
    assert_eq!(result.ruling, Ruling::Fail, "{}", result.evidence);
    assert_eq!(verdict.ruling, Ruling::Fail);
}

#[test]
fn what_cacheproof_could_not_have_sent_is_not_the_apps_failure() {
    // A tenth of what was planned was sent, with half of the processor: ten times as much needs five cores of the two.
    let plan = SimulationPlan { harness_cpu: 1.0, ..SimulationPlan::default() };
    let lines = not_sent(&plan, NotSentReason::NoConnection, 3_000);
    let mut scenario = scenario(&plan);
    scenario.phases[STEADY].rate = Some(4_200.0);
    scenario.criteria.truncate(1);
    scenario.criteria[0].rules = vec![errors_rule()];
    let verdict = judge(&scenario, &Measurements::of(&lines));
    assert_eq!(verdict.ruling, Ruling::Inconclusive, "{:?}", verdict.criteria);
    let blocking = findings(&verdict, true);
    assert!(
        blocking.iter().any(|text| text.contains("No app could have been sent") && text.contains("in 'steady'")),
        "{blocking:?}"
    );
}

#[test]
fn a_journal_that_does_not_say_what_was_not_sent_is_read_as_before() {
    let plan = SimulationPlan::default();
    let sent = Measurements::of(&journal(&plan)).count(|_| true);
    let mut lines = not_sent(&plan, NotSentReason::NoConnection, sent);
    for line in &mut lines {
        if let Event::CoarseSlice(slice) = &mut line.event {
            slice.not_sent.clear();
        }
    }
    let verdict = judge(&scenario(&plan), &Measurements::of(&lines));
    let blocking = findings(&verdict, true);
    assert!(blocking.iter().any(|text| text.contains("arrivals (50 %)")), "{blocking:?}");
}
