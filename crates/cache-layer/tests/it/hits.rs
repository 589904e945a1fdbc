//! What Redis itself counted.

use crate::support::Redis;
use bytes::Bytes;
use cache_layer::key::{POSTS, PROFILES};
use cache_layer::{Cache, Invalidation, Key, Metrics, Status, Ttl};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
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

/// `keyspace_hits` of Redis and the hits of the layer are the same number, give or take 1 %: with misses, fills,
/// invalidations of items and lists, and many readers at once in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keyspace_hits_agree_with_the_layers_own_count() {
    let redis = Redis::start();
    let metrics = Metrics::default();
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let cache = redis.patiently().open(metrics).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    let before = redis.info("stats", "keyspace_hits");
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
                        cache.invalidate(&Invalidation::new().key(&POSTS.item(id)).group(POSTS.lists())).await;
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
    let counted = redis.info("stats", "keyspace_hits") - before;
    assert!(hits > 8_000, "mostly hits: {hits}");
    assert!(hits.abs_diff(counted) * 100 <= hits, "the layer counts {hits} hits, Redis {counted}");

    let _status = cache.status();
    let mut text = String::new();
    encode(&mut text, &registry).expect("metrics");
    let sum = |name: &str| -> u64 {
        text.lines()
            .filter(|line| line.starts_with(name))
            .map(|line| line.rsplit(' ').next().expect("a value").parse::<u64>().expect("a count"))
            .sum()
    };
    assert_eq!(sum("cache_hits_total"), hits);
    assert_eq!(sum("cache_hits_total") + sum("cache_misses_total") + sum("cache_fallbacks_total"), 16_000);
    assert!(text.contains("cache_operation_duration_seconds_bucket{le="), "{text}");
    assert!(text.contains("cache_breaker_state 0"));
    assert!(text.contains("cache_connections 3"));
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
