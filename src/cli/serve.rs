//! `cacheproof serve`: runs the reference app.

use reference_app::ServeArgs;

use super::{CommandResult, Exit, Failure, runtime, stop};

/// Serves until SIGINT or SIGTERM.
pub fn run(arguments: ServeArgs) -> CommandResult {
    let mut stop = stop::on_signal();
    runtime()?
        .block_on(reference_app::serve(arguments, async move {
            let _stopped = stop.wait_for(|stop| *stop).await;
        }))
        .map_err(|error| Failure::environment(miette::miette!("{error}")))?;
    Ok(Exit::Pass)
}
