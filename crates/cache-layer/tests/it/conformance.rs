//! What every strategy must do, asked of each through the one interface: on one server, and on every deployment.

use crate::support::{Redis, eventually};
use crate::topologies::deployments;
use bytes::Bytes;
use cache_layer::key::{COURSES, POSTS, PRODUCTS, PROFILES, SERVICES, catalog::sessions};
use cache_layer::{
    Cache, CacheConfig, CacheError, CacheStore, Invalidation, Key, KeyClass, Leased, LoadError, Lookup, Metrics,
    Status, Strategy, Tag, Ttl,
};
use std::convert::Infallible;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(600);

async fn read(cache: &Cache, key: &Key, value: &'static str) -> Lookup {
    let load = || async move { Ok::<_, Infallible>(Some(Bytes::from_static(value.as_bytes()))) };
    cache.get_or_load(key, Ttl::Class, load).await.expect("infallible")
}

fn body(lookup: &Lookup) -> &[u8] {
    lookup.value.as_deref().expect("a value")
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

async fn get(store: &dyn CacheStore, key: &Key) -> Option<Bytes> {
    store.get(key).await.expect("an answer").map(|cached| cached.value)
}

async fn granted(store: &dyn CacheStore, key: &Key) -> cache_layer::Lease {
    store.lease(key).await.expect("an answer").granted().expect("a lease")
}

async fn opened(config: CacheConfig) -> Cache {
    let cache = config.open(Metrics::default()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await, "{} is ready", cache.strategy());
    cache
}

fn two_tier(mut config: CacheConfig) -> CacheConfig {
    config.strategy = Strategy::TwoTier;
    config
}

/// The whole suite, on an empty cache.
async fn suite(cache: &Cache) {
    let store = cache.store();
    set_get_delete(store).await;
    batches(store).await;
    leases(store).await;
    lease_batches(store).await;
    tags(store).await;
    patterns_and_clear(store).await;
    ttls(store).await;
    counters(store).await;
    set_if_absent(store).await;
    scans(store).await;
    cache_aside(cache).await;
}

#[tokio::test]
async fn one_suite_for_every_strategy() {
    let (redis, other) = (Redis::start(), Redis::start());
    for config in [redis.patiently(), two_tier(other.patiently()), CacheConfig::memory()] {
        let strategy = config.strategy;
        let cache = opened(config).await;
        assert_eq!(cache.strategy(), strategy);
        suite(&cache).await;
    }
}

/// The first tier comes into use a moment after the second: the suite must hold before and after.
#[tokio::test]
async fn two_tiers_hold_the_suite_when_both_are_in_use() {
    let redis = Redis::start();
    let cache = opened(two_tier(redis.patiently())).await;
    let key = PROFILES.item(77);
    cache.store().set(&key, &bytes("v"), LONG).await.expect("set");
    eventually("a read costs no look-up", async || {
        get(cache.store(), &key).await;
        let before = redis.calls("hmget");
        get(cache.store(), &key).await;
        redis.calls("hmget") == before
    })
    .await;
    cache.clear().await.expect("clear");
    suite(&cache).await;
}

#[tokio::test]
async fn one_suite_on_every_deployment() {
    for (name, config, _guard) in deployments().await {
        println!("{name}");
        suite(&opened(config.clone()).await).await;
        suite(&opened(two_tier(config)).await).await;
    }
}

async fn set_get_delete(store: &dyn CacheStore) {
    let (key, value) = (POSTS.item(1), Bytes::from_static(b"\x00\xffbytes"));
    assert_eq!(get(store, &key).await, None);
    assert_eq!(store.exists(&key).await, Ok(false));
    store.set(&key, &value, LONG).await.expect("set");
    assert_eq!(get(store, &key).await, Some(value));
    assert_eq!(store.exists(&key).await, Ok(true));
    store.set(&key, &bytes(""), LONG).await.expect("set");
    assert_eq!(get(store, &key).await, Some(bytes("")), "an empty value is a value");
    assert_eq!(store.delete(&Invalidation::new().key(&key)).await, Ok(1));
    assert_eq!(store.delete(&Invalidation::new().key(&key)).await, Ok(0));
    assert_eq!(store.delete(&Invalidation::new()).await, Ok(0), "of nothing");
    assert_eq!(get(store, &key).await, None);
    let large = Bytes::from(vec![7_u8; 1 << 20]);
    store.set(&key, &large, LONG).await.expect("set");
    assert_eq!(get(store, &key).await, Some(large));
    store.set(&sessions::data("s"), &bytes("session"), LONG).await.expect("set");
    assert_eq!(get(store, &sessions::data("s")).await, Some(bytes("session")));
    store.clear().await.expect("clear");
}

async fn batches(store: &dyn CacheStore) {
    let keys: Vec<_> = (0..100).map(|id| POSTS.item(id)).collect();
    let value = |id: usize| Bytes::from(format!("value {id}"));
    let even: Vec<_> = (0..100).step_by(2).map(|id| (keys[id].clone(), value(id), LONG)).collect();
    assert!(store.set_many(&even).await.iter().all(Result::is_ok));
    for round in 0..2 {
        let found = store.get_many(&keys).await;
        assert_eq!(found.len(), 100);
        for (id, found) in found.into_iter().enumerate() {
            let expected = (id % 2 == 0).then(|| value(id));
            assert_eq!(found.expect("an answer").map(|cached| cached.value), expected, "{id}, round {round}");
        }
    }
    assert!(store.get_many(&[]).await.is_empty());
    assert!(store.set_many(&[]).await.is_empty());
    let twice = [keys[0].clone(), keys[1].clone(), keys[0].clone()];
    let twice = store.get_many(&twice).await.into_iter().map(|found| found.expect("an answer").is_some());
    assert_eq!(twice.collect::<Vec<_>>(), [true, false, true], "a key may be asked for twice");
    let all = keys.iter().fold(Invalidation::new(), Invalidation::key);
    assert_eq!(store.delete(&all).await, Ok(50));
    assert!(store.get_many(&keys).await.into_iter().all(|found| found == Ok(None)));
}

async fn leases(store: &dyn CacheStore) {
    let (key, value) = (POSTS.item(2), bytes("v"));
    let lease = granted(store, &key).await;
    assert_eq!(get(store, &key).await, None, "a lease is no value");
    assert!(
        matches!(store.lease(&key).await, Ok(Leased::Held(left)) if !left.is_zero() && left < Duration::from_secs(4))
    );
    assert_eq!(store.fill(&lease, &value, LONG).await, Ok(true));
    assert_eq!(store.fill(&lease, &value, LONG).await, Ok(false), "a lease is good for one fill");
    assert_eq!(get(store, &key).await, Some(value.clone()));

    let lease = granted(store, &key).await;
    assert_eq!(get(store, &key).await, Some(value.clone()), "a lease leaves the value alone");
    store.delete(&Invalidation::new().key(&key)).await.expect("delete");
    assert_eq!(store.fill(&lease, &value, LONG).await, Ok(false), "a delete voids the lease");
    assert_eq!(get(store, &key).await, None);

    let lease = granted(store, &key).await;
    store.set(&key, &bytes("newer"), LONG).await.expect("set");
    assert_eq!(store.fill(&lease, &value, LONG).await, Ok(false), "so does a set");
    assert_eq!(get(store, &key).await, Some(bytes("newer")));

    let lease = granted(store, &key).await;
    store.clear().await.expect("clear");
    assert_eq!(store.fill(&lease, &value, LONG).await, Ok(false), "so does a clear");

    let lease = granted(store, &key).await;
    store.release(lease).await;
    let lease = granted(store, &key).await;
    assert_eq!(store.fill(&lease, &value, LONG).await, Ok(true), "a lease given back is free at once");
    assert_eq!(store.fill(&lease, &bytes("again"), LONG).await, Ok(false));
    store.clear().await.expect("clear");
}

async fn lease_batches(store: &dyn CacheStore) {
    let keys: Vec<_> = (0..20).map(|id| POSTS.item(id)).chain([POSTS.list("top", 1)]).collect();
    let held = granted(store, &keys[3]).await;
    let leased = store.lease_many(&keys).await;
    assert!(matches!(leased[3], Ok(Leased::Held(_))));
    let leases = leased.into_iter().filter_map(|leased| leased.expect("an answer").granted());
    let fills: Vec<_> = leases.map(|lease| (lease, bytes("v"), LONG)).collect();
    assert_eq!(fills.len(), 20);
    store.delete(&Invalidation::new().key(&keys[5])).await.expect("delete");
    let filled = store.fill_many(&fills).await;
    assert_eq!(filled.iter().filter(|filled| **filled == Ok(true)).count(), 19, "{filled:?}");
    assert_eq!(store.fill(&held, &bytes("v"), LONG).await, Ok(true));
    let found = store.get_many(&keys).await.into_iter().filter(|found| matches!(found, Ok(Some(_)))).count();
    assert_eq!(found, 20);
    store.clear().await.expect("clear");
}

async fn tags(store: &dyn CacheStore) {
    const CLASS: KeyClass = KeyClass::new("tagged", LONG);
    let (red, blue) = (Tag::new("red"), Tag::new("blue"));
    let keys = [
        Key::new(CLASS, "tagged:red").tagged(red.clone()),
        Key::new(CLASS, "tagged:blue").tagged(blue.clone()),
        Key::new(CLASS, "tagged:both").tagged(red.clone()).tagged(blue.clone()),
        Key::new(CLASS, "tagged:none"),
    ];
    let there = async || {
        let found = store.get_many(&keys).await;
        found.into_iter().map(|found| found.expect("an answer").is_some()).collect::<Vec<_>>()
    };
    let values: Vec<_> = keys.iter().map(|key| (key.clone(), bytes("v"), LONG)).collect();
    for round in 0..3 {
        assert!(store.set_many(&values).await.iter().all(Result::is_ok));
        assert_eq!(there().await, [true; 4], "round {round}");
        store.delete(&Invalidation::new().tag(red.clone())).await.expect("delete");
        assert_eq!(there().await, [false, true, false, true], "round {round}");
        assert_eq!(
            store.set_if_absent(&keys[0], &bytes("w"), LONG).await,
            Ok(true),
            "what a tag made invalid is absent"
        );
        store.delete(&Invalidation::new().tag(red.clone()).tag(blue.clone())).await.expect("delete");
        assert_eq!(there().await, [false, false, false, true], "round {round}");
    }
    // A tag voids the leases of its keys, those that are not there yet included.
    let lease = granted(store, &keys[2]).await;
    store.delete(&Invalidation::new().tag(blue)).await.expect("delete");
    assert_eq!(store.fill(&lease, &bytes("old"), LONG).await, Ok(false));
    assert_eq!(get(store, &keys[2]).await, None);
    store.clear().await.expect("clear");
}

async fn patterns_and_clear(store: &dyn CacheStore) {
    let keys = [POSTS.item(10), POSTS.item(11), POSTS.list("top", 1), POSTS.list("recent", 2), PROFILES.item(10)];
    let values: Vec<_> = keys.iter().map(|key| (key.clone(), bytes("v"), LONG)).collect();
    let fill = async || assert!(store.set_many(&values).await.iter().all(Result::is_ok));
    let left = async || {
        let found = store.get_many(&keys).await.into_iter().zip(&keys);
        found.filter(|(found, _)| matches!(found, Ok(Some(_)))).map(|(_, key)| key.name()).collect::<Vec<_>>()
    };
    fill().await;
    let lease = granted(store, &POSTS.item(12)).await;
    store.delete_matching("posts:1*").await.expect("delete");
    assert_eq!(left().await, ["posts:list:top:1", "posts:list:recent:2", "profiles:10"]);
    assert_eq!(store.fill(&lease, &bytes("v"), LONG).await, Ok(false), "a pattern voids leases");
    fill().await;
    store.delete_matching("posts:[^l]*").await.expect("delete");
    assert_eq!(left().await, ["posts:list:top:1", "posts:list:recent:2", "profiles:10"]);
    fill().await;
    assert_eq!(store.clear().await, Ok(5));
    assert!(left().await.is_empty());
    assert_eq!(store.clear().await, Ok(0));
}

async fn ttls(store: &dyn CacheStore) {
    let (key, value) = (COURSES.item(1), bytes("v"));
    assert_eq!(store.ttl(&key).await, Ok(None));
    assert_eq!(store.expire(&key, LONG).await, Ok(false));
    let lease = granted(store, &key).await;
    assert_eq!(store.ttl(&key).await, Ok(None), "a lease has no life of its own");
    assert_eq!(store.expire(&key, LONG).await, Ok(false));
    store.release(lease).await;
    store.set(&key, &value, LONG).await.expect("set");
    let close = |left: Duration| left <= LONG && left > LONG / 2;
    assert!(store.get(&key).await.expect("an answer").is_some_and(|cached| close(cached.ttl)));
    assert!(store.ttl(&key).await.expect("an answer").is_some_and(close));
    assert_eq!(store.expire(&key, LONG * 10).await, Ok(true));
    assert!(store.ttl(&key).await.expect("an answer").is_some_and(|left| left > LONG));
    store.set(&key, &value, Duration::MAX).await.expect("set");
    assert_eq!(get(store, &key).await, Some(value.clone()), "for ever is a TTL, too");
    assert_eq!(store.expire(&key, Duration::from_millis(30)).await, Ok(true));
    eventually("a value ends with its new TTL", async || get(store, &key).await.is_none()).await;
    store.set(&key, &value, Duration::from_millis(30)).await.expect("set");
    // A lease close to the end outlives the value, and the value does not live on with it.
    let lease = granted(store, &key).await;
    eventually("a value ends with its TTL", async || get(store, &key).await.is_none()).await;
    assert_eq!(store.ttl(&key).await, Ok(None));
    assert_eq!(store.fill(&lease, &value, LONG).await, Ok(true));
    store.clear().await.expect("clear");
}

async fn counters(store: &dyn CacheStore) {
    let key = PRODUCTS.item(9);
    assert_eq!(store.add(&key, 5, LONG).await, Ok(5));
    assert_eq!(store.add(&key, -7, Duration::from_millis(1)).await, Ok(-2));
    assert_eq!(get(store, &key).await, None, "a counter is no value");
    assert!(store.ttl(&key).await.expect("an answer").is_some_and(|left| left > LONG / 2), "adding changes no TTL");
    assert_eq!(store.set_if_absent(&key, &bytes("v"), LONG).await, Ok(false));
    assert_eq!(store.add(&key, 2, LONG).await, Ok(0));
    assert_eq!(store.add(&key, i64::MAX, LONG).await, Ok(i64::MAX), "exact beyond 2^53");
    assert!(matches!(store.add(&key, 1, LONG).await, Err(CacheError::Server(_))));
    assert_eq!(store.add(&key, -1, LONG).await, Ok(i64::MAX - 1), "a refusal changes nothing");
    store.set(&key, &bytes("v"), LONG).await.expect("set");
    assert!(matches!(store.add(&key, 1, LONG).await, Err(CacheError::Server(_))), "a value is no counter");
    assert_eq!(get(store, &key).await, Some(bytes("v")));
    store.delete(&Invalidation::new().key(&key)).await.expect("delete");
    assert_eq!(store.add(&key, 1, LONG).await, Ok(1));
    store.clear().await.expect("clear");
}

async fn set_if_absent(store: &dyn CacheStore) {
    let key = PRODUCTS.item(3);
    assert_eq!(store.set_if_absent(&key, &bytes("first"), LONG).await, Ok(true));
    assert_eq!(store.set_if_absent(&key, &bytes("second"), LONG).await, Ok(false));
    assert_eq!(get(store, &key).await, Some(bytes("first")));
    store.delete(&Invalidation::new().key(&key)).await.expect("delete");
    let lease = granted(store, &key).await;
    assert_eq!(store.set_if_absent(&key, &bytes("third"), LONG).await, Ok(true), "a lease is no value");
    assert_eq!(store.fill(&lease, &bytes("old"), LONG).await, Ok(false), "and is void now");
    assert_eq!(get(store, &key).await, Some(bytes("third")));
    store.clear().await.expect("clear");
}

async fn scans(store: &dyn CacheStore) {
    let keys: Vec<_> = (0..50).map(|id| POSTS.item(id)).collect();
    let values: Vec<_> = keys.iter().map(|key| (key.clone(), bytes("v"), LONG)).collect();
    assert!(store.set_many(&values).await.iter().all(Result::is_ok));
    store.set(&POSTS.list("top", 1), &bytes("v"), LONG).await.expect("set");
    let sorted = async |pattern: &str, at_most| {
        let mut names = store.scan(pattern, at_most).await.expect("an answer");
        names.sort();
        names
    };
    let tens: Vec<_> = (10..20).map(|id| format!("posts:{id}")).collect();
    assert_eq!(sorted("posts:1?", 100).await, tens);
    assert_eq!(sorted("*", 100).await.len(), 51, "the layer's own notes are no keys");
    assert_eq!(sorted("*", 7).await.len(), 7);
    assert!(sorted("nothing*", 7).await.is_empty());
    store.clear().await.expect("clear");
}

async fn cache_aside(cache: &Cache) {
    let key = PRODUCTS.item(1);
    let first = read(cache, &key, "one").await;
    assert_eq!(first.status, Status::Miss { stored: true, collapsed: false });
    let second = read(cache, &key, "two").await;
    assert_eq!(body(&second), b"one");
    assert!(matches!(second.status, Status::Hit { .. }));
    cache.invalidate(&Invalidation::new().key(&key)).await;
    assert_eq!(body(&read(cache, &key, "three").await), b"three");
    let nothing = cache.get_or_load(&PRODUCTS.item(2), Ttl::Class, || async { Ok::<_, Infallible>(None) }).await;
    assert_eq!(nothing.expect("infallible").status, Status::Miss { stored: false, collapsed: false });
    let failed = cache.get_or_load(&PRODUCTS.item(2), Ttl::Class, || async { Err("down") }).await;
    assert_eq!(failed, Err(LoadError::Failed("down")), "an error of the loader is the caller's");
    assert_eq!(body(&read(cache, &PRODUCTS.item(2), "now").await), b"now", "and is not cached");

    let past = cache.bypass(|| async { Ok::<_, Infallible>(Some(bytes("db"))) }).await;
    assert_eq!(past.expect("infallible").status, Status::Bypass);
    cache.clear().await.expect("clear");
}

#[tokio::test]
async fn none_keeps_nothing_and_says_so() {
    let cache = opened(CacheConfig::none()).await;
    let (store, key) = (cache.store(), POSTS.item(1));
    store.set(&key, &bytes("v"), LONG).await.expect("set");
    assert_eq!(get(store, &key).await, None);
    assert_eq!(store.get_many(&[key.clone(), key.clone()]).await, [Ok(None), Ok(None)]);
    assert!(matches!(store.lease(&key).await, Ok(Leased::Never)));
    assert_eq!(store.lease_many(std::slice::from_ref(&key)).await.len(), 1);
    assert_eq!(store.set_if_absent(&key, &bytes("v"), LONG).await, Ok(false));
    assert!(
        matches!(store.add(&key, 1, LONG).await, Err(CacheError::Unavailable(_))),
        "a count not kept is a wrong one"
    );
    assert_eq!(store.delete(&Invalidation::new().key(&key)).await, Ok(0));
    assert_eq!(store.clear().await, Ok(0));
    assert_eq!(store.exists(&key).await, Ok(false));
    assert!(store.scan("*", 10).await.expect("an answer").is_empty());
    assert_eq!(body(&read(&cache, &key, "one").await), b"one");
    assert_eq!(body(&read(&cache, &key, "two").await), b"two");
}

#[tokio::test]
async fn ttl_of_each_key_class_in_redis() {
    let redis = Redis::start();
    let cache = opened(redis.patiently()).await;
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
    let cache = opened(config).await;
    let mut raw = redis.connect();
    for key in ["prod1:posts:1", "posts:1"] {
        redis::cmd("SET").arg(key).arg("someone else's").exec(&mut raw).expect("SET");
    }
    read(&cache, &POSTS.item(1), "v").await;
    read(&cache, &POSTS.list("top", 1), "v").await;
    let exists: u64 =
        redis::cmd("EXISTS").arg("prod[1]:posts:1").arg("prod[1]:posts:list:top:1").query(&mut raw).expect("EXISTS");
    assert_eq!(exists, 2);
    cache.invalidate(&Invalidation::new().tag(POSTS.lists())).await;
    assert!(matches!(read(&cache, &POSTS.list("top", 1), "w").await.status, Status::Miss { .. }));
    cache.clear().await.expect("clear");
    let mut left: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut raw).expect("KEYS");
    left.sort();
    assert_eq!(left, ["posts:1", "prod1:posts:1"]);
}

/// In a Redis shared with others and without a namespace, names say nothing about whose a key is.
#[tokio::test]
async fn without_a_namespace_clear_takes_all_that_is_the_layers_and_nothing_else() {
    const OWN: KeyClass = KeyClass::new("unheard-of", LONG);
    let redis = Redis::start();
    let cache = opened(redis.patiently()).await;
    let mut raw = redis.connect();
    let value = bytes("v");
    for key in [POSTS.item(1), POSTS.list("top", 1), Key::new(OWN, "unheard-of:1"), sessions::data("s")] {
        cache.store().set(&key, &value, LONG).await.expect("set");
    }
    cache.store().add(&PRODUCTS.item(1), 1, LONG).await.expect("add");
    granted(cache.store(), &POSTS.item(2)).await;
    redis::cmd("SET").arg("posts:77").arg("x").exec(&mut raw).expect("SET");
    redis::cmd("HSET").arg("posts:78").arg("v").arg("x").arg("e").arg("1").exec(&mut raw).expect("HSET");
    redis::cmd("SADD").arg("posts:79").arg("x").exec(&mut raw).expect("SADD");
    redis::cmd("SET").arg(b"posts:\xff").arg("x").exec(&mut raw).expect("SET");
    assert_eq!(cache.store().delete_matching("posts:*").await, Ok(3), "two values and a lease");
    assert_eq!(cache.clear().await, Ok(3), "two values and a counter");
    let mut left: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(&mut raw).expect("KEYS");
    left.sort();
    assert_eq!(left, [&b"posts:77"[..], b"posts:78", b"posts:79", b"posts:\xff"]);
}

/// What is not the layer's, or was damaged, is an error or a miss, and what the layer stores next is right.
#[tokio::test]
async fn garbage_under_a_key_does_no_harm() {
    let redis = Redis::start();
    let cache = opened(redis.patiently()).await;
    let mut raw = redis.connect();
    let (store, key, list) = (cache.store(), POSTS.item(1), POSTS.list("top", 1));
    redis::cmd("SET").arg("posts:1").arg("a string").exec(&mut raw).expect("SET");
    assert!(matches!(store.get(&key).await, Err(CacheError::Server(_))));
    assert_eq!(body(&read(&cache, &key, "database").await), b"database");
    store.delete(&Invalidation::new().key(&key)).await.expect("delete");
    redis::cmd("HSET").arg("posts:1").arg("!v").arg("x").arg("!e").arg("soon").exec(&mut raw).expect("HSET");
    assert!(matches!(store.get(&key).await, Err(CacheError::Server(_))));
    store.set(&key, &bytes("good"), LONG).await.expect("set");
    assert_eq!(get(store, &key).await, Some(bytes("good")));
    store.set(&list, &bytes("v"), LONG).await.expect("set");
    redis::cmd("SET").arg("!tag:posts:list").arg("short").exec(&mut raw).expect("SET");
    assert!(matches!(store.get(&list).await, Err(CacheError::Server(_))));
    let both = store.get_many(&[list.clone(), key.clone()]).await;
    assert!(both[0].is_err() && matches!(&both[1], Ok(Some(_))), "one bad key does not spoil a batch: {both:?}");
    store.delete(&Invalidation::new().tag(POSTS.lists())).await.expect("delete");
    assert_eq!(get(store, &list).await, None);
}

#[test]
fn the_strategy_is_chosen_by_name() {
    for strategy in [Strategy::Redis, Strategy::Memory, Strategy::TwoTier, Strategy::None] {
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
