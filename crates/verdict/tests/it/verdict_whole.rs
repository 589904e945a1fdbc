//! What breaks when the judge does not look at all of a run: at the machine, at the end, at what no rule speaks about, at
//! the work that a bypass must cause.

use std::time::Duration;

use cacheproof_core::journal::{Event, JournalEntry, Outcome, ResponseCell, Sample, SteadyAfter};
use cacheproof_core::metrics::Metric;
use cacheproof_core::scenario::{Limit, Op, Quantity, Rule, Term};
use cacheproof_simulated::{SimulationPlan, journal};
use cacheproof_verdict::Ruling;

use crate::verdict::{findings, judge_one_rule, metric, rule_against};

/// The phases of the simulated run.
const UNCACHED: usize = 0;
const WARM_UP: usize = 1;
const STEADY: usize = 2;

fn change_cells(lines: &mut [JournalEntry], phase: usize, mut how: impl FnMut(f64, &mut ResponseCell)) {
    for line in lines {
        if let Event::CoarseSlice(slice) = &mut line.event {
            slice.cells.iter_mut().filter(|cell| cell.phase == phase).for_each(|cell| how(line.at, cell));
        }
    }
}

fn change_samples(lines: &mut [JournalEntry], mut how: impl FnMut(f64, &mut Sample)) {
    for line in lines {
        if let Event::Sample(sample) = &mut line.event {
            how(line.at, sample);
        }
    }
}

/// When a phase of the run began.
fn start_of(lines: &[JournalEntry], wanted: usize) -> f64 {
    let is_start = |line: &&JournalEntry| matches!(line.event, Event::PhaseStarted { phase } if phase == wanted);
    lines.iter().find(is_start).expect("it began").at
}

/// A run in which the answers of these seconds of a phase are slow, and the machine did this meanwhile.
fn slow_seconds(phase: usize, seconds: std::ops::Range<f64>, lag: f64, stolen: f64, busy: f64) -> Vec<JournalEntry> {
    let mut lines = journal(&SimulationPlan::default());
    let from = start_of(&lines, phase);
    let is_in = |at: f64| (from + seconds.start..from + seconds.end).contains(&at);
    change_cells(&mut lines, phase, |at, cell| {
        if is_in(at) {
            let count = cell.response.count();
            cell.response = cacheproof_core::journal::Histogram::new();
            (0..count).for_each(|_| cell.response.record(900_000_000));
            (cell.service, cell.response_sum) = (cell.response.clone(), count * 900_000_000);
            cell.over.iter_mut().for_each(|over| *over = count);
        }
    });
    let (mut all_stolen, mut all_busy, mut before) = (0.0, 0.0, 0.0);
    change_samples(&mut lines, |at, sample| {
        let machine = sample.machine.as_mut().expect("it was measured");
        let cores = f64::from(machine.cpus);
        let (stolen, busy, lag) = if is_in(at) { (stolen, busy, lag) } else { (0.0, 0.9, 0.002) };
        all_stolen += (at - before) * cores * stolen;
        all_busy += (at - before) * cores * busy;
        (machine.lag, machine.stolen, machine.busy, before) = (lag, all_stolen, all_busy, at);
    });
    lines
}

fn against(name: &str, phase: usize, op: Op, limit: Quantity) -> Rule {
    rule_against("it", metric(name), None, Some(phase), op, limit)
}

fn judged(lines: &[JournalEntry], rule: Rule) -> (Ruling, String) {
    let (result, _) = judge_one_rule(&SimulationPlan::default(), lines, rule);
    (result.ruling, result.evidence)
}

#[test]
fn what_was_slow_while_the_machine_stood_still_is_not_blamed_on_the_app() {
    let p95 = || against("p95", STEADY, Op::Less, Quantity::Time(Duration::from_millis(150)));
    // Three of thirty seconds: more than the 5 % that may be slow.
    let slow = 10.0..13.0;
    for (what, lag, stolen, busy) in [
        ("the hypervisor took the CPUs", 0.4, 0.5, 0.5),
        ("the machine was suspended", 0.8, 0.0, 0.1),
        ("for seconds", 2.0, 0.0, 0.9),
    ] {
        let (ruling, evidence) = judged(&slow_seconds(STEADY, slow.clone(), lag, stolen, busy), p95());
        assert_eq!(ruling, Ruling::Inconclusive, "{what}: {evidence}");
        assert!(evidence.ends_with("the machine stalled in 'steady'"), "{evidence}");
    }
    for (what, lag, stolen, busy) in [
        ("the app used the CPUs", 0.4, 0.0, 0.95),
        ("the app used them for a part of the second", 0.15, 0.0, 0.4),
        ("threads were woken in time", 0.01, 0.5, 0.5),
        ("nothing but the app was slow", 0.002, 0.0, 0.3),
    ] {
        let (ruling, evidence) = judged(&slow_seconds(STEADY, slow.clone(), lag, stolen, busy), p95());
        assert_eq!(ruling, Ruling::Fail, "{what}: {evidence}");
    }
}

#[test]
fn a_stall_does_not_excuse_an_app_that_is_slow_without_it() {
    // Slow for half of the phase; the machine stalled for a second of it.
    let mut lines = slow_seconds(STEADY, 10.0..25.0, 0.002, 0.0, 0.3);
    let from = start_of(&lines, STEADY);
    change_samples(&mut lines, |at, sample| {
        if (from + 12.0..from + 13.0).contains(&at) {
            sample.machine.as_mut().expect("it was measured").lag = 0.5;
        }
    });
    let rule = against("p95", STEADY, Op::Less, Quantity::Time(Duration::from_millis(150)));
    let (result, verdict) = judge_one_rule(&SimulationPlan::default(), &lines, rule);
    assert_eq!(result.ruling, Ruling::Fail, "{}", result.evidence);
    let told = findings(&verdict, false);
    assert!(
        told.iter().any(|text| text.starts_with(
            "The machine stalled in 'steady': a thread of cacheproof that only sleeps was woken up to 500 ms late"
        )),
        "{told:?}"
    );
    // A stall makes nothing faster: what is kept is kept.
    let kept = against("p95", STEADY, Op::Less, Quantity::Time(Duration::from_secs(2)));
    assert_eq!(judged(&lines, kept).0, Ruling::Pass);
    let throughput = against("throughput", STEADY, Op::More, Quantity::Rate(380.0));
    assert_eq!(judged(&lines, throughput).0, Ruling::Pass);
    // Whether an answer is wrong does not depend on it.
    let errors = against("errors", STEADY, Op::Equal, Quantity::Count(0.0));
    assert_eq!(judged(&lines, errors).0, Ruling::Pass);
}

#[test]
fn an_uncached_phase_in_which_the_machine_stood_still_is_no_measure_for_the_cache() {
    let term = |name, phase| Term { metric: metric(name), path: None, request: None, phase: Some(phase) };
    let faster = |name| Rule {
        text: "it".to_owned(),
        term: term(name, STEADY),
        op: Op::AtMost,
        limit: Limit::Of { factor: 0.4, term: term(name, UNCACHED) },
    };
    // Two of twenty seconds.
    let lines = slow_seconds(UNCACHED, 5.0..7.0, 0.6, 0.4, 0.6);
    assert_eq!(judged(&lines, faster("p95")).0, Ruling::Inconclusive, "the stalled tenth makes the uncached P95");
    assert_eq!(judged(&lines, faster("p50")).0, Ruling::Pass, "the median is the same without it");
    // On the other side a stall makes such a rule harder to keep: what is kept is kept.
    let lines = slow_seconds(STEADY, 5.0..6.0, 0.6, 0.4, 0.6);
    assert_eq!(judged(&lines, faster("p50")).0, Ruling::Pass);
    let slower = Rule { limit: Limit::Of { factor: 0.0001, term: term("p95", UNCACHED) }, ..faster("p95") };
    assert_eq!(judged(&lines, slower).0, Ruling::Inconclusive, "what is broken may be so by the stall");
}

#[test]
fn a_mean_is_what_it_is_without_the_stalled_seconds() {
    let mean = |limit| against("mean", STEADY, Op::Less, Quantity::Time(Duration::from_micros(limit)));
    // One second of thirty took 0.9 s for each answer: some 30 ms in the mean.
    let lines = slow_seconds(STEADY, 10.0..11.0, 0.6, 0.4, 0.6);
    assert_eq!(judged(&lines, mean(15_000)).0, Ruling::Inconclusive, "it would be some milliseconds");
    assert_eq!(judged(&lines, mean(10)).0, Ruling::Fail, "it is more without them, too");
}

#[test]
fn a_stall_excuses_only_answers_of_the_rules_own_requests() {
    // Lists are 6 % of the requests, and slow all the time.
    let mut lines = slow_seconds(STEADY, 10.0..11.0, 0.6, 0.4, 0.6);
    change_cells(&mut lines, STEADY, |_, cell| {
        if cell.request == 1 {
            let count = cell.response.count();
            cell.over.iter_mut().for_each(|over| *over = count);
        }
    });
    let mut rule = against("p95", STEADY, Op::Less, Quantity::Time(Duration::from_millis(150)));
    rule.term.request = Some(1);
    assert_eq!(judged(&lines, rule).0, Ruling::Fail);
}

/// A run whose reads do not say where they came from, and whose servers did this work for a request.
fn unlabelled(queries: [f64; 2], hits: [f64; 2], misses: [f64; 2]) -> Vec<JournalEntry> {
    let mut lines = journal(&SimulationPlan::default());
    for phase in 0..5 {
        change_cells(&mut lines, phase, |_, cell| {
            if !matches!(cell.outcome, Outcome::Error) {
                cell.outcome = Outcome::Plain;
            }
        });
    }
    let from = [start_of(&lines, UNCACHED), start_of(&lines, WARM_UP)];
    let work = |at: f64, of: [f64; 2]| {
        let uncached = (at.min(from[1]) - from[0]).max(0.0) * of[0];
        ((uncached + (at - from[1]).max(0.0) * of[1]) * 420.0) as u64
    };
    change_samples(&mut lines, |at, sample| {
        if let Some(postgres) = &mut sample.postgres {
            (postgres.queries, postgres.exact) = (work(at, queries), queries != [0.0; 2]);
        }
        if let Some(redis) = &mut sample.redis {
            (redis.hits, redis.misses) = (Some(work(at, hits)), Some(work(at, misses)));
        }
    });
    lines
}

#[test]
fn an_unlabelled_uncached_phase_that_causes_the_same_work_is_no_baseline() {
    let term = |phase| Term { metric: metric("p50"), path: None, request: None, phase: Some(phase) };
    let limit = Limit::Of { factor: 0.9, term: term(UNCACHED) };
    let faster = || Rule { text: "it".to_owned(), term: term(STEADY), op: Op::Less, limit: limit.clone() };
    // Queries, look-ups in Redis that find something and ones that do not, for a request, uncached and cached. Without
    // queries the database does not count them.
    for (what, queries, hits, misses, ruling) in [
        ("both paths use the cache", [0.3, 0.3], [1.0, 1.0], [0.0; 2], Ruling::Inconclusive),
        ("the same with a cold cache at first", [0.16, 0.1], [0.84, 0.9], [0.16, 0.1], Ruling::Inconclusive),
        ("the same, and most of it missed", [0.7, 0.1], [0.3, 0.9], [0.7, 0.1], Ruling::Inconclusive),
        ("the same, and a hit looks twice", [0.5, 0.1], [1.0, 1.8], [0.5, 0.1], Ruling::Inconclusive),
        ("past the cache", [1.0, 0.3], [0.0, 1.0], [0.0; 2], Ruling::Pass),
        ("past the cache, with sessions in Redis", [1.0, 0.3], [1.0, 2.0], [0.0; 2], Ruling::Pass),
        ("past the cache, and nobody has a session", [1.0, 0.3], [0.0, 0.7], [1.0, 1.3], Ruling::Pass),
        ("past the cache, with ten other look-ups", [1.0, 0.3], [10.0, 11.0], [0.0; 2], Ruling::Pass),
        ("past the cache, and each request asks who it is from", [4.0, 3.7], [0.0, 1.0], [0.0; 2], Ruling::Pass),
        ("no count of queries, both paths use the cache", [0.0, 0.0], [1.0, 1.0], [0.0; 2], Ruling::Inconclusive),
        ("no count of queries, past the cache", [0.0, 0.0], [0.1, 1.0], [0.0; 2], Ruling::Pass),
        ("a cache in memory on both paths", [0.03, 0.03], [0.0, 0.0], [0.0; 2], Ruling::Inconclusive),
        ("a cache in memory, past it", [1.0, 0.03], [0.0, 0.0], [0.0; 2], Ruling::Pass),
    ] {
        let lines = unlabelled(queries, hits, misses);
        let (result, verdict) = judge_one_rule(&SimulationPlan::default(), &lines, faster());
        assert_eq!(result.ruling, ruling, "{what}: {}\n{:?}", result.evidence, findings(&verdict, false));
    }
}

#[test]
fn one_request_that_ignores_the_bypass_is_enough_however_many_others_honour_it() {
    let mut lines = journal(&SimulationPlan::default());
    // The lists: 6 % of the requests.
    change_cells(&mut lines, UNCACHED, |_, cell| {
        if cell.request == 1 && cell.outcome == Outcome::Bypass {
            cell.outcome = Outcome::Hit;
        }
    });
    let rule = against("errors", STEADY, Op::Less, Quantity::Share(0.01));
    let (_, verdict) = judge_one_rule(&SimulationPlan::default(), &lines, rule);
    let blocking = findings(&verdict, true);
    let told = blocking.iter().find(|text| text.contains("was not uncached")).expect("it is told");
    assert!(told.contains("answers to 'list posts' said") && !told.contains("read post"), "{told}");
}

#[test]
fn a_comparison_with_a_phase_that_was_not_uncached_shows_nothing_also_if_it_is_broken() {
    let mut lines = journal(&SimulationPlan::default());
    change_cells(&mut lines, UNCACHED, |_, cell| {
        if cell.outcome == Outcome::Bypass {
            cell.outcome = Outcome::Hit;
        }
    });
    let term = |phase| Term { metric: metric("p50"), path: None, request: None, phase: Some(phase) };
    let limit = Limit::Of { factor: 0.0001, term: term(UNCACHED) };
    let broken = Rule { text: "it".to_owned(), term: term(STEADY), op: Op::Less, limit };
    assert_eq!(judged(&lines, broken).0, Ruling::Inconclusive);
}

#[test]
fn a_system_that_is_not_steady_again_after_the_last_fault_does_not_pass() {
    let with = |broken: Option<&str>| {
        let mut lines = journal(&SimulationPlan::default());
        let Some(JournalEntry { event: Event::RunEnded(end), .. }) = lines.last_mut() else { panic!("no end") };
        end.steady_after = Some(SteadyAfter { seconds: 10.0, requests: 4_200, broken: broken.map(str::to_owned) });
        let rule = against("errors", STEADY, Op::Less, Quantity::Share(0.01));
        judge_one_rule(&SimulationPlan::default(), &lines, rule).1
    };
    assert_eq!(with(None).ruling, Ruling::Pass);
    let failing = with(Some("'errors < 1%': it is 45%"));
    assert_eq!(failing.ruling, Ruling::Inconclusive);
    assert!(findings(&failing, true).iter().any(|text| text.contains("'errors < 1%': it is 45%")), "it is told");
}

#[test]
fn what_no_rule_speaks_about_is_told_under_the_verdict() {
    let mut lines = journal(&SimulationPlan::default());
    let mut left = 3;
    change_cells(&mut lines, WARM_UP, |_, cell| {
        if left > 0 && cell.outcome == Outcome::Hit {
            (cell.stale, left) = (1, left - 1);
        }
    });
    change_cells(&mut lines, STEADY, |_, cell| {
        cell.stale = u64::from(cell.outcome == Outcome::Hit && cell.request == 0)
    });
    let summary = |rule: Rule| judge_one_rule(&SimulationPlan::default(), &lines, rule).1.summary;
    let told = summary(against("errors", STEADY, Op::Less, Quantity::Share(0.01)));
    assert!(
        told.contains(" Seen where no rule looks: 3 stale answers in 'warm-up'; 30 stale answers in 'steady'"),
        "{told}"
    );
    let stale = Metric::find("stale").expect("a metric");
    let everywhere = Rule {
        term: Term { metric: stale, path: None, request: None, phase: None },
        ..against("stale", STEADY, Op::Less, Quantity::Count(99.0))
    };
    let told = summary(everywhere);
    assert!(
        told.contains("3 stale answers in 'warm-up'") && !told.contains("in 'steady'"),
        "a warm-up has no rules: {told}"
    );
    let healthy = judge_one_rule(
        &SimulationPlan::default(),
        &journal(&SimulationPlan::default()),
        against("errors", STEADY, Op::Less, Quantity::Share(0.01)),
    );
    assert!(!healthy.1.summary.contains("stale"), "{}", healthy.1.summary);
}
