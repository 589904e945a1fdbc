//! What is said of each read: a span and a line, at level DEBUG, by class; names of keys may be about people and stay out.

use super::{Lookup, Status};
use crate::key::Key;
use tracing::field::Empty;
use tracing::{Instrument, Level, debug, debug_span, enabled};

/// Says of a read that had nothing to wait for how it ended, as [`observed`] does.
pub(super) fn told(key: &Key, status: Status) {
    if enabled!(Level::DEBUG) {
        let (class, status) = (key.class(), status.name());
        drop(debug_span!("cache.get_or_load", class = class.name, status).entered());
        debug!(class = class.name, status, "cache read");
    }
}

/// Runs a read in its span, and says how it ended. Costs next to nothing while nobody listens.
pub(super) async fn observed<E>(key: &Key, read: impl Future<Output = Result<Lookup, E>>) -> Result<Lookup, E> {
    let class = key.class();
    let span = debug_span!("cache.get_or_load", class = class.name, status = Empty);
    let result = read.instrument(span.clone()).await;
    let status = result.as_ref().map_or("error", |lookup| lookup.status.name());
    span.record("status", status);
    debug!(class = class.name, status, "cache read");
    result
}

impl Status {
    /// `hit`, `stale`, `miss`, `fallback` or `bypass`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit { .. } => "hit",
            Self::Stale { .. } => "stale",
            Self::Miss { .. } => "miss",
            Self::Fallback => "fallback",
            Self::Bypass => "bypass",
        }
    }
}
