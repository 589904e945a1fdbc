//! What the layer costs compared with bare clients: short rounds of each in turn, so that a busy machine slows all equally. The ratio is
//! the median of the ratios of the rounds. `just micro` ends with this table. With the argument `local` it only prints the rows that need
//! no server.

#[path = "../tests/it/support.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod support;

use bytes::Bytes;
use cache_layer::breaker::BreakerConfig;
use cache_layer::key::POSTS;
use cache_layer::{
    Cache, CacheConfig, CacheStore, MemoryConfig, MemoryStore, Metrics, RedisConfig, RedisStore, Strategy, TwoTier,
    TwoTierConfig,
};
use cache_layer::{Key, Ttl};
use futures_util::future::join_all;
use std::collections::HashMap;
use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Many short rounds: most of them are not interrupted.
const ROUNDS: usize = 600;
const LONG: Duration = Duration::from_secs(3600);

/// On the heap, as values from a database are.
fn value() -> Bytes {
    Bytes::from(vec![b'x'; 1024])
}

async fn hit(cache: &Cache, key: &Key) -> Option<Bytes> {
    let load = || async { Ok::<_, Infallible>(Some(value())) };
    cache.get_or_load(key, Ttl::Fixed(LONG), load).await.expect("infallible").value
}

async fn hmget(connection: &mut redis::aio::MultiplexedConnection, key: &Key) {
    let mut command = redis::cmd("HMGET");
    command.arg(key.name()).arg("!v").arg("!e").arg("!u");
    let found: (Vec<u8>, Option<u64>, Option<u64>) = command.query_async(connection).await.expect("a value");
    black_box(found);
}

/// Nanoseconds for each call.
async fn time(calls: u32, mut call: impl AsyncFnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        call().await;
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn show(what: &str, layer: &[f64], peer: &[f64], limit: Option<f64>) {
    let ratio = median(layer.iter().zip(peer).map(|(layer, peer)| layer / peer).collect());
    let (layer, peer) = (median(layer.to_vec()), median(peer.to_vec()));
    let limit = limit.map_or(String::new(), |limit| format!("{limit:>7.2}"));
    println!("{what:<52} {layer:>9.0} ns {peer:>9.0} ns {ratio:>7.2} {limit}");
}

fn count(what: &str, counted: usize, limit: usize) {
    println!("{what:<52} {counted:>12} {:>12} {:>7} {limit:>7}", "", "");
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let key = POSTS.item(1);
    println!("{:<52} {:>12} {:>12} {:>7} {:>7}", "median of interleaved rounds", "layer", "peer", "ratio", "limit");
    local(&key).await;
    if std::env::args().any(|argument| argument == "local") {
        return;
    }
    first_tier(&key).await;
    over_redis(&key).await;
    refused(&key).await;
    stampede(&key).await;
}

/// A hit in the memory of the process, compared with moka without and with a TTL.
async fn local(key: &Key) {
    let plain = moka::sync::Cache::<String, Bytes>::new(1000);
    let with_ttl = moka::sync::Cache::<String, Bytes>::builder().max_capacity(1000).time_to_live(LONG).build();
    plain.insert(key.name().into(), value());
    with_ttl.insert(key.name().into(), value());
    let memory = Arc::new(MemoryStore::new(&MemoryConfig::default()));
    let in_memory = Cache::new(Arc::clone(&memory) as Arc<dyn CacheStore>, Metrics::default());
    hit(&in_memory, key).await;
    let config = TwoTierConfig { ttl: LONG, ..TwoTierConfig::default() };
    let shared = Arc::new(MemoryStore::new(&MemoryConfig::default()));
    let tiers = Arc::new(TwoTier::new(shared, &config, &Metrics::default()));
    tiers.feed_alive(true);
    let in_tiers = Cache::new(Arc::clone(&tiers) as Arc<dyn CacheStore>, Metrics::default());
    hit(&in_tiers, key).await;
    assert!(memory.at_hand(key).is_some() && tiers.at_hand(key).is_some(), "hits are measured");
    let mut times: [Vec<f64>; 8] = std::array::from_fn(|_| Vec::new());
    const CALLS: u32 = 2_000;
    let load = || async { Ok::<_, Infallible>(Some(value())) };
    for _ in 0..ROUNDS {
        times[0].push(time(CALLS, async || drop(black_box(plain.get(key.name())))).await);
        times[1].push(time(CALLS, async || drop(black_box(with_ttl.get(key.name())))).await);
        times[2].push(time(CALLS, async || drop(black_box(memory.get(key).await))).await);
        times[3].push(time(CALLS, async || drop(black_box(memory.at_hand(key)))).await);
        times[4].push(time(CALLS, async || drop(black_box(in_memory.get_or_load(key, Ttl::Class, load).await))).await);
        times[5].push(time(CALLS, async || drop(black_box(tiers.get(key).await))).await);
        times[6].push(time(CALLS, async || drop(black_box(tiers.at_hand(key)))).await);
        times[7].push(time(CALLS, async || drop(black_box(in_tiers.get_or_load(key, Ttl::Class, load).await))).await);
    }
    let [plain, with_ttl, memory, memory_at_hand, in_memory, tiers, tiers_at_hand, in_tiers] = &times;
    show("moka with a TTL, beside bare moka", with_ttl, plain, None);
    show("memory: the store's get, beside bare moka", memory, plain, None);
    show("memory: the look-up alone, beside bare moka", memory_at_hand, plain, Some(1.5));
    show("memory: the whole layer, beside bare moka", in_memory, plain, Some(1.5));
    show("memory: the whole layer, beside moka with a TTL", in_memory, with_ttl, None);
    show("first tier: the store's get, beside bare moka", tiers, plain, None);
    show("first tier: the look-up alone, beside bare moka", tiers_at_hand, plain, Some(1.5));
    show("first tier: the whole layer, beside bare moka", in_tiers, plain, Some(1.5));
    show("first tier: the whole layer, beside moka with a TTL", in_tiers, with_ttl, None);
}

/// The first tier as it is used, invalidated by messages from Redis; also for a key with a tag.
async fn first_tier(key: &Key) {
    let redis = support::Redis::start();
    let mut config = CacheConfig::redis(redis.url());
    config.strategy = Strategy::TwoTier;
    let cache = config.open(Metrics::default()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    let plain = moka::sync::Cache::<String, Bytes>::new(1000);
    plain.insert(key.name().into(), value());
    let tagged = POSTS.list("top", 1);
    let at_hand = |key: &Key| cache.store().at_hand(key).is_some();
    let mut times: [Vec<f64>; 3] = std::array::from_fn(|_| Vec::new());
    let load = || async { Ok::<_, Infallible>(Some(value())) };
    while times[0].len() < ROUNDS {
        // Lets the invalidation messages be read.
        tokio::task::yield_now().await;
        for key in [key, &tagged] {
            support::eventually("it is in the first tier", async || hit(&cache, key).await.is_some() && at_hand(key))
                .await;
        }
        let round = [
            time(2_000, async || drop(black_box(plain.get(key.name())))).await,
            time(2_000, async || drop(black_box(cache.get_or_load(key, Ttl::Class, load).await))).await,
            time(2_000, async || drop(black_box(cache.get_or_load(&tagged, Ttl::Class, load).await))).await,
        ];
        // In other rounds an entry expired, so not all reads were hits in memory.
        if at_hand(key) && at_hand(&tagged) {
            times.iter_mut().zip(round).for_each(|(times, time)| times.push(time));
        }
    }
    let [plain, untagged, tagged] = &times;
    show("first tier over Redis: the whole layer", untagged, plain, Some(1.5));
    show("first tier over Redis: the same, with a tag", tagged, plain, None);
}

/// Hits in Redis, compared with the same commands on a bare connection.
async fn over_redis(key: &Key) {
    let redis = support::Redis::start();
    let mut config = CacheConfig::redis(redis.url());
    config.redis.as_mut().expect("redis").connections = 1;
    let store = RedisStore::open(config.redis.clone().expect("redis"), &Metrics::default()).expect("a store");
    store.ready().await;
    let cache = config.open(Metrics::default()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    let keys: Vec<Key> = (1..=100).map(|id| POSTS.item(id)).collect();
    for key in &keys {
        hit(&cache, key).await;
    }
    let client = redis::Client::open(redis.url()).expect("a URL");
    let mut bare = client.get_multiplexed_async_connection().await.expect("a connection");
    let many = bare.clone();
    let mut times: [Vec<f64>; 7] = std::array::from_fn(|_| Vec::new());
    for _ in 0..ROUNDS {
        times[0].push(time(30, async || hmget(&mut bare, key).await).await);
        times[1].push(time(30, async || assert!(store.get(key).await.expect("an answer").is_some())).await);
        times[2].push(time(30, async || assert!(hit(&cache, key).await.is_some())).await);
        times[3].push(
            time(1, async || {
                let one = async |mut connection| {
                    for _ in 0..5 {
                        hmget(&mut connection, key).await;
                    }
                };
                join_all((0..64).map(|_| one(many.clone()))).await;
            })
            .await,
        );
        times[4].push(
            time(1, async || {
                let one = async || {
                    for _ in 0..5 {
                        assert!(hit(&cache, key).await.is_some());
                    }
                };
                join_all((0..64).map(|_| one())).await;
            })
            .await,
        );
        times[5].push(
            time(2, async || {
                let mut pipeline = redis::pipe();
                for key in &keys {
                    pipeline.cmd("HMGET").arg(key.name()).arg("!v").arg("!e").arg("!u");
                }
                let found: Vec<(Vec<u8>, Option<u64>, Option<u64>)> =
                    pipeline.query_async(&mut bare).await.expect("values");
                black_box(found);
            })
            .await,
        );
        times[6].push(
            time(2, async || {
                let load = async |_| Ok::<_, Infallible>(HashMap::new());
                let batch = cache.get_many_or_load(&keys, Ttl::Class, load).await;
                assert_eq!(batch.missed().count(), 0);
            })
            .await,
        );
    }
    times[3..5].iter_mut().flatten().for_each(|time| *time /= 64.0 * 5.0);
    let [bare, store, cache, bare_64, cache_64, pipeline, batch] = &times;
    show("Redis: the store's get, beside bare HMGET", store, bare, Some(1.1));
    show("Redis: the whole layer, beside bare HMGET", cache, bare, Some(1.1));
    show("Redis, 64 at a time: the whole layer", cache_64, bare_64, Some(1.1));
    show("Redis: batch of 100, beside a bare pipeline", batch, pipeline, None);
}

/// An open breaker.
async fn refused(key: &Key) {
    let mut config = RedisConfig::new("redis://127.0.0.1:1");
    config.breaker = BreakerConfig { open_for: LONG, open_for_at_most: LONG, ..BreakerConfig::default() };
    let store = RedisStore::open(config, &Metrics::default()).expect("a store");
    for _ in 0..100 {
        store.get(key).await.expect_err("nobody there");
    }
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        times.push(time(500, async || drop(black_box(store.get(key).await))).await);
    }
    println!(
        "{:<52} {:>9.0} ns {:>12} {:>7} {:>4} ns",
        "breaker open: the store's refusal",
        median(times),
        "",
        "",
        1000
    );
}

/// A thousand concurrent requests for a key that is not cached.
async fn stampede(key: &Key) {
    let cache = CacheConfig::memory().open(Metrics::default()).expect("a cache");
    let loads = AtomicUsize::new(0);
    let load = async || {
        loads.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok::<_, Infallible>(Some(value()))
    };
    join_all((0..1000).map(|_| cache.get_or_load(key, Ttl::Fixed(LONG), load))).await;
    count("1,000 misses at once on one key: loads", loads.into_inner(), 1);
}
