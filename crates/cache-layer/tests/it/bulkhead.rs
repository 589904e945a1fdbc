//! A dead Redis must not become a dead database.

use crate::support::{Redis, eventually};
use bytes::Bytes;
use cache_layer::key::POSTS;
use cache_layer::{
    BulkheadConfig, Cache, CacheConfig, Full, Key, KeyClass, LoadError, Metrics, ServeStale, StaleReason, Status, Ttl,
};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

const LIMIT: BulkheadConfig = BulkheadConfig { at_most: 4, wait: Duration::from_millis(50), waiting_at_most: 40 };

/// A database that counts who is in it, and lets nobody out before the gate opens.
#[derive(Clone)]
struct Database {
    inside: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

impl Database {
    fn new(gate: usize) -> Self {
        Self { inside: Arc::default(), most: Arc::default(), gate: Arc::new(Semaphore::new(gate)) }
    }

    async fn load(&self) -> Result<Option<Bytes>, Infallible> {
        self.most.fetch_max(self.inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let turn = self.gate.acquire().await.expect("never closed");
        tokio::task::yield_now().await;
        drop(turn);
        self.inside.fetch_sub(1, Ordering::SeqCst);
        Ok(Some(Bytes::from_static(b"loaded")))
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn while_redis_is_dead_no_more_loads_run_than_may_and_the_rest_fails_fast() {
    let mut redis = Redis::start();
    let mut config = CacheConfig::redis(redis.url());
    config.loads_at_most = Some(LIMIT);
    let cache = config.open(Metrics::default()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    redis.kill();
    eventually("the outage is seen", async || !cache.status().usable).await;
    let database = Database::new(0);
    let reads: Vec<_> = (0..200)
        .map(|id| {
            let (cache, database) = (cache.clone(), database.clone());
            tokio::spawn(async move { cache.get_or_load(&POSTS.item(id), Ttl::Class, || database.load()).await })
        })
        .collect();
    // Nobody is let out: four are inside, forty wait in vain, the others are refused at once.
    eventually("all but those inside are refused", async || cache.statistics().loads.rejected == 196).await;
    assert_eq!((cache.statistics().loads.running, cache.statistics().loads.waiting), (4, 0));
    database.gate.add_permits(100);
    let (mut loaded, mut refused, mut at_once) = (0, 0, 0);
    for read in reads {
        match read.await.expect("no panic") {
            Ok(lookup) => {
                assert_eq!(lookup.value.as_deref(), Some(&b"loaded"[..]));
                loaded += 1;
            }
            Err(LoadError::Overloaded(Full { waited, .. })) => {
                refused += 1;
                at_once += u32::from(waited.is_zero());
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((loaded, refused, at_once, database.most()), (4, 196, 156, 4));
    // Afterwards everything is as before.
    let lookup = cache.get_or_load(&POSTS.item(1), Ttl::Class, || database.load()).await.expect("there is room");
    assert_eq!(lookup.status, Status::Fallback);
    assert_eq!(cache.statistics().loads.running, 0);
}

#[tokio::test]
async fn who_may_be_served_a_stale_value_is_not_refused() {
    const NEWS: KeyClass =
        KeyClass::new("news", Duration::from_secs(60)).stale(ServeStale::OnError, Duration::from_secs(60));
    let cache = CacheConfig::memory().open(Metrics::default()).expect("a cache");
    let cache = cache.with_loads_at_most(BulkheadConfig { wait: Duration::from_millis(1), ..BulkheadConfig::new(1) });
    let (key, database) = (Key::new(NEWS, "news:1"), Database::new(1));
    let load =
        async |cache: &Cache| cache.get_or_load(&key, Ttl::Fixed(Duration::from_millis(1)), || database.load()).await;
    load(&cache).await.expect("there is room");
    tokio::time::sleep(Duration::from_millis(5)).await;
    let holder = Database::new(0);
    let held = tokio::spawn({
        let (cache, holder) = (cache.clone(), holder.clone());
        async move { cache.get_or_load(&POSTS.item(1), Ttl::Class, || holder.load()).await.map(drop) }
    });
    eventually("the only place is taken", async || holder.most() == 1).await;
    let lookup = load(&cache).await.expect("a stale value");
    assert!(matches!(lookup.status, Status::Stale { why: StaleReason::Overloaded, .. }), "{:?}", lookup.status);
    holder.gate.add_permits(1);
    held.await.expect("no panic").expect("it had the place");
}

/// Without the cache, requests for one key that come while its load waits for a place share that load.
#[tokio::test]
async fn who_comes_while_a_load_waits_for_its_turn_shares_it() {
    let mut redis = Redis::start();
    let mut config = CacheConfig::redis(redis.url());
    config.loads_at_most = Some(BulkheadConfig { wait: Duration::from_secs(20), ..BulkheadConfig::new(1) });
    let cache = config.open(Metrics::default()).expect("a cache");
    redis.kill();
    eventually("the outage is seen", async || !cache.status().usable).await;
    let (holder, database) = (Database::new(0), Database::new(1));
    let loads = Arc::new(AtomicUsize::new(0));
    let read = |id: i64, database: &Database| {
        let (cache, database, loads) = (cache.clone(), database.clone(), Arc::clone(&loads));
        let load = move || async move {
            loads.fetch_add(1, Ordering::SeqCst);
            database.load().await
        };
        tokio::spawn(
            async move { cache.get_or_load(&POSTS.item(id), Ttl::Class, load).await.map(|lookup| lookup.status) },
        )
    };
    let first = read(1, &holder);
    eventually("the only place is taken", async || holder.most() == 1).await;
    let leader = read(2, &database);
    eventually("it waits", async || cache.statistics().loads.waiting == 1).await;
    let others: Vec<_> = (0..20).map(|_| read(2, &database)).collect();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    holder.gate.add_permits(1);
    for read in others.into_iter().chain([first, leader]) {
        assert_eq!(read.await.expect("no panic"), Ok(Status::Fallback));
    }
    assert_eq!(loads.load(Ordering::SeqCst), 2, "one for each key");
}
