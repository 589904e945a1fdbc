//! The timeline on a paused clock, without load and without servers: every time is exact, and no test waits. Times are in
//! milliseconds since the start.

use super::*;
use crate::fault::scripted::{Script, ScriptedEnvironment};
use cacheproof_core::journal::JournalWriter;
use cacheproof_core::scenario::{Victim, parse};
use std::sync::Arc;
use tokio::time::sleep;

/// Nobody sends anything; a phase ends when it is due.
struct NoLoad {
    quiescent: bool,
    comparing_takes: Duration,
}

#[async_trait]
impl PhaseLoad for NoLoad {
    async fn drive_phase(
        &self,
        _phase: usize,
        lasts: Duration,
        mut may_end: watch::Receiver<bool>,
        mut end: watch::Receiver<bool>,
    ) {
        let due = async {
            sleep(lasts).await;
            let _sender_dropped = may_end.wait_for(|may_end| *may_end).await;
        };
        tokio::select! {
            () = due => {}
            _ = end.wait_for(|end| *end) => {}
        }
    }

    async fn compare_after(&self, _phase: usize) -> Result<Vec<AtQuiescence>, NotQuiescent> {
        sleep(self.comparing_takes).await;
        if self.quiescent {
            Ok(Vec::new())
        } else {
            Err(NotQuiescent { waiting: 3, drain_timeout: Duration::from_secs(6) })
        }
    }
}

/// A scenario with these phases.
fn scenario(phases: &str) -> Scenario {
    let text = format!(
        "title = 't'\n[target]\nkind = 'reference'\n[stack.redis]\n[stack.postgres]\n[traffic]\nusers = 2\n\
         [[traffic.request]]\nname = 'r'\nget = '/'\n{phases}"
    );
    parse("t", &text).unwrap_or_else(|errors| panic!("{:?}", errors.problems()))
}

const CALM: &str = "[[phase]]\nname = 'calm'\nwarm_up = true\nlasts = '5s'\n";
const BROKEN: &str = "[[phase]]\nname = 'broken'\nlasts = '10s'\n\
    faults = [{ kill = 'redis', after = '2s', lasts = '3s' }, { kill = 'postgres', after = '4s', lasts = '2s' }]\n";
const AFTER: &str = "[[phase]]\nname = 'after'\nlasts = '5s'\n";

struct Ran {
    events: Vec<String>,
    ending: Option<(RunStatus, String)>,
}

impl Ran {
    fn lines(&self, part: &str) -> Vec<&str> {
        self.events.iter().map(String::as_str).filter(|line| line.contains(part)).collect()
    }

    /// When each phase began and ended, and why.
    fn phases(&self) -> Vec<&str> {
        self.lines("phase ")
    }
}

/// Runs the phases while `meanwhile` uses the control.
async fn run_with<F: Future<Output = ()>>(
    phases: &str,
    script: Script,
    load: &NoLoad,
    meanwhile: impl FnOnce(Arc<RunControl<'static>>) -> F,
) -> Ran {
    let scenario: &'static Scenario = Box::leak(Box::new(scenario(phases)));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let begun = Instant::now();
    let events = Arc::new(Mutex::new(Vec::new()));
    let listener = {
        let events = Arc::clone(&events);
        Box::new(move |entry: cacheproof_core::journal::JournalEntry| {
            let text = match entry.event {
                Event::PhaseStarted { phase } => format!("phase {phase} begins"),
                Event::PhaseEnded { phase, reason } => format!("phase {phase} ends: {reason}"),
                Event::Fault(FaultEvent { what, stage, .. }) => format!("{what}: {stage:?}"),
                Event::Note { text } => format!("note: {text}"),
                other => format!("{other:?}"),
            };
            lock(&events).push(format!("{} {text}", begun.elapsed().as_millis()));
        })
    };
    let event_sink = EventSink::new(JournalWriter::create(directory.path()).expect("a journal"), Some(listener));
    let environment = ScriptedEnvironment::new(script);
    let context = PhaseContext { scenario, event_sink: &event_sink, load, faults: Some(&environment) };
    let control = Arc::new(RunControl::new(scenario));
    tokio::join!(run_phases(&context, &control), meanwhile(Arc::clone(&control)));
    let (events, ending) = (lock(&events).clone(), lock(&control.ending).take());
    Ran { events, ending }
}

const QUIESCENT: NoLoad = NoLoad { quiescent: true, comparing_takes: Duration::ZERO };

async fn run(phases: &str, script: Script) -> Ran {
    run_with(phases, script, &QUIESCENT, |_| async {}).await
}

#[tokio::test(start_paused = true)]
async fn phases_follow_each_other_and_each_fault_of_a_phase_has_its_own_schedule() {
    let ran = run(&[CALM, BROKEN, AFTER].concat(), Script::default()).await;
    assert_eq!(ran.ending, None);
    assert_eq!(
        ran.phases(),
        [
            "0 phase 0 begins",
            "5000 phase 0 ends: its time was up",
            "5000 phase 1 begins",
            "15000 phase 1 ends: its time was up",
            "15000 phase 2 begins",
            "20000 phase 2 ends: its time was up",
        ]
    );
    assert_eq!(ran.lines("Injected"), ["7000 kill redis: Injected", "9000 kill postgres: Injected"]);
    assert_eq!(ran.lines(": Undone"), ["10000 kill redis: Undone", "11000 kill postgres: Undone"]);
}

#[tokio::test(start_paused = true)]
async fn a_phase_ends_only_when_every_fault_is_undone() {
    let script = Script { undo_takes: Duration::from_secs(30), ..Script::default() };
    let ran = run(&[CALM, BROKEN, AFTER].concat(), script).await;
    assert_eq!(ran.lines(": Undone"), ["40000 kill redis: Undone", "41000 kill postgres: Undone"]);
    assert_eq!(ran.lines("phase 1 ends"), ["41000 phase 1 ends: its time was up"]);
    assert_eq!(ran.lines("phase 2 begins"), ["41000 phase 2 begins"]);
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_fails_ends_the_run_and_undoes_the_others() {
    let fails = Some(Victim::Postgres);
    let script = Script { inject_takes: Duration::from_millis(500), inject_fails_for: fails, ..Script::default() };
    let ran = run(&[CALM, BROKEN, AFTER].concat(), script).await;
    let (how, why) = ran.ending.clone().expect("the run ended early");
    assert_eq!(how, RunStatus::EnvironmentFailed);
    assert_eq!(why, "the fault 'kill postgres' failed: there is nothing to break: injection");
    assert_eq!(ran.lines(": Undone"), ["9500 kill redis: Undone"], "it would have been held until 10 s");
    assert_eq!(ran.lines("phase 1 ends"), [format!("9500 phase 1 ends: {why}")]);
    assert_eq!(ran.lines("phase 2"), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn after_a_fault_that_fails_no_other_is_injected() {
    let script = Script { inject_fails_for: Some(Victim::Redis), ..Script::default() };
    let ran = run(&[CALM, BROKEN, AFTER].concat(), script).await;
    assert_eq!(ran.lines("Begun"), ["7000 kill redis: Begun"]);
    assert_eq!(ran.lines("phase 1 ends").len(), 1);
    assert!(ran.lines("phase 1 ends")[0].starts_with("7000 "), "{:?}", ran.events);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_run_undoes_its_faults_first_and_starts_no_other_phase() {
    let script = Script { undo_takes: Duration::from_secs(2), ..Script::default() };
    let stop = |control: Arc<RunControl<'static>>| async move {
        sleep(Duration::from_millis(9_500)).await;
        control.end_run(RunStatus::Interrupted, "stopped by the user".into());
        control.end_run(RunStatus::Aborted, "the first reason counts".into());
    };
    let ran = run_with(&[CALM, BROKEN, AFTER].concat(), script, &QUIESCENT, stop).await;
    assert_eq!(ran.ending, Some((RunStatus::Interrupted, "stopped by the user".to_owned())));
    assert_eq!(ran.lines(": Undone"), ["11500 kill redis: Undone", "11500 kill postgres: Undone"]);
    assert_eq!(ran.lines("phase 1 ends"), ["11500 phase 1 ends: stopped by the user"]);
    assert_eq!(ran.lines("phase 2"), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_stopped_between_two_phases_starts_no_other() {
    let load = NoLoad { quiescent: true, comparing_takes: Duration::from_secs(2) };
    let stop = |control: Arc<RunControl<'static>>| async move {
        sleep(Duration::from_secs(6)).await;
        control.end_run(RunStatus::Interrupted, "stopped by the user".into());
    };
    let ran = run_with(&[CALM, AFTER].concat(), Script::default(), &load, stop).await;
    assert_eq!(ran.phases(), ["0 phase 0 begins", "5000 phase 0 ends: its time was up"]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_stopped_while_items_are_compared_does_not_wait_for_the_comparison() {
    let load = NoLoad { quiescent: true, comparing_takes: Duration::from_secs(3600) };
    let stop = |control: Arc<RunControl<'static>>| async move {
        sleep(Duration::from_secs(6)).await;
        control.end_run(RunStatus::Interrupted, STOPPED.into());
    };
    let begun = Instant::now();
    let ran = run_with(AFTER, Script::default(), &load, stop).await;
    assert_eq!(ran.ending.map(|(how, _)| how), Some(RunStatus::Interrupted));
    assert_eq!(begun.elapsed(), Duration::from_secs(6), "on the paused clock");
}

#[tokio::test(start_paused = true)]
async fn a_phase_that_is_ended_early_leads_to_the_next() {
    let level = |control: Arc<RunControl<'static>>| async move {
        sleep(Duration::from_secs(3)).await;
        assert_eq!(control.current(), Some(0));
        control.end_phase("the hit rate is stable".into());
    };
    let ran = run_with(&[CALM, AFTER].concat(), Script::default(), &QUIESCENT, level).await;
    assert_eq!(ran.ending, None);
    assert_eq!(
        ran.phases(),
        [
            "0 phase 0 begins",
            "3000 phase 0 ends: the hit rate is stable",
            "3000 phase 1 begins",
            "8000 phase 1 ends: its time was up"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_broken_where_the_steady_state_does_not_hold() {
    // A judged phase came before, and no response was recorded in it.
    let ran = run(&[AFTER, BROKEN].concat(), Script::default()).await;
    let (how, why) = ran.ending.clone().expect("the run ended early");
    assert_eq!(how, RunStatus::NotSteady);
    assert!(why.contains("no request was answered before the first fault"), "{why}");
    assert_eq!(ran.lines("kill"), [""; 0]);
    assert_eq!(ran.lines("phase 1 ends"), [format!("7000 phase 1 ends: {why}")]);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_compared_after_a_phase_is_noted() {
    let load = NoLoad { quiescent: false, comparing_takes: Duration::ZERO };
    let ran = run_with(AFTER, Script::default(), &load, |_| async {}).await;
    let notes = ran.lines("note");
    assert!(matches!(&notes[..], [note] if note.contains("after 'after': 3 requests still waited")), "{notes:?}");
}
