//! The end of the load, when the timeline is over or the user stops the run.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{Driver, LoadError, NO_PHASE};

/// How long goose may take to stop after an interruption. It waits for the answers to requests in flight, and a request
/// may have a long timeout.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);

/// How many waiting arrivals are dropped without letting anything else run.
const DRAINED_AT_ONCE: usize = 1000;

impl Driver {
    /// Waits for requests in flight and in the queue, at most for `drain_timeout`, then stops goose. Returns goose's
    /// own count of requests, and how many arrivals were never sent. `count_unsent`: those are recorded as errors of
    /// their phase, with the time that they waited (not when the user stopped the run). When `interrupted` becomes true,
    /// nothing is waited for or recorded any more.
    pub async fn stop(
        mut self,
        drain_timeout: Duration,
        count_unsent: bool,
        interrupted: watch::Receiver<bool>,
    ) -> Result<(u64, u64), LoadError> {
        self.shared.phase.store(NO_PHASE, Ordering::SeqCst);
        // An interruption that came before has its own, short drain timeout.
        let was_interrupted = *interrupted.borrow();
        let is_interrupted = || !was_interrupted && *interrupted.borrow();
        let deadline = Instant::now() + drain_timeout;
        while Instant::now() < deadline
            && !is_interrupted()
            && (self.backlog() > 0 || self.shared.in_flight.load(Ordering::SeqCst) > 0)
            && !self.attack.is_finished()
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.count_unsent.store(count_unsent, Ordering::SeqCst);
        let mut drained = 0_usize;
        while let Ok(arrival) = self.shared.queue.try_recv() {
            if is_interrupted() {
                self.shared.count_unsent.store(false, Ordering::SeqCst);
            }
            self.shared.record_unsent(arrival);
            drained += 1;
            if drained.is_multiple_of(DRAINED_AT_ONCE) {
                // What interrupts the run may have to run on this thread.
                tokio::task::yield_now().await;
            }
        }
        goose::trigger_killswitch("the timeline is over");
        let ended = tokio::select! {
            ended = &mut self.attack => Some(ended),
            () = is_late(interrupted) => None,
        };
        let counted = match ended {
            Some(Ok(Ok(counted))) => counted,
            Some(Ok(Err(error))) => return Err(LoadError::Engine(error.to_string())),
            Some(Err(error)) => return Err(LoadError::Engine(error.to_string())),
            None => {
                self.attack.abort();
                return Err(LoadError::Interrupted);
            }
        };
        goose::reset_killswitch();
        Ok((counted, self.shared.unsent.load(Ordering::SeqCst)))
    }
}

/// Ends when goose has had its time to stop after an interruption.
async fn is_late(mut interrupted: watch::Receiver<bool>) {
    match interrupted.wait_for(|interrupted| *interrupted).await {
        Ok(_) => tokio::time::sleep(STOP_TIMEOUT).await,
        // Nobody is left who could interrupt.
        Err(_) => std::future::pending().await,
    }
}
