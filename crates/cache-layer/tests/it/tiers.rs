//! Two tiers in several processes: coherent while the news come, out of use when they do not.

use crate::support::{Redis, eventually};
use bytes::Bytes;
use cache_layer::key::{POSTS, catalog::sessions};
use cache_layer::{
    CacheStore, Feed, Invalidation, Key, MemoryConfig, MemoryStore, Metrics, RedisConfig, RedisStore, TwoTier,
    TwoTierConfig,
};
use std::sync::Arc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(600);

fn value(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// With values that stay long, so that only the news can take them away, and news that no pause of this machine outlasts.
fn config() -> TwoTierConfig {
    TwoTierConfig { ttl: LONG, news_good_for: Duration::from_secs(10), ..TwoTierConfig::default() }
}

fn redis_store(redis: &Redis) -> RedisStore {
    let patient = redis.patiently().redis.expect("redis");
    RedisStore::open(RedisConfig { announce: true, ..patient }, &Metrics::default()).expect("a store")
}

async fn get(store: &TwoTier, key: &Key) -> Option<Bytes> {
    store.get(key).await.expect("an answer").map(|cached| cached.value)
}

/// Whether a read is answered without Redis.
async fn is_local(store: &TwoTier, redis: &Redis, key: &Key) -> bool {
    store.get(key).await.ok();
    let before = redis.calls("hmget");
    store.get(key).await.is_ok_and(|found| found.is_some()) && redis.calls("hmget") == before
}

async fn process(redis: &Redis) -> TwoTier {
    process_with(redis, &config()).await
}

async fn process_with(redis: &Redis, config: &TwoTierConfig) -> TwoTier {
    let store = TwoTier::over_redis(redis_store(redis), config, &Metrics::default());
    store.ready().await;
    let key = POSTS.item(-1);
    store.set(&key, &value("v"), LONG).await.expect("set");
    eventually("the first tier is in use", async || is_local(&store, redis, &key).await).await;
    store
}

#[tokio::test]
async fn what_one_process_deletes_the_others_forget() {
    let redis = Redis::start();
    let (one, other) = (process(&redis).await, process(&redis).await);
    let (item, list) = (POSTS.item(1), POSTS.list("top", 1));
    for what in [
        Invalidation::new().key(&item).key(&list),
        Invalidation::new().key(&item).tag(POSTS.lists()),
        Invalidation::new().pattern("posts:*"),
    ] {
        for key in [&item, &list] {
            one.set(key, &value("old"), LONG).await.expect("set");
            // The news of the set are to be over, or they would do the work of those of the deletion.
            eventually("kept", async || is_local(&one, &redis, key).await && is_local(&other, &redis, key).await).await;
        }
        one.delete(&what).await.expect("delete");
        for key in [&item, &list] {
            assert_eq!(get(&one, key).await, None, "at once where it was deleted");
            eventually("the other forgets", async || get(&other, key).await.is_none()).await;
        }
    }
    one.set(&item, &value("new"), LONG).await.expect("set");
    eventually("a set is news, too", async || get(&other, &item).await == Some(value("new"))).await;
    one.clear().await.expect("clear");
    eventually("and so is a clear", async || get(&other, &item).await.is_none()).await;
}

#[tokio::test]
async fn a_session_is_not_kept_in_the_first_tier() {
    let redis = Redis::start();
    let (one, other) = (process(&redis).await, process(&redis).await);
    let key = sessions::data("s");
    one.set(&key, &value("v"), LONG).await.expect("set");
    for _ in 0..3 {
        assert!(!is_local(&other, &redis, &key).await);
    }
    one.delete(&Invalidation::new().key(&key)).await.expect("delete");
    assert_eq!(get(&other, &key).await, None, "gone everywhere at once");
}

#[tokio::test]
async fn a_fill_is_kept_and_a_void_one_is_not() {
    let redis = Redis::start();
    let store = process(&redis).await;
    let key = POSTS.item(1);
    let lease = store.lease(&key).await.expect("an answer").granted().expect("a lease");
    assert_eq!(store.fill(&lease, &value("v"), LONG).await, Ok(true));
    let before = redis.calls("hmget");
    assert_eq!(get(&store, &key).await, Some(value("v")));
    assert_eq!(redis.calls("hmget"), before, "no look-up");
    let lease = store.lease(&key).await.expect("an answer").granted().expect("a lease");
    store.delete(&Invalidation::new().key(&key)).await.expect("delete");
    assert_eq!(store.fill(&lease, &value("old"), LONG).await, Ok(false));
    assert_eq!(get(&store, &key).await, None);
}

/// A subscription that broke, or fell silent, may have missed a deletion: whatever is in memory is no longer good.
#[tokio::test]
async fn without_news_the_first_tier_is_empty_and_out_of_use() {
    let redis = Redis::start();
    let (one, other) = (process(&redis).await, process(&redis).await);
    let key = POSTS.item(1);
    one.set(&key, &value("old"), LONG).await.expect("set");
    eventually("kept", async || is_local(&other, &redis, &key).await).await;
    // Behind the layer's back, and unannounced: as if its news had been lost.
    let gone: u64 = redis::cmd("DEL").arg("posts:1").query(&mut redis.connect()).expect("DEL");
    assert_eq!(gone, 1);
    assert_eq!(get(&other, &key).await, Some(value("old")), "nobody told");
    let killed: u64 =
        redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").query(&mut redis.connect()).expect("CLIENT KILL");
    assert_eq!(killed, 2);
    eventually("the memory is not trusted", async || get(&other, &key).await.is_none()).await;
    one.set(&key, &value("new"), LONG).await.expect("set");
    eventually("and in use again", async || is_local(&other, &redis, &key).await).await;
    assert_eq!(get(&other, &key).await, Some(value("new")));
}

#[tokio::test]
async fn a_silent_server_takes_the_first_tier_out_of_use() {
    let redis = Redis::start();
    let store = process_with(&redis, &TwoTierConfig { ttl: LONG, ..TwoTierConfig::default() }).await;
    let key = POSTS.item(-1);
    redis.freeze();
    let frozen = std::time::Instant::now();
    let mut longest = Duration::ZERO;
    // While the news are good it answers; then it asks Redis, which does not.
    while tokio::time::timeout(Duration::from_millis(50), store.get(&key)).await.is_ok_and(|got| got.is_ok()) {
        longest = frozen.elapsed();
        assert!(longest < Duration::from_secs(10), "served from memory without any news");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("served from memory for {longest:?} after the last sign of life");
    redis.thaw();
    eventually("in use again", async || is_local(&store, &redis, &key).await).await;
}

/// The feed may be somebody who follows the database's log.
#[tokio::test]
async fn a_relay_can_be_the_feed() {
    let shared = Arc::new(MemoryStore::new(&MemoryConfig::default()));
    let store = TwoTier::new(shared.clone(), &TwoTierConfig { feed: Feed::Relay, ..config() }, &Metrics::default());
    let (key, list) = (POSTS.item(1), POSTS.list("top", 1));
    let refill = async |text| {
        for key in [&key, &list] {
            shared.set(key, &value(text), LONG).await.expect("set");
            store.get(key).await.expect("an answer");
        }
    };
    refill("one").await;
    shared.set(&key, &value("two"), LONG).await.expect("set");
    assert_eq!(get(&store, &key).await, Some(value("two")), "not in use before it is told to be");
    store.feed_alive(true);
    refill("one").await;
    shared.set(&key, &value("two"), LONG).await.expect("set");
    assert_eq!(get(&store, &key).await, Some(value("one")), "nobody told");
    store.feed(&Invalidation::new().key(&key));
    assert_eq!(get(&store, &key).await, Some(value("two")));
    shared.set(&list, &value("two"), LONG).await.expect("set");
    store.feed(&Invalidation::new().tag(POSTS.lists()));
    assert_eq!(get(&store, &list).await, Some(value("two")));
    shared.set(&list, &value("three"), LONG).await.expect("set");
    store.feed_alive(false);
    assert_eq!(get(&store, &list).await, Some(value("three")), "out of use");
}
