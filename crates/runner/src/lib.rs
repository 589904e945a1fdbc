//! One run of a scenario: servers up, app up, phases in order, everything down again.

mod abort;
pub mod app;
pub mod fault;
mod monitors;
mod preflight;
pub mod probe;
mod steady;
mod timeline;
mod warm_up;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::app::{App, AppEnvironment, TargetError};
use crate::fault::{FaultContext, FaultEngine, FaultError};
use crate::probe::Prober;
use cacheproof_core::journal::{Event, EventSink, RunEnded, RunStarted, RunStatus, TargetReady};
use cacheproof_core::scenario::{Scenario, TargetKind, mask_passwords};
use cacheproof_load::Recorder;
use cacheproof_load::{Driver, Exchange, LoadError};
use cacheproof_stack::{Deployment, Stack, StackError};
use cacheproof_supervise::{Guard, GuardError, LEDGER_FILE, Ledger};

pub use probe::{git_commit, host};

/// What to run and where to write.
#[derive(Clone, Debug)]
pub struct RunPlan {
    /// The scenario, checked.
    pub scenario: Scenario,
    /// Name of its file as given.
    pub scenario_name: String,
    /// Its text as run, without passwords.
    pub scenario_text: String,
    /// This program: starts the reference app and the guard.
    pub cacheproof: PathBuf,
    /// Command that repeats the run.
    pub command: String,
    /// Name of the run's directory.
    pub run_id: String,
    /// The run's directory: where the undo ledger is written.
    pub directory: PathBuf,
    /// UTC, RFC 3339, whole seconds.
    pub started_at: String,
}

/// Why a run could not be made. What was measured before stands in the journal.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum RunError {
    /// Servers.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Stack(#[from] StackError),
    /// The guard did not start.
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

/// How a run ended. The journal says so too, unless it is the journal that could not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOutcome {
    /// Whether the whole timeline was run.
    pub how: RunStatus,
    /// Why not, in a sentence.
    pub why: Option<String>,
}

/// How long requests in flight may take to finish when the user stops the run.
const INTERRUPTED_DRAIN_TIMEOUT: Duration = Duration::from_millis(300);

/// Runs the scenario and tells the hub. `stop` turns true when the user wants it to end.
/// `tell` hears, in words, what bring-up is doing.
///
/// When this returns, everything that was started is down again. `Ok` means that the journal is closed with a
/// [`RunEnded`] line that says how it went; `Err` that nothing was measured.
pub async fn execute(
    plan: &RunPlan,
    event_sink: &EventSink,
    mut stop: watch::Receiver<bool>,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<RunOutcome, RunError> {
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
    }));
    let guard = Guard::start(&plan.cacheproof)?;
    // A stop during bring-up drops what is half started; the guard clears it away.
    let up = tokio::select! {
        up = Stack::up(&plan.scenario.stack, plan.scenario.seed, &guard, tell) => Some(up?),
        Ok(_) = stop.wait_for(|stop| *stop) => None,
    };
    let Some(stack) = up else {
        drop(guard);
        return Ok(interrupted_early(event_sink));
    };
    let result = run_on_stack(plan, event_sink, stop, tell, &guard, &stack).await;
    // What was measured counts whatever happens now; the guard clears away what does not go down by itself.
    if let Err(error) = stack.down().await {
        tell(&format!("a server did not stop as it should: {error}"));
    }
    if let Err(error) = guard.release() {
        let broken = plan.directory.join(LEDGER_FILE).exists();
        let hint = format!("; undo what is left with `cacheproof recover {}`", plan.directory.display());
        tell(&format!("clean-up was not complete: {error}{}", if broken { &hint } else { "" }));
    }
    result
}

async fn run_on_stack(
    plan: &RunPlan,
    event_sink: &EventSink,
    mut stop: watch::Receiver<bool>,
    tell: &(dyn Fn(&str) + Send + Sync),
    guard: &Guard,
    stack: &Stack,
) -> Result<RunOutcome, RunError> {
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
    tell(match target.kind {
        _ if !target.is_started() => "looking for the app",
        TargetKind::Reference => "starting the app and loading its data",
        TargetKind::Http => "starting the app",
    });
    let app = tokio::select! {
        app = App::up(&plan.scenario, &app_environment) => app?,
        Ok(_) = stop.wait_for(|stop| *stop) => return Ok(interrupted_early(event_sink)),
    };
    let result = run_against_app(plan, event_sink, stop, guard, stack, &app, &app_environment).await;
    app.down().await;
    result
}

async fn run_against_app(
    plan: &RunPlan,
    event_sink: &EventSink,
    mut stop: watch::Receiver<bool>,
    guard: &Guard,
    stack: &Stack,
    app: &App,
    app_environment: &AppEnvironment<'_>,
) -> Result<RunOutcome, RunError> {
    let scenario = &plan.scenario;
    let url = mask_passwords(app.url());
    event_sink.emit(Event::TargetReady(TargetReady { what: app.what(), url, pid: app.pids().first().copied() }));
    let exchange = Exchange::new(scenario.clone(), app.urls());
    tokio::select! {
        fits = preflight::preflight(scenario, &exchange.plan, app.url()) => fits?,
        Ok(_) = stop.wait_for(|stop| *stop) => return Ok(interrupted_early(event_sink)),
    }
    let shards = std::thread::available_parallelism().map_or(2, usize::from);
    let cacheable = scenario.traffic.requests.iter().map(|request| request.cacheable).collect();
    let recorder = Arc::new(Recorder::new(scenario.latency_limits(), shards).with_cacheable(cacheable));
    let driver = Driver::start(exchange, app.url(), Arc::clone(&recorder)).await?;
    let redis = stack.redis.as_ref().map(Deployment::probe_urls).unwrap_or_default();
    let prober = Prober::new(&redis, stack.postgres.as_ref().map(|postgres| postgres.first().url()));

    let breaks = scenario.phases.iter().any(|phase| !phase.faults.is_empty());
    let ledger = breaks.then(|| Ledger::create(&plan.directory, guard));
    let ledger = ledger.transpose().map_err(FaultError::Ledger)?;
    let engine = ledger.as_ref().map(|ledger| {
        FaultEngine::new(FaultContext { scenario, stack, app: Some((app, app_environment)), guard, ledger })
    });
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
    let timeline::TimelineOutcome { how, why, since, pulsed } = timeline::run_timeline(&context, prober, stop).await;

    let drain_timeout = match how {
        RunStatus::Completed => scenario.traffic.timeout + Duration::from_secs(1),
        _ => INTERRUPTED_DRAIN_TIMEOUT,
    };
    let backlog = driver.backlog();
    let freshness = driver.freshness();
    let stopped = driver.stop(drain_timeout, how == RunStatus::Completed).await;
    // The last answers: those of requests that were in flight when the timeline ended.
    let pulse = recorder.pulse(pulsed.elapsed().as_secs_f64());
    if !pulse.cells.is_empty() {
        event_sink.emit(Event::Pulse(pulse));
    }
    let mut window = recorder.drain(since.elapsed().as_secs_f64(), backlog);
    freshness.finish(how == RunStatus::Completed).await;
    freshness.take_events().into_iter().for_each(|event| event_sink.emit(event));
    window.freshness = freshness.drain();
    event_sink.emit(Event::Window(window));
    let (how, why) = match event_sink.failure() {
        Some(failure) if how == RunStatus::Completed => (RunStatus::EnvironmentFailed, Some(failure)),
        _ => (how, why),
    };
    let (goose_requests, unsent) = match stopped {
        Ok((counted, unsent)) => (Some(counted), unsent),
        Err(error) => {
            event_sink.note(error.to_string());
            (None, backlog)
        }
    };
    event_sink.emit(Event::RunEnded(RunEnded { how, why: why.clone(), goose_requests, unsent }));
    Ok(RunOutcome { how, why })
}

fn interrupted_early(event_sink: &EventSink) -> RunOutcome {
    let why = Some("stopped before the first phase".to_owned());
    event_sink.emit(Event::RunEnded(RunEnded {
        how: RunStatus::Interrupted,
        why: why.clone(),
        goose_requests: None,
        unsent: 0,
    }));
    RunOutcome { how: RunStatus::Interrupted, why }
}
