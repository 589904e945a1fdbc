//! A hundred keys at once, beside a bare pipeline of as many `HMGET`s; and how many round trips they cost.

#[path = "../tests/it/support.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod support;

use bytes::Bytes;
use cache_layer::key::POSTS;
use cache_layer::{Cache, CacheConfig, Key, Metrics, Ttl};
use criterion::{Criterion, criterion_group, criterion_main};
use std::collections::HashMap;
use std::convert::Infallible;
use std::hint::black_box;
use std::time::Duration;

const BATCHES: u64 = 100;

async fn all(cache: &Cache, keys: &[Key]) -> usize {
    let load = async |missing: Vec<Key>| {
        let value = || Bytes::from(vec![b'x'; 1024]);
        Ok::<_, Infallible>(missing.into_iter().map(|key| (key, value())).collect::<HashMap<_, _>>())
    };
    cache.get_many_or_load(keys, Ttl::Class, load).await.missed().count()
}

fn batch(c: &mut Criterion) {
    if std::process::Command::new("redis-server").arg("--version").output().is_err() {
        eprintln!("skipping: there is no redis-server here; install Redis 7.0 or later");
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let redis = support::Redis::start();
    let keys: Vec<Key> = (1..=100).map(|id| POSTS.item(id)).collect();
    let cache = runtime.block_on(async {
        let cache = CacheConfig::redis(redis.url()).open(Metrics::default()).expect("a cache");
        assert!(cache.ready(Duration::from_secs(10)).await);
        all(&cache, &keys).await;
        cache
    });

    // Redis counts its reads of sockets: one for each round trip, and a few for the pings of the pool.
    let reads = || redis.info("stats", "total_reads_processed");
    let before = reads();
    for _ in 0..BATCHES {
        assert_eq!(runtime.block_on(all(&cache, &keys)), 0);
    }
    let trips = (reads() - before) / BATCHES;
    println!("batch of 100: {trips} round trip(s), of {BATCHES} batches");
    assert_eq!(trips, 1);

    let mut group = c.benchmark_group("batch of 100");
    group.bench_function("layer", |b| b.to_async(&runtime).iter(|| all(&cache, &keys)));
    let client = redis::Client::open(redis.url()).expect("a URL");
    let connection = runtime.block_on(client.get_multiplexed_async_connection()).expect("a connection");
    group.bench_function("bare pipeline of HMGET", |b| {
        b.to_async(&runtime).iter(|| {
            let (mut connection, mut pipeline) = (connection.clone(), redis::pipe());
            for key in &keys {
                pipeline.cmd("HMGET").arg(key.name()).arg("!v").arg("!e").arg("!u");
            }
            async move {
                let found: Vec<(Vec<u8>, Option<u64>, Option<u64>)> =
                    pipeline.query_async(&mut connection).await.expect("values");
                black_box(found)
            }
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    targets = batch
}
criterion_main!(benches);
