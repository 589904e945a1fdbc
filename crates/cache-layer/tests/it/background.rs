//! What goes on after the answer: stale-while-revalidate, refresh-ahead, soft timeouts, and their end.

use crate::staged::{HandClock, Staged};
use crate::support::{Redis, eventually};
use bytes::Bytes;
use cache_layer::{
    Cache, CacheConfig, Invalidation, Key, KeyClass, Lookup, Metrics, Refresh, ServeStale, StaleReason, Status, Ttl,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

const MINUTE: Duration = Duration::from_secs(60);
const SWR: KeyClass = KeyClass::new("swr", MINUTE).stale(ServeStale::WhileRevalidating, MINUTE);

/// A database of one row, whose reads begin and end when the test says so.
#[derive(Clone, Default)]
struct Row {
    loads: Arc<AtomicU32>,
    begun: Arc<Notify>,
    gate: Option<Arc<Notify>>,
    fails: bool,
}

impl Row {
    fn gated() -> Self {
        Self { gate: Some(Arc::default()), ..Self::default() }
    }

    async fn load(self) -> Result<Option<Bytes>, &'static str> {
        let load = self.loads.fetch_add(1, Ordering::SeqCst);
        self.begun.notify_one();
        if let Some(gate) = &self.gate {
            gate.notified().await;
        }
        if self.fails { Err("down") } else { Ok(Some(Bytes::from(format!("load {load}")))) }
    }

    fn open(&self) {
        self.gate.as_ref().expect("a gate").notify_one();
    }
}

async fn read(cache: &Cache, key: &Key, row: &Row) -> Lookup {
    let row = row.clone();
    cache.get_or_refresh(key, Ttl::Class, move || row.clone().load()).await.expect("a value")
}

fn body(lookup: &Lookup) -> &str {
    std::str::from_utf8(lookup.value.as_deref().expect("a value")).expect("text")
}

fn is_stale(lookup: &Lookup, why: StaleReason) -> bool {
    matches!(lookup.status, Status::Stale { why: because, .. } if because == why)
}

async fn caches(redis: &Redis) -> [(Cache, Arc<HandClock>); 2] {
    let mut caches = Vec::new();
    for config in [redis.patiently(), CacheConfig::memory()] {
        let clock = HandClock::now();
        let cache = config.open(Metrics::default()).expect("a cache").with_clock(clock.clone());
        assert!(cache.ready(Duration::from_secs(10)).await);
        caches.push((cache, clock));
    }
    caches.try_into().ok().expect("two")
}

#[tokio::test]
async fn a_stale_value_is_served_at_once_and_loaded_anew_once() {
    let redis = Redis::start();
    for (cache, clock) in caches(&redis).await {
        let (key, first, second) = (Key::new(SWR, "swr:1"), Row::default(), Row::gated());
        assert_eq!(read(&cache, &key, &first).await.status, Status::Miss { stored: true, collapsed: false });
        clock.pass(MINUTE);
        for _ in 0..10 {
            let lookup = read(&cache, &key, &second).await;
            assert!(is_stale(&lookup, StaleReason::Revalidating), "{:?}", lookup.status);
            assert_eq!(body(&lookup), "load 0");
        }
        second.begun.notified().await;
        second.open();
        eventually("the new value", async || matches!(read(&cache, &key, &first).await.status, Status::Hit { .. }))
            .await;
        assert_eq!(second.loads.load(Ordering::SeqCst), 1, "one load for ten readers");
        assert_eq!(first.loads.load(Ordering::SeqCst), 1);
    }
}

/// The background load read the row before the write: what it read must not be stored after the invalidation.
#[tokio::test]
async fn an_invalidation_during_a_background_load_voids_it() {
    let redis = Redis::start();
    for (cache, clock) in caches(&redis).await {
        let (key, row, slow) = (Key::new(SWR, "swr:2"), Row::default(), Row::gated());
        read(&cache, &key, &row).await;
        clock.pass(MINUTE);
        read(&cache, &key, &slow).await;
        slow.begun.notified().await;
        cache.invalidate(&Invalidation::new().key(&key)).await;
        slow.open();
        // Whoever comes now waits for the load under way or begins another; either way, what it gets was read after it came.
        let late = read(&cache, &key, &row).await;
        assert_eq!(body(&late), "load 1", "{:?}", late.status);
        eventually("rest", async || read(&cache, &key, &row).await.status != late.status).await;
        assert_eq!(body(&read(&cache, &key, &row).await), "load 1", "the old one was not stored");
    }
}

#[tokio::test]
async fn a_failing_refresh_leaves_the_stale_value_and_is_not_repeated_at_once() {
    let redis = Redis::start();
    for (cache, clock) in caches(&redis).await {
        let cache = cache.with_retry_after(Duration::from_secs(600));
        let (key, row, broken) = (Key::new(SWR, "swr:3"), Row::default(), Row { fails: true, ..Row::default() });
        read(&cache, &key, &row).await;
        clock.pass(MINUTE);
        eventually("the failure is known", async || {
            is_stale(&read(&cache, &key, &broken).await, StaleReason::LoadFailed)
        })
        .await;
        for _ in 0..10 {
            assert_eq!(body(&read(&cache, &key, &broken).await), "load 0");
        }
        assert_eq!(broken.loads.load(Ordering::SeqCst), 1);
        // Nor is it served for longer than its class says.
        clock.pass(MINUTE);
        let lookup = read(&cache, &key, &row).await;
        assert_eq!((lookup.status, body(&lookup)), (Status::Miss { stored: true, collapsed: false }, "load 1"));
    }
}

#[tokio::test]
async fn a_value_near_its_end_is_refreshed_while_it_is_served_as_fresh() {
    let redis = Redis::start();
    for refresh in [Refresh::Ahead { percent: 80 }, Refresh::Early { beta_percent: u16::MAX }] {
        for (cache, clock) in caches(&redis).await {
            let class = KeyClass::new("ahead", MINUTE).refreshed(refresh);
            let (key, row) = (Key::new(class, format!("ahead:{refresh:?}")), Row::default());
            let next = Row { loads: Arc::new(AtomicU32::new(10)), ..Row::gated() };
            read(&cache, &key, &row).await;
            clock.pass(MINUTE - Duration::from_millis(1));
            let served_fresh = async || {
                let lookup = read(&cache, &key, &next).await;
                assert!(matches!(lookup.status, Status::Hit { .. }), "{refresh:?}: {:?}", lookup.status);
                assert_eq!(body(&lookup), "load 0");
            };
            eventually("a refresh begins", async || {
                served_fresh().await;
                next.loads.load(Ordering::SeqCst) == 11
            })
            .await;
            for _ in 0..5 {
                served_fresh().await;
            }
            let other = tokio::time::timeout(
                Duration::from_secs(10),
                cache.get_or_load(&key, Ttl::Class, || async { Err("not asked") }),
            );
            let other = other.await.expect("it does not wait for the refresh").expect("a hit");
            assert!(matches!(other.status, Status::Hit { .. }), "{:?}", other.status);
            next.open();
            eventually("the new value", async || {
                let value = cache.get(&key).await.expect("an answer").expect("never missing");
                value == "load 10"
            })
            .await;
            assert_eq!(next.loads.load(Ordering::SeqCst), 11, "one load for all readers");
        }
    }
}

#[tokio::test]
async fn a_slow_load_is_finished_in_the_background_while_a_stale_value_is_served() {
    let clock = HandClock::now();
    let cache = CacheConfig::memory().open(Metrics::default()).expect("a cache").with_clock(clock.clone());
    let class = KeyClass::new("soft", MINUTE).stale(ServeStale::OnError, MINUTE);
    let class = class.timeouts(Duration::from_millis(20), Duration::ZERO);
    let (key, row, slow) = (Key::new(class, "soft:1"), Row::default(), Row::gated());
    read(&cache, &key, &row).await;
    clock.pass(MINUTE);
    for _ in 0..2 {
        let lookup = read(&cache, &key, &slow).await;
        assert!(is_stale(&lookup, StaleReason::LoadSlow), "{:?}", lookup.status);
    }
    assert_eq!(slow.loads.load(Ordering::SeqCst), 1, "the second one waited for the first one's load");
    slow.open();
    eventually("it is stored", async || cache.get(&key).await.expect("an answer").is_some()).await;
    // A load that is fast enough is waited for.
    clock.pass(MINUTE);
    let key = Key::new(class.timeouts(Duration::from_secs(60), Duration::ZERO), "soft:1");
    let lookup = read(&cache, &key, &row).await;
    assert_eq!((lookup.status, body(&lookup)), (Status::Miss { stored: true, collapsed: false }, "load 1"));
}

/// Somebody loads the key as another type; that is waited for like any load, and then is of no use.
#[tokio::test]
async fn a_shared_load_of_another_type_is_of_no_use_to_who_has_a_stale_value_either() {
    let clock = HandClock::now();
    let cache = CacheConfig::memory().open(Metrics::default()).expect("a cache").with_clock(clock.clone());
    let class = KeyClass::new("soft", MINUTE).stale(ServeStale::OnError, MINUTE);
    let key = Key::new(class.timeouts(Duration::from_secs(3600), Duration::ZERO), "soft:1");
    let (numbers, texts) = (cache.typed::<u32>(), cache.typed::<String>());
    numbers.get_or_load(&key, Ttl::Class, || async { Ok::<_, &str>(Some(7)) }).await.expect("a value");
    clock.pass(MINUTE);
    let (begun, gate) = (Notify::new(), Notify::new());
    let text = texts.get_or_load(&key, Ttl::Class, || async {
        begun.notify_one();
        gate.notified().await;
        Ok::<_, &str>(Some("seven".to_owned()))
    });
    let number = async {
        begun.notified().await;
        let load = || async { Ok::<_, &str>(Some(8)) };
        let number = numbers.get_or_refresh(&key, Ttl::Class, load);
        let open = async {
            tokio::task::yield_now().await;
            gate.notify_one();
        };
        tokio::join!(number, open).0
    };
    let (text, number) = tokio::join!(text, number);
    assert_eq!(text.expect("a value").value.as_deref(), Some("seven"));
    assert_eq!(number.expect("a value").value, Some(8));
}

#[tokio::test]
async fn background_loads_are_bounded_and_waited_for_at_the_end() {
    let (clock, store) = (HandClock::now(), Staged::default());
    let calls = store.calls.clone();
    let cache = store.patient().with_clock(clock.clone()).with_background_loads(2);
    let (row, slow) = (Row::default(), Row::gated());
    let keys: Vec<_> = (0..5).map(|id| Key::new(SWR, format!("swr:{id}"))).collect();
    for key in &keys {
        read(&cache, key, &row).await;
    }
    clock.pass(MINUTE);
    for key in keys.iter().chain(&keys) {
        assert!(is_stale(&read(&cache, key, &slow).await, StaleReason::Revalidating));
    }
    eventually("two go on", async || slow.loads.load(Ordering::SeqCst) == 2).await;
    slow.open();
    let closing = tokio::spawn({
        let cache = cache.clone();
        async move { cache.close(Duration::from_secs(60)).await }
    });
    eventually("one is done", async || calls.fill.load(Ordering::SeqCst) == 6).await;
    assert!(!closing.is_finished(), "one still goes on");
    slow.open();
    closing.await.expect("no panic");
    assert_eq!(calls.fill.load(Ordering::SeqCst), 7, "the close waited for both fills");
    for key in &keys {
        read(&cache, key, &slow).await;
    }
    tokio::task::yield_now().await;
    assert_eq!(slow.loads.load(Ordering::SeqCst), 2, "none begins after the end");
}

#[tokio::test]
async fn a_close_stops_what_does_not_end_and_gives_its_lease_back() {
    let (clock, store) = (HandClock::now(), Staged::default());
    let calls = store.calls.clone();
    let cache = store.patient().with_clock(clock.clone());
    let (key, row, stuck) = (Key::new(SWR, "swr:1"), Row::default(), Row::gated());
    read(&cache, &key, &row).await;
    clock.pass(MINUTE);
    read(&cache, &key, &stuck).await;
    stuck.begun.notified().await;
    cache.close(Duration::from_millis(10)).await;
    eventually("the lease is back", async || calls.release.load(Ordering::SeqCst) == 1).await;
    assert_eq!(Arc::strong_count(&stuck.loads), 1, "the load was dropped");
}
