//! What every strategy must do, asked of each through the one interface.

use crate::support::{Redis, eventually};
use bytes::Bytes;
use cache_layer::key::{COURSES, POSTS, PRODUCTS, PROFILES, SERVICES};
use cache_layer::{Cache, CacheConfig, CacheStore, Invalidation, Key, Lookup, Metrics, Status, Strategy, Ttl};
use std::convert::Infallible;
use std::time::Duration;

async fn read(cache: &Cache, key: &Key, value: &'static str) -> Lookup {
    let load = || async move { Ok::<_, Infallible>(Some(Bytes::from_static(value.as_bytes()))) };
    cache.get_or_load(key, Ttl::Class, load).await.expect("infallible")
}

fn body(lookup: &Lookup) -> &[u8] {
    lookup.value.as_deref().expect("a value")
}

async fn get(store: &dyn CacheStore, key: &Key) -> Option<Bytes> {
    store.get(key).await.expect("an answer").map(|cached| cached.value)
}

#[tokio::test]
async fn one_interface_three_strategies() {
    let redis = Redis::start();
    for (config, keeps) in [(redis.patiently(), true), (CacheConfig::memory(), true), (CacheConfig::none(), false)] {
        let strategy = config.strategy;
        let cache = config.open(Metrics::default()).expect("a cache");
        assert_eq!(cache.strategy(), strategy);
        assert!(cache.ready(Duration::from_secs(10)).await);
        set_get_delete(cache.store(), keeps).await;
        leases(cache.store(), keeps).await;
        patterns_groups_and_clear(cache.store(), keeps).await;
        ttls(cache.store(), keeps).await;
        cache_aside(&cache, keeps).await;
    }
}

async fn set_get_delete(store: &dyn CacheStore, keeps: bool) {
    let (key, value) = (POSTS.item(1), Bytes::from_static(b"\x00\xffbytes"));
    assert_eq!(get(store, &key).await, None);
    store.set(&key, &value, Duration::from_secs(60)).await.expect("set");
    assert_eq!(get(store, &key).await, keeps.then_some(value));
    let gone = store.delete(&Invalidation::new().key(&key)).await.expect("delete");
    assert_eq!(gone, u64::from(keeps));
    assert_eq!(get(store, &key).await, None);
}

async fn leases(store: &dyn CacheStore, keeps: bool) {
    let (key, value, ttl) = (POSTS.item(2), Bytes::from_static(b"v"), Duration::from_secs(60));
    let Some(lease) = store.lease(&key).await.expect("an answer") else {
        assert!(!keeps, "only a store that keeps nothing grants no lease");
        return;
    };
    assert_eq!(get(store, &key).await, None, "a lease is no value");
    assert!(store.fill(&lease, &value, ttl).await.expect("fill"));
    assert!(!store.fill(&lease, &value, ttl).await.expect("fill"), "a lease is good for one fill");
    assert_eq!(get(store, &key).await, Some(value.clone()));

    let lease = store.lease(&key).await.expect("an answer").expect("a lease");
    assert_eq!(get(store, &key).await, Some(value.clone()), "a lease leaves the value alone");
    store.delete(&Invalidation::new().key(&key)).await.expect("delete");
    assert!(!store.fill(&lease, &value, ttl).await.expect("fill"), "a delete voids the lease");
    assert_eq!(get(store, &key).await, None);

    let lease = store.lease(&key).await.expect("an answer").expect("a lease");
    store.set(&key, &Bytes::from_static(b"newer"), ttl).await.expect("set");
    assert!(!store.fill(&lease, &value, ttl).await.expect("fill"), "so does a set");
    assert_eq!(get(store, &key).await, Some(Bytes::from_static(b"newer")));
}

async fn patterns_groups_and_clear(store: &dyn CacheStore, keeps: bool) {
    let (value, ttl) = (Bytes::from_static(b"v"), Duration::from_secs(60));
    let keys = [POSTS.item(10), POSTS.item(11), POSTS.list("top", 1), POSTS.list("recent", 2), PROFILES.item(10)];
    let fill = async || {
        for key in &keys {
            store.set(key, &value, ttl).await.expect("set");
        }
    };
    let left = async || {
        let mut left = Vec::new();
        for key in &keys {
            if get(store, key).await.is_some() {
                left.push(key.name().to_owned());
            }
        }
        left
    };
    let expect = |names: &[&str]| if keeps { names.iter().map(|n| (*n).to_owned()).collect() } else { Vec::new() };

    for round in 0..2 {
        fill().await;
        // A lease on a list that is being loaded goes with the group, too.
        let lease = store.lease(&POSTS.list("new", 1)).await.expect("an answer");
        store.delete(&Invalidation::new().group(POSTS.lists())).await.expect("delete");
        assert_eq!(left().await, expect(&["posts:10", "posts:11", "profiles:10"]), "round {round}");
        if let Some(lease) = lease {
            assert!(!store.fill(&lease, &value, ttl).await.expect("fill"));
            assert_eq!(get(store, &POSTS.list("new", 1)).await, None);
        }
    }
    fill().await;
    let lease = store.lease(&POSTS.item(12)).await.expect("an answer");
    store.delete_matching("posts:1*").await.expect("delete");
    assert_eq!(left().await, expect(&["posts:list:top:1", "posts:list:recent:2", "profiles:10"]));
    if let Some(lease) = lease {
        assert!(!store.fill(&lease, &value, ttl).await.expect("fill"), "a pattern voids leases");
    }
    fill().await;
    store.clear().await.expect("clear");
    assert_eq!(left().await, expect(&[]));
}

async fn ttls(store: &dyn CacheStore, keeps: bool) {
    let (key, value) = (COURSES.item(1), Bytes::from_static(b"v"));
    store.set(&key, &value, Duration::from_secs(600)).await.expect("set");
    if keeps {
        let left = store.get(&key).await.expect("an answer").expect("a value").ttl;
        assert!(left <= Duration::from_secs(600) && left > Duration::from_secs(500), "{left:?}");
    }
    store.set(&key, &value, Duration::from_millis(30)).await.expect("set");
    eventually("a value ends with its TTL", async || get(store, &key).await.is_none()).await;
}

async fn cache_aside(cache: &Cache, keeps: bool) {
    let key = PRODUCTS.item(1);
    let first = read(cache, &key, "one").await;
    assert_eq!(first.status, Status::Miss { stored: keeps, collapsed: false });
    let second = read(cache, &key, "two").await;
    assert_eq!(body(&second), if keeps { b"one" } else { b"two" });
    assert_eq!(matches!(second.status, Status::Hit { .. }), keeps);
    cache.invalidate(&Invalidation::new().key(&key)).await;
    assert_eq!(body(&read(cache, &key, "three").await), b"three");

    let nothing = cache.get_or_load(&PRODUCTS.item(2), Ttl::Class, || async { Ok::<_, Infallible>(None) }).await;
    assert_eq!(nothing.expect("infallible").status, Status::Miss { stored: false, collapsed: false });
    let failed = cache.get_or_load(&PRODUCTS.item(2), Ttl::Class, || async { Err("down") }).await;
    assert_eq!(failed, Err("down"), "an error of the loader is the caller's");
    assert_eq!(body(&read(cache, &PRODUCTS.item(2), "now").await), b"now", "and is not cached");

    let past = cache.bypass(|| async { Ok::<_, Infallible>(Some(Bytes::from_static(b"db"))) }).await;
    assert_eq!(past.expect("infallible").status, Status::Bypass);
}

#[tokio::test]
async fn ttl_of_each_key_class_in_redis() {
    let redis = Redis::start();
    let cache = redis.patiently().open(Metrics::default()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    let mut raw = redis.connect();
    for service in SERVICES {
        for key in [service.item(7), service.list("recent", 1)] {
            read(&cache, &key, "v").await;
            let ttl: u64 = redis::cmd("PTTL").arg(key.name()).query(&mut raw).expect("PTTL");
            let class = u64::try_from(key.class().ttl.as_millis()).expect("small");
            assert!(ttl <= class && ttl > class - 20_000, "{key}: {ttl} of {class} ms");
        }
    }
    // A crashed loader leaves a lease behind: it must not stay for ever.
    cache.store().lease(&POSTS.item(8)).await.expect("an answer");
    let ttl: i64 = redis::cmd("PTTL").arg("posts:8").query(&mut raw).expect("PTTL");
    assert!((1..=10_000).contains(&ttl), "{ttl}");
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut raw).expect("KEYS");
    for key in keys {
        let ttl: i64 = redis::cmd("PTTL").arg(&key).query(&mut raw).expect("PTTL");
        assert!(ttl > 0, "{key} has no TTL");
    }
}

#[tokio::test]
async fn a_namespace_stands_before_every_key_and_bounds_clear() {
    let redis = Redis::start();
    let mut config = redis.patiently();
    config.redis.as_mut().expect("redis").namespace = "prod[1]:".into();
    let cache = config.open(Metrics::default()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    let mut raw = redis.connect();
    let foreign = || ["prod1:posts:1", "posts:1"];
    for key in foreign() {
        redis::cmd("SET").arg(key).arg("someone else's").exec(&mut raw).expect("SET");
    }
    read(&cache, &POSTS.item(1), "v").await;
    read(&cache, &POSTS.list("top", 1), "v").await;
    let exists: u64 =
        redis::cmd("EXISTS").arg("prod[1]:posts:1").arg("prod[1]:posts:list:top:1").query(&mut raw).expect("EXISTS");
    assert_eq!(exists, 2);
    cache.invalidate(&Invalidation::new().group(POSTS.lists())).await;
    assert!(matches!(read(&cache, &POSTS.list("top", 1), "w").await.status, Status::Miss { .. }));
    cache.clear().await.expect("clear");
    let mut left: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut raw).expect("KEYS");
    left.sort();
    assert_eq!(left, ["posts:1", "prod1:posts:1"]);
}

#[test]
fn the_strategy_is_chosen_by_name() {
    for strategy in [Strategy::Redis, Strategy::Memory, Strategy::None] {
        assert_eq!(strategy.name().parse(), Ok(strategy));
    }
    let error = "rediss".parse::<Strategy>().expect_err("no such strategy").to_string();
    assert!(error.contains("rediss") && error.contains("memory"), "{error}");
}

#[tokio::test]
async fn a_bad_url_is_refused_without_repeating_its_password() {
    let error = CacheConfig::redis("nonsense://u:secret@h").open(Metrics::default()).err().expect("refused");
    assert!(!format!("{error} {error:?}").contains("secret"));
}
