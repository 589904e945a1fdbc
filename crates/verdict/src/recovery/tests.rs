//! Recovery is measured right: a service that is down never counts as recovered, nor noise as an outage. All slices are
//! made up.

use proptest::prelude::*;

use super::*;
use cacheproof_core::journal::{CountCell, Event, FaultEvent, FaultStage, FineSlice, JournalEntry, SliceCounts};
use cacheproof_core::measurements::PhaseSpan;
use cacheproof_core::scenario::FaultAction;

/// Milliseconds in nanoseconds.
const MS: u64 = 1_000_000;
/// The quiet phase of the simulated scenario lasts to here, its phase with a fault to 90, the one behind to 100.
const BROKEN: f64 = 70.0;
/// When the fault is injected, and when it is undone.
const INJECTED: f64 = 73.0;
const UNDONE: f64 = 83.0;

fn scenario() -> Scenario {
    cacheproof_core::scenario::parse("s.toml", cacheproof_simulated::SCENARIO_TEXT).expect("the scenario is right")
}

/// The counts of a healthy slice: some 40 responses, with a little noise.
fn healthy(at: f64) -> SliceCounts {
    let wave = ((at * 37.0).sin() * 7.0) as i64;
    let answered = (40 + wave).unsigned_abs();
    let slow = (((at * 91.0).sin() + 1.0) * 2.0 * MS as f64) as u64;
    SliceCounts {
        answered,
        hits: answered * 9 / 10,
        misses: answered - answered * 9 / 10,
        p50: 2 * MS,
        p95: 8 * MS + slow,
        max: 20 * MS,
        ..SliceCounts::default()
    }
}

fn failing(at: f64) -> SliceCounts {
    let one = healthy(at);
    SliceCounts { answered: one.answered / 2, errors: one.answered - one.answered / 2, hits: 0, misses: 0, ..one }
}

fn slow(at: f64) -> SliceCounts {
    SliceCounts { p50: 110 * MS, p95: 140 * MS, max: 150 * MS, ..healthy(at) }
}

/// The run with the slices that `of` returns for each time, and the given stages of the fault.
fn run(of: impl Fn(f64) -> Option<SliceCounts>, stages: &[(f64, FaultStage)]) -> Measurements {
    let mut measurements = Measurements::default();
    measurements.last_at = 100.0;
    for (index, (from, to)) in
        [(0.0, 20.0), (20.0, 30.0), (30.0, BROKEN), (BROKEN, 90.0), (90.0, 100.0)].iter().enumerate()
    {
        measurements.phases.insert(index, PhaseSpan { from: *from, to: Some(*to), reason: None });
    }
    for tenth in 1..=1_000u32 {
        let at = f64::from(tenth) / 10.0;
        let from = at - 0.1;
        let phase = *measurements
            .phases
            .iter()
            .rev()
            .find(|(_, span)| span.from <= from + 0.01)
            .map(|(index, _)| index)
            .unwrap();
        let path = if phase == 0 { CachePath::Uncached } else { CachePath::Cached };
        if let Some(counts) = of(from) {
            let cells = vec![CountCell { phase, path, counts }];
            measurements.apply(&JournalEntry { at, event: Event::FineSlice(FineSlice { seconds: 0.1, cells }) });
        }
    }
    for (at, stage) in stages {
        let event = FaultEvent {
            phase: 3,
            fault: 0,
            round: 0,
            what: "kill redis".into(),
            stage: *stage,
            detail: String::new(),
            connections: None,
            app_bytes: None,
        };
        measurements.apply(&JournalEntry { at: *at, event: Event::Fault(event) });
    }
    measurements
}

const STAGES: [(f64, FaultStage); 4] = [
    (INJECTED, FaultStage::Injected),
    (INJECTED + 0.05, FaultStage::Seen),
    (UNDONE, FaultStage::Undone),
    (UNDONE + 0.2, FaultStage::SeenUndone),
];

fn one(scenario: &Scenario, measurements: &Measurements) -> FaultOutcome {
    let all = fault_outcomes(scenario, measurements);
    assert_eq!(all.len(), 1);
    all[0].clone()
}

fn of(slice: impl Fn(f64) -> Option<SliceCounts>) -> FaultOutcome {
    one(&scenario(), &run(slice, &STAGES))
}

fn near(value: Option<f64>, wanted: f64) -> bool {
    value.is_some_and(|value| (value - wanted).abs() < 0.15)
}

#[test]
fn a_fault_is_not_noticed_where_the_service_stayed_inside_its_limits() {
    let outcome = of(|at| Some(healthy(at)));
    assert_eq!((outcome.noticed, outcome.service.clone()), (None, Recovery::Kept), "{outcome:?}");
    assert_eq!(outcome.recovered_at(), Some(UNDONE));
    assert!(outcome.hints.is_empty(), "{:?}", outcome.hints);
}

#[test]
fn an_outage_lasts_from_its_first_slice_to_the_first_good_second_after_the_undo() {
    let outcome = of(|at| Some(if (73.2..85.4).contains(&at) { failing(at) } else { healthy(at) }));
    assert!(near(outcome.notice(), 0.2), "{outcome:?}");
    assert_eq!(outcome.noticed_by, Some(LimitViolation::Errors));
    assert!(near(outcome.service.seconds(), 2.4), "{outcome:?}");
    assert!((outcome.trouble - 12.2).abs() < 0.25, "{outcome:?}");
    let availability = outcome.availability().expect("requests came in");
    assert!((0.45..0.55).contains(&availability), "{availability}");
}

#[test]
fn slow_responses_are_an_outage_and_look_like_a_timeout() {
    let outcome = of(|at| Some(if (INJECTED..UNDONE).contains(&at) { slow(at) } else { healthy(at) }));
    assert_eq!(outcome.noticed_by, Some(LimitViolation::Slow));
    assert!(near(outcome.service.seconds(), 0.0), "{outcome:?}");
    assert!(outcome.hints[0].contains("every request waits for a timeout"), "{:?}", outcome.hints);
}

#[test]
fn responses_that_take_ever_longer_look_like_a_queue() {
    let queue = |at: f64| {
        let waited = ((at - INJECTED) * 60.0) as u64 * MS;
        SliceCounts { p50: 50 * MS + waited, p95: 60 * MS + waited, max: 70 * MS + waited, ..healthy(at) }
    };
    let outcome = of(|at| Some(if (INJECTED..UNDONE).contains(&at) { queue(at) } else { healthy(at) }));
    let words = "rising from ";
    assert!(outcome.hints[0].contains(words) && outcome.hints[0].contains("a queue"), "{:?}", outcome.hints);
}

#[test]
fn a_frozen_service_is_noticed_by_its_silence() {
    let outcome = of(|at| if (INJECTED..UNDONE + 1.0).contains(&at) { None } else { Some(healthy(at)) });
    assert_eq!(outcome.noticed_by, Some(LimitViolation::Silent), "{outcome:?}");
    assert!(near(outcome.service.seconds(), 1.0), "{outcome:?}");
}

/// One response, `rate` times a second.
fn thin(at: f64, rate: f64) -> Option<SliceCounts> {
    let due = (at * rate + 1e-6).floor() > ((at - 0.1) * rate + 1e-6).floor();
    due.then(|| SliceCounts { answered: 1, hits: 1, misses: 0, ..healthy(at) })
}

/// The outcome at that rate, where nothing comes in from the injection to `to`.
fn thin_and_silent(rate: f64, to: f64) -> FaultOutcome {
    let mut scenario = scenario();
    let cacheproof_core::scenario::LoadModel::Open { rate: planned, .. } = &mut scenario.traffic.load_model else {
        unreachable!()
    };
    *planned = rate;
    one(&scenario, &run(|at| if (INJECTED..to).contains(&at) { None } else { thin(at, rate) }, &STAGES))
}

#[test]
fn silence_is_an_outage_also_at_a_few_requests_a_second() {
    let outcome = thin_and_silent(5.0, UNDONE + 3.0);
    assert_eq!(outcome.noticed_by, Some(LimitViolation::Silent), "{outcome:?}");
    assert!(outcome.notice().is_some_and(|notice| notice < 1.1), "{outcome:?}");
    assert!(near(outcome.service.seconds(), 3.0), "{outcome:?}");
    assert_eq!(thin_and_silent(5.0, 200.0).service, Recovery::NotWithin(100.0 - UNDONE), "to the end of the watch");
    assert_eq!(thin_and_silent(5.0, INJECTED).service, Recovery::Kept);
    assert_eq!(thin_and_silent(1.0, INJECTED).service, Recovery::Kept, "a second without an answer is as before");
}

#[test]
fn nothing_is_decided_where_too_few_requests_were_expected() {
    let outcome = thin_and_silent(0.2, 200.0);
    assert!(matches!(outcome.service, Recovery::Undecided(_)), "{outcome:?}");
    assert_eq!(outcome.recovered_at(), None);
}

#[test]
fn a_phase_with_a_lower_rate_is_not_silent_between_its_requests() {
    let mut scenario = scenario();
    scenario.phases[3].rate = Some(2.0);
    let measurements = run(|at| if (BROKEN..90.0).contains(&at) { thin(at, 2.0) } else { Some(healthy(at)) }, &STAGES);
    let outcome = one(&scenario, &measurements);
    assert_eq!((outcome.noticed, outcome.service.clone()), (None, Recovery::Kept), "{outcome:?}");
}

#[test]
fn the_hit_rate_of_a_few_reads_a_second_is_computed_over_enough_of_them() {
    for rate in [5.0, 9.0] {
        let kept = thin_and_silent(rate, INJECTED).hit_rate.expect("there was one before");
        assert_eq!(kept.back, Recovery::After(0.0), "{rate}/s: every read hit: {kept:?}");
        let away = thin_and_silent(rate, UNDONE + 5.0).hit_rate.expect("there was one before");
        let back = away.back.seconds().expect("it came back");
        assert!((5.0..8.0).contains(&back), "{rate}/s: not before there was a read: {away:?}");
        let gone = thin_and_silent(rate, 200.0).hit_rate.expect("there was one before");
        assert!(matches!(gone.back, Recovery::NotWithin(_)), "{rate}/s: {gone:?}");
    }
    let few = thin_and_silent(1.0, INJECTED).hit_rate.expect("there was one before");
    assert!(matches!(few.back, Recovery::Undecided(_)), "17 reads were watched: {few:?}");
}

#[test]
fn a_few_hits_in_an_outage_are_no_hit_rate() {
    // A breaker lets one in a hundred through, and that hits.
    let probing = |at: f64| SliceCounts { hits: 1, misses: 0, fallbacks: 39, ..healthy(at) };
    let outcome = of(|at| Some(if at >= INJECTED { probing(at) } else { healthy(at) }));
    let outcome_rare = of(|at| {
        let asked = (at * 10.0).round() as i64 % 10 == 0;
        Some(match at >= INJECTED {
            true => SliceCounts { hits: asked.into(), ..probing(at) },
            false => healthy(at),
        })
    });
    let back = |outcome: FaultOutcome| outcome.hit_rate.expect("there was one before").back;
    assert!(matches!(back(outcome_rare), Recovery::NotWithin(_)));
    // Twenty in two seconds are a rate, as ever.
    assert!(matches!(back(outcome), Recovery::After(_)));
}

#[test]
fn a_service_that_flaps_has_recovered_only_when_it_stays_inside_its_limits() {
    // Half a second well, half a second not, until 88.
    let flaps = |at: f64| (INJECTED..88.0).contains(&at) && (at * 2.0).floor() as i64 % 2 == 0;
    let outcome = of(|at| Some(if flaps(at) { failing(at) } else { healthy(at) }));
    assert!(near(outcome.service.seconds(), 4.5), "the last bad half second ends at 87.5: {outcome:?}");
}

#[test]
fn a_service_that_does_not_recover_shows_how_long_it_was_watched() {
    let outcome = of(|at| Some(if at >= INJECTED { failing(at) } else { healthy(at) }));
    assert_eq!(outcome.service, Recovery::NotWithin(100.0 - UNDONE), "to the end of the phase behind");
    assert_eq!(outcome.recovered_at(), None);
}

#[test]
fn the_same_noise_as_before_is_no_outage() {
    // Now and then a slice four times slower, before the fault as after it.
    let spiky = |at: f64| {
        let one = healthy(at);
        if ((at * 10.0).round() as i64) % 61 == 0 { SliceCounts { p95: 45 * MS, ..one } } else { one }
    };
    let outcome = of(|at| Some(spiky(at)));
    assert_eq!(outcome.service, Recovery::Kept, "{outcome:?}");
}

#[test]
fn a_fault_is_absorbed_where_a_fallback_takes_over() {
    let outcome = of(|at| Some(if (INJECTED..74.0).contains(&at) { slow(at) } else { healthy(at) }));
    assert!(near(outcome.absorbed, 74.0), "{outcome:?}");
    assert!(near(outcome.service.seconds(), 0.0));
    assert!(outcome.hints.iter().any(|hint| hint.contains("took over")), "{:?}", outcome.hints);
}

#[test]
fn a_fault_is_not_absorbed_where_requests_hang_and_are_answered_late() {
    // Only hits are answered while the database is frozen; the others all come in when it thaws.
    let few = |at: f64| SliceCounts { answered: 20, hits: 20, misses: 0, ..healthy(at) };
    let outcome = of(|at| {
        Some(match at {
            at if (INJECTED..INJECTED + 0.2).contains(&at) => slow(at),
            at if (INJECTED..UNDONE).contains(&at) => few(at),
            at if (UNDONE..UNDONE + 1.5).contains(&at) => slow(at),
            at => healthy(at),
        })
    });
    assert_eq!(outcome.absorbed, None, "{outcome:?}");
    assert!(near(outcome.service.seconds(), 1.5));
}

#[test]
fn a_slow_link_gives_no_timeout_hint_and_a_short_watch_no_hint_of_permanence() {
    let mut scenario = scenario();
    let kind = cacheproof_core::scenario::LinkFaultKind::Latency {
        delay: std::time::Duration::from_millis(50),
        jitter: std::time::Duration::ZERO,
    };
    let link = cacheproof_core::scenario::LinkFault {
        kind,
        direction: Default::default(),
        share: 1.0,
        connection_scope: Default::default(),
    };
    scenario.phases[3].faults[0].action = FaultAction::Link(link);
    let mut measurements = run(|at| Some(if at >= INJECTED { slow(at) } else { healthy(at) }), &STAGES);
    let again = FaultEvent { round: 1, ..measurements.faults[0].1.clone() };
    measurements.apply(&JournalEntry { at: UNDONE + 2.0, event: Event::Fault(again) });
    let hints = fault_outcomes(&scenario, &measurements)[0].hints.join(" ");
    assert!(!hints.contains("timeout") && !hints.contains("never reopened"), "{hints}");
    assert!(hints.contains("too short to tell"), "{hints}");
}

#[test]
fn a_failover_heals_itself_and_is_timed_from_its_injection() {
    let mut scenario = scenario();
    scenario.phases[3].faults[0].action = FaultAction::Failover { lagging: false };
    let stages = [(INJECTED, FaultStage::Injected), (INJECTED + 1.0, FaultStage::Seen)];
    let measurements = run(|at| Some(if (73.6..75.0).contains(&at) { failing(at) } else { healthy(at) }), &stages);
    let outcome = one(&scenario, &measurements);
    assert_eq!(outcome.base, Some(INJECTED));
    assert!(near(outcome.service.seconds(), 2.0), "not before it began to bite: {outcome:?}");
}

#[test]
fn an_outage_during_the_injection_is_an_effect_of_the_fault() {
    let mut scenario = scenario();
    scenario.phases[3].faults[0].action = FaultAction::Restart { keep_data: true };
    let stages = [
        (INJECTED, FaultStage::Begun),
        (INJECTED + 3.0, FaultStage::Injected),
        (INJECTED + 3.1, FaultStage::Seen),
        (INJECTED + 3.1, FaultStage::Undone),
    ];
    let measurements = run(|at| Some(if (73.0..77.0).contains(&at) { failing(at) } else { healthy(at) }), &stages);
    let outcome = one(&scenario, &measurements);
    assert!(near(outcome.notice(), 0.0), "{outcome:?}");
    assert_eq!(outcome.base, Some(INJECTED + 3.0));
    assert!(near(outcome.service.seconds(), 1.0), "{outcome:?}");
    assert!((outcome.trouble - 4.0).abs() < 0.25, "{outcome:?}");

    // The run ended during the injection.
    let measurements = run(|at| Some(healthy(at)), &[(INJECTED, FaultStage::Begun), (UNDONE, FaultStage::Undone)]);
    assert_eq!(one(&scenario, &measurements).window.injected, None);
}

#[test]
fn a_fault_that_was_never_undone_has_no_recovery() {
    let measurements = run(|at| Some(healthy(at)), &STAGES[..2]);
    let outcome = one(&scenario(), &measurements);
    assert!(matches!(outcome.service, Recovery::Unknown(_)), "{outcome:?}");
    assert_eq!((outcome.base, outcome.recovered_at()), (None, None));
}

#[test]
fn without_a_steady_phase_before_recovery_is_unknown() {
    let mut scenario = scenario();
    scenario.phases[2].warm_up = true;
    let measurements = run(|at| Some(healthy(at)), &STAGES);
    assert!(matches!(one(&scenario, &measurements).service, Recovery::Unknown(_)));
}

#[test]
fn a_cold_cache_is_no_outage_where_the_uncached_path_is_as_slow() {
    let cold = |at: f64| SliceCounts { p95: 30 * MS, hits: 0, ..healthy(at) };
    let outcome = of(|at| Some(if !(20.0..=UNDONE).contains(&at) { cold(at) } else { healthy(at) }));
    assert_eq!(outcome.service, Recovery::Kept, "{outcome:?}");
    let hit_rate = outcome.hit_rate.expect("there was one before");
    assert_eq!(hit_rate.back, Recovery::NotWithin(100.0 - UNDONE), "the hit rate tells");
}

#[test]
fn the_hit_rate_is_compared_with_what_a_cold_cache_allows() {
    // As fast as the refill curve allows, from 84 on: a client that waited a second before it reconnected.
    let refill = RefillCurve::of(&scenario(), 420.0).expect("one key a path");
    let filling = |at: f64| {
        let mut counts = healthy(at);
        let share = if (INJECTED..84.0).contains(&at) { 0.0 } else { (refill.hit_rate(at - 84.0) * 0.92).min(0.9) };
        let known = if (INJECTED..84.0).contains(&at) { 0 } else { counts.answered };
        counts.fallbacks = counts.answered - known;
        counts.hits = (known as f64 * share).round() as u64;
        counts.misses = known - counts.hits;
        counts
    };
    let outcome = of(|at| Some(if at >= INJECTED { filling(at) } else { healthy(at) }));
    let hit_rate = outcome.hit_rate.clone().expect("there was one before");
    assert!(hit_rate.emptied && hit_rate.refill.is_some(), "killed without a log on disk: {hit_rate:?}");
    let bound = hit_rate.bound.expect("it is known which keys are read");
    let hinted = outcome.hints.iter().any(|hint| hint.contains("cold cache"));
    assert!(matches!(hit_rate.back, Recovery::NotWithin(_)) && hinted, "{bound}: {:?}", outcome.hints);
}

#[test]
fn a_client_that_never_reconnects_gets_a_hint() {
    let gone = |at: f64| SliceCounts { hits: 0, misses: 0, fallbacks: healthy(at).answered, ..healthy(at) };
    let outcome = of(|at| Some(if at >= INJECTED { gone(at) } else { healthy(at) }));
    assert_eq!(outcome.service, Recovery::Kept, "the fallback is as good as the cache");
    assert!(outcome.hints.iter().any(|hint| hint.contains("never reopened")), "{:?}", outcome.hints);
}

#[test]
fn the_length_of_a_wait_gives_a_hint_of_its_cause() {
    for (until, looks) in [(93.0, "breaker's open interval (10 s)"), (86.4, "reconnect backoff")] {
        let away = |at: f64| SliceCounts { hits: 0, misses: 0, fallbacks: healthy(at).answered, ..healthy(at) };
        let outcome = of(|at| Some(if (INJECTED..until).contains(&at) { away(at) } else { healthy(at) }));
        assert!(outcome.hints.iter().any(|hint| hint.contains(looks)), "{until}: {:?}", outcome.hints);
    }
}

#[test]
fn recovery_is_watched_until_the_next_fault() {
    let mut measurements = run(|at| Some(if at >= INJECTED { failing(at) } else { healthy(at) }), &STAGES);
    let again = FaultEvent { round: 1, ..measurements.faults[0].1.clone() };
    measurements.apply(&JournalEntry { at: 87.0, event: Event::Fault(again) });
    let all = fault_outcomes(&scenario(), &measurements);
    assert_eq!(all[0].service, Recovery::NotWithin(87.0 - UNDONE), "{:?}", all[0]);
    assert!(matches!(all[1].service, Recovery::Unknown(_)), "{:?}", all[1]);
}

#[test]
fn stale_responses_are_outside_the_limits() {
    let stale = |at: f64| SliceCounts { stale: 2, ..healthy(at) };
    let outcome = of(|at| Some(if (INJECTED..84.0).contains(&at) { stale(at) } else { healthy(at) }));
    assert_eq!(outcome.noticed_by, Some(LimitViolation::Incorrect));
    assert!(near(outcome.service.seconds(), 1.0), "{outcome:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes in: no fault is noticed before its injection, no recovery is before the undo, and all times are
    /// within the time that was watched.
    #[test]
    fn recovery_is_never_before_the_undo_and_notice_never_before_the_injection(
        pattern in proptest::collection::vec(0u8..4, 300),
        injected in 71.0f64..80.0,
        held in 0.0f64..12.0,
        heals_itself: bool,
    ) {
        let mut scenario = scenario();
        if heals_itself {
            scenario.phases[3].faults[0].action = FaultAction::Flush;
        }
        let undone = injected + held;
        let mut stages = vec![(injected, FaultStage::Injected)];
        if !heals_itself {
            stages.push((undone, FaultStage::Undone));
        }
        let measurements = run(
            |at| {
                let index = ((at - 70.0) * 10.0).round();
                if index < 0.0 {
                    return Some(healthy(at));
                }
                match pattern.get(index as usize) {
                    Some(0) => None,
                    Some(1) => Some(failing(at)),
                    Some(2) => Some(slow(at)),
                    _ => Some(healthy(at)),
                }
            },
            &stages,
        );
        let outcome = one(&scenario, &measurements);
        let base = if heals_itself { injected } else { undone };
        prop_assert_eq!(outcome.base, Some(base));
        prop_assert!(outcome.watched_to >= base);
        if let Some(at) = outcome.recovered_at() {
            prop_assert!(at >= base && at <= outcome.watched_to + 1e-6, "{:?}", outcome);
        }
        if let Some(notice) = outcome.notice() {
            prop_assert!(notice >= 0.0);
        } else {
            prop_assert_eq!(&outcome.service, &Recovery::Kept);
        }
        if let Some(absorbed) = outcome.absorbed {
            prop_assert!(absorbed >= injected && absorbed <= undone + 0.1);
        }
        prop_assert!(outcome.trouble >= 0.0 && outcome.relapse >= -1e-9);
        prop_assert!(outcome.trouble <= outcome.watched_to - injected + 0.2, "{:?}", outcome);
    }

    #[test]
    fn a_later_undo_of_the_same_outage_never_makes_recovery_longer(late in 0.0f64..6.0) {
        let slice = |at: f64| Some(if (INJECTED..85.0).contains(&at) { failing(at) } else { healthy(at) });
        let at = |undone: f64| one(&scenario(), &run(slice, &[(INJECTED, FaultStage::Injected), (undone, FaultStage::Undone)]));
        let (early, later) = (at(83.0), at(83.0 + late));
        prop_assert!(later.service.seconds() <= early.service.seconds());
    }
}
