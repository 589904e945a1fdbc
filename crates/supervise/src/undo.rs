//! Undoing by number and name alone: what the guard and `cacheproof recover` can do when the run that broke
//! something is dead.

use nix::sys::signal::Signal;

use super::SuperviseError;
use super::docker::{self, error_text, with_request_timeout};
use super::process::Process;

/// Lets a process run on that was paused (SIGCONT), with all below it. It is known by its number and its start time
/// as [`super::Server::process`] gives them, so that another process with the same number is safe. True when it lived.
pub fn undo_process(pid: u32, started: &str) -> bool {
    let first = Process { pid, started: started.to_owned() };
    let mut all = vec![first.clone()];
    let mut next = 0;
    while next < all.len() {
        let children = all[next].children();
        all.extend(children.into_iter().filter(|child| !all.contains(child)).collect::<Vec<_>>());
        next += 1;
    }
    // The children first: a parent that runs on may expect their answer.
    for process in all.iter().rev() {
        process.signal(Signal::SIGCONT);
    }
    first.is_alive()
}

/// Has a container run again, whatever was done to it: unpauses it, starts it. Says what was done. For a process
/// that has no runtime of its own; blocks, each question to Docker at most 5 s.
///
/// # Errors
/// [`SuperviseError::NoDocker`], [`SuperviseError::Docker`]; [`SuperviseError::Guard`] where no runtime can be had.
pub fn undo_container(id: &str) -> Result<String, SuperviseError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| SuperviseError::Guard(error.to_string()))?;
    runtime.block_on(resume_container(id))
}

async fn resume_container(id: &str) -> Result<String, SuperviseError> {
    let docker = docker::connect().await?;
    let short = &id[..12.min(id.len())];
    let refused = |verb: &str| {
        let what = format!("{verb} container {short}");
        move |error| SuperviseError::Docker { what, why: error_text(&error) }
    };
    let inspected = with_request_timeout(docker.inspect_container(id, None)).await.map_err(refused("look at"))?;
    let state = inspected.state.unwrap_or_default();
    if state.paused == Some(true) {
        with_request_timeout(docker.unpause_container(id)).await.map_err(refused("unpause"))?;
        return Ok(format!("unpaused container {short}"));
    }
    if state.running == Some(true) {
        return Ok(format!("container {short} runs already"));
    }
    with_request_timeout(docker.start_container(id, None)).await.map_err(refused("start"))?;
    Ok(format!("started container {short} again"))
}
