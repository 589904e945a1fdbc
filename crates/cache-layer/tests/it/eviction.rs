//! What a full first tier keeps.

use crate::support::{Redis, eventually};
use bytes::Bytes;
use cache_layer::key::POSTS;
use cache_layer::{
    Cache, CacheStore, Eviction, Key, Metrics, RedisConfig, RedisStore, Strategy, Ttl, TwoTier, TwoTierConfig,
};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// Room for some 300 of the values below.
const MAX_BYTES: u64 = 128 << 10;

/// Keys that are read again and again, between keys that are read once.
const HOT: i64 = 60;

async fn read(cache: &Cache, key: &Key) {
    let load = || async { Ok::<_, Infallible>(Some(Bytes::from(vec![b'x'; 250]))) };
    cache.get_or_load(key, Ttl::Class, load).await.expect("infallible");
}

/// Sixty keys are read in each round, and 400 others once: more than fit between two reads of the same key.
#[tokio::test]
async fn keys_that_are_read_once_evict_nothing_that_is_read_often() {
    let mut kept = Vec::new();
    for eviction in [Eviction::Lru, Eviction::TinyLfu] {
        let redis = Redis::start();
        let config = TwoTierConfig {
            max_bytes: MAX_BYTES,
            eviction,
            ttl: Duration::from_secs(600),
            news_good_for: Duration::from_secs(10),
            ..TwoTierConfig::default()
        };
        let second = redis.patiently().redis.expect("redis");
        let second = RedisStore::open(RedisConfig { announce: true, ..second }, &Metrics::default());
        let store = Arc::new(TwoTier::over_redis(second.expect("a store"), &config, &Metrics::default()));
        store.ready().await;
        let cache = Cache::new(store.clone(), Metrics::default());
        assert_eq!(cache.strategy(), Strategy::TwoTier);
        eventually("the first tier is in use", async || {
            read(&cache, &POSTS.item(-1)).await;
            store.at_hand(&POSTS.item(-1)).is_some()
        })
        .await;
        for round in 0..20 {
            for hot in 0..HOT {
                read(&cache, &POSTS.item(hot)).await;
            }
            for once in 0..400 {
                read(&cache, &POSTS.item(1_000 + round * 400 + once)).await;
            }
        }
        kept.push((0..HOT).filter(|hot| store.at_hand(&POSTS.item(*hot)).is_some()).count());
    }
    assert!(kept[0] < 6, "what was not used for 400 reads has left: {kept:?}");
    assert!(kept[1] > 30, "most of what is asked for often stays: {kept:?}");
}
