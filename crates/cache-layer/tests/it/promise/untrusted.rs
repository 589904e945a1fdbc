//! What is served while the promise cannot be kept.

use super::staged::SlowRead;
use super::{DELTA, Instance, Stage, read, version};
use crate::support::eventually;
use bytes::Bytes;
use cache_layer::{Coherence, Key, KeyClass, LoadError, Lookup, ServeStale, StaleReason, State, Status, Strategy, Ttl};
use std::collections::HashMap;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const FORGIVING: KeyClass = KeyClass::new("forgiving", HOUR).stale(ServeStale::OnError, HOUR);
const STRICT: KeyClass = KeyClass::new("strict", HOUR);

type Answer = Result<Lookup, LoadError<&'static str>>;

async fn failing() -> Result<Option<Bytes>, &'static str> {
    Err("the database is gone")
}

fn is_untrusted(answer: &Answer) -> bool {
    let why = answer.as_ref().map(|lookup| lookup.status);
    matches!(why, Ok(Status::Stale { why: StaleReason::Untrusted, .. }))
}

async fn when_the_database_is_gone(strategy: Strategy) {
    let stage = Stage::start().await;
    let a = stage.instance_of(strategy, Coherence::Outbox).await;
    a.warm(1).await;
    let [forgiving, strict] = [FORGIVING, STRICT].map(|class| Key::new(class, format!("{}:1", class.name)));
    for key in [&forgiving, &strict] {
        let load = || async { Ok::<_, &str>(Some(Bytes::from_static(b"value"))) };
        a.cache.get_or_load(key, Ttl::Class, load).await.expect("a value");
    }
    stage.postgres.signal("QUIT");
    // Each connection has a window of its own; all of them end with the watermark.
    eventually("nothing is fresh any more", async || {
        !stage.redis_has("!wm") && a.cache.get_or_load(&strict, Ttl::Class, failing).await.is_err()
    })
    .await;
    let answers: [Answer; 2] = [
        a.cache.get_or_load(&forgiving, Ttl::Class, failing).await,
        a.cache.get_or_refresh(&forgiving, Ttl::Class, failing).await,
    ];
    for answer in answers {
        assert!(is_untrusted(&answer), "{answer:?}");
        assert_eq!(answer.expect("a value").value.as_deref(), Some(&b"value"[..]));
    }
    let nothing = async |_: Vec<Key>| Err::<HashMap<Key, Bytes>, _>("the database is gone");
    let batch = a.cache.get_many_or_load(&[strict.clone(), forgiving.clone()], Ttl::Class, nothing).await;
    let status = |i: usize| batch.answers[i].as_ref().map(|lookup| lookup.status);
    assert_eq!(status(0), None);
    assert!(matches!(status(1), Some(Status::Stale { why: StaleReason::Untrusted, .. })), "{:?}", status(1));
    let health = a.cache.health().await;
    assert!(!health.trusted && health.state == State::Down && health.problems.len() == 1, "{health:?}");
    assert!(a.cache.get_or_load(&strict, Ttl::Class, failing).await.is_err(), "who wants no stale value gets none");
}

#[tokio::test]
async fn without_the_database_what_is_there_is_served_as_stale_where_its_class_allows_it() {
    when_the_database_is_gone(Strategy::Redis).await;
}

#[tokio::test]
async fn so_it_is_with_two_tiers() {
    when_the_database_is_gone(Strategy::TwoTier).await;
}

/// A load takes longer than Δ; meanwhile the row is written by somebody who tells nobody, and the relay stands still.
#[tokio::test]
async fn who_waits_for_a_load_begun_earlier_is_not_shown_what_was_before_while_nothing_is_known_of_writes() {
    let stage = Stage::start().await;
    let a = stage.instance(Coherence::Outbox).await;
    a.warm(100).await;
    let slow = SlowRead::start(&a, 1).await;
    let Instance { cache, pool, promise, .. } = a;
    promise.close().await;
    let at = stage.write(1).await;
    eventually("trust ends", async || read(&cache, &pool, 100).await.status == Status::Fallback).await;
    assert!(stage.redis_has("posts:1"), "the lease stands: nothing told Redis of the write");
    tokio::time::sleep(DELTA.saturating_sub(at.elapsed())).await;
    let late = tokio::spawn({
        let (cache, pool) = (cache.clone(), pool.clone());
        async move { read(&cache, &pool, 1).await }
    });
    // It has joined the load when it waits: a task of one thread runs until then.
    tokio::task::yield_now().await;
    let slow = slow.finish().await;
    assert_eq!((version(&slow), slow.status), (0, Status::Miss { stored: false, collapsed: false }));
    assert_eq!(version(&late.await.expect("no panic")), 1);
}
