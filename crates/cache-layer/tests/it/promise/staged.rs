//! Each way in which staleness gets in, staged.

use super::{DELTA, Instance, NAMESPACE, Stage, load, version};
use crate::support::{Redis, eventually};
use cache_layer::key::POSTS;
use cache_layer::promise::{Log, Position, PostgresLog, Replay};
use cache_layer::{Coherence, Lookup, Status, Ttl};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};

/// A read whose loader has read the row and goes on when told.
pub struct SlowRead {
    go_on: Arc<Notify>,
    task: tokio::task::JoinHandle<Lookup>,
}

impl SlowRead {
    pub async fn start(instance: &Instance, id: i64) -> Self {
        let go_on = Arc::new(Notify::new());
        let (has_read, reading) = oneshot::channel();
        let (cache, pool, gate) = (instance.cache.clone(), instance.pool.clone(), Arc::clone(&go_on));
        let task = tokio::spawn(async move {
            let load = || async {
                let value = load(&pool, id).await.expect("the database answers");
                has_read.send(()).expect("the test listens");
                gate.notified().await;
                Ok::<_, Infallible>(value)
            };
            cache.get_or_load(&POSTS.item(id), Ttl::Class, load).await.expect("infallible")
        });
        reading.await.expect("the loader reads");
        Self { go_on, task }
    }

    pub async fn finish(self) -> Lookup {
        self.go_on.notify_one();
        self.task.await.expect("no panic")
    }
}

#[tokio::test]
async fn a_value_read_before_a_commit_is_not_stored_after_its_invalidation_however_that_came() {
    let stage = Stage::start().await;
    let [a, b] = [stage.instance(Coherence::Outbox).await, stage.instance(Coherence::Outbox).await];
    a.warm(100).await;
    for (id, told) in [(1, true), (2, false)] {
        let slow = SlowRead::start(&a, id).await;
        let at = stage.write(id).await;
        if told {
            b.invalidate(id).await;
        }
        eventually("the lease is void", async || !stage.redis_has(&format!("posts:{id}"))).await;
        let slow = slow.finish().await;
        assert_eq!((version(&slow), slow.status), (0, Status::Miss { stored: false, collapsed: false }), "{id}");
        for instance in [&a, &b] {
            assert_eq!(instance.warm(id).await, 1);
            assert_eq!(instance.stale_answers(id, (1, at)).await, 0);
        }
    }
}

/// Redis is killed, the row written, the writer gone before it can make up for the lost invalidation; Redis is back with what it had.
async fn invalidation_while_redis_is_dead(coherence: Coherence) -> usize {
    let mut stage = Stage::start().await;
    let [a, b] = [stage.instance(coherence).await, stage.instance(coherence).await];
    assert_eq!((a.warm(1).await, b.warm(1).await), (0, 0));
    stage.redis.kill();
    let at = stage.write(1).await;
    a.invalidate(1).await;
    drop(a);
    stage.redis.start_again();
    b.stale_answers(1, (1, at)).await
}

#[tokio::test]
async fn an_invalidation_while_redis_is_dead_is_made_up_for_by_others_when_the_writer_dies() {
    assert_eq!(invalidation_while_redis_is_dead(Coherence::Outbox).await, 0);
}

#[tokio::test]
async fn the_same_with_leases_alone_is_stale() {
    assert!(invalidation_while_redis_is_dead(Coherence::Lease).await > 0, "so the test of the promise can fail");
}

#[tokio::test]
async fn a_writer_that_dies_after_its_commit_and_one_that_knows_of_no_cache_leave_nothing_stale() {
    let stage = Stage::start().await;
    let b = stage.instance(Coherence::Outbox).await;
    b.warm(1).await;
    let at = stage.write(1).await;
    assert_eq!(b.stale_answers(1, (1, at)).await, 0);
    assert!(b.metric("cache_outbox_replayed_rows_total") >= 1.0);

    b.warm(2).await;
    sqlx::query("TRUNCATE posts").execute(&stage.pool).await.expect("TRUNCATE");
    eventually("a truncation empties the cache", async || !stage.redis_has("posts:2")).await;
}

#[tokio::test]
async fn a_flush_while_a_loader_is_under_way_lets_nothing_old_in() {
    let stage = Stage::start().await;
    let a = stage.instance(Coherence::Outbox).await;
    a.warm(100).await;
    let slow = SlowRead::start(&a, 1).await;
    redis::cmd("FLUSHALL").exec(&mut stage.redis.connect()).expect("FLUSHALL");
    let at = stage.write(1).await;
    let slow = slow.finish().await;
    assert_eq!((version(&slow), slow.status), (0, Status::Miss { stored: false, collapsed: false }));
    assert_eq!(a.stale_answers(1, (1, at)).await, 0);
    assert!(a.metric("cache_outbox_flushes_total") >= 1.0, "a lost position empties the cache");
}

#[tokio::test]
async fn a_restart_without_data_is_caught_up_with() {
    let mut stage = Stage::start().await;
    let a = stage.instance(Coherence::Outbox).await;
    a.warm(1).await;
    let slow = SlowRead::start(&a, 2).await;
    stage.redis.start_again_empty();
    let at = stage.write(2).await;
    slow.finish().await;
    assert_eq!(a.stale_answers(2, (1, at)).await, 0);
    assert!(a.metric("cache_outbox_flushes_total") >= 1.0);
}

#[tokio::test]
async fn a_restart_from_an_older_snapshot_is_replayed_before_it_is_trusted() {
    let mut stage = Stage::on(Redis::start_with_snapshots()).await;
    let a = stage.instance(Coherence::Outbox).await;
    a.warm(1).await;
    redis::cmd("SAVE").exec(&mut stage.redis.connect()).expect("SAVE");
    let at = stage.write(1).await;
    a.invalidate(1).await;
    eventually("the new version is cached", async || a.read(1).await == (1, true)).await;
    let before = a.metric("cache_outbox_replayed_rows_total");
    let flushes = a.metric("cache_outbox_flushes_total");
    stage.redis.kill();
    stage.redis.start_again();
    assert_eq!(a.stale_answers(1, (1, at)).await, 0);
    assert!(a.metric("cache_outbox_replayed_rows_total") > before, "the snapshot's position was older");
    assert_eq!(a.metric("cache_outbox_flushes_total"), flushes, "it was known, so nothing else had to go");
}

/// The master dies, and a replica that has missed its last commands takes its place. Answers that were stale, and the rows replayed.
async fn failover_to_a_replica_that_lags(coherence: Coherence) -> (usize, f64) {
    let mut stage = Stage::start().await;
    let replica = Redis::start();
    let a = stage.instance(coherence).await;
    a.warm(1).await;
    redis::cmd("CONFIG")
        .arg(&["SET", "repl-diskless-sync-delay", "0"])
        .exec(&mut stage.redis.connect())
        .expect("CONFIG");
    let mut to_replica = replica.connect();
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(stage.redis.port).exec(&mut to_replica).expect("REPLICAOF");
    eventually("it has the entry", async || {
        redis::cmd("EXISTS").arg(format!("{NAMESPACE}posts:1")).query(&mut to_replica).expect("EXISTS")
    })
    .await;
    // From here on it misses what the master does.
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec(&mut to_replica).expect("REPLICAOF");
    let at = stage.write(1).await;
    a.invalidate(1).await;
    eventually("the new version is cached", async || a.read(1).await == (1, true)).await;
    let before = a.metric("cache_outbox_replayed_rows_total");
    stage.redis.kill();
    redis::cmd("CONFIG").arg("SET").arg("port").arg(stage.redis.port).exec(&mut to_replica).expect("CONFIG SET port");
    let stale = a.stale_answers(1, (1, at)).await;
    (stale, a.metric("cache_outbox_replayed_rows_total") - before)
}

#[tokio::test]
async fn a_failover_to_a_replica_that_lags_is_replayed_before_it_is_trusted() {
    let (stale, replayed) = failover_to_a_replica_that_lags(Coherence::Outbox).await;
    assert_eq!(stale, 0);
    assert!(replayed >= 1.0, "the replica's position was older");
}

#[tokio::test]
async fn the_same_failover_with_leases_alone_is_stale() {
    assert!(failover_to_a_replica_that_lags(Coherence::Lease).await.0 > 0);
}

#[tokio::test]
async fn a_transaction_that_began_earlier_and_commits_later_is_not_lost() {
    let stage = Stage::start().await;
    let a = stage.instance(Coherence::Outbox).await;
    a.warm(1).await;
    a.warm(2).await;
    let mut early = stage.pool.begin().await.expect("a transaction");
    sqlx::query("UPDATE posts SET version = 1 WHERE id = 1").execute(&mut *early).await.expect("an update");
    stage.write(2).await;
    eventually("the later one is relayed", async || a.read(2).await == (1, true)).await;
    let upto = "SELECT max(id) FROM cache_outbox WHERE 'posts:2' = ANY (keys)";
    let relayed: i64 = sqlx::query_scalar(upto).fetch_one(&stage.pool).await.expect("a number");
    early.commit().await.expect("a commit");
    let at = Instant::now();
    let early = "SELECT id FROM cache_outbox WHERE 'posts:1' = ANY (keys)";
    let late: i64 = sqlx::query_scalar(early).fetch_one(&stage.pool).await.expect("a number");
    assert!(late < relayed, "its row has the lower number");
    assert_eq!(a.stale_answers(1, (1, at)).await, 0);
}

#[tokio::test]
async fn a_relay_that_pauses_before_it_writes_the_watermark_writes_none() {
    let stage = Stage::start().await;
    let a = stage.instance(Coherence::Outbox).await;
    let ground = a.cache.store().grounds(DELTA).pop().expect("one server");
    a.promise.close().await;
    eventually("the last watermark ends", async || !stage.redis_has("!wm")).await;

    let log = PostgresLog::installed(&stage.pool, &super::outbox()).await.expect("a log");
    let mut session = ground.connect().await.expect("a connection");
    for (pause, written) in [(Duration::ZERO, true), (DELTA, false)] {
        let begun = session.begin().await.expect("a master");
        let poll = log.poll(begun.position.as_ref()).await.expect("a poll");
        tokio::time::sleep(pause).await;
        let delta = u64::try_from(DELTA.as_millis()).expect("small");
        session.trust(&poll.position, begun.now + delta).await.expect("written");
        assert_eq!(stage.redis_has("!wm"), written, "after {pause:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_no_master_is_not_trusted_anew() {
    let stage = Stage::start().await;
    let (a, master) = (stage.instance(Coherence::Outbox).await, Redis::start());
    a.warm(1).await;
    let ground = a.cache.store().grounds(DELTA).pop().expect("one server");
    let mut session = ground.connect().await.expect("a connection");
    session.begin().await.expect("a master");
    let mut raw = stage.redis.connect();
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(master.port).exec(&mut raw).expect("REPLICAOF");
    let refused = session.begin().await.expect_err("no master");
    assert!(refused.to_string().contains("slave"), "{refused}");
}

#[tokio::test]
async fn when_the_database_is_gone_trust_ends() {
    let stage = Stage::start().await;
    let a = stage.instance(Coherence::Outbox).await;
    a.warm(1).await;
    stage.postgres.signal("QUIT");
    let gone = Instant::now();
    let mut hits = 0;
    eventually("reads go to the database", async || {
        let late = gone.elapsed() > DELTA;
        let load = || async { Err::<Option<bytes::Bytes>, _>("the database is gone") };
        let served = a.cache.get_or_load(&POSTS.item(1), Ttl::Class, load).await;
        assert!(!late || served.is_err(), "nothing is fresh any more");
        hits += usize::from(served.is_ok());
        served.is_err()
    })
    .await;
    assert!(hits > 0, "until then the cache answered");
    assert!(a.metric("cache_untrusted_reads_total") >= 1.0);
    assert!(a.metric("cache_watermark_age_seconds") > 0.0);
}

#[tokio::test]
async fn without_a_relay_nothing_is_served_from_redis() {
    let stage = Stage::start().await;
    let a = stage.instance(Coherence::Outbox).await;
    a.warm(1).await;
    let Instance { cache, pool, promise, .. } = a;
    promise.close().await;
    eventually("trust ends", async || super::read(&cache, &pool, 1).await.status == Status::Fallback).await;
    assert_eq!(super::read(&cache, &pool, 1).await.status, Status::Fallback);
}

#[tokio::test]
async fn what_redis_holds_as_position_is_not_believed_blindly() {
    let stage = Stage::start().await;
    let log = PostgresLog::installed(&stage.pool, &super::outbox()).await.expect("a log");
    let now = log.poll(None).await.expect("a poll");
    assert_eq!(now.replay, Replay::Everything, "nothing is known");
    let position = now.position.as_str();
    let again = log.poll(Some(&now.position)).await.expect("a poll").replay;
    assert!(matches!(again, Replay::Rows { rows: 0, .. }), "{again:?}");
    let (history, _) = position.split_once('/').expect("history and snapshot");
    for other in [
        format!("other/{}", position.split_once('/').expect("two parts").1),
        format!("{history}/99999999:99999999:"),
        format!("{history}/5:4:"),
        "nonsense".into(),
        String::new(),
    ] {
        let replay = log.poll(Some(&Position::from_text(&*other))).await.expect("a poll").replay;
        assert_eq!(replay, Replay::Everything, "{other}");
    }
}
