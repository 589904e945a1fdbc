//! The operations of the façade, and typed values.

use crate::support::{Redis, eventually};
use bytes::Bytes;
use cache_layer::key::POSTS;
use cache_layer::{Cache, CacheConfig, Invalidated, Key, KeyClass, LoadError, Metrics, SetError, Status, Ttl};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const THINGS: KeyClass = KeyClass::new("things", MINUTE);

async fn caches(redis: &Redis) -> [Cache; 2] {
    let caches = [redis.patiently(), CacheConfig::memory()];
    let caches = caches.map(|mut config| {
        if let Some(redis) = &mut config.redis {
            redis.namespace = "test:".into();
        }
        config.open(Metrics::default()).expect("a cache")
    });
    for cache in &caches {
        assert!(cache.ready(Duration::from_secs(10)).await);
    }
    caches
}

fn thing(id: u32) -> Key {
    Key::new(THINGS, format!("things:{id}"))
}

#[tokio::test]
async fn values_are_set_found_kept_and_deleted() {
    let redis = Redis::start();
    for cache in caches(&redis).await {
        let (key, value) = (thing(1), Bytes::from_static(b"\x00v"));
        assert_eq!(cache.get(&key).await, Ok(None));
        assert_eq!(cache.exists(&key).await, Ok(false));
        cache.set(&key, value.clone(), Ttl::Class).await.expect("set");
        assert_eq!(cache.get(&key).await, Ok(Some(value.clone())));
        assert_eq!(cache.exists(&key).await, Ok(true));
        let ttl = cache.ttl(&key).await.expect("an answer").expect("a value");
        assert!(ttl <= MINUTE && ttl > MINUTE / 2, "{ttl:?}");
        assert_eq!(cache.expire(&key, 10 * MINUTE).await, Ok(true));
        assert!(cache.ttl(&key).await.expect("an answer").expect("a value") > 5 * MINUTE);
        assert_eq!(cache.set_if_absent(&key, value.clone(), Ttl::Class).await, Ok(false));
        assert_eq!(cache.delete(&key).await, Invalidated::Done(1));
        assert_eq!(cache.expire(&key, MINUTE).await, Ok(false));
        assert_eq!(cache.set_if_absent(&key, value.clone(), Ttl::Fixed(Duration::from_millis(20))).await, Ok(true));
        eventually("it ends", async || cache.get(&key).await == Ok(None)).await;

        let pairs: Vec<_> = (0..20).map(|id| (thing(id), Bytes::from(id.to_string()))).collect();
        assert!(cache.set_many(&pairs, Ttl::Class).await.iter().all(Result::is_ok));
        let keys: Vec<_> = (0..25).map(thing).collect();
        let found = cache.get_many(&keys).await;
        for (id, found) in found.into_iter().enumerate() {
            assert_eq!(found, Ok((id < 20).then(|| Bytes::from(id.to_string()))));
        }
        let mut names = cache.scan("things:1?", 100).await.expect("names");
        names.sort();
        assert_eq!(names, (10..20).map(|id| format!("things:{id}")).collect::<Vec<_>>());
        assert_eq!(cache.scan("things:*", 3).await.expect("names").len(), 3);
        assert_eq!(cache.delete_many(&keys).await, Invalidated::Done(20));
        cache.set(&thing(1), value, Ttl::Class).await.expect("set");
        assert_eq!(cache.clear().await, Ok(1));
        assert_eq!(cache.get(&thing(1)).await, Ok(None));
        eventually("an answer", async || cache.ping().await.is_ok()).await;
    }
}

#[tokio::test]
async fn counters_count() {
    let redis = Redis::start();
    for cache in caches(&redis).await {
        let key = thing(7);
        assert_eq!(cache.increment(&key, 5, Ttl::Class).await, Ok(5));
        assert_eq!(cache.decrement(&key, 7, Ttl::Class).await, Ok(-2));
        let counting = (0..50).map(|_| {
            let (cache, key) = (cache.clone(), key.clone());
            tokio::spawn(async move { cache.increment(&key, 1, Ttl::Class).await.expect("counted") })
        });
        for count in counting.collect::<Vec<_>>() {
            count.await.expect("no panic");
        }
        assert_eq!(cache.increment(&key, 0, Ttl::Class).await, Ok(48));
        assert!(cache.ttl(&key).await.expect("an answer").expect("it lives") <= MINUTE);
    }
}

#[tokio::test]
async fn a_dead_server_is_told_and_costs_no_operation_more_than_its_time() {
    let mut redis = Redis::start();
    let cache = CacheConfig::redis(redis.url()).open(Metrics::default()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    eventually("it tells of itself", async || cache.servers().await.len() == 1).await;
    eventually("an answer", async || cache.ping().await.is_ok()).await;
    redis.freeze();
    let start = std::time::Instant::now();
    assert!(cache.get(&thing(1)).await.is_err());
    assert!(cache.set(&thing(1), Bytes::new(), Ttl::Class).await.is_err());
    assert!(cache.ping().await.is_err());
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    redis.thaw();
    redis.kill();
    assert!(cache.increment(&thing(2), 1, Ttl::Class).await.is_err());
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Post {
    id: u32,
    title: String,
}

#[tokio::test]
async fn typed_values_are_read_as_they_were_written() {
    let redis = Redis::start();
    for cache in caches(&redis).await {
        let posts = cache.typed::<Post>();
        let post = |id| Post { id, title: format!("post {id}") };
        let loaded =
            posts.get_or_load(&POSTS.item(1), Ttl::Class, || async { Ok::<_, Infallible>(Some(post(1))) }).await;
        assert_eq!(loaded.expect("infallible").value, Some(post(1)));
        let again = posts.get_or_load(&POSTS.item(1), Ttl::Class, || async { Err("not asked") }).await.expect("a hit");
        assert!(matches!(again.status, Status::Hit { .. }) && again.value == Some(post(1)));
        let again =
            posts.get_or_refresh(&POSTS.item(1), Ttl::Class, || async { Err("not asked") }).await.expect("a hit");
        assert!(matches!(again.status, Status::Hit { .. }) && again.value == Some(post(1)));
        posts.set(&POSTS.item(2), &post(2), Ttl::Class).await.expect("set");
        assert_eq!(posts.get(&POSTS.item(2)).await, Ok(Some(post(2))));
        let many = posts.get_many(&[POSTS.item(2), POSTS.item(3), POSTS.item(1)]).await;
        assert_eq!(many, [Ok(Some(post(2))), Ok(None), Ok(Some(post(1)))]);

        // Written by another version of the service: a miss, and replaced.
        cache.set(&POSTS.item(4), Bytes::from_static(b"{\"id\": \"four\"}"), Ttl::Class).await.expect("set");
        assert_eq!(posts.get(&POSTS.item(4)).await, Ok(None));
        let key = POSTS.item(4);
        let read = || posts.get_or_load(&key, Ttl::Class, || async { Ok::<_, Infallible>(Some(post(4))) });
        assert_eq!(read().await.expect("infallible").status, Status::Miss { stored: true, collapsed: false });
        assert!(matches!(read().await.expect("infallible").status, Status::Hit { .. }));
    }
}

#[tokio::test]
async fn a_value_without_a_json_form_is_refused_by_name() {
    let cache = CacheConfig::memory().open(Metrics::default()).expect("a cache");
    let typed = cache.typed::<HashMap<(u8, u8), u8>>();
    let value = HashMap::from([((1, 2), 3)]);
    assert!(matches!(typed.set(&thing(1), &value, Ttl::Class).await, Err(SetError::Unencodable(_))));
    let load = || async { Ok::<_, Infallible>(Some(value.clone())) };
    assert!(matches!(typed.get_or_load(&thing(1), Ttl::Class, load).await, Err(LoadError::Unencodable(_))));
}

/// Two readers of one key want different types of it, and share a load: neither is given the other's.
#[tokio::test]
async fn a_shared_load_of_another_type_is_of_no_use() {
    let cache = CacheConfig::memory().open(Metrics::default()).expect("a cache");
    let (numbers, texts) = (cache.typed::<u32>(), cache.typed::<String>());
    let key = thing(1);
    let number = numbers.get_or_load(&key, Ttl::Class, || async {
        tokio::task::yield_now().await;
        Ok::<_, Infallible>(Some(7))
    });
    let text = texts.get_or_load(&key, Ttl::Class, || async { Ok::<_, Infallible>(Some("seven".to_owned())) });
    let (number, text) = tokio::join!(number, text);
    assert_eq!(number.expect("infallible").value, Some(7));
    assert_eq!(text.expect("infallible").value.as_deref(), Some("seven"));
}
