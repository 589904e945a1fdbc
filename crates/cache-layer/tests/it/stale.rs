//! The race of invalidations against loads, on thousands of keys at once; the number of values that stay stale, by scheme.

use crate::support::{Redis, eventually};
use bytes::Bytes;
use cache_layer::key::POSTS;
use cache_layer::{Cache, CacheConfig, Coherence, Invalidation, Metrics, Strategy, Ttl};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const KEYS: usize = 3_000;
const WRITES: usize = 3;

/// A database of rows, each a version.
type Rows = Arc<Vec<AtomicU64>>;

async fn opened(redis: &Redis, strategy: Strategy, coherence: Coherence, namespace: &str) -> Cache {
    let mut config = redis.patiently();
    config.strategy = strategy;
    let settings = config.redis.as_mut().expect("redis");
    settings.namespace = namespace.into();
    settings.coherence = coherence;
    let cache = config.open(Metrics::default()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    cache
}

async fn read(cache: &Cache, rows: &Rows, id: usize) -> u64 {
    let load = || async {
        let version = rows[id].load(Ordering::SeqCst);
        // As long as a query takes: time for a write to come in between.
        tokio::time::sleep(Duration::from_micros(300)).await;
        Ok::<_, Infallible>(Some(Bytes::copy_from_slice(&version.to_be_bytes())))
    };
    let key = POSTS.item(i64::try_from(id).expect("small"));
    let lookup = cache.get_or_load(&key, Ttl::Class, load).await.expect("infallible");
    u64::from_be_bytes(lookup.value.expect("a value")[..].try_into().expect("eight bytes"))
}

/// Each key is read by all processes while it is written by one of them. What is stale when all is quiet stays so until its TTL.
async fn stale_after_a_hammering(processes: &[Cache]) -> (usize, usize) {
    let rows: Rows = Arc::new((0..KEYS).map(|_| AtomicU64::new(0)).collect());
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..64 {
        let (processes, rows) = (processes.to_vec(), rows.clone());
        tasks.spawn(async move {
            for id in (worker..KEYS).step_by(64) {
                for write in 0..WRITES {
                    let (one, other) = (&processes[write % processes.len()], &processes[(write + 1) % processes.len()]);
                    let writing = async {
                        tokio::time::sleep(Duration::from_micros(150)).await;
                        rows[id].fetch_add(1, Ordering::SeqCst);
                        one.invalidate(&Invalidation::new().key(&POSTS.item(i64::try_from(id).expect("small")))).await;
                    };
                    tokio::join!(read(one, &rows, id), read(other, &rows, id), writing);
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no panic");
    }
    let mut suspects: Vec<usize> = (0..KEYS).collect();
    // News may be on their way for a moment; what is old for good is stale.
    for _ in 0..3 {
        let mut still = Vec::new();
        for id in suspects {
            let mut old = false;
            for cache in processes {
                old |= read(cache, &rows, id).await < WRITES as u64;
            }
            if old {
                still.push(id);
            }
        }
        suspects = still;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    (suspects.len(), KEYS)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_thousand_keys_invalidated_during_their_loads_leave_none_stale() {
    let redis = Redis::start();
    let schemes = [
        ("redis, lease", Strategy::Redis, Coherence::Lease, "lease:"),
        ("two tiers, lease", Strategy::TwoTier, Coherence::Lease, "tiers:"),
        ("redis, plain DEL and SET", Strategy::Redis, Coherence::Delete, "plain:"),
    ];
    let mut results = Vec::new();
    for (name, strategy, coherence, namespace) in schemes {
        let processes = [
            opened(&redis, strategy, coherence, namespace).await,
            opened(&redis, strategy, coherence, namespace).await,
        ];
        if strategy == Strategy::TwoTier {
            for cache in &processes {
                in_use(cache, &redis).await;
            }
        }
        let (stale, of) = stale_after_a_hammering(&processes).await;
        println!("{name:<26} {stale:>5} of {of} keys stale");
        results.push(stale);
    }
    let memory = CacheConfig::memory().open(Metrics::default()).expect("a cache");
    let (stale, of) = stale_after_a_hammering(std::slice::from_ref(&memory)).await;
    println!("{:<26} {stale:>5} of {of} keys stale", "memory, lease");
    assert_eq!((results[0], results[1], stale), (0, 0, 0));
    assert!(results[2] > 0, "the race is one: a plain DEL loses it");
}

/// Waits until the first tier answers.
async fn in_use(cache: &Cache, redis: &Redis) {
    let key = POSTS.list("in use", 1);
    cache.store().set(&key, &Bytes::from_static(b"v"), Duration::from_secs(60)).await.expect("set");
    eventually("the first tier is in use", async || {
        cache.store().get(&key).await.expect("an answer");
        let before = redis.calls("hmget");
        cache.store().get(&key).await.expect("an answer");
        redis.calls("hmget") == before
    })
    .await;
}
