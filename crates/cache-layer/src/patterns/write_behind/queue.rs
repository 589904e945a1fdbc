use super::{Entry, WhenFull, WriteBehindError};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

/// Writers of one id take turns by one of so many locks.
const TURNS: usize = 64;

/// What waits for the database: one entry for each id, in the order of their first unwritten puts.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    capacity: usize,
    when_full: WhenFull,
    /// Something was put, or the end began.
    pub(super) changed: Notify,
    /// A batch landed, or the end began.
    room: Notify,
    turns: [tokio::sync::Mutex<()>; TURNS],
    hasher: RandomState,
}

struct State<T> {
    order: VecDeque<String>,
    waiting: HashMap<String, Slot<T>>,
    /// The batch that is being written.
    flying: HashMap<String, Slot<T>>,
    closed: bool,
    version: u64,
}

struct Slot<T> {
    value: Arc<T>,
    version: u64,
    /// The version of the first put that is not in the database in any form.
    since: u64,
    /// The database has it; only the cache is still to be told.
    written: bool,
}

impl<T> Queue<T> {
    pub(super) fn new(capacity: usize, when_full: WhenFull) -> Self {
        let state = State {
            order: VecDeque::new(),
            waiting: HashMap::new(),
            flying: HashMap::new(),
            closed: false,
            version: 0,
        };
        Self {
            state: Mutex::new(state),
            capacity,
            when_full,
            changed: Notify::new(),
            room: Notify::new(),
            turns: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            hasher: RandomState::new(),
        }
    }

    /// Takes a value, when there is room; its version.
    pub(super) async fn push(&self, id: &str, value: Arc<T>) -> Result<u64, WriteBehindError> {
        loop {
            let mut room = std::pin::pin!(self.room.notified());
            // Before the look at the queue, so that no landing is missed in between.
            room.as_mut().enable();
            if let Some(version) = self.try_push(id, &value)? {
                self.changed.notify_one();
                return Ok(version);
            }
            room.await;
        }
    }

    fn try_push(&self, id: &str, value: &Arc<T>) -> Result<Option<u64>, WriteBehindError> {
        let mut state = self.lock();
        if state.closed {
            return Err(WriteBehindError::Closed);
        }
        let version = state.version.saturating_add(1).max(now_us());
        let value = Arc::clone(value);
        if let Some(slot) = state.waiting.get_mut(id) {
            (slot.value, slot.version) = (value, version);
        } else if state.waiting.len() + state.flying.len() < self.capacity {
            state.waiting.insert(id.to_owned(), Slot { value, version, since: version, written: false });
            state.order.push_back(id.to_owned());
        } else if self.when_full == WhenFull::Refuse {
            return Err(WriteBehindError::Full);
        } else {
            return Ok(None);
        }
        state.version = version;
        Ok(Some(version))
    }

    /// Whoever writes this id into the cache has to wait until the one before is done.
    pub(super) async fn turn(&self, id: &str) -> tokio::sync::MutexGuard<'_, ()> {
        self.turns[(self.hasher.hash_one(id) % TURNS as u64) as usize].lock().await
    }

    /// Whether this value waits for the database, and no later one of its id. Once the database has it, or a later one, what any
    /// process wrote there may be newer.
    pub(super) fn waits(&self, id: &str, version: u64) -> bool {
        self.lock().newest(id).is_some_and(|slot| slot.version == version && !slot.written)
    }

    pub(super) fn newest(&self, id: &str) -> Option<Arc<T>> {
        self.lock().newest(id).map(|slot| Arc::clone(&slot.value))
    }

    pub(super) fn len(&self) -> usize {
        let state = self.lock();
        state.waiting.len() + state.flying.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// The next batch; it stays here until it landed.
    pub(super) fn take(&self, at_most: usize) -> Vec<Entry<T>> {
        let mut state = self.lock();
        let mut batch = Vec::new();
        while batch.len() < at_most {
            let Some(id) = state.order.pop_front() else { break };
            let Some(slot) = state.waiting.remove(&id) else { continue };
            batch.push(slot.entry(&id));
            state.flying.insert(id, slot);
        }
        batch
    }

    /// The batch is in the database. Those of its ids that have no newer value waiting.
    pub(super) fn settled(&self) -> Vec<String> {
        let mut state = self.lock();
        state.flying.values_mut().for_each(|slot| slot.written = true);
        state.flying.keys().filter(|id| !state.waiting.contains_key(*id)).cloned().collect()
    }

    /// The cache was told of it.
    pub(super) fn landed(&self) {
        self.lock().flying.clear();
        self.room.notify_waiters();
    }

    /// The batch is not in the database, as far as is known: back to the front, except where a newer value waits.
    pub(super) fn back(&self, batch: &[Entry<T>]) {
        let mut state = self.lock();
        for entry in batch.iter().rev() {
            let Some(slot) = state.flying.remove(&entry.id) else { continue };
            if let Some(newer) = state.waiting.get_mut(&entry.id) {
                newer.since = slot.since;
            } else {
                state.waiting.insert(entry.id.clone(), slot);
                state.order.push_front(entry.id.clone());
            }
        }
        drop(state);
        // Where two values of an id became one, there is room.
        self.room.notify_waiters();
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
        self.room.notify_waiters();
    }

    /// Waits until all that was put so far is written, in this form or a newer one.
    pub(super) async fn flushed(&self) {
        let until = self.lock().version;
        loop {
            let mut landed = std::pin::pin!(self.room.notified());
            landed.as_mut().enable();
            if !self.lock().slots().any(|(_, slot)| slot.since <= until) {
                return;
            }
            landed.await;
        }
    }

    /// Everything that is not in the database, in order, the newest value of each id.
    pub(super) fn take_all(&self) -> Vec<Entry<T>> {
        let mut state = self.lock();
        let mut all: Vec<(u64, Entry<T>)> = state
            .slots()
            .filter(|(id, slot)| state.newest(id).is_some_and(|newest| newest.version == slot.version))
            .map(|(id, slot)| (slot.since, slot.entry(id)))
            .collect();
        all.sort_by_key(|(since, _)| *since);
        (state.order, state.waiting, state.flying) = Default::default();
        all.into_iter().map(|(_, entry)| entry).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn newest(&self, id: &str) -> Option<&Slot<T>> {
        self.waiting.get(id).or_else(|| self.flying.get(id))
    }

    fn slots(&self) -> impl Iterator<Item = (&String, &Slot<T>)> {
        self.waiting.iter().chain(&self.flying)
    }
}

impl<T> Slot<T> {
    fn entry(&self, id: &str) -> Entry<T> {
        Entry { id: id.to_owned(), value: Arc::clone(&self.value), version: self.version }
    }
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(queue: &Queue<u32>, id: &str, value: u32) -> u64 {
        queue.try_push(id, &Arc::new(value)).expect("taken").expect("room")
    }

    fn shown(batch: &[Entry<u32>]) -> Vec<(&str, u32)> {
        batch.iter().map(|entry| (entry.id.as_str(), *entry.value)).collect()
    }

    #[test]
    fn the_last_value_of_an_id_wins_and_keeps_its_place() {
        let queue = Queue::new(10, WhenFull::Refuse);
        let versions = [("a", 1), ("b", 1), ("a", 2)].map(|(id, value)| put(&queue, id, value));
        assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
        assert_eq!(shown(&queue.take(10)), [("a", 2), ("b", 1)]);
    }

    #[test]
    fn a_batch_that_failed_is_next_unless_something_newer_waits() {
        let queue = Queue::new(10, WhenFull::Refuse);
        for id in ["a", "b", "c"] {
            put(&queue, id, 1);
        }
        let batch = queue.take(2);
        put(&queue, "b", 2);
        assert_eq!((queue.len(), queue.newest("b").as_deref()), (4, Some(&2)));
        queue.back(&batch);
        assert_eq!(queue.len(), 3, "no id twice");
        assert_eq!(shown(&queue.take(10)), [("a", 1), ("c", 1), ("b", 2)]);
    }

    #[test]
    fn a_value_waits_until_the_database_has_it_or_a_later_one_comes() {
        let queue = Queue::new(10, WhenFull::Refuse);
        let [first, b] = ["a", "b"].map(|id| put(&queue, id, 1));
        queue.take(2);
        assert!(queue.waits("a", first) && queue.waits("b", b), "on their way");
        let second = put(&queue, "a", 2);
        assert!(!queue.waits("a", first) && queue.waits("a", second));
        assert_eq!(queue.settled(), ["b"]);
        assert!(queue.waits("a", second) && !queue.waits("b", b), "before the cache is told");
        queue.landed();
        assert!(queue.waits("a", second) && !queue.waits("b", b));
    }

    #[test]
    fn what_is_on_its_way_counts_as_queued() {
        let queue = Queue::new(2, WhenFull::Refuse);
        put(&queue, "a", 1);
        put(&queue, "b", 1);
        let full = || queue.try_push("c", &Arc::new(1));
        assert_eq!(full(), Err(WriteBehindError::Full));
        put(&queue, "a", 2);
        queue.take(1);
        assert_eq!(full(), Err(WriteBehindError::Full));
        queue.landed();
        assert!(full().is_ok());
        queue.close();
        assert_eq!(full(), Err(WriteBehindError::Closed));
        put_back_is_reported(&queue);
    }

    fn put_back_is_reported(queue: &Queue<u32>) {
        queue.take(1);
        assert_eq!(shown(&queue.take_all()), [("b", 1), ("c", 1)], "waiting or on its way");
        assert_eq!(queue.len(), 0);
    }
}
