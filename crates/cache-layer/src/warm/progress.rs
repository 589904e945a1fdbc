use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Instant;

/// How far warming got.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WarmStatus {
    /// Whether it is under way.
    pub running: bool,
    /// Every plan there is.
    pub plans: Vec<PlanStatus>,
}

/// How far one plan got, last time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanStatus {
    /// Its name.
    pub name: &'static str,
    /// Where it stands.
    pub state: PlanState,
    /// Things to warm.
    pub listed: usize,
    /// Of these, gone through.
    pub done: usize,
    /// What became of them: `stored`, `present`, `elsewhere`, `not-stored`, `absent`, `no-cache`, `failed`.
    pub outcomes: BTreeMap<&'static str, usize>,
    /// How long it took, or has taken so far.
    pub seconds: f64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<&'static str>,
}

/// Where a plan stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PlanState {
    /// It was never asked for.
    #[default]
    Idle,
    /// Its turn has not come.
    Waiting,
    /// Under way.
    Running,
    /// All was gone through.
    Finished,
    /// It was cancelled.
    Cancelled,
    /// It was given up.
    Failed,
}

#[derive(Debug, Default)]
pub(super) struct Progress {
    state: PlanState,
    pub(super) listed: usize,
    outcomes: BTreeMap<&'static str, usize>,
    began: Option<Instant>,
    seconds: f64,
    problem: Option<&'static str>,
}

#[derive(Debug)]
pub(super) enum Ended {
    Finished,
    Cancelled,
    Failed(&'static str),
}

impl Progress {
    pub(super) fn waiting() -> Self {
        Self { state: PlanState::Waiting, ..Self::default() }
    }

    pub(super) fn begin(&mut self) {
        *self = Self { state: PlanState::Running, began: Some(Instant::now()), ..Self::default() };
    }

    pub(super) fn count(&mut self, outcome: &'static str) {
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    /// Does nothing to what has ended.
    pub(super) fn end(&mut self, how: Ended) {
        if !matches!(self.state, PlanState::Waiting | PlanState::Running) {
            return;
        }
        self.seconds = self.began.take().map_or(0.0, |began| began.elapsed().as_secs_f64());
        (self.state, self.problem) = match how {
            Ended::Finished => (PlanState::Finished, None),
            Ended::Cancelled => (PlanState::Cancelled, None),
            Ended::Failed(problem) => (PlanState::Failed, Some(problem)),
        };
    }

    pub(super) fn status(&self, name: &'static str) -> PlanStatus {
        PlanStatus {
            name,
            state: self.state,
            listed: self.listed,
            done: self.outcomes.values().sum(),
            outcomes: self.outcomes.clone(),
            seconds: self.began.map_or(self.seconds, |began| began.elapsed().as_secs_f64()),
            problem: self.problem,
        }
    }
}
