//! Looking into the store, and what was found there.

use super::observe::told;
use super::{Inner, Lookup, Reading, StaleReason, Status, Ttl, millis};
use crate::key::{Key, KeyClass, ServeStale};
use crate::patterns::refresh_ahead::{Life, due};
use crate::store::{CacheError, Cached};
use crate::value::{Body, Envelope, Garbled, HEADER, is_plain};
use bytes::{Buf, Bytes};
use std::time::Duration;
use tokio::time::Instant;

/// Whether a value is what its reader takes; what is not is treated as garbage.
pub(crate) type Accept<'a> = &'a mut (dyn FnMut(&Bytes) -> bool + Send);

/// What is there for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A value (or that there is none), fresh for `ttl` more.
    Fresh {
        value: Option<Bytes>,
        ttl: Duration,
        refresh: bool,
    },
    /// A value past its TTL.
    Stale(Stale),
    Nothing,
}

/// What was at hand, if something was; and when that was looked at, in the order of the flights.
pub(super) type First = Option<(Found, u64)>;

const NOT_OF_THE_TYPE: &str = "not of the type wanted";

/// A value past its TTL that was not invalidated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stale {
    pub(crate) value: Bytes,
    pub(crate) age: Duration,
    pub(crate) expired: Duration,
}

/// A value ready to be stored.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    pub(crate) bytes: Bytes,
    /// How long the store keeps it.
    pub(crate) kept_for: Duration,
}

impl Inner {
    /// Serves what is at hand, without the machinery of a read that may wait; or else says what was there instead. A value that is
    /// to be loaded anew before its end is served or not.
    ///
    /// In the metrics, this is no operation of the store's: nothing is sent or waited for, and two looks at the clock to time it would
    /// cost a quarter of it. What is served is counted as ever.
    #[inline(always)] // into the caller's code: each function that a value is passed through copies it once more
    pub(super) fn begin(
        &self,
        key: &Key,
        mut accept: impl FnMut(&Bytes) -> bool + Send,
        also_due: bool,
    ) -> Result<Lookup, First> {
        let since = self.flights.ticked();
        let Some(mut cached) = self.store.at_hand(key) else { return Err(None) };
        // The usual case by itself: each type that a value passes through is one more copy of it.
        if key.ends_with_its_ttl() && !key.class().sealed && is_plain(&cached.value) {
            cached.value.advance(HEADER);
            if accept(&cached.value) {
                let status = Status::Hit { ttl: cached.ttl };
                self.metrics.hit(key.class().name);
                told(key, status);
                return Ok(Lookup { value: Some(cached.value), status });
            }
            self.garbled(key.class(), &NOT_OF_THE_TYPE);
            return Err(Some((Found::Nothing, since)));
        }
        match self.open(key, cached, &mut accept) {
            Found::Fresh { value, ttl, refresh } if also_due || !refresh => {
                let lookup = self.hit(key, value, ttl);
                told(key, lookup.status);
                Ok(lookup)
            }
            found => Err(Some((found, since))),
        }
    }

    /// Looks, within the budget; a stale value is noted in `reading`.
    pub(super) async fn look(&self, key: &Key, reading: &mut Reading, accept: Accept<'_>) -> Result<Found, CacheError> {
        let (at, since) = (Instant::now(), self.flights.tick());
        let (result, took) = reading.budget.wait_since(at, self.store.answers_within(), self.store.get(key)).await;
        let outcome = match &result {
            Ok(Some(_)) => "hit",
            Ok(None) => "miss",
            Err(error) => self.failed("get", error),
        };
        self.metrics.operation(key.class().name, "get", outcome, took);
        let found = result?.map_or(Found::Nothing, |cached| self.open(key, cached, accept));
        reading.looked(&found, at.into_std(), since);
        Ok(found)
    }

    /// What a stored value is at this moment.
    pub(crate) fn open(&self, key: &Key, cached: Cached, accept: Accept<'_>) -> Found {
        let envelope = match self.unpack(key, cached.value) {
            Ok(envelope) => envelope,
            Err(garbled) => {
                self.garbled(key.class(), &garbled);
                return Found::Nothing;
            }
        };
        let life = Life::of(&envelope);
        let value = match envelope.body {
            Body::Present(value) if accept(&value) => Some(value),
            Body::Present(_) => {
                self.garbled(key.class(), &NOT_OF_THE_TYPE);
                return Found::Nothing;
            }
            Body::Absent => None,
        };
        // The store ends values by its own clock. This one is needed only to tell more than that.
        if key.ends_with_its_ttl() {
            return Found::Fresh { value, ttl: cached.ttl, refresh: false };
        }
        let (class, now) = (key.class(), self.now_ms());
        let fresh_for = Duration::from_millis(life.fresh_until_ms.saturating_sub(now));
        let refresh = due(class.refresh, life, now, rand::random);
        match value {
            value if class.stale_for.is_zero() => Found::Fresh { value, ttl: cached.ttl, refresh },
            value if !fresh_for.is_zero() => Found::Fresh { value, ttl: fresh_for, refresh },
            // This may be another class than the one it was stored by.
            Some(_) if life.fresh_until_ms.saturating_add(millis(class.stale_for)) <= now => Found::Nothing,
            Some(value) => {
                let since = |then: u64| Duration::from_millis(now.saturating_sub(then));
                Found::Stale(Stale { value, age: since(life.made_ms), expired: since(life.fresh_until_ms) })
            }
            None => Found::Nothing,
        }
    }

    /// A stored value that is not fresh whatever its TTL says: it is not known whether it was invalidated.
    pub(crate) fn open_doubtful(&self, key: &Key, cached: Cached, accept: Accept<'_>) -> Option<Stale> {
        let (class, now) = (key.class(), self.now_ms());
        let envelope = self.unpack(key, cached.value).ok()?;
        let age = envelope.age(now);
        let expired = now.saturating_sub(envelope.fresh_until_ms);
        let Body::Present(value) = envelope.body else { return None };
        // Without a time past the TTL, the store alone says when it ends.
        let ended = !class.stale_for.is_zero() && expired >= millis(class.stale_for);
        (!ended && accept(&value)).then(|| Stale { value, age, expired: Duration::from_millis(expired) })
    }

    /// The envelope that was stored, decrypted where the class says so.
    fn unpack(&self, key: &Key, stored: Bytes) -> Result<Envelope, Garbled> {
        if key.class().sealed {
            Envelope::decode(self.settings.value_keys.open(key, &stored)?)
        } else {
            Envelope::decode(stored)
        }
    }

    /// The bytes that are stored; `None`: they cannot be encrypted, so they are not kept.
    fn stored_form(&self, key: &Key, envelope: &Envelope) -> Option<Bytes> {
        let bytes = envelope.encode(&self.settings.codec);
        if !key.class().sealed {
            return Some(bytes);
        }
        let sealed = self.settings.value_keys.seal(key, &bytes);
        if sealed.is_none() && self.unsealed.now() {
            let class = key.class().name;
            tracing::warn!(class, "values of this class are not cached: there is no key to encrypt them with");
        }
        sealed
    }

    /// A loaded value as it is stored. `None`: that there is nothing is not kept in this class, or there is no key to encrypt it with.
    pub(crate) fn pack(&self, key: &Key, ttl: Ttl, value: Option<Bytes>, load_took: Duration) -> Option<Packed> {
        let class = key.class();
        let (body, ttl, longer) = match value {
            Some(value) => {
                let ttl = match ttl {
                    Ttl::Class => class.ttl,
                    Ttl::Fixed(ttl) => ttl,
                };
                let longer = if class.serve_stale == ServeStale::Never { Duration::ZERO } else { class.stale_for };
                (Body::Present(value), ttl, longer)
            }
            None if class.absent_for.is_zero() => return None,
            None => (Body::Absent, class.absent_for, Duration::ZERO),
        };
        let ttl = jittered(ttl, class.jitter_percent, rand::random);
        let made_ms = self.now_ms();
        let envelope = Envelope {
            made_ms,
            load_ms: u32::try_from(load_took.as_millis()).unwrap_or(u32::MAX),
            fresh_until_ms: made_ms.saturating_add(millis(ttl)),
            body,
        };
        Some(Packed { bytes: self.stored_form(key, &envelope)?, kept_for: ttl.saturating_add(longer) })
    }

    /// An absence that ends at once: stored over a stale value whose thing is gone, so that it cannot come back.
    pub(crate) fn nothing(&self, key: &Key) -> Packed {
        let now = self.now_ms();
        let envelope = Envelope { made_ms: now, load_ms: 0, fresh_until_ms: now, body: Body::Absent };
        // Without a key for it, it is garbage, which is as good here.
        let bytes = self.stored_form(key, &envelope).unwrap_or_default();
        Packed { bytes, kept_for: Duration::from_millis(1) }
    }

    pub(crate) fn stale(&self, class: KeyClass, stale: Stale, why: StaleReason) -> Lookup {
        self.metrics.stale_served(class, why.name());
        Lookup { value: Some(stale.value), status: Status::Stale { age: stale.age, expired: stale.expired, why } }
    }

    #[cold]
    pub(crate) fn garbled(&self, class: KeyClass, why: &dyn std::fmt::Display) {
        self.metrics.garbled(class);
        if self.garbage.now() {
            tracing::warn!(class = class.name, %why, "a cached value cannot be understood and is loaded anew");
        }
    }

    /// Runs an operation of the store and counts it, by the name of a class or as of [`ALL`](super::ALL).
    pub(crate) async fn timed<T>(
        &self,
        class: &'static str,
        operation: &'static str,
        work: impl Future<Output = Result<T, CacheError>>,
        outcome: impl FnOnce(&T) -> &'static str,
    ) -> Result<T, CacheError> {
        let start = Instant::now();
        let result = work.await;
        let outcome = match &result {
            Ok(value) => outcome(value),
            Err(error) => self.failed(operation, error),
        };
        self.metrics.operation(class, operation, outcome, start.elapsed());
        result
    }

    /// Counts an error; what it is called. Refusals (out of memory, wrong type) are worth a line, but not each.
    pub(crate) fn failed(&self, operation: &'static str, error: &CacheError) -> &'static str {
        self.metrics.error(operation, error);
        if let CacheError::Server(text) = error
            && self.refusals.now()
        {
            tracing::warn!(operation, error = text, "the cache server refused an operation");
        }
        error.kind()
    }
}

/// `ttl` shortened by up to so many percent; `chance` from 0 to 1.
fn jittered(ttl: Duration, percent: u8, chance: impl FnOnce() -> f64) -> Duration {
    if percent == 0 {
        return ttl;
    }
    let share = f64::from(percent.min(100)) / 100.0 * chance();
    ttl.mul_f64(1.0 - share).max(Duration::from_millis(1).min(ttl))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_shortens_and_never_lengthens() {
        let ttl = Duration::from_secs(100);
        assert_eq!(jittered(ttl, 0, || 0.7), ttl);
        assert_eq!(jittered(ttl, 10, || 0.0), ttl);
        assert_eq!(jittered(ttl, 10, || 0.5), Duration::from_secs(95));
        assert!(jittered(ttl, 255, || 1.0) > Duration::ZERO, "never no life at all");
        assert_eq!(jittered(Duration::ZERO, 10, || 0.5), Duration::ZERO, "but for what has none");
    }
}
