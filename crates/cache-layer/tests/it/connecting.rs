//! The layer on every deployment, and what it does when one of them changes.

use crate::support::{Redis, eventually, patiently};
use crate::topologies::{Cluster, Sentinels, TlsRedis, ask, deployments};
use bytes::Bytes;
use cache_layer::key::POSTS;
use cache_layer::{
    Cache, CacheConfig, CacheError, CacheStore, ConfigError, Invalidated, Invalidation, Lookup, Metrics, RedisStore,
    Status, TlsConfig, Ttl,
};
use std::convert::Infallible;
use std::time::{Duration, Instant};

async fn read(cache: &Cache, id: i64, value: &'static str) -> Lookup {
    let load = || async move { Ok::<_, Infallible>(Some(Bytes::from_static(value.as_bytes()))) };
    cache.get_or_load(&POSTS.item(id), Ttl::Class, load).await.expect("infallible")
}

async fn open(config: CacheConfig) -> Cache {
    let cache = config.open(Metrics::default()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(20)).await, "ready");
    cache
}

async fn cached(cache: &Cache, id: i64, value: &'static str) {
    let is_hit = async || matches!(read(cache, id, value).await.status, Status::Hit { .. });
    eventually(&format!("{id} is cached"), is_hit).await;
}

fn name(id: i64) -> String {
    POSTS.item(id).name().to_owned()
}

#[tokio::test]
async fn every_deployment_is_used() {
    for (deployment, config, _guard) in deployments().await {
        let cache = open(config).await;
        for id in 0..50 {
            cached(&cache, id, "v").await;
        }
        let what = (0..50).fold(Invalidation::new(), |what, id| what.key(&POSTS.item(id)));
        assert_eq!(cache.invalidate(&what).await, Invalidated::Done(50), "{deployment}");
        let pings = cache.store().ping().await;
        assert_eq!(pings.len(), if deployment == "cluster" { 3 } else { 1 }, "{deployment}: {pings:?}");
        assert!(pings.iter().all(|(address, took)| address.contains(':') && took.is_ok()), "{deployment}: {pings:?}");
        assert!(cache.store().servers().await.iter().all(|server| server.role == "master"), "{deployment}");
    }
}

/// The time limits are those of production: a failover must not make a request wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failover_the_new_master_is_used_and_the_old_one_is_not() {
    let mut sentinels = tokio::task::spawn_blocking(Sentinels::start).await.expect("sentinels");
    // The first sentinel in the URL is dead: the next is asked.
    sentinels.sentinels[0].kill();
    let cache = open(CacheConfig::redis(sentinels.url())).await;
    cached(&cache, 1, "old").await;
    let old = sentinels.servers[0].port;
    sentinels.servers[0].kill();
    let killed = Instant::now();
    assert_eq!(cache.invalidate(&Invalidation::new().key(&POSTS.item(1))).await, Invalidated::Owed);
    let mut slowest = Duration::ZERO;
    let back = eventually("the new master is used", async || {
        let start = Instant::now();
        let lookup = read(&cache, 1, "new").await;
        slowest = slowest.max(start.elapsed());
        assert_eq!(
            lookup.value.as_deref(),
            Some(&b"new"[..]),
            "what was invalidated is not served: {:?}",
            lookup.status
        );
        matches!(lookup.status, Status::Hit { .. })
    })
    .await;
    println!("failover: used again {back:.1?} after the kill, slowest answer {slowest:.1?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    eventually("the sentinels agree", async || sentinels.master().is_some_and(|port| port != old)).await;
    let new = sentinels.master().expect("a master");
    assert!(ask(new, &["HGET", &name(1), "!v"]).contains("new"));

    // The old one comes back, as a master at first, and is made a replica.
    let (sentinels, cache) = tokio::task::spawn_blocking(move || {
        sentinels.servers[0].start_again();
        (sentinels, cache)
    })
    .await
    .expect("the old master is back");
    for id in 100..200 {
        cached(&cache, id, "after").await;
        assert_eq!(
            ask(new, &["EXISTS", &name(id)]).trim(),
            "1",
            "written to the new master, {:?} on",
            killed.elapsed()
        );
    }
    assert_eq!(cache.store().ping().await[0].0, format!("127.0.0.1:{new}"));
    drop(sentinels);
}

/// Frozen, not dead: its connections are open, and once it thaws it takes itself for the master.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_slept_through_its_failover_is_left() {
    let sentinels = tokio::task::spawn_blocking(Sentinels::start).await.expect("sentinels");
    let mut config = CacheConfig::redis(sentinels.url());
    // So patient that silence alone would never make it leave: it has to hear of the new master.
    config.redis.as_mut().expect("redis").timeouts_to_replace = u32::MAX;
    let cache = open(config).await;
    cached(&cache, 1, "v").await;
    sentinels.servers[0].freeze();
    let failed_over = async || sentinels.master().is_some_and(|port| port != sentinels.servers[0].port);
    eventually("the sentinels fail over", failed_over).await;
    let new = format!("127.0.0.1:{}", sentinels.master().expect("a master"));
    eventually("all connections lead to the new master", async || {
        cache.status().connections == 10 && cache.store().ping().await[0].0 == new
    })
    .await;
    sentinels.servers[0].thaw();
    for id in 0..100 {
        cached(&cache, id, "w").await;
    }
    assert_eq!(ask(sentinels.servers[0].port, &["EXISTS", &name(99)]).trim(), "0", "not written to the old one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moved_is_found_and_one_that_is_moving_too() {
    let cluster = tokio::task::spawn_blocking(|| Cluster::start(3, 0)).await.expect("a cluster");
    let cache = open(patiently(&cluster.url())).await;
    let ids: Vec<_> = (0..300).collect();
    for id in &ids {
        cached(&cache, *id, "v").await;
    }
    // One that is on the first master.
    let id = *ids.iter().find(|id| ask(cluster.masters[0].port, &["EXISTS", &name(**id)]).trim() == "1").expect("one");
    let slot =
        |id| ask(cluster.masters[0].port, &["CLUSTER", "KEYSLOT", &name(id)]).trim().parse::<u16>().expect("a slot");

    cluster.begin_migration(slot(id), 0, 1);
    let errors = || cache.status().owed_invalidations;
    assert!(matches!(read(&cache, id, "w").await.status, Status::Hit { .. }), "ASK is followed");
    cluster.migrate(slot(id), 0, 1);
    let asked = || cluster.masters.iter().map(|master| master.calls("cluster|slots")).sum::<u64>();
    let before = asked();
    assert!(matches!(read(&cache, id, "w").await.status, Status::Hit { .. }), "MOVED is followed, in the same request");
    assert!(matches!(read(&cache, id, "w").await.status, Status::Hit { .. }));
    assert_eq!(cache.invalidate(&Invalidation::new().key(&POSTS.item(id))).await, Invalidated::Done(1));
    assert_eq!(errors(), 0);
    eventually("the map is asked for again", async || asked() > before).await;
    cached(&cache, id, "x").await;
    assert_eq!(ask(cluster.masters[1].port, &["EXISTS", &name(id)]).trim(), "1");
}

/// A cache and a store over a cluster whose first master is killed, which has been seen: which of 60 items were on it, and which were not.
async fn without_a_master(cluster: &mut Cluster, config: CacheConfig) -> (Cache, RedisStore, [Vec<i64>; 2]) {
    let store = RedisStore::open(config.redis.clone().expect("redis"), &Metrics::default()).expect("a store");
    let cache = open(config).await;
    tokio::time::timeout(Duration::from_secs(20), store.ready()).await.expect("ready");
    for id in 0..60 {
        cached(&cache, id, "v").await;
    }
    let lost = cluster.masters[0].address();
    let (its, others): (Vec<i64>, Vec<i64>) = (0..60).partition(|id| store.master_of(&POSTS.item(*id)) == lost);
    assert!(its.len() > 5 && others.len() > 20, "{} {}", its.len(), others.len());
    cluster.masters[0].kill();
    eventually("the loss is seen", async || !matches!(read(&cache, its[0], "v").await.status, Status::Hit { .. }))
        .await;
    (cache, store, [its, others])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_master_costs_its_own_keys_only() {
    // Without replicas: nobody takes over meanwhile. A master that was killed refuses at once, so that patience costs nothing.
    let mut cluster = tokio::task::spawn_blocking(|| Cluster::start(3, 0)).await.expect("a cluster");
    let config = patiently(&cluster.url());
    let (cache, store, [its, others]) = without_a_master(&mut cluster, config).await;
    let mut slowest = Duration::ZERO;
    for id in its.iter().chain(&others) {
        let start = Instant::now();
        let status = read(&cache, *id, "v").await.status;
        slowest = slowest.max(start.elapsed());
        assert_eq!(matches!(status, Status::Hit { .. }), others.contains(id), "{id}: {status:?}");
    }
    println!("slowest answer without one of three masters: {slowest:.1?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    // A batch over all: key by key, in order.
    let keys: Vec<_> = (0..60).map(|id| POSTS.item(id)).collect();
    for (id, answer) in (0..60).zip(store.get_many(&keys).await) {
        assert_eq!(answer.is_ok(), others.contains(&id), "{id}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_takes_over_has_the_keys_of_its_master() {
    let mut cluster = tokio::task::spawn_blocking(|| Cluster::start(3, 1)).await.expect("a cluster");
    let config = CacheConfig::redis(cluster.url());
    let (cache, store, [its, _]) = without_a_master(&mut cluster, config).await;
    let lost = cluster.masters[0].address();
    let back = eventually("its replica has taken over", async || {
        matches!(read(&cache, its[0], "v").await.status, Status::Hit { .. })
    })
    .await;
    println!("keys of the lost master are used again after {back:.1?}");
    eventually("the other client has the new map, too", async || !store.masters().contains(&lost)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_master_has_a_name_of_its_own() {
    let cluster = tokio::task::spawn_blocking(|| Cluster::start(3, 0)).await.expect("a cluster");
    let config = patiently(&cluster.url()).redis.expect("redis");
    let store = RedisStore::open(config, &Metrics::default()).expect("a store");
    tokio::time::timeout(Duration::from_secs(20), store.ready()).await.expect("ready");
    let names = store.own_names("prod:!wm");
    assert_eq!(names.len(), 3);
    for (address, name) in &names {
        let port = address.rsplit_once(':').expect("a port").1.parse().expect("a port");
        assert!(name.starts_with("prod:!wm{"), "{name}");
        assert_eq!(ask(port, &["SET", name, "x"]).trim(), "OK", "{name} belongs to {address}");
    }
    assert_eq!(store.own_names("prod:!wm"), names, "the same again");
    let redis = Redis::start();
    let store = RedisStore::open(redis.patiently().redis.expect("redis"), &Metrics::default()).expect("a store");
    assert_eq!(store.own_names("prod:!wm"), [(redis.address(), "prod:!wm".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_lets_nobody_be_fooled() {
    let mut redis = tokio::task::spawn_blocking(TlsRedis::start).await.expect("a server");
    let stays_away = async |url: &str, tls: TlsConfig, why: &str| {
        let mut config = CacheConfig::redis(url);
        config.redis.as_mut().expect("redis").tls = tls;
        let cache = config.open(Metrics::default()).expect("a cache");
        assert!(!cache.ready(Duration::from_millis(700)).await, "{why}");
    };
    stays_away(&redis.url(), TlsConfig { ca_file: None, ..redis.tls() }, "an authority that the system does not know")
        .await;
    let without = TlsConfig { certificate_file: None, key_file: None, ..redis.tls() };
    stays_away(&redis.url(), without, "no client certificate").await;
    stays_away(&redis.url().replace("localhost", "127.0.0.1"), redis.tls(), "a certificate for another name").await;
    stays_away(&redis.url().replace("w%2Frd", "wrong"), redis.tls(), "a wrong password").await;
    stays_away(&redis.url().replace("rediss:", "redis:"), redis.tls(), "plain text").await;

    for tls in [
        TlsConfig { ca_file: Some("/nowhere/ca.crt".into()), ..TlsConfig::default() },
        TlsConfig { key_file: None, ..redis.tls() },
        TlsConfig { ca_file: redis.tls().key_file, ..TlsConfig::default() },
    ] {
        let mut config = CacheConfig::redis(redis.url());
        config.redis.as_mut().expect("redis").tls = tls;
        let error = config.open(Metrics::default()).err().expect("refused at the start");
        assert!(matches!(error, ConfigError::Tls(_)), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("rd@"), "{error}");
    }

    let cache = open(redis.patiently()).await;
    cached(&cache, 1, "v").await;
    redis.kill();
    eventually("the loss is seen", async || !cache.status().usable).await;
    let (redis, cache) = tokio::task::spawn_blocking(move || {
        redis.start_again();
        (redis, cache)
    })
    .await
    .expect("it comes back");
    cached(&cache, 1, "w").await;
    drop(redis);
}

#[tokio::test]
async fn after_close_nothing_is_asked_and_nothing_is_left() {
    let redis = Redis::start();
    let cache = open(redis.patiently()).await;
    cached(&cache, 1, "v").await;
    let clients = || redis.info("clients", "connected_clients");
    assert!(clients() > 1);
    // Work under way may end: a deletion that was lost before is made up for.
    cache.store().close(Duration::from_secs(10)).await;
    assert_eq!(cache.store().get(&POSTS.item(1)).await, Err(CacheError::Unavailable("it was closed")));
    assert_eq!(read(&cache, 1, "database").await.status, Status::Fallback);
    assert!(!cache.status().usable);
    // The one that asks.
    eventually("no connection is left", async || clients() == 1).await;
}

#[tokio::test]
async fn what_is_owed_is_paid_before_the_store_closes() {
    let redis = Redis::start();
    let mut config = CacheConfig::redis(redis.url());
    let settings = config.redis.as_mut().expect("redis");
    // The first attempt to connect is the only one.
    settings.connect_timeout = Duration::from_secs(10);
    // Nobody else pays in time.
    (settings.backoff, settings.backoff_at_most) = (Duration::from_secs(3600), Duration::from_secs(3600));
    settings.timeouts_to_replace = u32::MAX;
    let cache = open(config).await;
    cached(&cache, 1, "v").await;
    redis.freeze();
    assert_eq!(cache.invalidate(&Invalidation::new().key(&POSTS.item(1))).await, Invalidated::Owed);
    redis.thaw();
    eventually("connections answer again", async || cache.store().ping().await[0].1.is_ok()).await;
    cache.store().close(Duration::from_secs(10)).await;
    assert_eq!(cache.status().owed_invalidations, 0);
    let exists: u64 = redis::cmd("EXISTS").arg(name(1)).query(&mut redis.connect()).expect("EXISTS");
    assert_eq!(exists, 0);
}

/// A stall must not pile up work: what exceeds the limit is refused at once, and is no sign against the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_round_trips_are_under_way_than_may_be() {
    let redis = Redis::start();
    let mut config = redis.patiently();
    let settings = config.redis.as_mut().expect("redis");
    (settings.connections, settings.in_flight_at_most) = (2, 3);
    let cache = open(config).await;
    eventually("both connections are up", async || cache.status().connections == 2).await;
    redis.freeze();
    let mut asked: tokio::task::JoinSet<_> = (0..20)
        .map(|id| {
            let cache = cache.clone();
            async move { cache.store().get(&POSTS.item(id)).await }
        })
        .collect();
    for _ in 0..14 {
        let answer = asked.join_next().await.expect("an answer").expect("no panic");
        assert_eq!(answer, Err(CacheError::Unavailable("too many commands are under way")));
    }
    redis.thaw();
    while let Some(answer) = asked.join_next().await {
        assert_eq!(answer.expect("no panic"), Ok(None), "those under way are answered");
    }
    assert_eq!(cache.status().breaker.name(), "closed");
}

/// A server that never lets us in is not asked eight times a second.
#[tokio::test]
async fn a_wrong_password_is_tried_at_the_pace_of_the_backoff() {
    let redis = Redis::start_with(&["--requirepass", "right", "--save", ""]);
    let mut config = CacheConfig::redis(format!("redis://:wrong@{}", redis.address()));
    let settings = config.redis.as_mut().expect("redis");
    (settings.connections, settings.backoff, settings.backoff_at_most) =
        (1, Duration::from_secs(3600), Duration::from_secs(3600));
    settings.connect_timeout = Duration::from_secs(10);
    settings.probe_every = Duration::from_millis(10);
    let cache = config.open(Metrics::default()).expect("a cache");
    assert!(!cache.ready(Duration::from_secs(1)).await);
    let url = format!("redis://:right@{}", redis.address());
    let mut raw = redis::Client::open(url).expect("a URL").get_connection().expect("a connection");
    let log: Vec<redis::Value> = redis::cmd("ACL").arg("LOG").query(&mut raw).expect("ACL LOG");
    let log = format!("{log:?}");
    assert!(log.contains("count") && log.contains("int(1)"), "one attempt: {log}");
}

/// Each connection gets through and is given up with the first write: that must not wake the others without end.
#[tokio::test]
async fn a_server_that_became_a_replica_is_not_connected_to_without_pause() {
    let redis = Redis::start();
    let mut config = redis.patiently();
    let settings = config.redis.as_mut().expect("redis");
    settings.connections = 4;
    (settings.backoff, settings.backoff_at_most) = (Duration::from_secs(1), Duration::from_secs(10));
    let cache = open(config).await;
    cached(&cache, 1, "v").await;
    let mut raw = redis.connect();
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg("1").exec(&mut raw).expect("REPLICAOF");
    let before = redis.info("stats", "total_connections_received");
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        cache.invalidate(&Invalidation::new().key(&POSTS.item(1))).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Waits of a second at random, then two, then four: a handful for each of the four, and those of `info`.
    let made = redis.info("stats", "total_connections_received") - before;
    assert!(made < 60, "{made} connections in three seconds");
}
