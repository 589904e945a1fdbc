//! Write-behind: bounded, in order, patient, and honest at its end.

use crate::staged::Staged;
use crate::support::{Redis, eventually};
use async_trait::async_trait;
use cache_layer::patterns::write_behind::{Entry, Sink, WhenFull, WriteBehind, WriteBehindConfig, WriteBehindError};
use cache_layer::{Cache, CacheConfig, Coherence, KeyClass, Metrics};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;

const REFUSED: &str = "the value does not fit";

const SEEN: KeyClass = KeyClass::new("seen", Duration::from_secs(60));

/// A table, which may be away, or slow.
#[derive(Clone)]
struct Table {
    rows: Arc<Mutex<HashMap<String, u32>>>,
    batches: Arc<Mutex<Vec<Vec<String>>>>,
    tries: Arc<AtomicU32>,
    away: Arc<AtomicBool>,
    /// Values that it does not want.
    bad: Arc<Mutex<Vec<u32>>>,
    refused: Arc<Mutex<Vec<String>>>,
    panics: Arc<AtomicBool>,
    /// One permit for each batch it may take.
    gate: Arc<Semaphore>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            rows: Arc::default(),
            batches: Arc::default(),
            tries: Arc::default(),
            away: Arc::default(),
            bad: Arc::default(),
            refused: Arc::default(),
            panics: Arc::default(),
            gate: Arc::new(Semaphore::new(1_000_000)),
        }
    }
}

impl Table {
    fn gated() -> Self {
        Self { gate: Arc::new(Semaphore::new(0)), ..Self::default() }
    }

    fn row(&self, id: &str) -> Option<u32> {
        self.rows.lock().expect("no panic").get(id).copied()
    }
}

#[async_trait]
impl Sink<u32> for Table {
    type Error = &'static str;

    async fn write(&self, batch: &[Entry<u32>]) -> Result<(), &'static str> {
        self.tries.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics.load(Ordering::SeqCst), "as the test wants it");
        self.gate.acquire().await.expect("open").forget();
        if self.away.load(Ordering::SeqCst) {
            return Err("the database is away");
        }
        let bad = self.bad.lock().expect("no panic").clone();
        if batch.iter().any(|entry| bad.contains(&entry.value)) {
            return Err(REFUSED);
        }
        let mut rows = self.rows.lock().expect("no panic");
        rows.extend(batch.iter().map(|entry| (entry.id.clone(), *entry.value)));
        let ids = batch.iter().map(|entry| entry.id.clone()).collect();
        self.batches.lock().expect("no panic").push(ids);
        Ok(())
    }

    fn is_refusal(&self, error: &&'static str) -> bool {
        *error == REFUSED
    }

    async fn refused(&self, entry: &Entry<u32>, _: &'static str) {
        self.refused.lock().expect("no panic").push(entry.id.clone());
    }
}

fn quickly() -> WriteBehindConfig {
    WriteBehindConfig {
        pause: Duration::from_millis(5),
        backoff: Duration::from_millis(1),
        backoff_at_most: Duration::from_millis(5),
        ..WriteBehindConfig::default()
    }
}

fn memory() -> Cache {
    CacheConfig::memory().open(Metrics::default()).expect("a cache")
}

fn start(cache: &Cache, table: &Table, config: WriteBehindConfig) -> WriteBehind<u32> {
    WriteBehind::start(cache.clone(), SEEN, table.clone(), config).expect("started")
}

async fn read(behind: &WriteBehind<u32>, table: &Table, id: &str) -> Option<u32> {
    let load = || async { Ok::<_, std::convert::Infallible>(table.row(id)) };
    behind.get_or_load(id, load).await.expect("infallible").map(|value| *value)
}

#[tokio::test]
async fn a_write_is_read_back_before_the_database_has_it_and_after() {
    let redis = Redis::start();
    let redis_cache = redis.patiently().open(Metrics::default()).expect("a cache");
    assert!(redis_cache.ready(Duration::from_secs(10)).await);
    for cache in [redis_cache, memory()] {
        let table = Table::gated();
        let (here, there) = (start(&cache, &table, quickly()), start(&cache, &table, quickly()));
        here.put("user:1", 7).await.expect("taken");
        assert_eq!(table.row("user:1"), None);
        assert_eq!(read(&here, &table, "user:1").await, Some(7));
        assert_eq!(read(&there, &table, "user:1").await, Some(7), "another instance finds it in the cache");
        table.gate.add_permits(1_000);
        here.flush().await;
        assert_eq!((table.row("user:1"), here.pending()), (Some(7), 0));
        // Another process writes the table directly: the cache does not stand in the way.
        table.rows.lock().expect("no panic").insert("user:1".into(), 8);
        assert_eq!(read(&there, &table, "user:1").await, Some(8));
        here.close(Duration::from_secs(10)).await.expect("nothing is left");
        there.close(Duration::from_secs(10)).await.expect("nothing is left");
    }
}

#[tokio::test]
async fn what_the_database_refuses_does_not_keep_the_others_from_it() {
    let (cache, table) = (memory(), Table::default());
    *table.bad.lock().expect("no panic") = vec![13, 37];
    table.away.store(true, Ordering::SeqCst);
    let behind = start(&cache, &table, quickly());
    for value in 0..50 {
        behind.put(&value.to_string(), value).await.expect("taken");
    }
    eventually("it is tried", async || table.tries.load(Ordering::SeqCst) > 5).await;
    assert!(table.refused.lock().expect("no panic").is_empty(), "an outage refuses nothing");
    table.away.store(false, Ordering::SeqCst);
    behind.flush().await;
    assert_eq!(table.rows.lock().expect("no panic").len(), 48);
    assert_eq!(*table.refused.lock().expect("no panic"), ["13", "37"]);
    assert_eq!(read(&behind, &table, "13").await, None, "nor does the cache show it any more");
    // Batches are large again.
    for value in 100..200 {
        behind.put(&value.to_string(), value).await.expect("taken");
    }
    behind.close(Duration::from_secs(20)).await.expect("nothing is left");
    assert_eq!(table.rows.lock().expect("no panic").len(), 148);
}

#[tokio::test]
async fn many_writes_become_few_batches_and_the_last_one_of_each_id_wins() {
    let (cache, table) = (memory(), Table::gated());
    let behind = start(&cache, &table, WriteBehindConfig { batch: 10, ..quickly() });
    for value in 0..100 {
        for id in 0..25 {
            behind.put(&format!("{id}"), value).await.expect("taken");
        }
    }
    table.gate.add_permits(1_000);
    behind.flush().await;
    assert!((0..25).all(|id| table.row(&id.to_string()) == Some(99)));
    let batches = table.batches.lock().expect("no panic").clone();
    assert!(batches.len() <= 5 && batches.iter().all(|batch| batch.len() <= 10), "{batches:?}");
    behind.close(Duration::from_secs(10)).await.expect("nothing is left");
}

#[tokio::test]
async fn nothing_is_lost_while_the_database_is_away_or_the_sink_panics() {
    let (cache, table) = (memory(), Table::default());
    let behind = start(&cache, &table, quickly());
    for (fault, round) in [(&table.away, 0), (&table.panics, 100)] {
        fault.store(true, Ordering::SeqCst);
        for value in round..round + 50 {
            behind.put(&format!("{}", value % 10), value).await.expect("taken");
        }
        let tries = table.tries.load(Ordering::SeqCst);
        eventually("it is tried again", async || table.tries.load(Ordering::SeqCst) > tries + 3).await;
        assert_eq!(behind.pending(), 10);
        fault.store(false, Ordering::SeqCst);
        behind.flush().await;
        assert!((0..10).all(|id| table.row(&id.to_string()) == Some(round + 40 + id)));
    }
    behind.close(Duration::from_secs(10)).await.expect("nothing is left");
}

#[tokio::test]
async fn a_full_queue_refuses_or_holds_back_as_chosen() {
    let (cache, table) = (memory(), Table::gated());
    let config = WriteBehindConfig { capacity: 2, when_full: WhenFull::Refuse, ..quickly() };
    let behind = start(&cache, &table, config.clone());
    behind.put("a", 1).await.expect("room");
    behind.put("b", 1).await.expect("room");
    assert_eq!(behind.put("c", 1).await, Err(WriteBehindError::Full));
    behind.close(Duration::ZERO).await.expect_err("two are left");

    let behind = Arc::new(start(&cache, &table, WriteBehindConfig { when_full: WhenFull::Wait, ..config }));
    behind.put("a", 1).await.expect("room");
    behind.put("b", 1).await.expect("room");
    let waiting = tokio::spawn({
        let behind = behind.clone();
        async move { behind.put("c", 1).await }
    });
    eventually("a batch is on its way", async || table.tries.load(Ordering::SeqCst) > 1).await;
    assert!(!waiting.is_finished(), "it waits for room");
    table.gate.add_permits(1_000);
    waiting.await.expect("no panic").expect("there was room in the end");
    behind.close(Duration::from_secs(10)).await.expect("nothing is left");
    assert_eq!(table.row("c"), Some(1));
    assert_eq!(behind.put("d", 1).await, Err(WriteBehindError::Closed));
}

#[tokio::test]
async fn a_close_writes_what_it_can_and_says_what_it_could_not() {
    let (cache, table) = (memory(), Table::default());
    let patient = WriteBehindConfig { pause: Duration::from_secs(3600), ..quickly() };
    let behind = start(&cache, &table, patient);
    behind.put("a", 1).await.expect("taken");
    behind.close(Duration::from_secs(10)).await.expect("the end does not wait for a full batch");
    assert_eq!(table.row("a"), Some(1));

    let behind = start(&cache, &table, quickly());
    table.away.store(true, Ordering::SeqCst);
    for (id, value) in [("a", 2), ("b", 3), ("a", 4)] {
        behind.put(id, value).await.expect("taken");
    }
    let left = behind.close(Duration::from_millis(50)).await.expect_err("the database is away").entries;
    let left: Vec<_> = left.iter().map(|entry| (entry.id.as_str(), *entry.value)).collect();
    assert_eq!(left, [("a", 4), ("b", 3)]);
}

/// The cache cannot be reached when a value is put: what it still has of the key must not be read afterwards.
#[tokio::test]
async fn a_write_that_the_cache_missed_does_not_leave_the_value_before() {
    let store = Staged::default();
    let (memory, down) = (store.inner.clone(), store.down.clone());
    let cache = store.patient();
    let table = Table::default();
    let behind = start(&cache, &table, quickly());
    table.rows.lock().expect("no panic").insert("a".into(), 1);
    assert_eq!(read(&behind, &table, "a").await, Some(1), "it is cached now");
    down.store(true, Ordering::SeqCst);
    behind.put("a", 2).await.expect("taken");
    assert_eq!(read(&behind, &table, "a").await, Some(2));
    behind.flush().await;
    down.store(false, Ordering::SeqCst);
    assert_eq!(read(&behind, &table, "a").await, Some(2));
    behind.close(Duration::from_secs(10)).await.expect("nothing is left");
    drop(memory);
}

/// Two values are on their way to the cache for so long that the database has the second one before: by then another process may
/// have written a third, and told the cache. Neither may be left in the cache.
#[tokio::test]
async fn a_value_that_reaches_the_cache_after_the_database_does_not_stay_in_it() {
    let sets = Arc::new(Semaphore::new(0));
    let store = Staged { sets: Some(sets.clone()), ..Staged::default() };
    let cache = store.patient();
    let table = Table::default();
    let behind = Arc::new(start(&cache, &table, quickly()));
    let puts = [1, 2].map(|value| {
        let behind = behind.clone();
        tokio::spawn(async move { behind.put("a", value).await })
    });
    eventually("the database has it", async || table.row("a") == Some(2) && behind.pending() == 0).await;
    table.rows.lock().expect("no panic").insert("a".into(), 3);
    sets.add_permits(2);
    for put in puts {
        put.await.expect("no panic").expect("taken");
    }
    assert_eq!(read(&behind, &table, "a").await, Some(3));
    behind.close(Duration::from_secs(10)).await.expect("nothing is left");
}

#[tokio::test]
async fn the_outbox_rules_it_out() {
    let mut config = CacheConfig::redis("redis://127.0.0.1:1");
    let redis = config.redis.as_mut().expect("redis");
    (redis.coherence, redis.namespace) = (Coherence::Outbox, "test:".into());
    let cache = config.open(Metrics::default()).expect("a cache");
    let refused = WriteBehind::start(cache, SEEN, Table::default(), quickly());
    assert_eq!(refused.err(), Some(WriteBehindError::NotWithOutbox));
}
