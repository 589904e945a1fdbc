//! Turns events into journal lines: gives each its time, writes it, and passes it to the listener.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::{Event, JournalEntry, JournalError, JournalWriter};

/// Called with every line after it was written; dropped when the sink is closed.
pub type Listener = Box<dyn Fn(JournalEntry) + Send>;

/// Takes the events of a run.
#[derive(Debug)]
pub struct EventSink {
    begun: Instant,
    inner: Mutex<Inner>,
}

struct Inner {
    journal: JournalWriter,
    listener: Option<Listener>,
    failed: Option<JournalError>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Inner").field("journal", &self.journal).finish_non_exhaustive()
    }
}

impl EventSink {
    /// Times count from now. `listener` is called with every line after it was written.
    pub fn new(journal: JournalWriter, listener: Option<Listener>) -> Self {
        Self { begun: Instant::now(), inner: Mutex::new(Inner { journal, listener, failed: None }) }
    }

    /// Takes one event. An error in writing the journal is kept for [`Self::failure`]: the run decides what to do
    /// about it, not the caller.
    pub fn emit(&self, event: Event) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that the lines are in the order of their times.
        let at = (self.begun.elapsed().as_secs_f64() * 1e6).round() / 1e6;
        let line = JournalEntry { at, event };
        if inner.failed.is_none()
            && let Err(error) = inner.journal.append(&line)
        {
            inner.failed = Some(error);
        }
        if let Some(listener) = &inner.listener {
            listener(line);
        }
    }

    /// A sentence for the report's validity box.
    pub fn note(&self, text: impl Into<String>) {
        self.emit(Event::Note { text: text.into() });
    }

    /// The first error in writing the journal.
    pub fn failure(&self) -> Option<String> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).failed.as_ref().map(ToString::to_string)
    }

    /// Ends the listener's stream. No event may follow.
    pub fn close(&self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).listener = None;
    }
}
