//! Warming, on a real Redis.

use crate::support::{Redis, eventually};
use bytes::Bytes;
use cache_layer::key::POSTS;
use cache_layer::warm::{Plan, PlanState, WarmError, Warmer};
use cache_layer::{Cache, CacheConfig, Invalidation, Metrics, Status, Ttl, Warmed};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

async fn open(redis: &Redis) -> Cache {
    let cache = redis.patiently().open(Metrics::default()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    cache
}

/// The newest 50 posts, each load counted and let through by the gate.
fn newest(loads: &Arc<AtomicUsize>, gate: &Arc<Semaphore>) -> Plan {
    let (loads, gate) = (Arc::clone(loads), Arc::clone(gate));
    let list = async |limit: usize| Ok::<_, Error>((0..1000).rev().take(limit).collect::<Vec<i64>>());
    let load = move |id: i64| {
        let (loads, gate) = (Arc::clone(&loads), Arc::clone(&gate));
        async move {
            loads.fetch_add(1, Ordering::SeqCst);
            let _turn = gate.acquire().await.map_err(Error::other)?;
            Ok(Some(Bytes::from(id.to_string())))
        }
    };
    Plan::new("posts", 50, list, |id| POSTS.item(*id), load).per_second(100_000)
}

async fn is_hit(cache: &Cache, id: i64) -> bool {
    let load = || async { Ok::<_, Infallible>(Some(Bytes::from_static(b"loaded"))) };
    let lookup = cache.get_or_load(&POSTS.item(id), Ttl::Class, load).await.expect("infallible");
    matches!(lookup.status, Status::Hit { .. })
}

#[tokio::test]
async fn the_newest_are_warm_and_a_second_run_loads_nothing() {
    let redis = Redis::start();
    let cache = open(&redis).await;
    let (loads, gate) = (Arc::default(), Arc::new(Semaphore::new(100)));
    let warmer = Warmer::new(cache.clone(), vec![newest(&loads, &gate)]).expect("one name");
    let status = warmer.run(&[]).await.expect("nobody else warms");
    assert_eq!(status.plans[0].outcomes, BTreeMap::from([("stored", 50)]));
    let before = redis.info("stats", "keyspace_misses");
    for id in 950..1000 {
        assert!(is_hit(&cache, id).await, "{id}");
    }
    assert_eq!(redis.info("stats", "keyspace_misses"), before);
    let status = warmer.run(&["posts"]).await.expect("nobody else warms");
    assert_eq!((status.plans[0].state, status.plans[0].done), (PlanState::Finished, 50));
    assert_eq!(status.plans[0].outcomes, BTreeMap::from([("present", 50)]));
    assert_eq!(loads.load(Ordering::SeqCst), 50);
    let stats = cache.statistics();
    assert_eq!((stats.total.hits, stats.total.misses), (50, 0), "warming is no reading");
}

/// Two app instances that start at the same time.
#[tokio::test]
async fn two_warmers_at_once_load_nothing_twice() {
    let redis = Redis::start();
    let (loads, gate) = (Arc::default(), Arc::new(Semaphore::new(0)));
    let (one, other) = (open(&redis).await, open(&redis).await);
    let warm = |cache: &Cache| Warmer::new(cache.clone(), vec![newest(&loads, &gate).at_once(50)]).expect("one name");
    let (one, other) = (warm(&one), warm(&other));
    one.start(&[]).expect("nobody else warms");
    other.start(&[]).expect("nobody else warms");
    let past = |warmer: &Warmer| warmer.status().plans[0].done;
    // All are being loaded by one of them, and none is let through before the other has gone by.
    eventually("all leases are taken", async || loads.load(Ordering::SeqCst) == 50 && past(&one) + past(&other) == 50)
        .await;
    gate.add_permits(100);
    eventually("both end", async || !one.status().running && !other.status().running).await;
    assert_eq!(loads.load(Ordering::SeqCst), 50);
    let mut sums = BTreeMap::new();
    for status in [one.status(), other.status()] {
        for (outcome, count) in &status.plans[0].outcomes {
            *sums.entry(*outcome).or_insert(0) += count;
        }
    }
    assert_eq!(sums, BTreeMap::from([("elsewhere", 50), ("stored", 50)]));
}

#[tokio::test]
async fn what_is_invalidated_while_it_is_warmed_is_not_stored() {
    let redis = Redis::start();
    let cache = open(&redis).await;
    let load = || async {
        cache.invalidate(&Invalidation::new().key(&POSTS.item(1))).await;
        Ok::<_, Infallible>(Some(Bytes::from_static(b"old")))
    };
    assert_eq!(cache.warm(&POSTS.item(1), Ttl::Class, load).await, Ok(Warmed::NotStored));
    assert!(!is_hit(&cache, 1).await);
}

#[tokio::test]
async fn a_cut_off_or_failed_load_gives_its_lease_back() {
    let redis = Redis::start();
    let cache = open(&redis).await;
    let never = || std::future::pending::<Result<Option<Bytes>, Error>>();
    let cut = tokio::time::timeout(Duration::from_millis(50), cache.warm(&POSTS.item(1), Ttl::Class, never)).await;
    assert!(cut.is_err());
    let load = || async { Ok::<_, Infallible>(Some(Bytes::from_static(b"v"))) };
    let mut last = None;
    eventually("the lease is free", async || {
        last = cache.warm(&POSTS.item(1), Ttl::Class, load).await.ok();
        last != Some(Warmed::Elsewhere)
    })
    .await;
    assert_eq!(last, Some(Warmed::Stored));
    let fails = || async { Err::<Option<Bytes>, _>(Error::other("no database")) };
    cache.warm(&POSTS.item(2), Ttl::Class, fails).await.expect_err("the load failed");
    eventually("the lease is free", async || cache.warm(&POSTS.item(2), Ttl::Class, load).await == Ok(Warmed::Stored))
        .await;
}

#[tokio::test]
async fn warming_stops_when_the_database_fails_and_when_the_cache_is_away() {
    let mut redis = Redis::start();
    let cache = CacheConfig::redis(redis.url()).open(Metrics::default()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    let loads = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&loads);
    let list = async |limit: usize| Ok::<_, Error>((0..limit as i64).collect::<Vec<_>>());
    let load = move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Err(Error::other("no database")) }
    };
    let plan = Plan::new("posts", 1000, list, |id| POSTS.item(*id), load).per_second(100_000);
    let refuses = Plan::new(
        "refuses",
        10,
        async |_| Err::<Vec<i64>, _>(Error::other("no")),
        |id| POSTS.item(*id),
        async |_| Ok(None),
    );
    let warmer = Warmer::new(cache, vec![plan, refuses]).expect("two names");
    let status = warmer.run(&[]).await.expect("nobody else warms");
    assert_eq!((status.plans[0].state, status.plans[1].state), (PlanState::Failed, PlanState::Failed), "{status:?}");
    assert!(loads.load(Ordering::SeqCst) < 20, "{status:?}");
    redis.kill();
    let before = loads.load(Ordering::SeqCst);
    let status = warmer.run(&["posts"]).await.expect("nobody else warms");
    assert_eq!(status.plans[0].state, PlanState::Failed);
    assert!(status.plans[0].outcomes["no-cache"] < 20, "{status:?}");
    assert!(loads.load(Ordering::SeqCst) - before <= 2, "a dead cache is not warmed at the database's cost");
}

#[tokio::test]
async fn a_plan_keeps_to_its_rate_and_its_bound() {
    let cache = CacheConfig::memory().open(Metrics::default()).expect("a cache");
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = (running.clone(), most.clone());
    let list = async |limit: usize| Ok::<_, Error>((0..limit as i64).collect::<Vec<_>>());
    let load = move |id: i64| {
        let (running, most) = seen.clone();
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(Some(Bytes::from(id.to_string())))
        }
    };
    let plan = Plan::new("posts", 40, list, |id| POSTS.item(*id), load).at_once(3).per_second(200);
    let warmer = Warmer::new(cache.clone(), vec![plan]).expect("one name");
    let start = Instant::now();
    warmer.run(&[]).await.expect("nobody else warms");
    assert!(start.elapsed() >= Duration::from_millis(190), "40 at 200 a second: {:?}", start.elapsed());
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_run_that_is_dropped_leaves_the_warmer_free() {
    let cache = CacheConfig::memory().open(Metrics::default()).expect("a cache");
    let (loads, gate) = (Arc::default(), Arc::new(Semaphore::new(0)));
    let warmer = Warmer::new(cache, vec![newest(&loads, &gate)]).expect("one name");
    tokio::time::timeout(Duration::from_millis(50), warmer.run(&[])).await.expect_err("nothing is let through");
    let status = warmer.status();
    assert_eq!((status.running, status.plans[0].state), (false, PlanState::Cancelled));
    gate.add_permits(100);
    let unknown = warmer.run(&["users"]).await.expect_err("no such plan");
    assert_eq!(unknown, WarmError::Unknown { name: "users".into(), known: "posts".into() });
    assert_eq!(warmer.run(&[]).await.expect("free").plans[0].state, PlanState::Finished);
}
