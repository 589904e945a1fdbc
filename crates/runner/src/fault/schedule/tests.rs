//! The schedule on a paused clock: every time is exact, and no test waits. Times are in milliseconds since the phase began.

use super::super::scripted::{Script, ScriptedEnvironment};
use super::*;
use cacheproof_core::scenario::{FaultAction, Victim};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// `kill redis` after 2 s.
fn kill(lasts: Option<u64>, every: Option<u64>) -> FaultSpec {
    FaultSpec {
        action: FaultAction::Kill,
        victim: Victim::Redis,
        after: seconds(2),
        lasts: lasts.map(seconds),
        every: every.map(seconds),
    }
}

fn flush() -> FaultSpec {
    FaultSpec { action: FaultAction::Flush, ..kill(None, None) }
}

/// Runs a fault in a phase of 10 s, which is stopped at a time. The log, and how it ended.
async fn run(script: Script, spec: &FaultSpec, stop_at: Option<u64>, open: bool) -> (Vec<String>, Result<(), String>) {
    run_in(seconds(10), script, spec, stop_at, open).await
}

async fn run_in(
    lasts: Duration,
    script: Script,
    spec: &FaultSpec,
    stop_at: Option<u64>,
    open: bool,
) -> (Vec<String>, Result<(), String>) {
    let environment = ScriptedEnvironment::new(script);
    let (stop, end) = watch::channel(false);
    let window = PhaseWindow { from: Instant::now(), lasts };
    let gate = || open;
    let notify = |step: FaultTransition| environment.note(format!("{}: {:?}", step.round, step.stage));
    let stopping = async {
        if let Some(at) = stop_at {
            sleep(Duration::from_millis(at)).await;
            stop.send_replace(true);
        }
    };
    let (ended, ()) = tokio::join!(run_fault(&environment, spec, window, end, &gate, &notify), stopping);
    (environment.log(), ended.map_err(|error| error.to_string()))
}

async fn completed(script: Script, spec: &FaultSpec) -> Vec<String> {
    let (log, ended) = run(script, spec, None, true).await;
    assert_eq!(ended, Ok(()));
    log
}

/// The lines of the log that contain this.
fn lines<'log>(log: &'log [String], part: &str) -> Vec<&'log str> {
    log.iter().map(String::as_str).filter(|line| line.contains(part)).collect()
}

#[tokio::test(start_paused = true)]
async fn the_undo_is_recorded_before_the_injection_and_the_fault_is_held_as_long_as_it_says() {
    let script =
        Script { inject_takes: seconds(1), effect_after: Some(Duration::from_millis(500)), ..Script::default() };
    let log = completed(script, &kill(Some(4), None)).await;
    assert_eq!(
        log,
        [
            "2000 ledger: open kill redis",
            "2000 0: Begun",
            "2000 inject",
            "3000 ledger: injected",
            "3000 0: Injected",
            "3500 0: Seen",
            // 4 s after the start of the injection, not after its end.
            "6000 undo",
            "6000 ledger: closed, undone",
            "6000 0: Undone",
            "6000 0: SeenUndone",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_fault_ends_with_its_phase_and_after_max_fault_at_the_latest() {
    assert_eq!(
        lines(&completed(Script::default(), &kill(None, None)).await, "undo"),
        ["10000 undo", "10000 ledger: closed, undone"]
    );
    let longer = completed(Script::default(), &kill(Some(30), None)).await;
    assert_eq!(lines(&longer, "Undone"), ["10000 0: Undone", "10000 0: SeenUndone"]);
    let script = Script { max_fault: seconds(3), ..Script::default() };
    assert_eq!(lines(&completed(script, &kill(Some(6), None)).await, "0: Undone"), ["5000 0: Undone"]);
}

#[tokio::test(start_paused = true)]
async fn rounds_come_at_their_interval_and_never_overlap() {
    let log = completed(Script::default(), &kill(Some(1), Some(3))).await;
    // None at 11 s: the phase is over.
    assert_eq!(lines(&log, "Injected"), ["2000 0: Injected", "5000 1: Injected", "8000 2: Injected"]);
    assert_eq!(lines(&log, ": Undone"), ["3000 0: Undone", "6000 1: Undone", "9000 2: Undone"]);

    // The undo takes until 7 s: the round of 5 s is left out, that of 8 s is not late.
    let slow = Script { undo_takes: seconds(4), ..Script::default() };
    let log = completed(slow, &kill(Some(1), Some(3))).await;
    assert_eq!(lines(&log, "Injected"), ["2000 0: Injected", "8000 1: Injected"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_injected_where_the_gate_is_closed_or_the_phase_ends_before() {
    for (stop_at, open) in [(None, false), (Some(1_999), true)] {
        let (log, ended) = run(Script::default(), &kill(Some(1), None), stop_at, open).await;
        assert_eq!((log, ended), (vec![], Ok(())), "stop at {stop_at:?}, gate {open}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_undoes_the_fault_at_once_whether_it_is_being_injected_or_held() {
    let script = Script { inject_takes: seconds(3), ..Script::default() };
    let (log, ended) = run(script, &kill(Some(6), None), Some(4_000), true).await;
    assert_eq!(ended, Ok(()));
    assert_eq!(lines(&log, "Injected"), [""; 0]);
    assert_eq!(log[log.len() - 3..], ["4000 undo, stopping", "4000 ledger: closed, undone", "4000 0: Undone"]);

    let (log, ended) = run(Script::default(), &kill(Some(6), None), Some(4_000), true).await;
    assert_eq!(ended, Ok(()));
    assert_eq!(log[log.len() - 3..], ["4000 undo, stopping", "4000 ledger: closed, undone", "4000 0: Undone"]);
    assert_eq!(lines(&log, "SeenUndone"), [""; 0], "the victim need not work again");
}

#[tokio::test(start_paused = true)]
async fn an_effect_that_is_never_observed_is_not_reported_and_prolongs_nothing() {
    let never = Script { effect_after: None, ..Script::default() };
    let log = completed(never, &kill(Some(4), None)).await;
    assert_eq!(lines(&log, "Seen"), ["6000 0: SeenUndone"]);
    assert_eq!(lines(&log, ": Undone"), ["6000 0: Undone"]);

    // A probe without an answer holds the fault for one second more.
    let hangs = Script { probe_takes: seconds(3_600), ..Script::default() };
    let log = completed(hangs, &kill(Some(4), None)).await;
    assert_eq!(lines(&log, ": Undone"), ["7000 0: Undone"]);
    assert_eq!(lines(&log, "Seen"), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_instantaneous_fault_is_over_when_its_effect_was_observed() {
    let script = Script { effect_after: Some(seconds(3)), ..Script::default() };
    let log = completed(script, &flush()).await;
    assert_eq!(
        lines(&log, "0: "),
        ["2000 0: Begun", "2000 0: Injected", "5000 0: Seen", "5000 0: Undone", "5000 0: SeenUndone"]
    );
    let never = Script { effect_after: None, ..Script::default() };
    assert_eq!(lines(&completed(never, &flush()).await, ": Undone"), ["10000 0: Undone"], "at the end of the phase");
    let (log, ended) = run_in(seconds(60), never, &flush(), None, true).await;
    assert_eq!(ended, Ok(()));
    assert_eq!(lines(&log, ": Undone"), ["32000 0: Undone"], "after 30 s at the latest");
}

#[tokio::test(start_paused = true)]
async fn a_failed_injection_is_undone_and_a_failed_undo_stays_in_the_ledger() {
    let script = Script { inject_fails_for: Some(Victim::Redis), ..Script::default() };
    let (log, ended) = run(script, &kill(Some(4), None), None, true).await;
    assert_eq!(ended, Err("there is nothing to break: injection".to_owned()));
    assert_eq!(log[log.len() - 2..], ["2000 undo", "2000 ledger: closed, it could not be injected"]);

    for script in [Script { undo_fails: true, ..Script::default() }, Script { undo_fails: true, ..script }] {
        let (log, ended) = run(script, &kill(Some(4), None), None, true).await;
        assert!(ended.is_err_and(|error| error.ends_with("nothing to break: undo")), "{log:?}");
        assert_eq!(lines(&log, "closed"), [""; 0], "{log:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_recovery_is_watched_for_ten_seconds_and_no_round_is_lost_by_it() {
    let script = Script { recovery_after: None, ..Script::default() };
    let environment = ScriptedEnvironment::new(script);
    let (_stop, end) = watch::channel(false);
    let window = PhaseWindow { from: Instant::now(), lasts: seconds(30) };
    let notify = |step: FaultTransition| environment.note(format!("{}: {:?}", step.round, step.stage));
    run_fault(&environment, &kill(Some(1), Some(12)), window, end, &|| true, &notify).await.expect("no step fails");
    assert_eq!(lines(&environment.log(), "SeenUndone"), [""; 0]);
    assert_eq!(lines(&environment.log(), "Injected"), ["2000 0: Injected", "14000 1: Injected", "26000 2: Injected"]);
    // The last is undone at 27 s, and watched for ten more.
    let took = environment.begun().elapsed();
    assert!((seconds(37)..seconds(38)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_watch_of_the_recovery() {
    let script = Script { recovery_after: None, ..Script::default() };
    let begun = Instant::now();
    let (log, ended) = run(script, &kill(Some(1), None), Some(5_000), true).await;
    assert_eq!((lines(&log, ": Undone"), ended), (vec!["3000 0: Undone"], Ok(())));
    assert!(begun.elapsed() < Duration::from_millis(5_100), "{:?}", begun.elapsed());
}
