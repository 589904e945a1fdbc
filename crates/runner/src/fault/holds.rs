//! Who is held broken by which faults, so that faults that overlap on one victim are undone in the right order:
//! a victim runs again when the last fault that ended it is undone, and then is paused again if it still should be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::FaultError;
use super::process::Patient;
use cacheproof_stack::Break;

/// The faults on every victim, by its name, in the order of their injection.
#[derive(Clone, Debug, Default)]
pub(super) struct Holds(Arc<Mutex<HashMap<String, Vec<Break>>>>);

/// What a victim should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Should {
    /// Down, by the fault that ended it first.
    down: Option<Break>,
    paused: bool,
}

impl Should {
    fn be(held: &[Break]) -> Self {
        Self { down: held.iter().copied().find(|one| *one != Break::Pause), paused: held.contains(&Break::Pause) }
    }
}

impl Holds {
    /// Whether a fault holds the victim broken.
    pub(super) fn is_held(&self, name: &str) -> bool {
        self.with(name, |held| !held.is_empty())
    }

    fn with<T>(&self, name: &str, work: impl FnOnce(&mut Vec<Break>) -> T) -> T {
        work(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default())
    }

    /// Breaks a victim, for as long as the fault holds.
    pub(super) async fn take(&self, patient: &Patient<'_>, action: Break) -> Result<String, FaultError> {
        self.with(&patient.name(), |held| held.push(action));
        patient.break_it(action).await
    }

    /// Gives a victim up, and makes of it what the other faults on it have it be. `leave_dead`: whatever they say,
    /// it is not started again.
    pub(super) async fn give(
        &self,
        patient: &Patient<'_>,
        action: Break,
        leave_dead: bool,
    ) -> Result<String, FaultError> {
        let should = self.with(&patient.name(), |held| {
            if let Some(at) = held.iter().rposition(|one| *one == action) {
                held.remove(at);
            }
            Should::be(held)
        });
        if let Some(down) = should.down {
            return Ok(format!("{} stays down: another fault ({}) holds it", patient.name(), down.as_str()));
        }
        if action == Break::Pause {
            if should.paused {
                return Ok(format!("{} stays paused: another fault holds it", patient.name()));
            }
            return patient.mend(Break::Pause).await;
        }
        if leave_dead {
            return Ok(format!("{} stays down: the run ends", patient.name()));
        }
        let mut done = patient.mend(action).await?;
        // Asked again: it takes a while until it is up.
        if self.with(&patient.name(), |held| Should::be(held)).paused {
            done = format!("{done}; {}, as another fault has it", patient.break_it(Break::Pause).await?);
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_victim_is_what_all_its_faults_together_make_of_it() {
        let should = |held: &[Break]| Should::be(held);
        assert_eq!(should(&[]), Should::default());
        assert_eq!(should(&[Break::Pause, Break::Kill]), Should { down: Some(Break::Kill), paused: true });
        assert_eq!(should(&[Break::Stop, Break::Kill]).down, Some(Break::Stop));
    }
}
