//! Who is held broken by which faults, so that faults that overlap on one victim are undone in the right order:
//! a victim runs again when the last fault that ended it is undone, and then is paused again if it still should be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::FaultError;
use super::process::FaultTarget;
use cacheproof_stack::ProcessFaultKind;

/// The faults on every victim, by its name, in the order of their injection.
#[derive(Clone, Debug, Default)]
pub(super) struct ActiveFaults(Arc<Mutex<HashMap<String, Vec<ProcessFaultKind>>>>);

/// What a victim should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct DesiredState {
    /// Down, by the fault that ended it first.
    down: Option<ProcessFaultKind>,
    paused: bool,
}

impl DesiredState {
    fn from_faults(faults: &[ProcessFaultKind]) -> Self {
        Self {
            down: faults.iter().copied().find(|one| *one != ProcessFaultKind::Pause),
            paused: faults.contains(&ProcessFaultKind::Pause),
        }
    }
}

impl ActiveFaults {
    /// Whether a fault holds the victim broken.
    pub(super) fn is_faulted(&self, name: &str) -> bool {
        self.with_faults(name, |faults| !faults.is_empty())
    }

    fn with_faults<T>(&self, name: &str, work: impl FnOnce(&mut Vec<ProcessFaultKind>) -> T) -> T {
        work(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default())
    }

    /// Breaks a victim, for as long as the fault holds.
    pub(super) async fn apply(&self, target: &FaultTarget<'_>, action: ProcessFaultKind) -> Result<String, FaultError> {
        self.with_faults(&target.name(), |faults| faults.push(action));
        target.inject_fault(action).await
    }

    /// Gives a victim up, and makes of it what the other faults on it have it be. `leave_dead`: whatever they say,
    /// it is not started again.
    pub(super) async fn release(
        &self,
        target: &FaultTarget<'_>,
        action: ProcessFaultKind,
        leave_dead: bool,
    ) -> Result<String, FaultError> {
        let desired = self.with_faults(&target.name(), |faults| {
            if let Some(at) = faults.iter().rposition(|one| *one == action) {
                faults.remove(at);
            }
            DesiredState::from_faults(faults)
        });
        if let Some(down) = desired.down {
            return Ok(format!("{} stays down: another fault ({}) holds it", target.name(), down.as_str()));
        }
        if action == ProcessFaultKind::Pause {
            if desired.paused {
                return Ok(format!("{} stays paused: another fault holds it", target.name()));
            }
            return target.undo_fault(ProcessFaultKind::Pause).await;
        }
        if leave_dead {
            return Ok(format!("{} stays down: the run ends", target.name()));
        }
        let mut done = target.undo_fault(action).await?;
        // Asked again: it takes a while until it is up.
        if self.with_faults(&target.name(), |faults| DesiredState::from_faults(faults)).paused {
            done = format!("{done}; {}, as another fault has it", target.inject_fault(ProcessFaultKind::Pause).await?);
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_victim_is_what_all_its_faults_together_make_of_it() {
        let desired = |faults: &[ProcessFaultKind]| DesiredState::from_faults(faults);
        assert_eq!(desired(&[]), DesiredState::default());
        assert_eq!(
            desired(&[ProcessFaultKind::Pause, ProcessFaultKind::Kill]),
            DesiredState { down: Some(ProcessFaultKind::Kill), paused: true }
        );
        assert_eq!(desired(&[ProcessFaultKind::Stop, ProcessFaultKind::Kill]).down, Some(ProcessFaultKind::Stop));
    }
}
