//! `cacheproof warm`: fills the cache of the reference app before the first requests.

use reference_app::{PlanState, PlanStatus, WarmArgs};

use super::{CommandResult, Exit, Failure, runtime, stop, terminal};

/// Runs the plans and prints what was done. A plan that failed is an error; Ctrl-C is an interruption.
pub fn run(arguments: WarmArgs) -> CommandResult {
    let mut stop = stop::on_signal();
    let stopped = async move {
        let _stopped = stop.wait_for(|stop| *stop).await;
    };
    let warmed = runtime()?.block_on(reference_app::warm(arguments, stopped));
    let warmed = warmed.map_err(|error| Failure::environment(miette::miette!("{error}")))?;
    for plan in warmed.plans.iter().filter(|plan| plan.state != PlanState::Idle) {
        terminal::print(&format!("{}\n", line(plan)));
    }
    let unfinished = warmed.plans.iter().any(|plan| !matches!(plan.state, PlanState::Idle | PlanState::Finished));
    match warmed.plans.iter().find(|plan| plan.state == PlanState::Failed) {
        Some(plan) => Err(Failure::environment(miette::miette!("warming {} failed: see the log above", plan.name))),
        None if unfinished => Ok(Exit::Interrupted),
        None => Ok(Exit::Pass),
    }
}

/// `users: 100 of 100 in 1.2 s (98 stored, 2 present)`
fn line(plan: &PlanStatus) -> String {
    let outcomes: Vec<_> = plan.outcomes.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    let outcomes = if outcomes.is_empty() { "nothing to do".to_owned() } else { outcomes.join(", ") };
    format!("{}: {} of {} in {:.1} s ({outcomes})", plan.name, plan.done, plan.listed, plan.seconds)
}
