//! Fault windows: from the injection of each fault to its undo.

use std::collections::BTreeMap;

use super::Measurements;
use crate::journal::{FaultEvent, FaultStage};

/// The time in which a fault was in effect.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultWindow {
    /// Phase it belongs to.
    pub phase: usize,
    /// Which of the phase's faults.
    pub fault: usize,
    /// How often it was injected before.
    pub round: u32,
    /// `kill redis`.
    pub what: String,
    /// What was done, in words.
    pub done: String,
    /// How many open connections it touched, where it is done to connections.
    pub connections: Option<u64>,
    /// How many open connections it still touched when it was undone.
    pub connections_at_end: Option<u64>,
    /// Bytes that the app had sent to the victim since the load began, where that is known.
    pub app_bytes: Option<u64>,
    /// What a probe saw of its effect, in words.
    pub observation: Option<String>,
    /// When its injection began, seconds.
    pub from: f64,
    /// When it was injected; `None`: the injection did not finish.
    pub injected: Option<f64>,
    /// When a probe saw its effect.
    pub seen: Option<f64>,
    /// When it was undone.
    pub undone: Option<f64>,
    /// When a probe saw the victim work again.
    pub back: Option<f64>,
}

impl FaultWindow {
    fn begun(event: &FaultEvent, at: f64) -> Self {
        Self {
            phase: event.phase,
            fault: event.fault,
            round: event.round,
            what: event.what.clone(),
            done: "its injection was broken off".to_owned(),
            connections: None,
            connections_at_end: None,
            app_bytes: event.app_bytes,
            observation: None,
            from: at,
            injected: None,
            seen: None,
            undone: None,
            back: None,
        }
    }
}

impl Measurements {
    /// The time of every injection of every fault, in order.
    pub fn fault_windows(&self) -> Vec<FaultWindow> {
        let mut windows: Vec<FaultWindow> = Vec::new();
        let mut latest: BTreeMap<(usize, usize, u32), usize> = BTreeMap::new();
        for (at, event) in &self.faults {
            let known = latest.get(&(event.phase, event.fault, event.round)).copied();
            let index = match (event.stage, known) {
                (FaultStage::Injected, Some(known)) => known,
                // Older journals have no `begun` stage.
                (FaultStage::Begun | FaultStage::Injected, _) => {
                    latest.insert((event.phase, event.fault, event.round), windows.len());
                    windows.push(FaultWindow::begun(event, *at));
                    windows.len() - 1
                }
                (_, Some(known)) => known,
                (_, None) => continue,
            };
            let window = &mut windows[index];
            match event.stage {
                FaultStage::Begun => {}
                FaultStage::Injected => {
                    window.injected = Some(*at);
                    window.done = event.detail.clone();
                    window.connections = event.connections;
                }
                FaultStage::Seen => {
                    window.seen = Some(*at);
                    window.observation = Some(event.detail.clone());
                }
                FaultStage::Undone => {
                    window.undone = Some(*at);
                    window.connections_at_end = event.connections;
                }
                FaultStage::SeenUndone => window.back = Some(*at),
            }
        }
        windows
    }
}
