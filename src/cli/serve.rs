//! `cacheproof serve`: the reference app.

use reference_app::ServeArgs;

use super::{CommandResult, Exit, Failure, runtime, stop};

/// Serves until it is told to stop.
pub fn run(arguments: ServeArgs) -> CommandResult {
    let mut stop = stop::on_signal();
    runtime()?
        .block_on(reference_app::serve(arguments, async move {
            let _told = stop.wait_for(|stop| *stop).await;
        }))
        .map_err(|error| Failure::environment(miette::miette!("{error}")))?;
    Ok(Exit::Pass)
}
