//! Turns events into journal lines: gives each its time, writes it, and passes it to the listener.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::{Event, JournalEntry, JournalError, JournalWriter};

/// Called with every line after it was written; dropped when the sink is closed.
pub type EntryListener = Box<dyn Fn(JournalEntry) + Send>;

/// Takes the events of a run.
#[derive(Debug)]
pub struct EventSink {
    begun: Instant,
    state: Mutex<SinkState>,
}

struct SinkState {
    journal: JournalWriter,
    listener: Option<EntryListener>,
    failed: Option<JournalError>,
}

impl std::fmt::Debug for SinkState {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SinkState").field("journal", &self.journal).finish_non_exhaustive()
    }
}

impl EventSink {
    /// Times count from now. `listener` is called with every line after it was written.
    pub fn new(journal: JournalWriter, listener: Option<EntryListener>) -> Self {
        Self { begun: Instant::now(), state: Mutex::new(SinkState { journal, listener, failed: None }) }
    }

    /// Takes one event. An error in writing the journal is kept for [`Self::failure`]: the run decides what to do
    /// about it, not the caller.
    pub fn emit(&self, event: Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that the lines are in the order of their times.
        let at = (self.begun.elapsed().as_secs_f64() * 1e6).round() / 1e6;
        let line = JournalEntry { at, event };
        if state.failed.is_none()
            && let Err(error) = state.journal.append(&line)
        {
            state.failed = Some(error);
        }
        if let Some(listener) = &state.listener {
            listener(line);
        }
    }

    /// A sentence for the report's validity box.
    pub fn note(&self, text: impl Into<String>) {
        self.emit(Event::Note { text: text.into() });
    }

    /// The first error in writing the journal.
    pub fn failure(&self) -> Option<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).failed.as_ref().map(ToString::to_string)
    }

    /// Ends the listener's stream. No event may follow.
    pub fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).listener = None;
    }
}
