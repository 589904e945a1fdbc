//! The life of a value as its class says it: absent, stale, jittered, given up, garbled.

use crate::samples::Samples;
use crate::staged::{HandClock, Staged};
use crate::support::Redis;
use bytes::Bytes;
use cache_layer::{
    Cache, CacheConfig, Invalidation, Key, KeyClass, LoadError, Metrics, ServeStale, StaleReason, Status, Ttl,
};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const PLAIN: KeyClass = KeyClass::new("plain", MINUTE);
const SAFE: KeyClass = PLAIN.stale(ServeStale::OnError, MINUTE);

/// Redis and memory, with a clock in the test's hand.
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

async fn load(cache: &Cache, key: &Key, value: Option<&'static str>) -> (Option<Bytes>, Status) {
    let load = || async move { Ok::<_, Infallible>(value.map(|value| Bytes::from_static(value.as_bytes()))) };
    let lookup = cache.get_or_load(key, Ttl::Class, load).await.expect("infallible");
    (lookup.value, lookup.status)
}

async fn fail(cache: &Cache, key: &Key) -> Result<(Option<Bytes>, Status), LoadError<&'static str>> {
    let lookup = cache.get_or_load(key, Ttl::Class, || async { Err("down") }).await?;
    Ok((lookup.value, lookup.status))
}

#[tokio::test]
async fn what_does_not_exist_is_asked_for_once() {
    let redis = Redis::start();
    for (cache, _) in caches(&redis).await {
        let key = Key::new(PLAIN.absent(MINUTE), "absent:1");
        assert_eq!(load(&cache, &key, None).await, (None, Status::Miss { stored: true, collapsed: false }));
        let (value, status) = load(&cache, &key, Some("a second load")).await;
        assert!(value.is_none() && matches!(status, Status::Hit { ttl } if ttl <= MINUTE), "{status:?}");
        // It may come to be: a write says so like any other.
        cache.invalidate(&Invalidation::new().key(&key)).await;
        assert_eq!(load(&cache, &key, Some("made")).await.0.as_deref(), Some(&b"made"[..]));
        let other = Key::new(PLAIN, "absent:2");
        assert_eq!(load(&cache, &other, None).await.1, Status::Miss { stored: false, collapsed: false });
        assert!(!cache.exists(&other).await.expect("an answer"), "nor is its lease kept");
    }
}

#[tokio::test]
async fn a_failed_load_is_made_up_for_by_a_stale_value_marked_as_such() {
    let redis = Redis::start();
    for (cache, clock) in caches(&redis).await {
        let key = Key::new(SAFE, "safe:1");
        load(&cache, &key, Some("old")).await;
        assert!(matches!(fail(&cache, &key).await.expect("a hit").1, Status::Hit { .. }));
        clock.pass(MINUTE + Duration::from_secs(3));
        for _ in 0..2 {
            let (value, status) = fail(&cache, &key).await.expect("a stale value");
            assert_eq!(value.as_deref(), Some(&b"old"[..]));
            let Status::Stale { age, expired, why } = status else { panic!("{status:?}") };
            assert_eq!((age.as_secs(), expired.as_secs(), why), (63, 3, StaleReason::LoadFailed));
        }
        // Once it is invalidated, it is gone, whatever fails.
        cache.invalidate(&Invalidation::new().key(&key)).await;
        assert_eq!(fail(&cache, &key).await, Err(LoadError::Failed("down")));
    }
}

#[tokio::test]
async fn a_stale_value_is_replaced_as_soon_as_a_load_succeeds() {
    let redis = Redis::start();
    for (cache, clock) in caches(&redis).await {
        let cache = cache.with_retry_after(Duration::ZERO);
        let key = Key::new(SAFE, "safe:2");
        load(&cache, &key, Some("old")).await;
        clock.pass(MINUTE);
        assert!(matches!(fail(&cache, &key).await.expect("stale").1, Status::Stale { .. }));
        assert_eq!(load(&cache, &key, Some("new")).await.1, Status::Miss { stored: true, collapsed: false });
        assert!(matches!(load(&cache, &key, Some("newer")).await.1, Status::Hit { .. }));
        // What is gone for good must not be served as stale later on.
        clock.pass(MINUTE);
        assert_eq!(load(&cache, &key, None).await.0, None);
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(fail(&cache, &key).await, Err(LoadError::Failed("down")));
    }
}

#[tokio::test]
async fn while_loads_fail_the_loader_is_left_alone_for_a_moment() {
    let clock = HandClock::now();
    let store = Staged::default();
    let calls = store.calls.clone();
    let cache = store.patient().with_clock(clock.clone());
    let cache = cache.with_retry_after(Duration::from_secs(600));
    let key = Key::new(SAFE, "safe:3");
    load(&cache, &key, Some("old")).await;
    clock.pass(MINUTE);
    fail(&cache, &key).await.expect("stale");
    let leases = calls.lease.load(Ordering::SeqCst);
    for _ in 0..10 {
        assert!(matches!(load(&cache, &key, Some("not asked")).await.1, Status::Stale { .. }));
    }
    assert_eq!(calls.lease.load(Ordering::SeqCst), leases, "no other try");
    assert_eq!(load(&cache, &Key::new(SAFE, "safe:4"), Some("v")).await.0.as_deref(), Some(&b"v"[..]), "others are");
}

#[tokio::test]
async fn a_class_without_stale_values_serves_none() {
    let redis = Redis::start();
    for (cache, clock) in caches(&redis).await {
        let key = Key::new(PLAIN.stale(ServeStale::Never, MINUTE), "never:1");
        load(&cache, &key, Some("old")).await;
        clock.pass(MINUTE);
        assert_eq!(fail(&cache, &key).await, Err(LoadError::Failed("down")));
    }
}

#[tokio::test]
async fn a_load_that_takes_too_long_is_given_up() {
    let clock = HandClock::now();
    let store = Staged::default();
    let calls = store.calls.clone();
    let cache = store.patient().with_clock(clock.clone());
    let loads = AtomicU32::new(0);
    let hangs = || {
        loads.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<Result<Option<Bytes>, Infallible>>()
    };
    let hard = Duration::from_millis(30);
    let class = PLAIN.timeouts(Duration::ZERO, hard);
    let key = Key::new(class, "hard:1");
    let reading = || async { cache.get_or_load(&key, Ttl::Class, hangs).await };
    let (first, second) = tokio::join!(reading(), reading());
    assert_eq!((first, second), (Err(LoadError::TimedOut), Err(LoadError::TimedOut)));
    assert_eq!(loads.load(Ordering::SeqCst), 1, "the second one's time was over with the first one's");
    let [_, leases, _, released] = calls.counts();
    assert_eq!(leases, released, "no lease is left behind");

    let key = Key::new(SAFE.timeouts(Duration::ZERO, hard), "hard:2");
    load(&cache, &key, Some("old")).await;
    clock.pass(MINUTE);
    let status = cache.get_or_load(&key, Ttl::Class, hangs).await.expect("a stale value").status;
    assert!(matches!(status, Status::Stale { why: StaleReason::LoadSlow, .. }), "{status:?}");
}

#[tokio::test]
async fn lifetimes_are_shortened_by_chance_within_their_limit() {
    let cache = CacheConfig::memory().open(Metrics::default()).expect("a cache");
    let mut ttls = Vec::new();
    for id in 0..200 {
        let key = Key::new(PLAIN.jittered(50), format!("jitter:{id}"));
        load(&cache, &key, Some("v")).await;
        ttls.push(cache.ttl(&key).await.expect("an answer").expect("a value"));
    }
    ttls.sort();
    assert!(ttls[0] >= MINUTE / 2 - Duration::from_secs(5) && ttls[199] <= MINUTE, "{:?} to {:?}", ttls[0], ttls[199]);
    assert!(ttls[20] < MINUTE * 3 / 5 && ttls[180] > MINUTE * 9 / 10, "they spread");
}

#[tokio::test]
async fn a_garbled_value_is_a_miss_counted_and_replaced() {
    let redis = Redis::start();
    let metrics = Metrics::default();
    let cache = redis.patiently().open(metrics.clone()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    let key = Key::new(PLAIN, "garbled:1");
    cache.store().set(&key, &Bytes::from_static(b"what is this"), MINUTE).await.expect("set");
    assert_eq!(cache.get(&key).await, Ok(None));
    let (value, status) = load(&cache, &key, Some("right")).await;
    assert_eq!((value.as_deref(), status), (Some(&b"right"[..]), Status::Miss { stored: true, collapsed: false }));
    assert!(matches!(load(&cache, &key, None).await.1, Status::Hit { .. }));
    // Each look that met it counts: one of each request, and one more where the lease took its time. The last look was a hit.
    let samples = Samples::of(&metrics);
    let found = r#"cache_operation_duration_seconds_count{class="plain",operation="get",outcome="hit"}"#;
    let garbled = samples.sum(r#"cache_garbled_total{class="plain"}"#);
    assert!(garbled >= 2 && garbled + 1 == samples.sum(found), "{samples}");
    assert_eq!(samples.sum(r#"cache_loads_total{class="plain",outcome="loaded"}"#), 1, "{samples}");
}
