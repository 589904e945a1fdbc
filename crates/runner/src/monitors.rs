//! Monitors that run beside the phases: slices of responses, samples of the servers, the user's stop.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::abort::AbortWatch;
use super::timeline::{RunContext, RunControl, STOPPED};
use super::warm_up::WarmUp;
use crate::app::{App, Instance};
use crate::probe::{AppRoot, Prober};
use cacheproof_core::journal::{Event, NotSentReason, RunStatus};

const SECOND: Duration = Duration::from_secs(1);

/// Length of a fine slice.
const FINE_SLICE: Duration = Duration::from_millis(100);

/// Emits a coarse slice every second. Ends a warm-up when the hit rate is stable, and the run when a condition to abort
/// is met or a process died that no fault killed. Returns when the last slice ended.
pub(super) async fn coarse_slices(
    context: &RunContext<'_>,
    control: &RunControl<'_>,
    mut is_over: watch::Receiver<bool>,
) -> std::time::Instant {
    let mut tick = interval_at(Instant::now() + SECOND, SECOND);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut since = std::time::Instant::now();
    let mut warm_up: Option<(usize, WarmUp)> = None;
    let mut abort = AbortWatch::new(&context.scenario.safety.abort, context.directory);
    let mut own_failures = 0;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            // What is left belongs to the last slice, which waits for the requests in flight.
            _ = is_over.wait_for(|over| *over) => return since,
        }
        let seconds = since.elapsed().as_secs_f64();
        since = std::time::Instant::now();
        own_failures = record_own_failures(context, control.current(), own_failures);
        let mut slice = context.recorder.take_coarse_slice(seconds, context.driver.backlog());
        slice.freshness = context.driver.freshness().drain();
        for example in context.driver.take_examples() {
            context.event_sink.emit(example);
        }
        if let Some(phase) = control.current().filter(|phase| context.scenario.phases[*phase].warm_up) {
            if warm_up.as_ref().is_none_or(|(of, _)| *of != phase) {
                warm_up = Some((phase, WarmUp::default()));
            }
            if let Some((_, warm_up)) = &mut warm_up
                && let Some(reason) = warm_up.add_slice(context.scenario, phase, &slice)
            {
                control.end_phase(reason);
            }
        }
        control.steady.record(&slice);
        if let Some(why) = abort.slice(&slice) {
            control.end_run(RunStatus::Aborted, abort_message(&why));
        }
        context.event_sink.emit(Event::CoarseSlice(slice));
        if let Some(why) = find_unexpected_exit(context).await {
            control.end_run(RunStatus::EnvironmentFailed, why);
        }
    }
}

/// Records the connections for which the proxies had no file or port since there were `before` of them; returns how many there
/// are now.
fn record_own_failures(context: &RunContext<'_>, phase: Option<usize>, before: u64) -> u64 {
    let servers = [&context.stack.redis, &context.stack.postgres].into_iter().flatten();
    let proxies = servers.flat_map(|servers| servers.nodes()).filter_map(|node| node.proxy.as_ref());
    let now = proxies.map(|proxy| proxy.stats().own_failures).sum();
    if let Some(phase) = phase {
        (before..now).for_each(|_| context.recorder.record_not_sent(phase, NotSentReason::Proxy));
        return now;
    }
    // Told in the next phase: what happened between two reaches into it.
    before
}

fn abort_message(why: &str) -> String {
    format!("the run was aborted and every fault undone, as [safety] requires: {why}")
}

/// Emits a fine slice for every 100 ms in which responses came in. Returns when the last slice ended.
pub(super) async fn fine_slices(context: &RunContext<'_>, mut is_over: watch::Receiver<bool>) -> std::time::Instant {
    let mut tick = interval_at(Instant::now() + FINE_SLICE, FINE_SLICE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut since = std::time::Instant::now();
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = is_over.wait_for(|over| *over) => return since,
        }
        let now = std::time::Instant::now();
        // To the microsecond, like the times of journal lines.
        let seconds = (now.duration_since(since).as_secs_f64() * 1e6).round() / 1e6;
        let slice = context.recorder.take_fine_slice(seconds);
        since = now;
        if !slice.cells.is_empty() {
            context.event_sink.emit(Event::FineSlice(slice));
        }
    }
}

/// A sentence, where the app, a server, the load generator or the journal failed although no fault was injected into
/// it.
async fn find_unexpected_exit(context: &RunContext<'_>) -> Option<String> {
    if let Some(why) = context.event_sink.failure() {
        return Some(format!("{why}; free some space or give another --reports directory"));
    }
    if let Some(why) = context.app.died() {
        return Some(why);
    }
    if context.driver.ended() {
        return Some("the load generator stopped unexpectedly".into());
    }
    for server in [&context.stack.redis, &context.stack.postgres].into_iter().flatten() {
        if let Some(why) = server.died().await {
            return Some(why);
        }
    }
    None
}

/// Where the processes of the app begin.
fn app_roots(app: &App) -> Vec<AppRoot> {
    let root = |instance: &Instance| {
        let marks = instance.marks().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Some(AppRoot { pid: instance.pid()?, marks, ports: instance.ports() })
    };
    app.instances(None).iter().filter_map(root).collect()
}

/// Samples the servers once a second, and whenever a phase begins or ends.
pub(super) async fn samples(
    context: &RunContext<'_>,
    control: &RunControl<'_>,
    mut prober: Prober,
    mut is_over: watch::Receiver<bool>,
) {
    let mut tick = interval_at(Instant::now() + SECOND, SECOND);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let abort = AbortWatch::new(&context.scenario.safety.abort, context.directory);
    let statements_before = prober.read_statements().await;
    loop {
        let over = tokio::select! {
            // The end of the last phase asks for a sample as well, which must come before the end of the run.
            biased;
            () = control.sample.notified() => false,
            _ = tick.tick() => false,
            _ = is_over.wait_for(|over| *over) => true,
        };
        if over {
            if let (Some(before), Some(after)) = (statements_before, prober.read_statements().await)
                && let Some(counts) = after.since(&before)
            {
                context.event_sink.emit(Event::Statements(counts));
            }
            return;
        }
        let mut sample = prober.sample(&app_roots(context.app)).await;
        if let Some(app) = &mut sample.app {
            app.log = context.app.log_bytes();
        }
        if let Some(why) = abort.sample(&sample) {
            control.end_run(RunStatus::Aborted, abort_message(&why));
        }
        context.event_sink.emit(Event::Sample(sample));
    }
}

/// Ends the run when the user stops it.
pub(super) async fn stop(
    control: &RunControl<'_>,
    mut stop: watch::Receiver<bool>,
    mut is_over: watch::Receiver<bool>,
) {
    tokio::select! {
        Ok(_) = stop.wait_for(|stop| *stop) => {
            control.end_run(RunStatus::Interrupted, STOPPED.into());
        }
        _ = is_over.wait_for(|over| *over) => {}
    }
}
