//! Writing through the cache and around it.

use crate::support::{Redis, eventually};
use bytes::Bytes;
use cache_layer::key::POSTS;
use cache_layer::{Cache, CacheConfig, Invalidated, Invalidation, Metrics, Status, Ttl};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

#[derive(Clone, Default)]
struct Row(Arc<AtomicU64>);

impl Row {
    async fn read(self) -> Result<Option<Bytes>, Infallible> {
        Ok(Some(Bytes::from(self.0.load(Ordering::SeqCst).to_string())))
    }

    async fn write(self) -> Result<u64, &'static str> {
        Ok(self.0.fetch_add(1, Ordering::SeqCst) + 1)
    }
}

async fn caches(redis: &Redis) -> [Cache; 2] {
    let caches = [redis.patiently(), CacheConfig::memory()];
    let caches = caches.map(|config| config.open(Metrics::default()).expect("a cache"));
    for cache in &caches {
        assert!(cache.ready(Duration::from_secs(10)).await);
    }
    caches
}

async fn read(cache: &Cache, row: &Row) -> (Bytes, Status) {
    let lookup = cache.get_or_load(&POSTS.item(1), Ttl::Class, || row.clone().read()).await.expect("infallible");
    (lookup.value.expect("a row"), lookup.status)
}

#[tokio::test]
async fn a_write_through_is_the_next_reads_hit_and_one_around_its_miss() {
    let redis = Redis::start();
    for cache in caches(&redis).await {
        let (row, key) = (Row::default(), POSTS.item(1));
        read(&cache, &row).await;
        let also = Invalidation::new().tag(POSTS.lists());
        let reading = row.clone();
        let written = cache.write_through(&key, Ttl::Class, also, row.clone().write(), || reading.read()).await;
        let written = written.expect("committed");
        assert!(written.answer == 1 && written.cached && matches!(written.invalidated, Invalidated::Done(_)));
        let (value, status) = read(&cache, &row).await;
        assert!(value == "1" && matches!(status, Status::Hit { .. }), "{status:?}");

        let written = cache.write_around(Invalidation::new().key(&key), row.clone().write()).await.expect("committed");
        assert_eq!((written.answer, written.invalidated), (2, Invalidated::Done(1)));
        let (value, status) = read(&cache, &row).await;
        assert!(value == "2" && matches!(status, Status::Miss { stored: true, .. }), "{status:?}");
    }
}

#[tokio::test]
async fn a_failed_write_changes_nothing_in_the_cache() {
    let cache = CacheConfig::memory().open(Metrics::default()).expect("a cache");
    let row = Row::default();
    read(&cache, &row).await;
    let failing = || async { Err::<u64, _>("refused") };
    let reading = row.clone();
    let key = POSTS.item(1);
    let through = cache.write_through(&key, Ttl::Class, Invalidation::new(), failing(), || reading.read()).await;
    assert_eq!(through, Err("refused"));
    assert!(cache.write_around(Invalidation::new().key(&key), failing()).await.is_err());
    assert!(matches!(read(&cache, &row).await.1, Status::Hit { .. }));
}

#[tokio::test]
async fn a_read_that_fails_after_the_commit_leaves_the_write_standing() {
    let cache = CacheConfig::memory().open(Metrics::default()).expect("a cache");
    let row = Row::default();
    read(&cache, &row).await;
    let broken = || async { Err::<Option<Bytes>, _>("down") };
    let key = POSTS.item(1);
    let written = cache.write_through(&key, Ttl::Class, Invalidation::new(), row.clone().write(), broken).await;
    assert!(!written.expect("committed").cached);
    assert_eq!(read(&cache, &row).await.0, "1");
}

/// Two writers; the first one's read of its new value is slow, and the second one's whole write comes in between. The first must not put
/// the older value over the newer one.
#[tokio::test]
async fn the_slower_of_two_writers_does_not_leave_its_older_value() {
    let redis = Redis::start();
    for cache in caches(&redis).await {
        let (row, key) = (Row::default(), POSTS.item(1));
        let (has_read, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let slow = tokio::spawn({
            let (cache, row, key) = (cache.clone(), row.clone(), key.clone());
            let (has_read, go_on) = (has_read.clone(), go_on.clone());
            async move {
                let reading = row.clone();
                let load = || async move {
                    let read = reading.read().await;
                    has_read.notify_one();
                    go_on.notified().await;
                    read
                };
                cache.write_through(&key, Ttl::Class, Invalidation::new(), row.write(), load).await
            }
        });
        has_read.notified().await;
        cache.write_around(Invalidation::new().key(&key), row.clone().write()).await.expect("committed");
        go_on.notify_one();
        let slow = slow.await.expect("no panic").expect("committed");
        assert!(!slow.cached, "its lease was voided");
        assert_eq!(read(&cache, &row).await.0, "2", "in {}", cache.strategy());
    }
}

#[tokio::test]
async fn a_client_that_goes_away_between_commit_and_invalidation_leaves_nothing_stale() {
    let redis = Redis::start();
    for cache in caches(&redis).await {
        let (row, committed, go_on) = (Row::default(), Arc::new(Notify::new()), Arc::new(Notify::new()));
        read(&cache, &row).await;
        let client = tokio::spawn({
            let (cache, row) = (cache.clone(), row.clone());
            let (committed, go_on) = (committed.clone(), go_on.clone());
            let write = async move {
                let written = row.write().await;
                committed.notify_one();
                go_on.notified().await;
                written
            };
            async move { cache.write_around(Invalidation::new().key(&POSTS.item(1)), write).await }
        });
        committed.notified().await;
        client.abort();
        assert!(client.await.is_err_and(|error| error.is_cancelled()));
        go_on.notify_one();
        eventually("the invalidation comes all the same", async || read(&cache, &row).await.0 == "1").await;
    }
}
