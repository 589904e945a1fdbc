//! The races that put stale values into caches, staged with gates.

use crate::staged::Staged;
use crate::support::Redis;
use bytes::Bytes;
use cache_layer::key::POSTS;
use cache_layer::{Cache, CacheConfig, Invalidation, Key, Lookup, Metrics, Status, Strategy, Ttl};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// A database of one row.
#[derive(Clone, Default)]
struct Row(Arc<AtomicU64>);

impl Row {
    fn read(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn write(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn bytes(version: u64) -> Bytes {
        Bytes::copy_from_slice(&version.to_be_bytes())
    }
}

fn version(value: &Bytes) -> u64 {
    u64::from_be_bytes(value[..].try_into().expect("eight bytes"))
}

async fn caches(redis: &Redis) -> [Cache; 3] {
    let mut two_tier = redis.patiently();
    two_tier.strategy = Strategy::TwoTier;
    // Not to be met by what the first cache left.
    two_tier.redis.as_mut().expect("redis").namespace = "two-tier:".into();
    let caches = [redis.patiently(), CacheConfig::memory(), two_tier];
    let caches = caches.map(|config| config.open(Metrics::default()).expect("a cache"));
    for cache in &caches {
        assert!(cache.ready(Duration::from_secs(10)).await);
    }
    caches
}

/// Reads through the cache; the loader tells when it has read the row, and goes on when told.
async fn gated_read(cache: Cache, key: Key, row: Row, has_read: oneshot::Sender<()>, go_on: Arc<Notify>) -> Lookup {
    let load = || async move {
        let version = row.read();
        has_read.send(()).expect("the test listens");
        go_on.notified().await;
        Ok::<_, Infallible>(Some(Row::bytes(version)))
    };
    cache.get_or_load(&key, Ttl::Class, load).await.expect("infallible")
}

async fn read(cache: &Cache, key: &Key, row: &Row) -> Lookup {
    let load = || async { Ok::<_, Infallible>(Some(Row::bytes(row.read()))) };
    cache.get_or_load(key, Ttl::Class, load).await.expect("infallible")
}

#[tokio::test]
async fn a_value_read_before_an_invalidation_is_never_stored_after_it() {
    let redis = Redis::start();
    for cache in caches(&redis).await {
        for (key, what) in [
            (POSTS.item(1), Invalidation::new().key(&POSTS.item(1))),
            (POSTS.list("top", 1), Invalidation::new().tag(POSTS.lists())),
            (POSTS.item(2), Invalidation::new().pattern("posts:?")),
        ] {
            let (row, go_on) = (Row::default(), Arc::new(Notify::new()));
            let (has_read, reading) = oneshot::channel();
            let slow = tokio::spawn(gated_read(cache.clone(), key.clone(), row.clone(), has_read, go_on.clone()));
            reading.await.expect("the loader reads");
            row.write();
            cache.invalidate(&what).await;
            go_on.notify_one();
            let slow = slow.await.expect("no panic");
            assert_eq!(slow.status, Status::Miss { stored: false, collapsed: false }, "{key} in {}", cache.strategy());
            let next = read(&cache, &key, &row).await;
            assert_eq!(version(&next.value.expect("a value")), 1, "stale {key} in {}", cache.strategy());
        }
    }
}

/// The same race on a cache that deletes after commit and sets after the load: it is stale. So the test above can fail.
#[tokio::test]
async fn the_same_race_with_a_plain_set_is_stale() {
    let redis = Redis::start();
    for cache in caches(&redis).await {
        let (row, key) = (Row::default(), POSTS.item(1));
        let before = row.read();
        row.write();
        cache.invalidate(&Invalidation::new().key(&key)).await;
        cache.set(&key, Row::bytes(before), Ttl::Class).await.expect("set");
        let next = read(&cache, &key, &row).await;
        assert_eq!(version(&next.value.expect("a value")), 0, "stale, as expected");
    }
}

#[tokio::test]
async fn requests_for_one_key_share_one_load() {
    let redis = Redis::start();
    for cache in caches(&redis).await {
        let (row, key, go_on) = (Row::default(), POSTS.item(1), Arc::new(Notify::new()));
        let (has_read, reading) = oneshot::channel();
        let first = tokio::spawn(gated_read(cache.clone(), key.clone(), row.clone(), has_read, go_on.clone()));
        reading.await.expect("the loader reads");
        let others: Vec<_> = (0..20)
            .map(|_| {
                let (cache, key) = (cache.clone(), key.clone());
                tokio::spawn(async move {
                    let load = || async { Err::<Option<Bytes>, _>("a second load") };
                    cache.get_or_load(&key, Ttl::Class, load).await
                })
            })
            .collect();
        // On this one thread the others run up to their wait before this task goes on.
        tokio::task::yield_now().await;
        go_on.notify_one();
        assert_eq!(first.await.expect("no panic").status, Status::Miss { stored: true, collapsed: false });
        for other in others {
            let lookup = other.await.expect("no panic").expect("no second load");
            assert_eq!(lookup.status, Status::Miss { stored: true, collapsed: true });
        }
    }
}

/// Who comes after a write must not be given the value of a load that began before it, be it shared in memory only.
#[tokio::test]
async fn a_request_after_a_write_does_not_share_a_load_from_before_it() {
    let redis = Redis::start();
    for cache in caches(&redis).await {
        let (row, key, go_on) = (Row::default(), POSTS.item(1), Arc::new(Notify::new()));
        let (has_read, reading) = oneshot::channel();
        let slow = tokio::spawn(gated_read(cache.clone(), key.clone(), row.clone(), has_read, go_on.clone()));
        reading.await.expect("the loader reads");
        row.write();
        cache.invalidate(&Invalidation::new().key(&key)).await;
        let late = tokio::spawn({
            let (cache, key, row) = (cache.clone(), key.clone(), row.clone());
            async move { read(&cache, &key, &row).await }
        });
        tokio::task::yield_now().await;
        go_on.notify_one();
        assert_eq!(version(&slow.await.expect("no panic").value.expect("a value")), 0, "it began before the write");
        assert_eq!(version(&late.await.expect("no panic").value.expect("a value")), 1, "it began after");
    }
}

/// The store has filled, but its answer is still on the way; a write comes in between. Who comes after the write must not be
/// given the filled value just because the lease stood.
#[tokio::test]
async fn a_request_after_a_write_does_not_share_a_fill_from_before_it() {
    let (gate, filled) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let store = Staged { gate: Some(gate.clone()), filled: filled.clone(), ..Staged::default() };
    let cache = store.patient();
    let (row, key) = (Row::default(), POSTS.item(1));
    let reading = |row: Row| {
        let (cache, key) = (cache.clone(), key.clone());
        tokio::spawn(async move { read(&cache, &key, &row).await })
    };
    let first = reading(row.clone());
    filled.notified().await;
    row.write();
    cache.invalidate(&Invalidation::new().key(&key)).await;
    let late = reading(row.clone());
    tokio::task::yield_now().await;
    gate.notify_one();
    assert_eq!(version(&first.await.expect("no panic").value.expect("a value")), 0, "it began before the write");
    gate.notify_one();
    assert_eq!(version(&late.await.expect("no panic").value.expect("a value")), 1, "it began after");
}

#[tokio::test]
async fn a_cancelled_load_leaves_its_followers_going() {
    let redis = Redis::start();
    for cache in caches(&redis).await {
        let (row, key, go_on) = (Row::default(), POSTS.item(1), Arc::new(Notify::new()));
        let (has_read, reading) = oneshot::channel();
        let first = tokio::spawn(gated_read(cache.clone(), key.clone(), row.clone(), has_read, go_on));
        reading.await.expect("the loader reads");
        let follower = tokio::spawn({
            let (cache, key, row) = (cache.clone(), key.clone(), row.clone());
            async move { read(&cache, &key, &row).await }
        });
        tokio::task::yield_now().await;
        first.abort();
        let lookup = tokio::time::timeout(Duration::from_secs(10), follower).await.expect("in time").expect("no panic");
        assert_eq!(lookup.status, Status::Miss { stored: true, collapsed: false });
    }
}

/// An entry needs the generations of its tags. When Redis loses one, the entries that have the tag are misses.
#[tokio::test]
async fn a_lost_tag_does_not_leave_its_entries_behind() {
    let redis = Redis::start();
    let [cache, ..] = caches(&redis).await;
    let (row, mut raw) = (Row::default(), redis.connect());
    let key = POSTS.list("top", 1);
    read(&cache, &key, &row).await;
    assert!(matches!(read(&cache, &key, &row).await.status, Status::Hit { .. }));
    let lost: u64 = redis::cmd("DEL").arg("!tag:posts:list").query(&mut raw).expect("DEL");
    assert_eq!(lost, 1, "the tag was there");
    row.write();
    assert!(matches!(read(&cache, &key, &row).await.status, Status::Miss { stored: true, .. }));
    assert_eq!(version(&read(&cache, &key, &row).await.value.expect("a value")), 1);
}

/// Many readers and writers at once, no staging: no read may show less than what was written before it began.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_read_is_older_than_the_last_write_before_it() {
    let redis = Redis::start();
    for cache in caches(&redis).await {
        let (row, acked) = (Row::default(), Arc::new(AtomicU64::new(0)));
        let key = POSTS.item(1);
        let readers: Vec<_> = (0..8)
            .map(|_| {
                let (cache, key, row, acked) = (cache.clone(), key.clone(), row.clone(), acked.clone());
                tokio::spawn(async move {
                    let mut hits = 0;
                    for _ in 0..1500 {
                        let floor = acked.load(Ordering::SeqCst);
                        let load = || async {
                            let version = row.read();
                            tokio::task::yield_now().await;
                            Ok::<_, Infallible>(Some(Row::bytes(version)))
                        };
                        let seen = cache.get_or_load(&key, Ttl::Class, load).await.expect("infallible");
                        let got = version(&seen.value.expect("a value"));
                        assert!(got >= floor, "{got} after {floor} in {}: {:?}", cache.strategy(), seen.status);
                        hits += u64::from(matches!(seen.status, Status::Hit { .. }));
                        tokio::task::yield_now().await;
                    }
                    hits
                })
            })
            .collect();
        let writer = tokio::spawn({
            let (cache, key, row, acked) = (cache.clone(), key.clone(), row.clone(), acked.clone());
            async move {
                for _ in 0..300 {
                    let version = row.write();
                    cache.invalidate(&Invalidation::new().key(&key)).await;
                    acked.store(version, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        });
        let mut hits = 0;
        for reader in readers {
            hits += reader.await.expect("no stale read");
        }
        writer.await.expect("no panic");
        assert!(hits > 0, "the cache took part");
    }
}
