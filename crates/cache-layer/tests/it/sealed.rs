//! Values of sealed classes, in real Redis and in two tiers.

use crate::support::Redis;
use bytes::Bytes;
use cache_layer::encryption::KeyRing;
use cache_layer::value::ValueKeys;
use cache_layer::{Cache, CacheConfig, Key, KeyClass, Metrics, Status, Strategy, Ttl};
use std::convert::Infallible;
use std::time::Duration;

const TTL: Duration = Duration::from_secs(600);
const WISHES: KeyClass = KeyClass::new("wishes", TTL).sealed();
const PLAIN: KeyClass = KeyClass::new("wishes", TTL);

const OLD: &str = "old:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const NEW: &str = "new:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

/// A cache whose values are encrypted with these keys.
async fn with(mut config: CacheConfig, keys: &[&str]) -> Cache {
    if !keys.is_empty() {
        config.value_keys = ValueKeys::new(KeyRing::parse(&keys.join(",")).expect("keys"));
    }
    let cache = config.open(Metrics::default()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    cache
}

fn wish(class: KeyClass, id: u32) -> Key {
    Key::new(class, format!("wishes:{id}"))
}

/// What is read, and whether it was a hit; what is loaded is `text`.
async fn read(cache: &Cache, key: &Key, text: &'static str) -> (String, bool) {
    let load = || async move { Ok::<_, Infallible>(Some(Bytes::from_static(text.as_bytes()))) };
    let lookup = cache.get_or_load(key, Ttl::Class, load).await.expect("infallible");
    let value = String::from_utf8(lookup.value.expect("a value").to_vec()).expect("text");
    (value, matches!(lookup.status, Status::Hit { .. }))
}

/// All keys with all their bytes.
fn dump(redis: &Redis) -> Vec<u8> {
    let mut raw = redis.connect();
    let names: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut raw).expect("KEYS");
    let mut all = Vec::new();
    for name in names {
        let kind: String = redis::cmd("TYPE").arg(&name).query(&mut raw).expect("TYPE");
        let read = if kind == "hash" { "HGETALL" } else { "GET" };
        let value: redis::Value = redis::cmd(read).arg(&name).query(&mut raw).expect(read);
        all.extend(name.into_bytes());
        add_bytes(&value, &mut all);
    }
    all
}

fn add_bytes(value: &redis::Value, all: &mut Vec<u8>) {
    match value {
        redis::Value::BulkString(bytes) => all.extend(bytes),
        redis::Value::Array(parts) => parts.iter().for_each(|part| add_bytes(part, all)),
        redis::Value::Map(pairs) => pairs.iter().for_each(|(name, value)| {
            add_bytes(name, all);
            add_bytes(value, all);
        }),
        other => panic!("not a value of the cache: {other:?}"),
    }
}

fn has(dump: &[u8], text: &str) -> bool {
    dump.windows(text.len()).any(|part| part == text.as_bytes())
}

#[tokio::test]
async fn a_dump_of_redis_shows_no_value_of_a_sealed_class() {
    for strategy in [Strategy::Redis, Strategy::TwoTier] {
        let redis = Redis::start();
        let cache = with(CacheConfig { strategy, ..redis.patiently() }, &[OLD]).await;
        assert_eq!(read(&cache, &wish(WISHES, 1), "a red bicycle").await, ("a red bicycle".to_owned(), false));
        assert_eq!(read(&cache, &wish(WISHES, 1), "another").await, ("a red bicycle".to_owned(), true), "{strategy}");
        let set = [(wish(WISHES, 2), Bytes::from_static(b"a blue bicycle"))];
        assert!(cache.set_many(&set, Ttl::Class).await.iter().all(Result::is_ok));
        assert_eq!(read(&cache, &wish(WISHES, 2), "another").await, ("a blue bicycle".to_owned(), true));
        read(&cache, &Key::new(PLAIN, "notices:1"), "a green bicycle").await;
        let dump = dump(&redis);
        assert!(has(&dump, "wishes:1") && has(&dump, "a green bicycle"), "{strategy}: this looks where values are");
        assert!(!has(&dump, "red bicycle") && !has(&dump, "blue bicycle"), "{strategy}");
    }
}

#[tokio::test]
async fn a_value_that_was_planted_or_moved_is_a_miss_and_is_replaced() {
    let redis = Redis::start();
    let cache = with(redis.patiently(), &[OLD]).await;
    let without_keys = with(redis.patiently(), &[]).await;
    // Somebody who can write to Redis and has no key.
    read(&without_keys, &wish(PLAIN, 1), "planted").await;
    assert_eq!(read(&cache, &wish(WISHES, 1), "true").await, ("true".to_owned(), false), "not believed");
    assert_eq!(read(&cache, &wish(WISHES, 1), "another").await, ("true".to_owned(), true));
    // The encrypted value of one item under the key of another.
    let copied: i64 = redis::cmd("COPY").arg("wishes:1").arg("wishes:2").query(&mut redis.connect()).expect("COPY");
    assert_eq!(copied, 1);
    assert_eq!(read(&cache, &wish(WISHES, 2), "of 2").await, ("of 2".to_owned(), false), "not believed");
    assert_eq!(cache.statistics().classes["wishes"].misses, 2);
}

#[tokio::test]
async fn keys_change_without_losing_what_the_old_one_encrypted() {
    let redis = Redis::start();
    let before = with(redis.patiently(), &[OLD]).await;
    read(&before, &wish(WISHES, 1), "old").await;
    let both = with(redis.patiently(), &[NEW, OLD]).await;
    assert_eq!(read(&both, &wish(WISHES, 1), "another").await, ("old".to_owned(), true));
    read(&both, &wish(WISHES, 2), "new").await;
    let after = with(redis.patiently(), &[NEW]).await;
    assert_eq!(read(&after, &wish(WISHES, 2), "another").await, ("new".to_owned(), true), "by the first key");
    assert_eq!(read(&after, &wish(WISHES, 1), "loaded again").await, ("loaded again".to_owned(), false));
}

#[tokio::test]
async fn without_keys_nothing_of_a_sealed_class_is_kept() {
    let redis = Redis::start();
    let cache = with(redis.patiently(), &[]).await;
    for round in 0..3 {
        assert_eq!(read(&cache, &wish(WISHES, 1), "loaded").await, ("loaded".to_owned(), false), "round {round}");
    }
    let values = [(wish(WISHES, 2), Bytes::from_static(b"sealed")), (wish(PLAIN, 3), Bytes::from_static(b"plain"))];
    assert!(cache.set_many(&values, Ttl::Class).await.iter().all(Result::is_ok), "an answer for each");
    assert!(
        !cache.set_if_absent(&wish(WISHES, 4), Bytes::from_static(b"sealed"), Ttl::Class).await.expect("an answer")
    );
    let dump = dump(&redis);
    assert!(has(&dump, "plain") && !has(&dump, "sealed") && !has(&dump, "loaded"));
}
