//! What is in the memory of the process is served without waiting: by the same rules, and counted as ever.

use crate::log::Log;
use crate::samples::Samples;
use crate::staged::{HandClock, Staged};
use bytes::Bytes;
use cache_layer::key::{POSTS, catalog::sessions};
use cache_layer::{
    Cache, CacheStore, Invalidation, Key, KeyClass, MemoryConfig, MemoryStore, Metrics, ServeStale, Status, Ttl,
    TwoTier, TwoTierConfig,
};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tracing::Level;

const LONG: Duration = Duration::from_secs(600);

fn value() -> Bytes {
    Bytes::from_static(b"v")
}

async fn read(cache: &Cache, key: &Key) -> Status {
    let load = || async { Ok::<_, Infallible>(Some(value())) };
    cache.get_or_load(key, Ttl::Class, load).await.expect("infallible").status
}

/// Two tiers in one process, the first in use.
fn tiers(metrics: &Metrics) -> Arc<TwoTier> {
    tiers_over(Arc::new(MemoryStore::new(&MemoryConfig::default())), metrics)
}

fn tiers_over(shared: Arc<dyn CacheStore>, metrics: &Metrics) -> Arc<TwoTier> {
    let config = TwoTierConfig { ttl: LONG, ..TwoTierConfig::default() };
    let store = TwoTier::new(shared, &config, metrics);
    store.feed_alive(true);
    Arc::new(store)
}

#[tokio::test]
async fn what_is_invalid_is_not_at_hand() {
    let two_tiers = tiers(&Metrics::default());
    let stores: [Arc<dyn CacheStore>; 2] = [Arc::new(MemoryStore::new(&MemoryConfig::default())), two_tiers.clone()];
    for store in stores {
        let (item, list) = (POSTS.item(1), POSTS.list("top", 1));
        for what in [
            Invalidation::new().key(&item).key(&list),
            Invalidation::new().key(&item).tag(POSTS.lists()),
            Invalidation::new().pattern("posts:*"),
        ] {
            for key in [&item, &list] {
                assert_eq!(store.at_hand(key), None, "nothing yet");
                store.set(key, &value(), LONG).await.expect("set");
                store.get(key).await.expect("an answer");
                assert_eq!(store.at_hand(key).map(|cached| cached.value), Some(value()));
                let other_tags = Key::new(key.class(), key.name()).tagged(POSTS.lists()).tagged(POSTS.lists());
                assert_eq!(store.at_hand(&other_tags), None, "of other tags");
            }
            store.delete(&what).await.expect("deleted");
            assert_eq!((store.at_hand(&item), store.at_hand(&list)), (None, None), "{what:?}");
        }
        store.add(&item, 1, LONG).await.expect("a counter");
        assert_eq!(store.at_hand(&item), None, "a counter is no value");
    }
    let session = sessions::data("s");
    for key in [&session, &POSTS.item(2)] {
        two_tiers.set(key, &value(), LONG).await.expect("set");
        two_tiers.get(key).await.expect("an answer");
    }
    assert!(two_tiers.at_hand(&session).is_none(), "never in the first tier");
    assert!(two_tiers.at_hand(&POSTS.item(2)).is_some());
    two_tiers.feed_alive(false);
    assert!(two_tiers.at_hand(&POSTS.item(2)).is_none(), "without news nothing is");
}

#[tokio::test]
async fn a_hit_at_hand_is_counted_once_and_is_no_operation_of_the_store() {
    let metrics = Metrics::default();
    let cache = Cache::new(tiers(&metrics), metrics.clone());
    let key = POSTS.item(1);
    let counted = |series: &str| Samples::of(&metrics).sum(series);
    let gets = |outcome| {
        let series = "cache_operation_duration_seconds_count";
        counted(&format!(r#"{series}{{class="posts",operation="get",outcome="{outcome}"}}"#))
    };
    assert!(matches!(read(&cache, &key).await, Status::Miss { .. }));
    // Who is given the lease only after a while looks again, and that counts too.
    let (looks, absent) = (gets("miss"), counted(r#"cache_local_lookups_total{outcome="absent"}"#));
    assert!(looks >= 1 && absent == looks, "each look is counted once: {absent} of {looks}");
    for _ in 0..3 {
        assert!(matches!(read(&cache, &key).await, Status::Hit { .. }));
    }
    assert_eq!(counted(r#"cache_hits_total{class="posts"}"#), 3);
    assert_eq!(counted(r#"cache_misses_total{class="posts"}"#), 1);
    assert_eq!(counted(r#"cache_local_lookups_total{outcome="found"}"#), 3);
    assert_eq!(counted(r#"cache_local_lookups_total{outcome="absent"}"#), absent, "no other looks");
    assert_eq!((gets("hit"), gets("miss")), (0, looks), "no other operations");
}

#[tokio::test]
async fn a_stale_value_at_hand_is_looked_at_once_and_replaced() {
    let mut class = KeyClass::new("fragile", Duration::from_secs(60));
    (class.stale_for, class.serve_stale) = (LONG, ServeStale::OnError);
    let (metrics, clock, key) = (Metrics::default(), HandClock::now(), Key::new(class, "fragile:1"));
    let beneath = Staged::default();
    let (calls, down) = (beneath.calls.clone(), beneath.down.clone());
    let cache = Cache::new(tiers_over(Arc::new(beneath), &metrics), metrics.clone());
    let cache = cache.with_request_budget(LONG).with_clock(clock.clone());
    read(&cache, &key).await;
    assert!(matches!(read(&cache, &key).await, Status::Hit { .. }));
    clock.pass(Duration::from_secs(61));
    // No lease is given: who is given one only after a while looks again, in case somebody loaded it meanwhile.
    down.store(true, Ordering::SeqCst);
    let looks = calls.get.load(Ordering::SeqCst);
    let failed = cache.get_or_load(&key, Ttl::Class, || async { Err::<Option<Bytes>, _>("down") }).await;
    assert!(matches!(failed.expect("something older").status, Status::Stale { .. }));
    assert_eq!(Samples::of(&metrics).sum(r#"cache_local_lookups_total{outcome="found"}"#), 2);
    assert_eq!(calls.get.load(Ordering::SeqCst), looks, "nobody looked beneath");
    down.store(false, Ordering::SeqCst);
    assert!(matches!(read(&cache.with_retry_after(Duration::ZERO), &key).await, Status::Miss { stored: true, .. }));
}

/// Who listens hears of each read, at hand or not.
#[tokio::test]
async fn hits_at_hand_are_told() {
    let (log, _guard) = Log::listen(Level::DEBUG);
    let cache = Cache::new(Arc::new(MemoryStore::new(&MemoryConfig::default())), Metrics::default());
    for _ in 0..3 {
        read(&cache, &POSTS.item(1)).await;
    }
    let text = log.take();
    assert_eq!(text.matches("cache read").count(), 3, "{text}");
    assert_eq!(text.matches("status=\"hit\"").count(), 2, "{text}");
}
