//! What stands before Redis and before the database: what it costs to be let through, and to be refused.

use cache_layer::breaker::{Breaker, BreakerConfig, Instruments};
use cache_layer::bulkhead::BulkheadInstruments;
use cache_layer::{Bulkhead, BulkheadConfig};
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::{Duration, Instant};

fn guards(c: &mut Criterion) {
    let mut group = c.benchmark_group("breaker");
    let breaker = |config| Breaker::new(config, Instruments::default(), Instant::now());
    let closed = breaker(BreakerConfig::default());
    group.bench_function("closed: permit and record", |b| {
        b.iter(|| closed.permit(Instant::now()).map(|permit| permit.record(true, Instant::now())));
    });
    let long = Duration::from_secs(3600);
    let open =
        breaker(BreakerConfig { consecutive: 1, open_for: long, open_for_at_most: long, ..BreakerConfig::default() });
    if let Some(permit) = open.permit(Instant::now()) {
        permit.record(false, Instant::now());
    }
    group.bench_function("open: refusal", |b| b.iter(|| assert!(black_box(open.permit(Instant::now())).is_none())));
    group.finish();

    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let bulkhead = Bulkhead::new(BulkheadConfig::new(10), BulkheadInstruments::default());
    c.bench_function("bulkhead: in and out", |b| {
        b.to_async(&runtime).iter(|| async { bulkhead.enter().await.map(drop) })
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300));
    targets = guards
}
criterion_main!(benches);
