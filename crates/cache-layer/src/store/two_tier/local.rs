//! The first tier: values in the memory of this process, each as good as the news from the others.

use crate::key::Key;
use crate::store::eviction::Eviction;
use crate::store::{Cached, Invalidation};
use ahash::RandomState;
use bytes::Bytes;
use moka::sync::Cache as Moka;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Keys and tags are counted in so many places. Two that share one are invalidated together, which costs a look into the second
/// tier; a table that forgets would cost the promise.
const PLACES: usize = 1 << 14;

/// What an entry takes beside its key and value, about.
const OVERHEAD: usize = 160;

/// One rule for all: an entry bears the generations that its key, its tags and everything had *before* it was read, and is there as long
/// as they stand. An invalidation raises generations; whatever was read before it, and is put here after it, was never there.
pub(in crate::store) struct Local {
    entries: Moka<String, Entry, RandomState>,
    places: Box<[Place]>,
    hasher: RandomState,
    /// That of everything.
    all: Place,
    /// Until when the news are complete, in ns since `born`; 0: they are not.
    alive_until: AtomicU64,
    closed: AtomicBool,
    born: Instant,
    ttl: Duration,
}

#[derive(Default)]
struct Place {
    generation: AtomicU64,
    /// From when on the second tier is known to reflect what raised the generation, in ns since `born`.
    settled: AtomicU64,
}

/// Cloned on every hit: what is large is behind a pointer.
#[derive(Clone)]
struct Entry {
    value: Bytes,
    until: Instant,
    seen: Seen,
}

/// The generations at one moment, before a value was read.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    epoch: u64,
    key: (u32, u64),
    /// `None`: it bears none.
    tags: Option<Arc<[(u32, u64)]>>,
}

impl Seen {
    fn tags(&self) -> &[(u32, u64)] {
        self.tags.as_deref().unwrap_or_default()
    }
}

impl Local {
    pub(in crate::store) fn new(max_bytes: u64, ttl: Duration, eviction: Eviction) -> Self {
        let weight = |key: &String, entry: &Entry| {
            let tags = entry.seen.tags().len() * 16;
            u32::try_from(key.len() + entry.value.len() + tags + OVERHEAD).unwrap_or(u32::MAX)
        };
        let entries = Moka::builder()
            .max_capacity(max_bytes)
            .weigher(weight)
            .eviction_policy(eviction.policy())
            .time_to_live(ttl)
            .build_with_hasher(RandomState::new());
        Self {
            entries,
            places: std::iter::repeat_with(Place::default).take(PLACES).collect(),
            hasher: RandomState::new(),
            all: Place::default(),
            alive_until: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            born: Instant::now(),
            ttl,
        }
    }

    /// The value, as far as this process knows.
    pub(in crate::store) fn get(&self, key: &Key) -> Option<Cached> {
        self.serve(self.entries.get(key.name())?, key, Instant::now())
    }

    /// What was taken out, if it is good. Asked after that: an invalidation that was over before is seen.
    fn serve(&self, entry: Entry, key: &Key, now: Instant) -> Option<Cached> {
        let ttl = entry.until.saturating_duration_since(now);
        let good = !ttl.is_zero()
            && self.is_alive(now)
            && self.stands(&entry.seen)
            && entry.seen.tags().len() == key.tags().len();
        good.then_some(Cached { value: entry.value, ttl })
    }

    /// To be taken before the value is loaded from the database. `None`: what is loaded now cannot be kept.
    pub(in crate::store) fn seen(&self, key: &Key, now: Instant) -> Option<Seen> {
        if key.class().shared_only || !self.is_alive(now) {
            return None;
        }
        let tags = || key.tags().iter().map(|tag| self.generation(Kind::Tag, tag.name())).collect();
        let tags = (!key.tags().is_empty()).then(tags);
        let key = self.generation(Kind::Key, key.name());
        Some(Seen { epoch: self.all.generation.load(Ordering::SeqCst), key, tags })
    }

    /// The same for a value that is read from the second tier, which may not reflect yet what was forgotten here.
    pub(in crate::store) fn seen_below(&self, key: &Key, now: Instant) -> Option<Seen> {
        let seen = self.seen(key, now)?;
        let now = self.ns(now);
        let settled = |place: &Place| place.settled.load(Ordering::SeqCst) <= now;
        // Looked at after the generations, and set before them: whoever has the new generation knows when it settles.
        let settled_at = |(place, _): &(u32, u64)| settled(&self.places[*place as usize]);
        (settled(&self.all) && settled_at(&seen.key) && seen.tags().iter().all(settled_at)).then_some(seen)
    }

    /// Keeps a value that was read after `seen` was taken.
    pub(in crate::store) fn put(&self, key: &str, seen: Seen, value: &Bytes, ttl: Duration, now: Instant) {
        if self.stands(&seen) {
            let entry = Entry { value: value.clone(), until: now + ttl.min(self.ttl), seen };
            self.entries.insert(key.to_owned(), entry);
        }
    }

    /// From here on, nothing is there that this makes invalid.
    pub(in crate::store) fn forget(&self, what: &Invalidation) {
        for key in &what.keys {
            self.raise(Kind::Key, key);
            self.entries.invalidate(key);
        }
        what.tags.iter().for_each(|tag| self.raise(Kind::Tag, tag.name()));
        // Which keys match that are being read at this moment, nobody knows.
        if !what.patterns.is_empty() {
            self.forget_everything();
        }
    }

    pub(in crate::store) fn forget_everything(&self) {
        self.all.generation.fetch_add(1, Ordering::SeqCst);
        self.entries.invalidate_all();
    }

    /// Forgets what the second tier may go on to answer with until `settled`: until then, none of it is taken from there.
    pub(in crate::store) fn forget_ahead(&self, what: &Invalidation, settled: Instant) {
        let settled = self.ns(settled);
        let keys = what.keys.iter().map(|key| self.place(Kind::Key, key));
        for place in keys.chain(what.tags.iter().map(|tag| self.place(Kind::Tag, tag.name()))) {
            self.places[place as usize].settled.fetch_max(settled, Ordering::SeqCst);
        }
        if !what.patterns.is_empty() {
            self.all.settled.fetch_max(settled, Ordering::SeqCst);
        }
        self.forget(what);
    }

    /// The news are complete, and will be until then, or until told otherwise.
    pub(in crate::store) fn alive(&self, until: Option<Instant>) {
        let until = until.map_or(u64::MAX, |until| self.ns(until));
        if self.alive_until.load(Ordering::SeqCst) == 0 {
            // What was read before may have missed something.
            self.forget_everything();
        }
        self.alive_until.store(until.max(1), Ordering::SeqCst);
        if self.closed.load(Ordering::SeqCst) {
            self.lost();
        }
    }

    /// Empty and out of use for good.
    pub(in crate::store) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.lost();
    }

    /// The news may be incomplete.
    pub(in crate::store) fn lost(&self) {
        if self.alive_until.swap(0, Ordering::SeqCst) != 0 {
            self.forget_everything();
        }
    }

    pub(in crate::store) fn is_alive(&self, now: Instant) -> bool {
        let until = self.alive_until.load(Ordering::SeqCst);
        until == u64::MAX || self.ns(now) < until
    }

    pub(in crate::store) fn len(&self) -> u64 {
        self.entries.entry_count()
    }

    fn ns(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.born).as_nanos()).unwrap_or(u64::MAX)
    }

    fn stands(&self, seen: &Seen) -> bool {
        let generation = |place: &Place| place.generation.load(Ordering::SeqCst);
        let now = |(place, seen): &(u32, u64)| generation(&self.places[*place as usize]) == *seen;
        generation(&self.all) == seen.epoch && now(&seen.key) && seen.tags().iter().all(now)
    }

    fn generation(&self, kind: Kind, name: &str) -> (u32, u64) {
        let place = self.place(kind, name);
        (place, self.places[place as usize].generation.load(Ordering::SeqCst))
    }

    fn raise(&self, kind: Kind, name: &str) {
        self.places[self.place(kind, name) as usize].generation.fetch_add(1, Ordering::SeqCst);
    }

    fn place(&self, kind: Kind, name: &str) -> u32 {
        let hash = self.hasher.hash_one((kind, name)) % PLACES as u64;
        u32::try_from(hash).unwrap_or_default()
    }
}

#[derive(Clone, Copy, Hash)]
enum Kind {
    Key,
    Tag,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{POSTS, catalog::sessions};

    const LONG: Duration = Duration::from_secs(60);

    fn local() -> Local {
        let local = Local::new(1 << 20, LONG, Eviction::Lru);
        local.alive(None);
        local
    }

    fn put(local: &Local, key: &Key, seen: Option<Seen>) {
        let now = Instant::now();
        local.put(key.name(), seen.expect("it can be kept"), &Bytes::from_static(b"v"), LONG, now);
    }

    fn has(local: &Local, key: &Key) -> bool {
        local.get(key).is_some()
    }

    /// What would be there at another moment.
    fn at(local: &Local, key: &Key, now: Instant) -> Option<Duration> {
        local.serve(local.entries.get(key.name())?, key, now).map(|cached| cached.ttl)
    }

    #[test]
    fn what_was_read_before_an_invalidation_is_not_there_after_it() {
        let (item, list, now) = (POSTS.item(1), POSTS.list("top", 1), Instant::now());
        for (key, what) in [
            (&item, Invalidation::new().key(&item)),
            (&list, Invalidation::new().tag(POSTS.lists())),
            (&item, Invalidation::new().pattern("posts:*")),
            (&list, Invalidation::everything()),
        ] {
            let local = local();
            put(&local, key, local.seen(key, now));
            assert!(has(&local, key));
            let seen = local.seen(key, now);
            local.forget(&what);
            assert!(!has(&local, key), "forgotten");
            put(&local, key, seen);
            assert!(!has(&local, key), "came back");
            put(&local, key, local.seen(key, now));
            assert!(has(&local, key), "read anew");
        }
    }

    #[test]
    fn others_stay() {
        let local = local();
        let now = Instant::now();
        let keys: Vec<_> = (0..100).map(|id| POSTS.item(id)).collect();
        keys.iter().for_each(|key| put(&local, key, local.seen(key, now)));
        local.forget(&Invalidation::new().key(&POSTS.item(100)).tag(POSTS.lists()));
        assert!(keys.iter().filter(|key| has(&local, key)).count() >= 95, "but for a few that share a place");
    }

    #[test]
    fn without_news_nothing_is_there_and_nothing_comes_back() {
        let (local, key, now) = (local(), POSTS.item(1), Instant::now());
        put(&local, &key, local.seen(&key, now));
        let seen = local.seen(&key, now);
        local.lost();
        assert!(!has(&local, &key));
        assert!(local.seen(&key, now).is_none());
        local.alive(None);
        assert!(!has(&local, &key), "something may have been missed");
        put(&local, &key, seen);
        assert!(!has(&local, &key), "also by what was read then");
    }

    #[test]
    fn news_are_good_for_a_time_only() {
        let (local, key, now) = (Local::new(1 << 20, LONG, Eviction::Lru), POSTS.item(1), Instant::now());
        assert!(local.seen(&key, now).is_none(), "not before they began");
        local.alive(Some(now + Duration::from_secs(1)));
        put(&local, &key, local.seen(&key, now));
        assert!(at(&local, &key, now).is_some());
        assert!(at(&local, &key, now + Duration::from_secs(2)).is_none());
        local.alive(Some(now + Duration::from_secs(3)));
        assert!(at(&local, &key, now + Duration::from_secs(2)).is_some(), "the same news went on");
    }

    #[test]
    fn what_was_forgotten_ahead_of_the_second_tier_is_not_taken_from_there_until_that_has_settled() {
        let (item, list, now) = (POSTS.item(1), POSTS.list("top", 1), Instant::now());
        let settled = now + Duration::from_secs(2);
        for (key, what) in [
            (&item, Invalidation::new().key(&item)),
            (&list, Invalidation::new().tag(POSTS.lists())),
            (&item, Invalidation::everything()),
        ] {
            let local = local();
            local.forget_ahead(&what, settled);
            assert!(local.seen_below(key, now).is_none(), "it may be the old value still");
            put(&local, key, local.seen(key, now));
            assert!(has(&local, key), "what is loaded from the database is the new one");
            assert!(local.seen_below(key, settled).is_some());
        }
    }

    #[test]
    fn what_is_closed_does_not_come_back() {
        let (local, key, now) = (local(), POSTS.item(1), Instant::now());
        put(&local, &key, local.seen(&key, now));
        local.close();
        local.alive(None);
        assert!(!has(&local, &key) && local.seen(&key, now).is_none());
    }

    #[test]
    fn entries_end_with_their_ttl_and_sessions_are_not_kept() {
        let (local, key, now) = (local(), POSTS.item(1), Instant::now());
        let seen = local.seen(&key, now).expect("it can be kept");
        let ttl = Duration::from_secs(5);
        local.put(key.name(), seen, &Bytes::from_static(b"v"), ttl, now);
        assert_eq!(at(&local, &key, now), Some(ttl));
        assert!(at(&local, &key, now + ttl).is_none());
        assert!(local.seen(&sessions::data("s"), now).is_none());
    }

    #[test]
    fn memory_is_bounded() {
        let local = Local::new(100_000, LONG, Eviction::Lru);
        local.alive(None);
        let now = Instant::now();
        for id in 0..10_000 {
            put(&local, &POSTS.item(id), local.seen(&POSTS.item(id), now));
        }
        local.entries.run_pending_tasks();
        assert!(local.len() * OVERHEAD as u64 <= 100_000, "{}", local.len());
    }
}
