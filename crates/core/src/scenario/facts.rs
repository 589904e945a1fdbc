//! What metrics have to know of a scenario.

use super::Scenario;
use crate::journal::WrongKind;
use crate::metrics::{PhaseFacts, RequestFacts, ScenarioFacts};

impl Scenario {
    /// What metrics have to know of it.
    pub fn metric_facts(&self) -> ScenarioFacts {
        let phase = |(index, phase): (usize, &super::Phase)| PhaseFacts {
            name: phase.name.clone(),
            path: phase.path,
            is_compared: self.compares_after(index),
        };
        let request = |request: &super::Request| RequestFacts {
            is_cacheable: request.cacheable,
            can_be_wrong: WrongKind::ALL.into_iter().filter(|kind| self.can_be_wrong(request, Some(*kind))).collect(),
        };
        ScenarioFacts {
            phases: self.phases.iter().enumerate().map(phase).collect(),
            requests: self.traffic.requests.iter().map(request).collect(),
            has_versions: self.has_versions(),
        }
    }
}
