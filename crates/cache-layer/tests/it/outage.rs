//! Redis killed, frozen, and back.

use crate::samples::Samples;
use crate::staged::Staged;
use crate::support::{Redis, eventually};
use bytes::Bytes;
use cache_layer::breaker::BreakerState;
use cache_layer::key::POSTS;
use cache_layer::{Cache, CacheConfig, Invalidated, Invalidation, Lookup, Metrics, Status, Ttl};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};

/// Ten times what is promised: this machine is shared, and noisy.
const BOUND: Duration = Duration::from_secs(1);

async fn open(redis: &Redis) -> Cache {
    counted(redis).await.0
}

async fn counted(redis: &Redis) -> (Cache, Metrics) {
    let (cache, metrics) = opened(redis);
    assert!(cache.ready(Duration::from_secs(10)).await);
    (cache, metrics)
}

fn opened(redis: &Redis) -> (Cache, Metrics) {
    let metrics = Metrics::default();
    (CacheConfig::redis(redis.url()).open(metrics.clone()).expect("a cache"), metrics)
}

async fn read(cache: &Cache, id: i64, value: &'static str) -> Lookup {
    let load = || async move { Ok::<_, Infallible>(Some(Bytes::from_static(value.as_bytes()))) };
    cache.get_or_load(&POSTS.item(id), Ttl::Class, load).await.expect("infallible")
}

/// Reads until the cache has it: a pause of this machine may look like an outage.
async fn cached(cache: &Cache, id: i64, value: &'static str) {
    let has = async || matches!(read(cache, id, value).await.status, Status::Hit { .. });
    eventually("it is cached", has).await;
}

/// Reads on while the cache is away: each answer right and in time, and without asking once the breaker is open.
async fn reads_go_on_without_it((cache, metrics): (&Cache, &Metrics)) {
    for id in 100..300 {
        let start = Instant::now();
        let lookup = read(cache, id, "from the database").await;
        assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
        assert_eq!(lookup.status, Status::Fallback);
        assert_eq!(lookup.value.as_deref(), Some(&b"from the database"[..]));
    }
    let refusals = Samples::of(metrics).one("cache_breaker_refusals_total ");
    assert!(refusals > 150.0, "most do not wait at all: {refusals} of 200");
}

async fn used_again(cache: &Cache) -> Duration {
    eventually("the cache is used again", async || matches!(read(cache, 1, "now").await.status, Status::Hit { .. }))
        .await
}

#[tokio::test]
async fn a_killed_redis_costs_no_answer_and_is_used_again() {
    let mut redis = Redis::start();
    let (cache, metrics) = counted(&redis).await;
    cached(&cache, 1, "before").await;
    redis.kill();
    reads_go_on_without_it((&cache, &metrics)).await;
    assert!(!cache.status().usable);
    redis.start_again();
    let took = used_again(&cache).await;
    assert!(took < 10 * BOUND, "{took:?}");
    eventually("breaker closed", async || {
        read(&cache, 1, "now").await;
        cache.status().breaker == BreakerState::Closed
    })
    .await;
}

#[tokio::test]
async fn a_frozen_redis_costs_no_answer_and_is_used_again() {
    let redis = Redis::start();
    let (cache, metrics) = counted(&redis).await;
    cached(&cache, 1, "before").await;
    redis.freeze();
    reads_go_on_without_it((&cache, &metrics)).await;
    redis.thaw();
    let took = used_again(&cache).await;
    assert!(took < 10 * BOUND, "{took:?}");
}

#[tokio::test]
async fn a_redis_that_is_not_there_at_the_start_is_used_when_it_comes() {
    let mut redis = Redis::start();
    redis.kill();
    let (cache, metrics) = opened(&redis);
    reads_go_on_without_it((&cache, &metrics)).await;
    redis.start_again();
    used_again(&cache).await;
}

#[tokio::test]
async fn an_invalidation_lost_in_an_outage_is_made_up_for_before_the_cache_is_read_again() {
    let mut redis = Redis::start();
    let cache = open(&redis).await;
    cached(&cache, 1, "old").await;
    cached(&cache, 2, "kept").await;
    let stored = |id: &str| {
        redis::cmd("HGET").arg(format!("posts:{id}")).arg("!v").query::<Vec<u8>>(&mut redis.connect()).expect("a value")
    };
    let (old, kept) = (stored("1"), stored("2"));
    for outage in ["kill", "freeze"] {
        if outage == "kill" {
            redis.kill()
        } else {
            redis.freeze()
        }
        let start = Instant::now();
        let what = Invalidation::new().key(&POSTS.item(1)).tag(POSTS.lists());
        assert_eq!(cache.invalidate(&what).await, Invalidated::Owed);
        assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
        assert!(cache.status().owed_invalidations > 0);
        if outage == "kill" {
            redis.start_again()
        } else {
            redis.thaw()
        }
        // Append-only: Redis comes back with the old value.
        let mut raw = redis.connect();
        let first = async || {
            let lookup = read(&cache, 1, "new").await;
            assert_ne!(lookup.value.as_deref(), Some(&b"old"[..]), "stale after {outage}");
            lookup.status
        };
        eventually("a hit of the new value", async || matches!(first().await, Status::Hit { .. })).await;
        assert_eq!(cache.status().owed_invalidations, 0);
        let still: Vec<u8> = redis::cmd("HGET").arg("posts:2").arg("!v").query(&mut raw).expect("a value");
        assert_eq!(still, kept, "only what was owed went");
        // For the next round, the old value again.
        redis::cmd("HSET").arg("posts:1").arg("!v").arg(&old[..]).exec(&mut raw).expect("HSET");
    }
}

#[tokio::test]
async fn a_write_that_is_cancelled_in_an_outage_still_owes_its_invalidation() {
    let redis = Redis::start();
    let cache = redis.patiently().open(Metrics::default()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    cached(&cache, 1, "old").await;
    redis.freeze();
    let what = Invalidation::new().key(&POSTS.item(1));
    let cut_off = tokio::time::timeout(Duration::from_millis(1), cache.invalidate(&what)).await;
    assert!(cut_off.is_err(), "a frozen server does not answer in 1 ms");
    assert_eq!(cache.status().owed_invalidations, 1);
    redis.thaw();
    eventually("reads again", async || {
        let lookup = read(&cache, 1, "new").await;
        assert_eq!(lookup.value.as_deref(), Some(&b"new"[..]), "{:?}", lookup.status);
        matches!(lookup.status, Status::Hit { .. })
    })
    .await;
}

#[tokio::test]
async fn more_lost_invalidations_than_can_be_remembered_clear_everything() {
    let mut redis = Redis::start();
    let mut config = CacheConfig::redis(redis.url());
    config.redis.as_mut().expect("redis").owed_at_most = 10;
    let cache = config.open(Metrics::default()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    for id in 0..50 {
        read(&cache, id, "old").await;
    }
    redis.kill();
    for id in 0..50 {
        assert_eq!(cache.invalidate(&Invalidation::new().key(&POSTS.item(id))).await, Invalidated::Owed);
    }
    assert_eq!(cache.status().owed_invalidations, 1, "one debt: everything");
    redis.start_again();
    eventually("reads again", async || cache.status().usable).await;
    for id in 0..50 {
        assert_eq!(read(&cache, id, "new").await.value.as_deref(), Some(&b"new"[..]));
    }
}

#[tokio::test]
async fn many_commands_of_one_request_wait_no_longer_than_one_request_may() {
    let redis = Redis::start();
    let cache = open(&redis).await;
    redis.freeze();
    let mut what = Invalidation::new().tag(POSTS.lists()).pattern("x:*");
    for id in 0..5_000 {
        what = what.key(&POSTS.item(id));
    }
    let start = Instant::now();
    assert_eq!(cache.invalidate(&what).await, Invalidated::Owed);
    assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
}

/// Without the cache the database needs protection most: requests for one key still share loads, but none is given a load that
/// began before it.
#[tokio::test]
async fn without_the_cache_requests_for_one_key_share_the_next_load() {
    let mut redis = Redis::start();
    let cache = open(&redis).await;
    redis.kill();
    eventually("the outage is seen", async || !cache.status().usable).await;
    let (go_on, loads) = (Arc::new(Notify::new()), Arc::new(AtomicU32::new(0)));
    let (has_begun, begun) = oneshot::channel();
    let first = tokio::spawn({
        let (cache, go_on) = (cache.clone(), go_on.clone());
        async move {
            let load = || async move {
                has_begun.send(()).expect("the test listens");
                go_on.notified().await;
                Ok::<_, Infallible>(Some(Bytes::from_static(b"old")))
            };
            cache.get_or_load(&POSTS.item(1), Ttl::Class, load).await
        }
    });
    begun.await.expect("the first load begins");
    let others: Vec<_> = (0..20)
        .map(|_| {
            let (cache, loads) = (cache.clone(), loads.clone());
            tokio::spawn(async move {
                let load = || async move {
                    loads.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    Ok::<_, Infallible>(Some(Bytes::from_static(b"new")))
                };
                cache.get_or_load(&POSTS.item(1), Ttl::Class, load).await
            })
        })
        .collect();
    tokio::task::yield_now().await;
    go_on.notify_one();
    let lookup = first.await.expect("no panic").expect("infallible");
    assert_eq!((lookup.status, lookup.value.as_deref()), (Status::Fallback, Some(&b"old"[..])));
    for other in others {
        let lookup = other.await.expect("no panic").expect("infallible");
        assert_eq!((lookup.status, lookup.value.as_deref()), (Status::Fallback, Some(&b"new"[..])));
    }
    assert_eq!(loads.load(Ordering::SeqCst), 1, "one more load for the twenty");
}

/// Each answer within the limit of one command, but three are more than a request may wait.
#[tokio::test]
async fn the_commands_of_a_miss_share_one_budget() {
    let store = Staged { delay: Duration::from_millis(45), ..Staged::default() };
    let cache = Cache::new(Arc::new(store), Metrics::default());
    for _ in 0..3 {
        let lookup = read(&cache, 1, "v").await;
        assert_ne!(lookup.status, Status::Miss { stored: true, collapsed: false }, "the fill was not waited for");
        assert_eq!(lookup.value.as_deref(), Some(&b"v"[..]));
    }
}

/// Making up for it takes a while here (a pass over many keys), and reads come at once: none may see what should be gone.
#[tokio::test]
async fn no_read_gets_through_before_what_is_owed_is_paid() {
    let redis = Redis::start();
    let cache = open(&redis).await;
    cached(&cache, 1, "old").await;
    let many = "for i = 1, 100000 do redis.call('SET', 'other:' .. i, 'x') end";
    redis::cmd("EVAL").arg(many).arg(0).exec(&mut redis.connect()).expect("EVAL");
    redis.freeze();
    assert_eq!(cache.invalidate(&Invalidation::new().pattern("posts:1")).await, Invalidated::Owed);
    redis.thaw();
    let mut fallbacks = 0;
    eventually("a hit of the new value", async || {
        let lookup = read(&cache, 1, "new").await;
        assert_eq!(lookup.value.as_deref(), Some(&b"new"[..]), "{:?}", lookup.status);
        fallbacks += u32::from(lookup.status == Status::Fallback);
        matches!(lookup.status, Status::Hit { .. })
    })
    .await;
    assert!(fallbacks > 0, "the pass took a while");
}

/// A pass over many names takes longer than a request may wait for the cache. It is no failure, and the cache stays in use.
#[tokio::test]
async fn a_deletion_by_pattern_may_take_its_time() {
    let redis = Redis::start();
    let mut config = redis.patiently();
    config.request_budget = Duration::from_micros(1);
    let cache = config.open(Metrics::default()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    for id in 0..2_000 {
        redis::cmd("HSET").arg(format!("posts:{id}")).arg("!e").arg(1).exec(&mut redis.connect()).expect("HSET");
    }
    assert_eq!(cache.store().delete_matching("posts:*").await, Ok(2_000));
    assert_eq!(cache.status().owed_invalidations, 0);
}

/// The server is gone just when what is owed is being paid, and the process ends: it is paid as soon as the server is back.
#[tokio::test]
async fn what_is_being_paid_when_the_cache_is_closed_is_paid_before_it_ends() {
    let mut redis = Redis::start();
    let cache = redis.patiently().open(Metrics::default()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    cached(&cache, 1, "old").await;
    redis.freeze();
    let what = Invalidation::new().key(&POSTS.item(1));
    let cut_off = tokio::time::timeout(Duration::from_millis(1), cache.invalidate(&what)).await;
    assert!(cut_off.is_err(), "a frozen server does not answer in 1 ms");
    // The payment begins, and is not answered.
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    let closing = tokio::spawn({
        let cache = cache.clone();
        async move { cache.close(Duration::from_secs(20)).await }
    });
    tokio::task::yield_now().await;
    // What was sent dies with it; the value comes back with the file.
    redis.kill();
    redis.start_again();
    closing.await.expect("no panic");
    assert_eq!(cache.status().owed_invalidations, 0);
    let there: u64 = redis::cmd("EXISTS").arg("posts:1").query(&mut redis.connect()).expect("EXISTS");
    assert_eq!(there, 0, "the old value is gone");
}
