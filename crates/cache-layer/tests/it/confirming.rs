//! Whether a deletion is with every replica: what a failover would otherwise bring back.

use crate::support::{Redis, eventually, patiently};
use crate::topologies::{Cluster, Sentinels};
use cache_layer::key::POSTS;
use cache_layer::{Cache, Invalidation, Metrics};
use std::time::{Duration, Instant};

/// How long a replica counts that left, and a server has to be watched.
const WINDOW: Duration = Duration::from_secs(3);

async fn cache(url: &str, watch: bool) -> Cache {
    let mut config = patiently(url);
    let redis = config.redis.as_mut().expect("redis");
    // Also how long a replica has to confirm.
    redis.command_timeout = Duration::from_millis(500);
    (redis.replicas_remembered, redis.watch_replicas) = (WINDOW, watch);
    let cache = config.open(Metrics::default()).expect("settings");
    assert!(cache.ready(Duration::from_secs(30)).await, "it answers");
    cache
}

fn post(id: i64) -> Invalidation {
    Invalidation::new().key(&POSTS.item(id))
}

#[tokio::test]
async fn a_deletion_is_confirmed_only_while_every_replica_follows() {
    let mut sentinels = tokio::task::spawn_blocking(Sentinels::start).await.expect("it starts");
    let cache = cache(&sentinels.url(), false).await;
    let what = post(1).tag(POSTS.lists());
    let begun = Instant::now();
    assert!(!cache.confirm(&what).await, "a replica may have left before anybody looked");
    eventually("it is confirmed", async || cache.confirm(&what).await).await;
    assert!(begun.elapsed() >= WINDOW, "it was not watched for so long");
    assert!(!cache.confirm(&Invalidation::new().pattern("posts:*")).await, "nobody knows what a pattern meets");

    sentinels.servers[1].freeze();
    assert!(!cache.confirm(&what).await, "a replica that sleeps has not confirmed it");
    sentinels.servers[1].thaw();
    eventually("it follows again", async || cache.confirm(&what).await).await;

    // One that is gone may be the one that is being promoted: it counts for a while.
    let gone = Instant::now();
    sentinels.servers[2].kill();
    for _ in 0..3 {
        let confirmed = cache.confirm(&what).await;
        assert!(!confirmed || gone.elapsed() >= WINDOW, "a replica that has just gone has not confirmed it");
    }
    eventually("it counts no more", async || cache.confirm(&what).await).await;

    // The replica that is left takes over.
    sentinels.servers[0].kill();
    eventually("the new master confirms", async || cache.confirm(&what).await).await;
    assert_eq!(sentinels.master(), Some(sentinels.servers[1].port));
    cache.close(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn the_first_confirmation_knows_of_a_replica_that_has_just_left() {
    let master = Redis::start();
    let mut replica = Redis::start_with(&["--save", "", "--replicaof", &format!("127.0.0.1 {}", master.port)]);
    let replicas = async || master.info("replication", "connected_slaves");
    eventually("it follows", async || replicas().await == 1).await;
    let [watched, late] = [cache(&master.url(), true).await, cache(&master.url(), false).await];
    // Both would need so long if the first confirmation were the first look.
    eventually("it is confirmed", async || late.confirm(&post(1)).await).await;
    let took = eventually("it was watched already", async || watched.confirm(&post(1)).await).await;
    assert!(took < WINDOW, "{took:?}");

    let gone = Instant::now();
    replica.kill();
    eventually("it has left", async || replicas().await == 0).await;
    let confirmed = watched.confirm(&post(1)).await;
    assert!(!confirmed || gone.elapsed() >= WINDOW, "there was one when it was looked at last");
    let new = cache(&master.url(), false).await;
    assert!(!new.confirm(&post(1)).await, "nobody looked before, and there was one");
    for cache in [&watched, &late, &new] {
        eventually("it counts no more", async || cache.confirm(&post(1)).await).await;
        cache.close(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn without_replicas_there_is_nothing_to_wait_for() {
    let redis = Redis::start();
    let first = cache(&redis.url(), false).await;
    eventually("it is confirmed", async || first.confirm(&post(1)).await).await;
    eventually("it is up for long", async || redis.info("server", "uptime_in_seconds") > WINDOW.as_secs()).await;
    let second = cache(&redis.url(), false).await;
    let took = eventually("it is confirmed", async || second.confirm(&post(1)).await).await;
    assert!(took < WINDOW, "it has had none since it started, and that is long ago: {took:?}");
    redis.freeze();
    assert!(!second.confirm(&post(1)).await, "no answer is no confirmation");
    redis.thaw();
    for cache in [first, second] {
        cache.close(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn in_a_cluster_the_replicas_of_each_master_that_is_concerned_confirm() {
    let cluster = tokio::task::spawn_blocking(|| Cluster::start(3, 1)).await.expect("it starts");
    let cache = cache(&cluster.url(), true).await;
    let all = (1..20).fold(Invalidation::new(), |all, id| all.key(&POSTS.item(id)));
    eventually("it is confirmed", async || cache.confirm(&all).await).await;
    cluster.replicas[1].freeze();
    assert!(!cache.confirm(&all).await, "one of the replicas sleeps");
    cluster.replicas[1].thaw();
    eventually("it follows again", async || cache.confirm(&all).await).await;
    cache.close(Duration::from_secs(1)).await;
}
