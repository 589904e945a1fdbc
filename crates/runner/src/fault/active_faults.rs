//! The active faults of each victim, so that overlapping faults on one victim are undone correctly: it runs again when the
//! last fault that stopped it is undone, and is then paused again if a pause is still active.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::FaultError;
use super::process::FaultTarget;
use cacheproof_stack::ProcessFaultKind;

/// The active faults by the victim's name, in the order of their injection.
#[derive(Clone, Debug, Default)]
pub(super) struct ActiveFaults(Arc<Mutex<HashMap<String, Vec<ProcessFaultKind>>>>);

/// The state that a victim should have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct DesiredState {
    /// Down, by the first fault that stopped it.
    down: Option<ProcessFaultKind>,
    paused: bool,
}

impl DesiredState {
    fn from_faults(faults: &[ProcessFaultKind]) -> Self {
        Self {
            down: faults.iter().copied().find(|fault| *fault != ProcessFaultKind::Pause),
            paused: faults.contains(&ProcessFaultKind::Pause),
        }
    }
}

impl ActiveFaults {
    /// Whether a fault is active on the victim.
    pub(super) fn is_faulted(&self, name: &str) -> bool {
        self.with_faults(name, |faults| !faults.is_empty())
    }

    fn with_faults<T>(&self, name: &str, work: impl FnOnce(&mut Vec<ProcessFaultKind>) -> T) -> T {
        work(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default())
    }

    /// Injects a fault and records it as active.
    pub(super) async fn apply(&self, target: &FaultTarget<'_>, action: ProcessFaultKind) -> Result<String, FaultError> {
        self.with_faults(&target.name(), |faults| faults.push(action));
        target.inject_fault(action).await
    }

    /// Removes a fault and brings the victim into the state that its other faults require. `leave_dead`: it is not started
    /// again in any case.
    pub(super) async fn release(
        &self,
        target: &FaultTarget<'_>,
        action: ProcessFaultKind,
        leave_dead: bool,
    ) -> Result<String, FaultError> {
        let desired = self.with_faults(&target.name(), |faults| {
            if let Some(at) = faults.iter().rposition(|fault| *fault == action) {
                faults.remove(at);
            }
            DesiredState::from_faults(faults)
        });
        if let Some(down) = desired.down {
            return Ok(format!("{} stays down: another fault ({}) is active", target.name(), down.as_str()));
        }
        if action == ProcessFaultKind::Pause {
            if desired.paused {
                return Ok(format!("{} stays paused: another fault is active", target.name()));
            }
            return target.undo_fault(ProcessFaultKind::Pause).await;
        }
        if leave_dead {
            return Ok(format!("{} stays down: the run ends", target.name()));
        }
        let mut done = target.undo_fault(action).await?;
        // Checked again: the start takes a while.
        if self.with_faults(&target.name(), |faults| DesiredState::from_faults(faults)).paused {
            done = format!("{done}; {} for another fault", target.inject_fault(ProcessFaultKind::Pause).await?);
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_desired_state_follows_from_all_active_faults() {
        let desired = |faults: &[ProcessFaultKind]| DesiredState::from_faults(faults);
        assert_eq!(desired(&[]), DesiredState::default());
        assert_eq!(
            desired(&[ProcessFaultKind::Pause, ProcessFaultKind::Kill]),
            DesiredState { down: Some(ProcessFaultKind::Kill), paused: true }
        );
        assert_eq!(desired(&[ProcessFaultKind::Stop, ProcessFaultKind::Kill]).down, Some(ProcessFaultKind::Stop));
    }
}
