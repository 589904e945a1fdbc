//! A thousand requests at once for a key that nobody has loaded: one load, and what waiting for it costs each. (Across processes: a test,
//! `tests/it/stampede.rs`.)

use bytes::Bytes;
use cache_layer::key::POSTS;
use cache_layer::{Cache, CacheConfig, Metrics, Ttl};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const REQUESTS: usize = 1000;

/// How often the loader was called.
async fn stampede(cache: Cache) -> usize {
    let loads = AtomicUsize::new(0);
    let load = async || {
        loads.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok::<_, Infallible>(Some(Bytes::from(vec![b'x'; 1024])))
    };
    let key = POSTS.item(1);
    join_all((0..REQUESTS).map(|_| cache.get_or_load(&key, Ttl::Class, load))).await;
    loads.into_inner()
}

fn thousand(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let fresh = || CacheConfig::memory().open(Metrics::default()).expect("a cache");
    let loads = runtime.block_on(stampede(fresh()));
    println!("{REQUESTS} misses at once on one key: {loads} load(s)");
    assert_eq!(loads, 1);
    let mut group = c.benchmark_group("stampede");
    group.throughput(Throughput::Elements(REQUESTS as u64));
    group.bench_function("1,000 requests, a load of 1 ms", |b| {
        b.to_async(&runtime).iter_batched(fresh, stampede, BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(300));
    targets = thousand
}
criterion_main!(benches);
