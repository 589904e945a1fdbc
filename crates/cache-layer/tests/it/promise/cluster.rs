//! The promise on a cluster: a watermark for each master, and relays that follow the masters of the moment.

use super::{DELTA, Instance, NAMESPACE, Stage};
use crate::support::{eventually, patiently};
use crate::topologies::{Cluster, SLOTS, ask};
use cache_layer::key::POSTS;
use cache_layer::{Coherence, Metrics, RedisStore, Status};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const MANY: i64 = 24;

/// An instance, and where the posts are.
async fn instance(stage: &Stage, cluster: &Cluster) -> (Instance, BTreeMap<u16, Vec<i64>>) {
    let mut config = patiently(&cluster.url());
    let settings = config.redis.as_mut().expect("redis");
    settings.namespace = NAMESPACE.into();
    let map = RedisStore::open(settings.clone(), &Metrics::default()).expect("a store");
    cache_layer::CacheStore::ready(&map).await;
    let opened = stage.cache(config, Coherence::Outbox).await;
    let instance = stage.with_relay(opened).await;
    let mut posts: BTreeMap<u16, Vec<i64>> = BTreeMap::new();
    for id in 1..=MANY {
        let master = map.master_of(&POSTS.item(id));
        let port = master.rsplit_once(':').expect("a port").1.parse().expect("a number");
        posts.entry(port).or_default().push(id);
    }
    assert_eq!(posts.len(), cluster.masters.len(), "each master has some: {posts:?}");
    (instance, posts)
}

async fn start(masters: usize, replicas_each: usize) -> Cluster {
    tokio::task::spawn_blocking(move || Cluster::start(masters, replicas_each)).await.expect("a cluster")
}

fn watermarks(port: u16) -> usize {
    ask(port, &["KEYS", &format!("{NAMESPACE}!wm*")]).lines().filter(|name| !name.is_empty()).count()
}

/// All of them, from when they were written until Δ later: how many answers as fresh were older than Δ.
async fn stale_answers(instance: &Instance, ids: &[i64], wanted: i64, at: Instant) -> usize {
    let mut stale = 0;
    while at.elapsed() < DELTA * 3 / 2 {
        for id in ids {
            let late = at.elapsed() > DELTA;
            let (version, hit) = instance.read(*id).await;
            stale += usize::from(late && hit && version < wanted);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stale
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_master_has_its_watermark_and_a_lost_one_costs_its_own_keys_only() {
    let (stage, mut cluster) = (Stage::start().await, start(3, 0).await);
    let (a, posts) = instance(&stage, &cluster).await;
    let all: Vec<i64> = (1..=MANY).collect();
    for id in &all {
        assert_eq!(a.warm(*id).await, 0);
    }
    for port in posts.keys() {
        assert_eq!(watermarks(*port), 1, "one of its own");
    }
    let mut at = Instant::now();
    for id in &all {
        at = stage.write(*id).await;
    }
    assert_eq!(stale_answers(&a, &all, 1, at).await, 0);
    for id in &all {
        assert_eq!(a.warm(*id).await, 1, "and every master is used again");
    }

    let lost = &posts[&cluster.masters[0].port];
    let others: Vec<i64> = all.iter().copied().filter(|id| !lost.contains(id)).collect();
    cluster.masters[0].kill();
    for id in &others {
        at = stage.write(*id).await;
    }
    assert_eq!(stale_answers(&a, &others, 2, at).await, 0);
    for id in &others {
        assert_eq!(a.warm(*id).await, 2);
    }
    for id in lost {
        let lookup = super::read(&a.cache, &a.pool, *id).await;
        assert_eq!((super::version(&lookup), lookup.status), (1, Status::Fallback), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_takes_over_gets_a_relay_and_is_trusted_again() {
    let (stage, mut cluster) = (Stage::start().await, start(3, 1).await);
    let (a, posts) = instance(&stage, &cluster).await;
    let moved = posts[&cluster.masters[0].port].clone();
    for id in &moved {
        a.warm(*id).await;
    }
    let before = a.cache.store().grounds(DELTA).len();
    cluster.masters[0].kill();
    // Of this nobody can tell the master, nor will its replica have it.
    let mut at = Instant::now();
    for id in &moved {
        at = stage.write(*id).await;
    }
    assert_eq!(stale_answers(&a, &moved, 1, at).await, 0);
    for id in &moved {
        assert_eq!(a.warm(*id).await, 1, "the replica answers");
    }
    println!("the replica is trusted {:?} after the last write to the lost master's keys", at.elapsed());
    assert_eq!(a.cache.store().grounds(DELTA).len(), before, "as many masters as before");
    let at = stage.write(moved[0]).await;
    assert_eq!(a.stale_answers(moved[0], (2, at)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_takes_no_old_value_along() {
    let (stage, cluster) = (Stage::start().await, start(3, 0).await);
    let (a, posts) = instance(&stage, &cluster).await;
    let id = posts[&cluster.masters[0].port][0];
    a.warm(id).await;
    let slot = ask(cluster.masters[0].port, &["CLUSTER", "KEYSLOT", &format!("{NAMESPACE}posts:{id}")]);
    let slot: u16 = slot.trim().parse().expect("a slot");
    assert!(usize::from(slot) < SLOTS / 3, "it is the first master's");
    for (version, (from, to)) in [(1, (0, 1)), (2, (1, 0))] {
        cluster.migrate(slot, from, to);
        let at = stage.write(id).await;
        assert_eq!(a.stale_answers(id, (version, at)).await, 0, "moved from {from} to {to}");
    }
    eventually("a watermark for the slots of each", async || {
        cluster.masters.iter().all(|master| watermarks(master.port) == 1)
    })
    .await;
}
