//! Runs a scenario: starts the servers and the app, plays the phases in order, stops everything again.
//!
//! Everything that is measured goes to the journal, through the [`EventSink`]. This crate judges nothing and prints
//! nothing.
//!
//! # Where to start reading
//!
//! [`execute`] is the whole run, top down: stack, app, preflight check, load, timeline, clean-up. `timeline.rs` plays the
//! phases. Meanwhile `monitors.rs` drains the recorder once a second, samples the servers, and ends the run if something
//! dies unexpectedly.
//!
//! | module | |
//! |---|---|
//! | [`app`] | the app under test: started or found, faulted, stopped |
//! | [`fault`] | the faults: injected, confirmed by a probe, undone |
//! | [`probe`] | samples of the servers and processes, the host, the cost of the proxy |
//! | `open_files`, `preflight` | may enough files be open; does the scenario fit the app? |
//! | `timeline`, `monitors` | the phases, and what runs in parallel |
//! | `warm_up`, `steady`, `abort` | when a warm-up ends; whether a fault may be injected; when `[safety]` aborts the run |
//!
//! `fault` uses `app`; `app` and `probe` use neither of the others. Only the files of this directory use all three.
//!
//! CONTRIBUTING.md lists the steps to add a fault. Its injector is a file in `fault/` whose type implements `FaultInjector`
//! (`fault/injector.rs`): how to inject it, how a probe sees its effect, how to undo it, how a probe sees the recovery.
//! `fault/flush.rs` is the shortest example. `fault/prepare.rs` finds the victim and checks that the scenario allows the
//! fault; `fault/engine.rs` and `fault/schedule.rs` do the rest: ledger, schedule, probes, undo.

mod abort;
pub mod app;
pub mod fault;
mod monitors;
mod open_files;
mod preflight;
pub mod probe;
mod steady;
mod timeline;
mod warm_up;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::app::{App, AppEnvironment, TargetError};
use crate::fault::{FaultContext, FaultEngine, FaultError};
pub use crate::open_files::TooFewFiles;
use crate::probe::Prober;
use cacheproof_core::journal::{Event, EventSink, RunEnded, RunStarted, RunStatus, TargetReady, TestResult};
use cacheproof_core::scenario::{Absent, Scenario, TargetKind, mask_passwords};
use cacheproof_core::secrets::Mask;
use cacheproof_load::{Driver, Exchange, LoadError, Recorder};
use cacheproof_stack::{Deployment, Stack, StackError};
use cacheproof_supervise::{Guard, GuardError, Ledger, RunIdentity, strike_out_of_ledger};

/// What to run and where to write.
#[derive(Clone, Debug)]
pub struct RunPlan {
    /// The valid scenario.
    pub scenario: Scenario,
    /// The name of its file as given.
    pub scenario_name: String,
    /// Its text with overrides, without secrets.
    pub scenario_text: String,
    /// The secrets of the scenario. The run adds the passwords of the servers that it starts.
    pub mask: Mask,
    /// The `cacheproof` program, which starts the reference app and the guard process.
    pub cacheproof: PathBuf,
    /// The command that repeats the run.
    pub command: String,
    /// The name of the run's directory.
    pub run_id: String,
    /// The run's directory, for the undo ledger.
    pub directory: PathBuf,
    /// The start of the run: UTC, RFC 3339, whole seconds.
    pub started_at: String,
    /// For each `proved_by` the result of that test.
    pub proofs: BTreeMap<String, TestResult>,
}

/// Why a run failed before anything was measured.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum RunError {
    /// Too few files may be open.
    #[error(transparent)]
    #[diagnostic(transparent)]
    TooFewFiles(#[from] TooFewFiles),
    /// The servers.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Stack(#[from] StackError),
    /// The guard process.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Guard(#[from] GuardError),
    /// The app.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Target(#[from] TargetError),
    /// The load engine.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Load(#[from] LoadError),
    /// The undo ledger.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Fault(#[from] FaultError),
}

/// How a run ended. The journal contains it as well, unless the journal could not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOutcome {
    /// Whether the whole timeline was played.
    pub how: RunStatus,
    /// If not: the reason, a sentence.
    pub why: Option<String>,
}

/// How long requests in flight may take to finish when the run is stopped early.
const INTERRUPTED_DRAIN_TIMEOUT: Duration = Duration::from_millis(300);

/// Runs the scenario and emits its events. `stop` turns true when the user interrupts the run. `report_progress` is called
/// with a line of text for each step of the startup.
///
/// When this returns, everything that was started is stopped again. After `Ok` the journal ends with [`RunEnded`], which
/// says how the run went; after `Err` nothing was measured.
pub async fn execute(
    plan: &RunPlan,
    event_sink: &EventSink,
    mut stop: watch::Receiver<bool>,
    report_progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<RunOutcome, RunError> {
    open_files::allow_open_files(&plan.scenario)?;
    event_sink.emit(Event::RunStarted(RunStarted {
        journal: cacheproof_core::journal::JOURNAL_VERSION,
        cacheproof: env!("CARGO_PKG_VERSION").into(),
        started_at: plan.started_at.clone(),
        run_id: plan.run_id.clone(),
        scenario_name: plan.scenario_name.clone(),
        scenario: plan.scenario_text.clone(),
        command: plan.command.clone(),
        limits: plan.scenario.latency_limits(),
        host: probe::host(),
        git: probe::git_commit(),
        proofs: plan.proofs.clone(),
    }));
    // Before anything is started: should cacheproof and the guard both be killed, the ledger says what to look for.
    let ledger = Ledger::create(&plan.directory, &RunIdentity::new()).map_err(FaultError::Ledger)?;
    let ledger = Arc::new(ledger.with_mask(plan.mask.clone()));
    let guard = Guard::start_with_ledger(&plan.cacheproof, &ledger)?;
    // A stop during startup drops half-started servers; the guard cleans them up.
    let stack = tokio::select! {
        stack = Stack::up(&plan.scenario.stack, plan.scenario.seed, &guard, report_progress) => Some(stack?),
        Ok(_) = stop.wait_for(|stop| *stop) => None,
    };
    let Some(stack) = stack else {
        drop(guard);
        return Ok(interrupted_early(event_sink));
    };
    let result = run_on_stack(plan, event_sink, stop, report_progress, (&guard, &ledger), &stack).await;
    // Errors from here on do not change the result; the guard cleans up servers that do not stop.
    if let Err(error) = stack.down().await {
        report_progress(&format!("a server did not stop properly: {error}"));
    }
    if let Err(error) = guard.release() {
        let hint = format!("undo the rest with `cacheproof recover {}`", plan.directory.display());
        report_progress(&format!("the clean-up is not complete: {error}; {hint}"));
    } else if let Err(error) = strike_out_of_ledger(ledger.path(), &plan.mask) {
        report_progress(&format!("{} holds the undo commands as they are: {error}", ledger.path().display()));
    }
    result
}

async fn run_on_stack(
    plan: &RunPlan,
    event_sink: &EventSink,
    mut stop: watch::Receiver<bool>,
    report_progress: &(dyn Fn(&str) + Send + Sync),
    (guard, ledger): (&Guard, &Ledger),
    stack: &Stack,
) -> Result<RunOutcome, RunError> {
    hide_passwords(stack, &plan.mask);
    event_sink.emit(Event::StackReady(stack.facts()));
    if let Some(cost) = probe::proxy_cost(stack).await {
        event_sink.emit(Event::ProxyCost(cost));
    }
    let watch_process = |pid| guard.watch_process(pid);
    let app_environment = AppEnvironment {
        cacheproof: &plan.cacheproof,
        directory: guard.directory(),
        redis_url: stack.redis.as_ref().map(|redis| redis.app_url()),
        redis_ca: stack.redis.as_ref().and_then(|redis| redis.ca_file()),
        database_url: stack.postgres.as_ref().map(|postgres| postgres.app_url()),
        token: guard.token(),
        watch: &watch_process,
    };
    let target = &plan.scenario.target;
    report_progress(match target.kind {
        _ if !target.is_started() => "waiting for the app",
        TargetKind::Reference => "starting the app and loading its data",
        TargetKind::Http => "starting the app",
    });
    let app = tokio::select! {
        app = App::up(&plan.scenario, &app_environment) => app?,
        Ok(_) = stop.wait_for(|stop| *stop) => return Ok(interrupted_early(event_sink)),
    };
    let result = run_against_app(plan, event_sink, stop, (guard, ledger), stack, &app, &app_environment).await;
    let logs = app.logs();
    app.down().await;
    // They are in the run's temporary directory, which is removed.
    if let Err(error) = app::keep_logs(&logs, &plan.directory, &plan.mask) {
        report_progress(&format!("the app's log could not be kept: {error}"));
    }
    result
}

/// The servers of a run have passwords of their own. The app knows them, and may repeat them in an error.
fn hide_passwords(stack: &Stack, mask: &Mask) {
    for deployment in [&stack.redis, &stack.postgres].into_iter().flatten() {
        mask.add(deployment.app_url());
        deployment.nodes().iter().for_each(|node| mask.add(node.server.url()));
    }
}

async fn run_against_app(
    plan: &RunPlan,
    event_sink: &EventSink,
    mut stop: watch::Receiver<bool>,
    (guard, ledger): (&Guard, &Ledger),
    stack: &Stack,
    app: &App,
    app_environment: &AppEnvironment<'_>,
) -> Result<RunOutcome, RunError> {
    let scenario = &plan.scenario;
    let url = mask_passwords(app.url());
    event_sink.emit(Event::TargetReady(TargetReady { what: app.what(), url, pid: app.pids().first().copied() }));
    let exchange = Exchange::new(scenario.clone(), app.urls());
    let warning = tokio::select! {
        fits = preflight::preflight(scenario, &exchange.plan, app.url()) => fits?,
        Ok(_) = stop.wait_for(|stop| *stop) => return Ok(interrupted_early(event_sink)),
    };
    if let Some(warning) = warning {
        event_sink.note(warning);
    }
    let shards = std::thread::available_parallelism().map_or(2, usize::from);
    let cacheable = scenario.traffic.requests.iter().map(|request| request.cacheable).collect();
    let recorder = Arc::new(Recorder::new(scenario.latency_limits(), shards).with_cacheable(cacheable));
    let driver = tokio::select! {
        driver = Driver::start(exchange, app.url(), Arc::clone(&recorder)) => driver?,
        Ok(_) = stop.wait_for(|stop| *stop) => return Ok(interrupted_early(event_sink)),
    };
    let redis = stack.redis.as_ref().map(Deployment::probe_urls).unwrap_or_default();
    let mut prober = Prober::new(&redis, stack.postgres.as_ref().map(|postgres| postgres.first().url()));
    // So that it is connected when the first phase begins, and what happens in its first second can be told from before.
    event_sink.emit(Event::Sample(prober.sample(&[]).await));

    let has_faults = scenario.phases.iter().any(|phase| !phase.faults.is_empty());
    let engine = has_faults
        .then(|| FaultEngine::new(FaultContext { scenario, stack, app: Some((app, app_environment)), guard, ledger }));
    let context = timeline::RunContext {
        scenario,
        event_sink,
        stack,
        app,
        engine: engine.as_ref(),
        directory: &plan.directory,
        driver: &driver,
        recorder: &recorder,
    };
    let timeline::TimelineOutcome { how, why, coarse_end, fine_end, steady_after } =
        timeline::run_timeline(&context, prober, stop.clone()).await;

    let drain_timeout = match how {
        RunStatus::Completed => scenario.traffic.timeout + Duration::from_secs(1),
        _ => INTERRUPTED_DRAIN_TIMEOUT,
    };
    let backlog = driver.backlog();
    let freshness = driver.freshness();
    let unread = driver.unread();
    let stopped = driver.stop(drain_timeout, how == RunStatus::Completed, stop.clone()).await;
    // The answers to requests that were in flight when the timeline ended.
    let fine = recorder.take_fine_slice(fine_end.elapsed().as_secs_f64());
    if !fine.cells.is_empty() {
        event_sink.emit(Event::FineSlice(fine));
    }
    let mut coarse = recorder.take_coarse_slice(coarse_end.elapsed().as_secs_f64(), backlog);
    let at_end = async {
        if how == RunStatus::Completed {
            freshness.read_at_end().await;
        }
        freshness.finish(how == RunStatus::Completed).await;
    };
    tokio::select! {
        () = at_end => {}
        Ok(_) = stop.wait_for(|stop| *stop) => freshness.finish(false).await,
    }
    let (how, why) = match how {
        RunStatus::Completed if *stop.borrow() => (RunStatus::Interrupted, Some(timeline::STOPPED.to_owned())),
        how => (how, why),
    };
    freshness.take_events().into_iter().for_each(|event| event_sink.emit(event));
    coarse.freshness = freshness.drain();
    event_sink.emit(Event::CoarseSlice(coarse));
    let labels = (scenario.target.hit.absent != Absent::Unknown).then(|| unread.labels());
    if let Some(note) = unread.note() {
        event_sink.note(note);
    }
    let (how, why) = match event_sink.failure() {
        Some(failure) if how == RunStatus::Completed => (RunStatus::EnvironmentFailed, Some(failure)),
        _ => (how, why),
    };
    let (how, why) = ended_with(&stopped, how, why);
    let (goose_requests, unsent) = match stopped {
        Ok((counted, unsent)) => (Some(counted), unsent),
        Err(error) => {
            event_sink.note(error.to_string());
            (None, backlog)
        }
    };
    event_sink.emit(Event::RunEnded(RunEnded { how, why: why.clone(), goose_requests, unsent, steady_after, labels }));
    Ok(RunOutcome { how, why })
}

/// How a run ended whose load was stopped with this result: without a load generator its numbers prove nothing.
fn ended_with(
    stopped: &Result<(u64, u64), LoadError>,
    how: RunStatus,
    why: Option<String>,
) -> (RunStatus, Option<String>) {
    match stopped {
        Err(error @ LoadError::Engine(_)) if how == RunStatus::Completed => {
            (RunStatus::EnvironmentFailed, Some(error.to_string()))
        }
        _ => (how, why),
    }
}

fn interrupted_early(event_sink: &EventSink) -> RunOutcome {
    let why = Some("stopped before the first phase".to_owned());
    event_sink.emit(Event::RunEnded(RunEnded {
        how: RunStatus::Interrupted,
        why: why.clone(),
        goose_requests: None,
        unsent: 0,
        steady_after: None,
        labels: None,
    }));
    RunOutcome { how: RunStatus::Interrupted, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_generator_that_failed_at_the_end_fails_the_run() {
        let engine = Err(LoadError::Engine("no sockets".to_owned()));
        let (how, why) = ended_with(&engine, RunStatus::Completed, None);
        assert_eq!(how, RunStatus::EnvironmentFailed);
        assert!(why.is_some_and(|why| why.contains("no sockets")));
        let stopped = || Some("stopped".to_owned());
        assert_eq!(ended_with(&engine, RunStatus::Interrupted, stopped()), (RunStatus::Interrupted, stopped()));
        assert_eq!(ended_with(&Ok((1, 0)), RunStatus::Completed, None), (RunStatus::Completed, None));
        assert_eq!(ended_with(&Err(LoadError::Interrupted), RunStatus::Completed, None), (RunStatus::Completed, None));
    }
}
