//! Many keys at once.

use crate::staged::{HandClock, Staged};
use crate::support::Redis;
use bytes::Bytes;
use cache_layer::key::POSTS;
use cache_layer::patterns::batch::Batch;
use cache_layer::{Cache, CacheConfig, Invalidation, Key, KeyClass, LoadError, Metrics, ServeStale, Status, Ttl};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn items(ids: std::ops::Range<i64>) -> Vec<Key> {
    ids.map(|id| POSTS.item(id)).collect()
}

/// Every key has its own name as its value, but those that end in 9 do not exist.
async fn load(keys: Vec<Key>) -> Result<HashMap<Key, Bytes>, &'static str> {
    let exist = keys.into_iter().filter(|key| !key.name().ends_with('9'));
    Ok(exist.map(|key| (key.clone(), Bytes::from(key.name().to_owned()))).collect())
}

async fn down(_: Vec<Key>) -> Result<HashMap<Key, Bytes>, &'static str> {
    Err("down")
}

fn values<E>(batch: &Batch<E>) -> Vec<Option<&[u8]>> {
    batch.answers.iter().map(|answer| answer.as_ref().and_then(|lookup| lookup.value.as_deref())).collect()
}

fn staged() -> (Cache, Arc<HandClock>, Arc<crate::staged::Calls>) {
    let (clock, store) = (HandClock::now(), Staged::default());
    let calls = store.calls.clone();
    (store.patient().with_clock(clock.clone()), clock, calls)
}

#[tokio::test]
async fn a_batch_is_loaded_once_and_then_served_from_the_cache_in_order() {
    let redis = Redis::start();
    for config in [redis.patiently(), CacheConfig::memory()] {
        let cache = config.open(Metrics::default()).expect("a cache");
        assert!(cache.ready(Duration::from_secs(10)).await);
        cache.get_many_or_load(&items(0..50), Ttl::Class, load).await.complete().expect("loaded");
        let keys = items(0..100);
        let loading = |missing: Vec<Key>| {
            assert_eq!(missing.len(), 55, "fifty new ones, and five that do not exist");
            load(missing)
        };
        let batch = cache.get_many_or_load(&keys, Ttl::Class, loading).await;
        let missed: Vec<_> = batch.missed().collect();
        assert_eq!(missed.len(), 55);
        assert_eq!(missed[..6], [9, 19, 29, 39, 49, 50]);
        for (key, value) in keys.iter().zip(values(&batch)) {
            assert_eq!(value, (!key.name().ends_with('9')).then_some(key.name().as_bytes()));
        }
    }
}

#[tokio::test]
async fn a_hundred_keys_are_one_round_trip_and_a_miss_of_them_three() {
    let (cache, _, calls) = staged();
    let keys = items(0..100);
    cache.get_many_or_load(&keys, Ttl::Class, load).await.complete().expect("loaded");
    assert_eq!(calls.counts()[..3], [1, 1, 1]);
    let found = items(0..9);
    assert_eq!(cache.get_many_or_load(&found, Ttl::Class, down).await.missed().count(), 0);
    assert_eq!(calls.counts()[..3], [2, 1, 1]);
    cache.get_many_or_load(&[], Ttl::Class, down).await.complete().expect("nothing to do");
    assert_eq!(calls.counts()[..3], [2, 1, 1]);
}

#[tokio::test]
async fn a_key_that_is_asked_for_twice_is_loaded_once_and_answered_twice() {
    let (cache, ..) = staged();
    let keys = [POSTS.item(1), POSTS.item(2), POSTS.item(1)];
    let loading = |missing: Vec<Key>| {
        assert_eq!(missing, [POSTS.item(1), POSTS.item(2)]);
        load(missing)
    };
    let batch = cache.get_many_or_load(&keys, Ttl::Class, loading).await;
    assert_eq!(values(&batch), [Some(&b"posts:1"[..]), Some(b"posts:2"), Some(b"posts:1")]);
}

#[tokio::test]
async fn when_the_load_fails_what_was_cached_is_answered_all_the_same() {
    let (cache, clock, calls) = staged();
    let class = KeyClass::new("safe", MINUTE).stale(ServeStale::OnError, MINUTE);
    let safe = |id: u32| Key::new(class, format!("safe:{id}"));
    cache.get_many_or_load(&[POSTS.item(1), safe(1)], Ttl::Class, load).await.complete().expect("loaded");
    clock.pass(MINUTE);
    let keys = [POSTS.item(1), safe(1), safe(2)];
    let batch = cache.get_many_or_load(&keys, Ttl::Class, down).await;
    assert_eq!(batch.failed, Some(LoadError::Failed("down")));
    assert!(matches!(batch.answers[0].as_ref().expect("a hit").status, Status::Hit { .. }));
    assert!(matches!(batch.answers[1].as_ref().expect("a stale value").status, Status::Stale { .. }));
    assert_eq!(batch.answers[2], None);
    assert_eq!(batch.complete(), Err(LoadError::Failed("down")));
    let [_, _, _, released] = calls.counts();
    assert_eq!(released, 2, "both leases are given back");
    let saved = cache.get_many_or_load(&keys[..2], Ttl::Class, down).await;
    assert!(saved.complete().is_ok(), "nothing is missing");
}

#[tokio::test]
async fn what_is_invalidated_during_the_load_is_not_stored_and_the_rest_is() {
    let redis = Redis::start();
    for config in [redis.patiently(), CacheConfig::memory()] {
        let cache = config.open(Metrics::default()).expect("a cache");
        assert!(cache.ready(Duration::from_secs(10)).await);
        let keys = [POSTS.item(1), POSTS.list("top", 1), POSTS.item(2)];
        let writer = cache.clone();
        let loading = |missing: Vec<Key>| async move {
            let read = load(missing).await;
            writer.invalidate(&Invalidation::new().key(&POSTS.item(1)).tag(POSTS.lists())).await;
            read
        };
        let batch = cache.get_many_or_load(&keys, Ttl::Class, loading).await.complete().expect("loaded");
        let stored = batch.iter().map(|lookup| lookup.status == Status::Miss { stored: true, collapsed: false });
        assert_eq!(stored.collect::<Vec<_>>(), [false, false, true]);
        let left = cache.get_many(&keys).await.into_iter().map(|value| value.expect("an answer").is_some());
        assert_eq!(left.collect::<Vec<_>>(), [false, false, true]);
    }
}

#[tokio::test]
async fn a_key_that_another_is_loading_is_loaded_but_not_stored() {
    let (cache, _, _) = staged();
    let lease = cache.store().lease(&POSTS.item(1)).await.expect("an answer").granted().expect("a lease");
    let batch = cache.get_many_or_load(&[POSTS.item(1), POSTS.item(2)], Ttl::Class, load).await;
    let statuses = batch.complete().expect("loaded").into_iter().map(|lookup| lookup.status);
    let miss = |stored| Status::Miss { stored, collapsed: false };
    assert_eq!(statuses.collect::<Vec<_>>(), [miss(false), miss(true)]);
    cache.store().release(lease).await;
}

#[tokio::test]
async fn a_batch_without_a_cache_is_loaded_and_a_cancelled_one_leaves_no_lease() {
    let store = Staged::default();
    let (down, calls) = (store.down.clone(), store.calls.clone());
    let cache = store.patient();
    down.store(true, Ordering::SeqCst);
    let answers = cache.get_many_or_load(&items(0..3), Ttl::Class, load).await.complete().expect("loaded");
    assert!(answers.iter().all(|lookup| lookup.status == Status::Fallback && lookup.value.is_some()));
    assert_eq!(calls.counts()[1..], [0, 0, 0], "nothing else is asked of it");
    down.store(false, Ordering::SeqCst);
    let hangs = |_| std::future::pending::<Result<HashMap<Key, Bytes>, &'static str>>();
    let keys = items(0..3);
    let cut_off = tokio::time::timeout(Duration::from_millis(10), cache.get_many_or_load(&keys, Ttl::Class, hangs));
    assert!(cut_off.await.is_err());
    crate::support::eventually("all are given back", async || calls.release.load(Ordering::SeqCst) == 3).await;
    let answers = cache.get_many_or_load(&items(0..3), Ttl::Class, load).await.complete().expect("loaded");
    assert!(answers.iter().all(|lookup| lookup.status == Status::Miss { stored: true, collapsed: false }));
}
