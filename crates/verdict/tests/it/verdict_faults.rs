//! What breaks when a rule on faults or resources is judged wrongly: an outage passes, or a quiet run fails.

use std::time::Duration;

use cacheproof_core::journal::{Event, FaultStage, JournalEntry};
use cacheproof_core::measurements::Measurements;
use cacheproof_core::scenario::{Limit, Metric, Op, Quantity, Rule, Term};
use cacheproof_verdict::{RuleResult, Ruling};

use crate::verdict::{findings, judge_one_rule, metric, rule_against};
use cacheproof_simulated::{SimulationPlan, journal, scenario};

fn judge(
    plan: &SimulationPlan,
    lines: &[JournalEntry],
    metric: Metric,
    phase: usize,
    op: Op,
    limit: Quantity,
) -> RuleResult {
    judge_one_rule(plan, lines, rule_against("it", metric, None, Some(phase), op, limit)).0
}

const fn seconds(seconds: u64) -> Quantity {
    Quantity::Time(Duration::from_secs(seconds))
}

#[test]
fn recovery_is_judged_by_the_worst_fault_of_the_phase() {
    let plan = SimulationPlan { several: true, ..SimulationPlan::default() };
    let lines = journal(&plan);
    let (quick, _) = (judge(&plan, &lines, metric("recovery"), 3, Op::AtMost, seconds(5)), ());
    assert_eq!(quick.ruling, Ruling::Pass, "{}", quick.evidence);
    assert!(quick.evidence.contains("worst of 3 faults"), "{}", quick.evidence);
}

#[test]
fn a_round_without_a_seen_effect_is_not_proved_by_the_others() {
    let plan = SimulationPlan { several: true, ..SimulationPlan::default() };
    let mut lines = journal(&plan);
    let rounds = |lines: &[JournalEntry]| {
        let fault = |line: &JournalEntry| match &line.event {
            Event::Fault(event) if event.stage == FaultStage::Seen => Some((event.phase, event.fault, event.round)),
            _ => None,
        };
        lines.iter().filter_map(fault).collect::<Vec<_>>()
    };
    let again = rounds(&lines).into_iter().find(|(_, _, round)| *round > 0).expect("a fault is repeated");
    let rule = || rule_against("it", metric("errors"), None, Some(again.0), Op::AtMost, Quantity::Share(0.99));
    let (all_seen, _) = judge_one_rule(&plan, &lines, rule());
    assert_eq!(all_seen.ruling, Ruling::Pass, "{}", all_seen.evidence);

    lines.retain(|line| {
        !matches!(&line.event, Event::Fault(event) if event.stage == FaultStage::Seen
        && (event.phase, event.fault, event.round) == again)
    });
    let (one_unseen, verdict) = judge_one_rule(&plan, &lines, rule());
    assert_eq!(one_unseen.ruling, Ruling::Inconclusive, "{}", one_unseen.evidence);
    let blocking = findings(&verdict, true);
    assert!(blocking.iter().any(|text| text.contains("no effect was observed in 1 of ")), "{blocking:?}");
}

#[test]
fn a_service_that_stays_away_fails_when_the_limit_was_watched_and_decides_nothing_before() {
    let plan = SimulationPlan::default();
    let mut lines = journal(&plan);
    // From the undo at 74.5 on, nine in ten fail; the run is watched to 91.5.
    for line in &mut lines {
        if let Event::FineSlice(slice) = &mut line.event
            && line.at > 74.6
        {
            for cell in &mut slice.cells {
                let answered = cell.counts.answered;
                (cell.counts.errors, cell.counts.answered) = (answered * 9 / 10, answered / 10);
            }
        }
    }
    let within = |limit| judge(&plan, &lines, metric("recovery"), 3, Op::AtMost, seconds(limit));
    let failed = within(5);
    assert_eq!((failed.ruling, failed.observed), (Ruling::Fail, None), "{}", failed.evidence);
    assert!(failed.evidence.starts_with("the service was not back within the 17 s watched"), "{}", failed.evidence);
    let open = within(30);
    assert_eq!(open.ruling, Ruling::Inconclusive, "17 s say nothing about 30: {}", open.evidence);
}

#[test]
fn a_fault_that_was_never_noticed_passes_a_lower_limit_only() {
    let plan = SimulationPlan { errors_down: 0.0, ..SimulationPlan::default() };
    let mut lines = journal(&plan);
    // As quick on the fallback as ever.
    for line in &mut lines {
        if let Event::FineSlice(slice) = &mut line.event {
            slice.cells.iter_mut().for_each(|cell| cell.counts.p95 = 9_000_000);
        }
    }
    let early = judge(&plan, &lines, metric("notice"), 3, Op::AtMost, seconds(1));
    assert_eq!(early.ruling, Ruling::Fail, "{}", early.evidence);
    let late = judge(&plan, &lines, metric("notice"), 3, Op::AtLeast, seconds(1));
    assert_eq!(late.ruling, Ruling::Pass, "{}", late.evidence);
    let recovery = judge(&plan, &lines, metric("recovery"), 3, Op::AtMost, seconds(1));
    assert_eq!(recovery.ruling, Ruling::Pass, "{}", recovery.evidence);
    assert!(recovery.evidence.contains("never left its limits"), "{}", recovery.evidence);
}

#[test]
fn the_hit_rate_is_held_against_what_a_cold_cache_can_do() {
    let plan = SimulationPlan::default();
    let lines = journal(&plan);
    let term = |metric| Term { metric, path: None, request: None, phase: Some(3) };
    let limit = Limit::Of { factor: 2.0, term: term(metric("refill")) };
    let rule = Rule { text: "it".to_owned(), term: term(metric("hit_rate_recovery")), op: Op::AtMost, limit };
    let (result, verdict) = judge_one_rule(&plan, &lines, rule);
    // The simulated app is back sooner than a cold cache can be.
    assert_eq!(result.ruling, Ruling::Inconclusive, "{}", result.evidence);
    assert!(result.evidence.contains("the app kept values"), "{}", result.evidence);
    let hit_rate = verdict.faults[0].hit_rate.as_ref().expect("there was one before");
    assert!(hit_rate.emptied && hit_rate.is_kept_elsewhere && hit_rate.bound.is_none(), "{hit_rate:?}");
    // A client that looks at Redis again only after six seconds is distinguished from one that does so at once.
    let away = SimulationPlan { reconnect_after: 6, ..plan };
    let lines = journal(&away);
    let at_once = judge(&away, &lines, metric("hit_rate_recovery"), 3, Op::AtMost, seconds(5));
    assert_eq!(at_once.ruling, Ruling::Fail, "{}", at_once.evidence);
    let faults = cacheproof_verdict::fault_outcomes(&scenario(&away), &Measurements::of(&lines));
    let hints = faults[0].hints.join(" ");
    assert!(hints.contains("reconnect backoff"), "{hints}");
}

/// Changes the app's sample at each moment.
fn with_app(
    mut lines: Vec<JournalEntry>,
    change: impl Fn(f64, &mut cacheproof_core::journal::ProcessSample),
) -> Vec<JournalEntry> {
    for line in &mut lines {
        if let Event::Sample(sample) = &mut line.event {
            change(line.at, sample.app.as_mut().expect("the app is known"));
        }
    }
    lines
}

#[test]
fn a_leak_fails_and_a_full_cache_does_not() {
    let plan = SimulationPlan::default();
    let leaky = with_app(journal(&plan), |at, app| app.memory = 30_000_000 + (at * 500_000.0) as u64);
    let growth = |lines: &[JournalEntry], limit| judge(&plan, lines, metric("app_memory_growth"), 2, Op::Less, limit);
    let failed = growth(&leaky, Quantity::Share(0.1));
    assert_eq!(failed.ruling, Ruling::Fail, "{}", failed.evidence);
    assert!(failed.evidence.contains("from its first third to its last"), "{}", failed.evidence);
    assert_eq!(growth(&leaky, Quantity::Bytes(1 << 20)).ruling, Ruling::Fail);
    assert_eq!(growth(&journal(&plan), Quantity::Share(0.1)).ruling, Ruling::Pass);
    // Connections and files grow or do not; they are counted, not measured in bytes.
    let files = with_app(journal(&plan), |at, app| app.files = Some(80 + (at * 3.0) as u64));
    let rule =
        |lines: &[JournalEntry]| judge(&plan, lines, metric("app_files_growth"), 2, Op::AtMost, Quantity::Count(5.0));
    assert_eq!((rule(&files).ruling, rule(&journal(&plan)).ruling), (Ruling::Fail, Ruling::Pass));
}

#[test]
fn a_log_flood_shows_in_the_bytes_of_each_request() {
    let plan = SimulationPlan::default();
    let flood = with_app(journal(&plan), |at, app| {
        app.log = Some(2_400 + if at > 64.5 { ((at - 64.5).min(10.0) * 420.0 * 900.0) as u64 } else { 0 });
    });
    let judge = |lines: &[JournalEntry]| {
        judge(&plan, lines, metric("log_bytes_per_request"), 3, Op::Less, Quantity::Bytes(100))
    };
    let failed = judge(&flood);
    assert_eq!(failed.ruling, Ruling::Fail, "{}", failed.evidence);
    assert!(failed.observed.is_some_and(|bytes| (350.0..550.0).contains(&bytes)), "{}", failed.evidence);
    assert_eq!(judge(&journal(&plan)).ruling, Ruling::Pass);
    let unknown = with_app(journal(&plan), |_, app| app.log = None);
    assert!(judge(&unknown).evidence.starts_with("no samples"), "a log that is not kept proves nothing");
}

/// The journal with what the app had sent to the victim when each fault began.
fn with_app_bytes(plan: &SimulationPlan, bytes: Option<u64>) -> Vec<JournalEntry> {
    let mut lines = journal(plan);
    for line in &mut lines {
        if let Event::Fault(event) = &mut line.event {
            event.app_bytes = bytes;
        }
    }
    lines
}

#[test]
fn a_fault_on_a_server_that_the_app_does_not_use_proves_nothing() {
    let plan = SimulationPlan::default();
    let rule = || rule_against("it", metric("errors"), None, Some(3), Op::AtMost, Quantity::Share(0.5));
    // Old journals do not say it; 100 bytes are the greeting of a pool.
    for (bytes, ruling) in [
        (None, Ruling::Pass),
        (Some(0), Ruling::Inconclusive),
        (Some(100), Ruling::Inconclusive),
        (Some(2_000_000), Ruling::Pass),
    ] {
        let (result, verdict) = judge_one_rule(&plan, &with_app_bytes(&plan, bytes), rule());
        assert_eq!(result.ruling, ruling, "{bytes:?}: {}", result.evidence);
        let told = findings(&verdict, true).iter().any(|text| text.contains("did not use Redis before 'kill redis'"));
        assert_eq!(told, ruling == Ruling::Inconclusive, "{bytes:?}: {:?}", findings(&verdict, true));
    }
}
