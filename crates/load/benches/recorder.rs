//! The cost of recording: one response recorded, and the responses of one second folded into a slice.

use std::hint::black_box;

use cacheproof_core::journal::{CachePath, Outcome};
use cacheproof_load::{Recorder, ResponseRecord};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// Responses in one coarse slice: what goose drives at most on two cores.
const WINDOW: u64 = 40_000;

fn answer(index: u64) -> ResponseRecord {
    ResponseRecord {
        phase: 2,
        path: CachePath::Cached,
        request: u16::try_from(index % 6).unwrap_or(0),
        outcome: if index.is_multiple_of(5) { Outcome::Miss } else { Outcome::Hit },
        response: 200_000 + index * 37 % 5_000_000,
        service: 190_000 + index * 37 % 5_000_000,
        stale: false,
        judged_fresh: false,
        lag: index.is_multiple_of(2).then_some(400_000),
    }
}

fn filled() -> Recorder {
    let recorder = Recorder::new(vec![50_000_000, 150_000_000], 2);
    for index in 0..WINDOW {
        recorder.record(usize::try_from(index).unwrap_or(0), answer(index));
    }
    recorder
}

fn recorder(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recorder");
    group.throughput(Throughput::Elements(WINDOW));
    group.bench_function("record 40 000 answers", |bencher| bencher.iter(|| black_box(filled())));
    group.bench_function("fold 40 000 responses into a coarse slice", |bencher| {
        bencher.iter_batched(filled, |recorder| recorder.take_coarse_slice(1.0, 0), BatchSize::LargeInput);
    });
    group.bench_function("count 40 000 responses for a fine slice", |bencher| {
        bencher.iter_batched(filled, |recorder| (recorder.take_fine_slice(0.1), recorder), BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(benches, recorder);
criterion_main!(benches);
