//! The promise with a memory in front of Redis: it has to be kept there, too, by this process itself.

use super::{DELTA, Instance, NAMESPACE, Stage};
use crate::support::eventually;
use cache_layer::promise::{Log, PostgresLog, Replay, Session};
use cache_layer::{Cache, CacheConfig, Coherence, Strategy};
use std::time::{Duration, Instant};

async fn two_tiers(stage: &Stage) -> Instance {
    stage.instance_of(Strategy::TwoTier, Coherence::Outbox).await
}

/// Whether the answer came out of this process's memory; then it was a hit without a look into Redis.
async fn is_local(stage: &Stage, instance: &Instance, id: i64) -> bool {
    let before = stage.redis.calls("hmget");
    let (_, hit) = instance.read(id).await;
    hit && stage.redis.calls("hmget") == before
}

async fn in_memory(stage: &Stage, instance: &Instance, id: i64) {
    eventually("it is kept in memory", async || is_local(stage, instance, id).await).await;
}

#[tokio::test]
async fn memory_stays_coherent_while_redis_is_dead() {
    let mut stage = Stage::start().await;
    let a = two_tiers(&stage).await;
    in_memory(&stage, &a, 1).await;
    in_memory(&stage, &a, 2).await;
    stage.redis.kill();
    assert_eq!(a.read(1).await, (0, true), "the memory does without Redis");
    let at = stage.write(1).await;
    let forgotten = eventually("the process hears of it", async || a.read(1).await.0 == 1).await;
    println!("another's write reached the memory after {forgotten:?}, with Redis dead");
    while at.elapsed() < DELTA * 3 / 2 {
        let late = at.elapsed() > DELTA;
        let (version, hit) = a.read(1).await;
        assert!(!(late && hit && version < 1), "as fresh, {:?} after the commit", at.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(a.read(2).await, (0, true), "what nobody wrote is served still: the promise does not hang on Redis");
    stage.redis.start_again();
    assert_eq!(a.stale_answers(1, (1, at)).await, 0);
}

#[tokio::test]
async fn without_its_relay_the_memory_is_out_of_use_after_delta() {
    let stage = Stage::start().await;
    // The other one keeps Redis trusted.
    let (mut a, b) = (two_tiers(&stage).await, stage.instance(Coherence::Outbox).await);
    in_memory(&stage, &a, 1).await;
    std::mem::replace(&mut a.promise, stage.relay(&cache_of_nothing().await).await).close().await;
    let stopped = Instant::now();
    let at = stage.write(1).await;
    eventually("the memory is not used", async || !is_local(&stage, &a, 2).await && a.read(2).await.1).await;
    tokio::time::sleep_until((stopped + DELTA).into()).await;
    for _ in 0..20 {
        assert!(!is_local(&stage, &a, 1).await, "the memory was not told");
    }
    assert_eq!(a.stale_answers(1, (1, at)).await, 0);
    assert_eq!((a.warm(1).await, b.warm(1).await), (1, 1), "Redis goes on to answer");
    // Again with a relay: it begins with nothing.
    a.promise = stage.relay(&a.cache).await;
    in_memory(&stage, &a, 1).await;
    assert_eq!(a.read(1).await, (1, true));
}

async fn cache_of_nothing() -> Cache {
    CacheConfig::none().open(cache_layer::Metrics::default()).expect("a cache")
}

#[tokio::test]
async fn a_write_of_another_process_reaches_the_memory_without_any_message() {
    let stage = Stage::start().await;
    // That process publishes nothing, and has moved the position in Redis on before this one looks.
    let (a, b) = (two_tiers(&stage).await, stage.instance(Coherence::Outbox).await);
    for (round, id) in (1..=5).enumerate() {
        in_memory(&stage, &a, id).await;
        let at = stage.write(id).await;
        b.invalidate(id).await;
        let took = eventually("the memory is told", async || a.read(id).await.0 == 1).await;
        println!("round {round}: {took:?}");
        assert_eq!(a.stale_answers(id, (1, at)).await, 0);
    }
    // With both told by the outbox alone.
    in_memory(&stage, &a, 6).await;
    let at = stage.write(6).await;
    assert_eq!(a.stale_answers(6, (1, at)).await, 0);
}

/// One round for the memory, as the relay does it. How many rows it found.
async fn round(session: &mut dyn Session, log: &PostgresLog) -> Option<u64> {
    let begun = session.begin().await.expect("memory answers");
    let poll = log.poll(begun.position.as_ref()).await.expect("a poll");
    let found = match &poll.replay {
        Replay::Rows { keys, tags, rows, .. } => {
            session.remove(keys, tags).await.expect("removed");
            Some(*rows)
        }
        Replay::Everything => {
            session.remove_everything().await.expect("removed");
            None
        }
    };
    let delta = u64::try_from(DELTA.as_millis()).expect("small");
    session.trust(&poll.position, begun.now + delta).await.expect("trusted");
    found
}

#[tokio::test]
async fn what_redis_rightly_answers_for_a_while_longer_does_not_stay_in_memory() {
    let stage = Stage::start().await;
    let mut b = stage.instance(Coherence::Outbox).await;
    let config = CacheConfig { strategy: Strategy::TwoTier, ..stage.redis.patiently() };
    let opened = stage.cache(config, Coherence::Outbox).await;
    let ground = opened.cache.store().grounds(DELTA).pop().expect("the memory");
    assert!(!ground.is_server());
    let promise = stage.relay(&cache_of_nothing().await).await;
    let a = Instance { cache: opened.cache, metrics: opened.metrics, pool: stage.pool.clone(), promise };
    let (log, mut session) = (stage.log().await, ground.connect().await.expect("memory"));
    assert_eq!(round(&mut *session, &log).await, None, "it begins with nothing");
    assert_eq!((b.warm(1).await, b.warm(2).await), (0, 0));
    // Until what began it has settled.
    eventually("it is kept in memory", async || {
        round(&mut *session, &log).await;
        is_local(&stage, &a, 2).await
    })
    .await;

    // Nobody tells Redis, which is trusted for Δ more; the memory knows already.
    b.promise.close().await;
    let at = stage.write(1).await;
    assert_eq!(round(&mut *session, &log).await, Some(1));
    assert_eq!(a.read(1).await, (0, true), "as old as the promise allows");
    assert_eq!(a.read(1).await, (0, true));
    b.promise = stage.relay(&b.cache).await;
    let mut right = 0;
    while at.elapsed() < DELTA * 2 || right < 10 {
        assert!(at.elapsed() < Duration::from_secs(20), "it is kept again");
        round(&mut *session, &log).await;
        let late = at.elapsed() > DELTA;
        let (version, hit) = a.read(1).await;
        assert!(!(late && hit && version < 1), "as fresh, {:?} after the commit", at.elapsed());
        right += usize::from(is_local(&stage, &a, 1).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(stage.redis_has("posts:1"), "{NAMESPACE}posts:1");
}
