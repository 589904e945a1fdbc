//! What Redis itself counted.

use crate::samples::Samples;
use crate::support::Redis;
use bytes::Bytes;
use cache_layer::key::{COURSES, POSTS, PRODUCTS, PROFILES};
use cache_layer::{Cache, CacheStore, Invalidation, Key, Metrics, Status, Ttl};
use std::convert::Infallible;
use std::time::Duration;

async fn is_hit(cache: &Cache, key: &Key) -> bool {
    let load = || async {
        tokio::task::yield_now().await;
        Ok::<_, Infallible>(Some(Bytes::from_static(b"v")))
    };
    let lookup = cache.get_or_load(key, Ttl::Class, load).await.expect("infallible");
    matches!(lookup.status, Status::Hit { .. })
}

/// What Redis counts as `keyspace_hits` and `keyspace_misses` is what the layer counts as look-ups, to the last one: of values and of
/// tags, with misses, fills, invalidations, counters and many readers at once in between. Whoever watches from outside may rely on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_look_up_that_redis_counts_is_counted() {
    let redis = Redis::start();
    let metrics = Metrics::default();
    let cache = redis.patiently().open(metrics.clone()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    let before = ["keyspace_hits", "keyspace_misses"].map(|field| redis.info("stats", field));
    let readers: Vec<_> = (0..16_u64)
        .map(|reader| {
            let cache = cache.clone();
            tokio::spawn(async move {
                let mut hits = 0;
                for i in 0..1000_u64 {
                    let n = (i * 7919 + reader * 104_729) % 100;
                    let id = i64::try_from(n).expect("small");
                    let key = if n < 10 { POSTS.list("top", n as u32) } else { POSTS.item(id) };
                    hits += u64::from(is_hit(&cache, &key).await);
                    if i % 50 == 0 {
                        cache.invalidate(&Invalidation::new().key(&POSTS.item(id)).tag(POSTS.lists())).await;
                    }
                    if i % 100 == 7 {
                        others(cache.store(), id).await;
                    }
                }
                hits
            })
        })
        .collect();
    let mut hits = 0;
    for reader in readers {
        hits += reader.await.expect("no panic");
    }
    let after = ["keyspace_hits", "keyspace_misses"].map(|field| redis.info("stats", field));
    assert!(hits > 8_000, "mostly hits: {hits}");

    let _status = cache.status();
    let samples = Samples::of(&metrics);
    let sum = |name: &str| samples.sum(name);
    assert_eq!(sum("cache_store_lookups_total{outcome=\"found\"}"), after[0] - before[0], "found");
    assert_eq!(sum("cache_store_lookups_total{outcome=\"absent\"}"), after[1] - before[1], "absent");
    assert_eq!(sum("cache_hits_total"), hits);
    assert_eq!(sum("cache_hits_total") + sum("cache_misses_total") + sum("cache_fallbacks_total"), 16_000);
    assert!(samples.contains("cache_operation_duration_seconds_bucket{"), "{samples}");
    assert!(samples.contains("cache_breaker_state 0"));
    assert!(samples.contains("cache_connections 10"));
}

/// The rest of what a store can be asked.
async fn others(store: &dyn CacheStore, id: i64) {
    let (product, counter, value) = (PRODUCTS.item(id), COURSES.item(id), Bytes::from_static(b"v"));
    let ttl = Duration::from_secs(60);
    store.set_if_absent(&product, &value, ttl).await.expect("an answer");
    store.ttl(&product).await.expect("an answer");
    store.exists(&PRODUCTS.item(id + 1000)).await.expect("an answer");
    store.expire(&product, ttl).await.expect("an answer");
    store.add(&counter, 1, ttl).await.expect("an answer");
    store.set(&PRODUCTS.list("all", 1), &value, ttl).await.expect("an answer");
    if let Some(lease) = store.lease(&COURSES.list("new", 1)).await.expect("an answer").granted() {
        store.get(&COURSES.list("new", 1)).await.expect("an answer");
        store.release(lease).await;
    }
    store.get(&COURSES.list("new", 1)).await.expect("an answer");
    store.get_many(&[product.clone(), counter, PRODUCTS.list("all", 1)]).await;
    store.delete(&Invalidation::new().key(&product)).await.expect("an answer");
    store.scan("products:*", 3).await.expect("an answer");
}

/// How often a server read from its clients during some work: one round trip of a batch is one read, give or take a ping now and then;
/// so the least of a few tries counts.
async fn reads(redis: &Redis, mut work: impl AsyncFnMut()) -> u64 {
    let count = || redis.info("stats", "total_reads_processed");
    let mut least = u64::MAX;
    for _ in 0..5 {
        // What asking costs by itself: connecting says hello, and the question.
        let (first, second) = (count(), count());
        work().await;
        least = least.min((count() - second).saturating_sub(second - first));
    }
    least
}

#[tokio::test]
async fn a_batch_is_one_round_trip() {
    let redis = Redis::start();
    let mut config = redis.patiently();
    // Each connection pings about once a second: ten of them would do so in each try on a slow machine.
    config.redis.as_mut().expect("redis").connections = 1;
    let cache = config.open(Metrics::default()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    let store = cache.store();
    let keys: Vec<_> = (0..90).map(|id| POSTS.item(id)).chain((0..10).map(|n| POSTS.list("top", n))).collect();
    let ttl = Duration::from_secs(60);
    let values: Vec<_> = keys[..90].iter().map(|key| (key.clone(), Bytes::from_static(b"v"), ttl)).collect();
    let all = keys.iter().fold(Invalidation::new().tag(POSTS.lists()), Invalidation::key);
    // So that each script is known.
    let leases = store.lease_many(&keys[..1]).await.pop().expect("one").expect("an answer").granted();
    store.fill(&leases.expect("a lease"), &Bytes::from_static(b"v"), ttl).await.expect("fill");
    store.set_many(&values).await;

    let get = reads(&redis, async || drop(store.get_many(&keys).await)).await;
    let set = reads(&redis, async || drop(store.set_many(&values).await)).await;
    let delete = reads(&redis, async || drop(store.delete(&all).await)).await;
    let hundred = reads(&redis, async || {
        for key in &keys {
            drop(store.get(key).await);
        }
    })
    .await;
    println!("reads by the server: get {get}, set {set}, delete {delete}; 100 times get {hundred}");
    assert_eq!((get, delete), (1, 1));
    // 90 scripts with their arguments do not fit the 16 KB that Redis reads at once.
    assert!(set <= 2, "{set}");
    assert!(hundred >= 100, "the measure can tell: {hundred}");
}

#[tokio::test]
async fn a_hit_is_one_plain_command() {
    let redis = Redis::start();
    let cache = redis.patiently().open(Metrics::default()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    assert!(!is_hit(&cache, &POSTS.item(1)).await);
    let count = || ["hmget", "evalsha", "hset", "hdel", "multi", "get"].map(|command| redis.calls(command));
    let before = count();
    for _ in 0..100 {
        assert!(is_hit(&cache, &POSTS.item(1)).await);
    }
    let after = count();
    assert_eq!(after[0] - before[0], 100);
    assert_eq!(after[1..], before[1..], "nothing but HMGET");
}

#[tokio::test]
async fn clear_and_patterns_never_use_keys_and_work_in_batches() {
    let redis = Redis::start();
    let cache = redis.patiently().open(Metrics::default()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    for id in 0..2_000 {
        is_hit(&cache, &POSTS.item(id)).await;
    }
    is_hit(&cache, &PROFILES.item(1)).await;
    redis::cmd("SET").arg("another:key").arg("x").exec(&mut redis.connect()).expect("SET");
    assert_eq!(cache.store().delete_matching("posts:1???").await, Ok(1_000));
    assert_eq!(cache.clear().await, Ok(1_001));
    let left: u64 = redis::cmd("DBSIZE").query(&mut redis.connect()).expect("DBSIZE");
    assert_eq!(left, 1, "what is not the layer's stays");
    for forbidden in ["keys", "flushall", "flushdb", "del"] {
        assert_eq!(redis.calls(forbidden), 0, "{forbidden}");
    }
    assert!(redis.calls("scan") > 4 && redis.calls("unlink") > 4);
}
