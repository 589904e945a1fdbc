//! The life of a fault, from the phase's start to its last undo.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::FaultError;
use super::act::{Act, Done};
use super::holds::Holds;
use super::prepare::prepare;
use crate::app::{App, Surroundings};
use cacheproof_core::observe::FaultStage;
use cacheproof_core::scenario::{FaultSpec, Scenario};
use cacheproof_stack::Stack;
use cacheproof_supervise::{Addresses, Guard, Ledger, LedgerEntry};

/// How long a probe looks for the end of a fault.
const SIGHT: Duration = Duration::from_secs(10);

/// How long a probe looks for the effect of one that is over at once: Sentinels take their time.
const AT_ONCE: Duration = Duration::from_secs(30);

/// How long a probe's look may last beyond the end of a fault.
const ONE_LOOK: Duration = Duration::from_secs(1);

/// How long between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Everything that can be broken, and who has to know of it.
#[derive(Clone, Copy)]
pub struct Ground<'run> {
    /// Says what may be broken.
    pub scenario: &'run Scenario,
    /// The servers.
    pub stack: &'run Stack,
    /// The app under test, with what it is started again with. `None`: nobody breaks it.
    pub app: Option<(&'run App, &'run Surroundings<'run>)>,
    /// Takes back what is open when cacheproof dies.
    pub guard: &'run Guard,
    /// Where it is written what takes a fault back.
    pub ledger: &'run Ledger,
}

/// Injects and undoes the faults of one run.
pub struct Engine<'run> {
    ground: Ground<'run>,
    holds: Holds,
    addresses: Addresses,
}

/// When a phase began and how long it lasts.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Its start.
    pub from: Instant,
    /// Its length.
    pub lasts: Duration,
}

/// Asked right before every injection: whether anything may be broken at all.
pub type Gate<'run> = &'run (dyn Fn() -> bool + Send + Sync);

/// A fault moved on in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// How often it was injected before.
    pub round: u32,
    /// How far it is.
    pub stage: FaultStage,
    /// What was done or seen, in words.
    pub detail: String,
    /// How many open connections it touched.
    pub connections: Option<u64>,
}

impl<'run> Engine<'run> {
    /// The engine of a run.
    pub fn new(ground: Ground<'run>) -> Self {
        ground.guard.watch_ledger(ground.ledger.path());
        let app = ground.app.map(|(app, _)| app.urls()).unwrap_or_default();
        let addresses = ground.stack.addresses(&app);
        ground.guard.tell_addresses(&addresses);
        Self { ground, holds: Holds::default(), addresses }
    }

    /// Lives one fault of a phase through, every round of it, until the phase has lasted its time or `end` turns
    /// true. `tell` hears of every step. When this returns it is undone, or could not be.
    ///
    /// # Errors
    /// When it could not be injected or undone; what was opened in the ledger and not undone stays open there.
    pub async fn live(
        &self,
        spec: &FaultSpec,
        times: Times,
        mut end: watch::Receiver<bool>,
        gate: Gate<'_>,
        tell: &(dyn Fn(Step) + Send + Sync),
    ) -> Result<(), FaultError> {
        let over = times.from + times.lasts;
        let mut inject_at = times.from + spec.after;
        for round in 0.. {
            tokio::select! {
                () = sleep_until(inject_at) => {}
                _ = end.wait_for(|end| *end) => return Ok(()),
            }
            if *end.borrow() || !gate() {
                return Ok(());
            }
            let tell = |stage, Done { words: detail, connections }| tell(Step { round, stage, detail, connections });
            let undo_at = spec.lasts.map_or(over, |lasts| (inject_at + lasts).min(over));
            self.round(spec, undo_at, &mut end, &tell).await?;
            let Some(every) = spec.every else { return Ok(()) };
            // A round that took longer than it should leaves those out that it ran over.
            while inject_at <= Instant::now() {
                inject_at += every;
            }
            if inject_at >= over {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn round(
        &self,
        spec: &FaultSpec,
        undo_at: Instant,
        end: &mut watch::Receiver<bool>,
        tell: &(dyn Fn(FaultStage, Done) + Send + Sync),
    ) -> Result<(), FaultError> {
        let Ground { guard, ledger, scenario, .. } = self.ground;
        let mut act = prepare(spec, self.ground, &self.holds, &self.addresses).await?;
        let undo = act.undo_record();
        let id = ledger.open(&spec.what(), &undo).map_err(FaultError::Ledger)?;
        guard.watch_fault(id, &undo);
        let close = |how: &str| {
            guard.fault_undone(id);
            // The fault is undone: a line too few only makes `recover` look at it once more.
            if let Err(error) = ledger.write(LedgerEntry::Closed { id, how: how.to_owned() }) {
                tracing::warn!("the undo ledger could not be written: {error}");
            }
        };

        let latest = Instant::now() + scenario.safety.max_fault;
        tell(FaultStage::Begun, Done::default());
        let injected = tokio::select! {
            injected = act.inject() => Some(injected),
            _ = end.wait_for(|end| *end) => None,
        };
        match injected {
            Some(Ok(done)) => {
                let _told_in_the_journal_too = ledger.write(LedgerEntry::Injected { id });
                tell(FaultStage::Injected, done);
            }
            // In both cases half of it may have been done.
            Some(Err(cause)) => {
                if let Err(undo) = act.undo(false).await {
                    return Err(FaultError::HalfDone { cause: Box::new(cause), undo: Box::new(undo) });
                }
                close("it could not be injected");
                return Err(cause);
            }
            None => {
                let done = act.undo(true).await?;
                close(&done.words);
                tell(FaultStage::Undone, done);
                return Ok(());
            }
        }
        let at_once = spec.action.is_over_at_once();
        let undo_at = if at_once { undo_at.min(Instant::now() + AT_ONCE) } else { undo_at.min(latest) };
        let hold = async {
            if let Some(sight) = look(act.as_mut(), undo_at).await {
                tell(FaultStage::Seen, sight.into());
            }
            if !at_once {
                sleep_until(undo_at).await;
            }
        };
        let stopped = tokio::select! {
            () = hold => false,
            _ = end.wait_for(|end| *end) => true,
        };
        let done = act.undo(stopped).await?;
        close(&done.words);
        tell(FaultStage::Undone, done);
        if !stopped {
            let until = Instant::now() + SIGHT;
            loop {
                match timeout_at(until, act.seen_undone()).await {
                    Ok(Some(sight)) => {
                        tell(FaultStage::SeenUndone, sight.into());
                        break;
                    }
                    Ok(None) if Instant::now() < until && !*end.borrow() => sleep(BETWEEN_LOOKS).await,
                    _ => break,
                }
            }
        }
        Ok(())
    }
}

/// Looks until the fault is seen to work, at most until `deadline`. A look under way then, and one in any case, is
/// given its time.
async fn look(act: &mut dyn Act, deadline: Instant) -> Option<String> {
    loop {
        match timeout_at(deadline.max(Instant::now()) + ONE_LOOK, act.seen()).await {
            Ok(Some(sight)) => return Some(sight),
            Ok(None) if Instant::now() < deadline => sleep(BETWEEN_LOOKS).await,
            Ok(None) | Err(_) => return None,
        }
    }
}
