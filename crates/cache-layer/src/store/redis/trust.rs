//! The trust window of a connection: for how long its server's watermark stands.
//!
//! It belongs to the connection and goes with it: another connection may lead to a server with another past. It is looked at in the
//! background, so a read pays nothing for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

/// The names under which a server keeps the position and the watermark of its own data: one of each for each server that takes
/// writes.
pub(super) fn names(namespace: &str) -> (String, String) {
    (format!("{namespace}!pos"), format!("{namespace}!wm"))
}

/// Whether a name is one of these, of whichever server: in a cluster with a hash tag behind it, or in front of it.
pub(super) fn is_note(name: &str, (position, watermark): &(String, String)) -> bool {
    [position, watermark].into_iter().any(|note| {
        let behind = name.strip_prefix(note.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'));
        behind || (name.starts_with('{') && name.ends_with(note.as_str()))
    })
}

/// What all connections to one deployment have in common.
#[derive(Debug)]
pub(super) struct Trust {
    watermark: RwLock<String>,
    /// Δ in ms: no answer of the server makes a window longer, should its clock have jumped back.
    at_most: AtomicU64,
}

impl Trust {
    pub(super) fn new(namespace: &str) -> Self {
        Self { watermark: RwLock::new(names(namespace).1), at_most: AtomicU64::new(2_000) }
    }

    /// The name of the watermark that counts.
    pub(super) fn watermark(&self) -> String {
        self.watermark.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// In a cluster: it is kept under a name of the server's own, and under another when the server holds other slots. True when
    /// it changed: then no window stands.
    pub(super) fn rename(&self, watermark: String) -> bool {
        let mut held = self.watermark.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *held, watermark.clone()) != watermark
    }

    /// Does something with what was read under a name, if that name still counts. A change of the name waits for it, and closes all
    /// windows after it.
    pub(super) fn while_named(&self, name: &str, what: impl FnOnce()) {
        let held = self.watermark.read().unwrap_or_else(PoisonError::into_inner);
        if *held == name {
            what();
        }
    }

    pub(super) fn set_at_most(&self, delta: Duration) {
        self.at_most.store(u64::try_from(delta.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn at_most(&self) -> Duration {
        Duration::from_millis(self.at_most.load(Ordering::Relaxed))
    }

    /// How long to wait before looking again: a quarter of Δ, or less where the watermark ends sooner; soon where there is none.
    pub(super) fn next_look(&self, window: &Window, now: Instant) -> Duration {
        let left = window.until(now).map_or(Duration::ZERO, |until| until - now);
        let soon = Duration::from_millis(100);
        let wait = if left.is_zero() { soon } else { (self.at_most() / 4).min(left / 3) };
        wait.max(Duration::from_millis(10)).mul_f64(0.75 + rand::random::<f64>() / 2.0)
    }
}

/// Until when one connection is trusted.
#[derive(Debug)]
pub(super) struct Window {
    born: Instant,
    /// Microseconds since `born`; 0: not at all.
    until: AtomicU64,
}

impl Window {
    pub(super) fn new(now: Instant) -> Self {
        Self { born: now, until: AtomicU64::new(0) }
    }

    /// The end of the window, if it is open.
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        let until = self.born + Duration::from_micros(self.until.load(Ordering::Acquire));
        (until > now).then_some(until)
    }

    /// Not trusted any more.
    pub(super) fn close(&self) {
        self.until.store(0, Ordering::Release);
    }

    /// `PTTL` answered `left` to a question sent at `asked`: negative when there is no watermark, or one without an end, which is none of
    /// ours. The server counted from a moment after `asked`, so counting from `asked` errs on the safe side.
    pub(super) fn look(&self, trust: &Trust, asked: Instant, left: i64) {
        let until = match u64::try_from(left) {
            Ok(left) => asked + Duration::from_millis(left).min(trust.at_most()),
            Err(_) => self.born,
        };
        let until = u64::try_from(until.saturating_duration_since(self.born).as_micros()).unwrap_or(0);
        self.until.store(until, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_window_is_open_as_long_as_the_watermark_stands_and_never_longer_than_delta() {
        let (trust, start) = (Trust::new(""), Instant::now());
        trust.set_at_most(1_000 * MS);
        let window = Window::new(start);
        assert_eq!(window.until(start), None, "a new connection is not trusted");
        window.look(&trust, start + 10 * MS, 500);
        assert_eq!(
            window.until(start + 20 * MS),
            Some(start + 510 * MS),
            "counted from the question, not from the answer"
        );
        assert_eq!(window.until(start + 510 * MS), None);
        window.look(&trust, start, 60_000);
        assert_eq!(window.until(start), Some(start + 1_000 * MS), "a clock that jumped makes no long window");
        for none in [-2, -1] {
            window.look(&trust, start, 500);
            window.look(&trust, start, none);
            assert_eq!(window.until(start), None, "{none}");
        }
    }

    #[test]
    fn the_notes_of_every_server_are_known_for_what_they_are() {
        use crate::store::redis::servers::own_name_in;
        for namespace in ["", "app:", "{app}:", "a{"] {
            let notes = names(namespace);
            for note in [&notes.0, &notes.1] {
                let in_a_cluster = own_name_in(&[(0, 5_000)], note).expect("a name");
                assert!(is_note(note, &notes) && is_note(&in_a_cluster, &notes), "{in_a_cluster}");
            }
            for other in ["!news", "!position", "!tag:pos", "posts:!pos", "posts:1"] {
                assert!(!is_note(&format!("{namespace}{other}"), &notes), "{other} of {namespace}");
            }
        }
    }

    #[test]
    fn it_is_looked_at_several_times_before_it_ends() {
        let (trust, start) = (Trust::new(""), Instant::now());
        let window = Window::new(start);
        for left in [30, 300, 2_000] {
            window.look(&trust, start, left);
            let left = Duration::from_millis(u64::try_from(left).expect("positive"));
            assert!((0..100).all(|_| trust.next_look(&window, start) < left / 2), "{left:?}");
        }
    }
}
