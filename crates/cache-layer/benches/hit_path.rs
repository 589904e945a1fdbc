//! What the layer adds to a hit: beside a bare `HMGET` on the same kind of connection, and beside bare moka.

#[path = "../tests/it/support.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod support;

use bytes::Bytes;
use cache_layer::key::POSTS;
use cache_layer::{
    Cache, CacheConfig, CacheStore, Key, MemoryConfig, MemoryStore, Metrics, Ttl, TwoTier, TwoTierConfig,
};
use criterion::{Criterion, criterion_group, criterion_main};
use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);

/// On the heap, as values from a database are.
fn value() -> Bytes {
    Bytes::from(vec![b'x'; 1024])
}

async fn warm(config: CacheConfig) -> Cache {
    let cache = config.open(Metrics::default()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    hit(&cache, &POSTS.item(1)).await;
    cache
}

async fn hit(cache: &Cache, key: &Key) -> Option<Bytes> {
    let load = || async { Ok::<_, Infallible>(Some(value())) };
    cache.get_or_load(key, Ttl::Fixed(LONG), load).await.expect("infallible").value
}

fn hit_path(c: &mut Criterion) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let mut group = c.benchmark_group("hit");

    let key = POSTS.item(1);
    let cache = runtime.block_on(warm(CacheConfig::memory()));
    group.bench_function("memory, layer", |b| b.to_async(&runtime).iter(|| hit(&cache, &key)));
    let shared = Arc::new(MemoryStore::new(&MemoryConfig::default()));
    let tiers = TwoTier::new(shared, &TwoTierConfig { ttl: LONG, ..TwoTierConfig::default() }, &Metrics::default());
    tiers.feed_alive(true);
    let cache = Cache::new(Arc::new(tiers), Metrics::default());
    runtime.block_on(hit(&cache, &key));
    assert!(cache.store().at_hand(&key).is_some(), "the first tier is measured");
    group.bench_function("first tier, layer", |b| b.to_async(&runtime).iter(|| hit(&cache, &key)));
    let moka = moka::sync::Cache::<String, Bytes>::new(1000);
    moka.insert("posts:1".into(), value());
    group.bench_function("memory, bare moka", |b| {
        b.to_async(&runtime).iter(|| async { black_box(moka.get("posts:1")) })
    });

    if std::process::Command::new("redis-server").arg("--version").output().is_err() {
        eprintln!("skipping the Redis half: there is no redis-server here; install Redis 7.0 or later");
        return;
    }
    let redis = support::Redis::start();
    // One connection, like its peer.
    let mut config = CacheConfig::redis(redis.url());
    config.redis.as_mut().expect("redis").connections = 1;
    let cache = runtime.block_on(warm(config));
    group.bench_function("redis, layer", |b| b.to_async(&runtime).iter(|| hit(&cache, &key)));
    let client = redis::Client::open(redis.url()).expect("a URL");
    let connection = runtime.block_on(client.get_multiplexed_async_connection()).expect("a connection");
    group.bench_function("redis, bare HMGET", |b| {
        b.to_async(&runtime).iter(|| {
            let mut connection = connection.clone();
            async move {
                let mut command = redis::cmd("HMGET");
                command.arg("posts:1").arg("!v").arg("!e").arg("!u");
                black_box(
                    command
                        .query_async::<(Option<Vec<u8>>, Option<u64>, Option<u64>)>(&mut connection)
                        .await
                        .expect("a value"),
                )
            }
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    targets = hit_path
}
criterion_main!(benches);
