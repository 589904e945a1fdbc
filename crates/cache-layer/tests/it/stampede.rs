//! Many misses of one key at once.

use crate::staged::{Calls, Staged};
use crate::support::{Redis, eventually};
use bytes::Bytes;
use cache_layer::key::POSTS;
use cache_layer::{Cache, CacheStore, Invalidation, Key, KeyClass, Leased, Lookup, MemoryStore, Metrics, Status, Ttl};
use std::convert::Infallible;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;

const PATIENCE: Duration = Duration::from_secs(20);
/// As many as a cache has by default.
const CONNECTIONS: usize = 10;

/// As many caches as there would be processes: each with its own connections and flights.
async fn processes(redis: &Redis, count: usize) -> Vec<Cache> {
    let mut caches = Vec::new();
    for _ in 0..count {
        let mut config = redis.patiently();
        config.lease_wait = PATIENCE;
        // Of a leader who takes longer, another process would take the load over.
        config.redis.as_mut().expect("redis").lease_hold = PATIENCE;
        let cache = config.open(Metrics::default()).expect("a cache");
        // All connections: a single one refuses what goes beyond its limit of round trips under way.
        eventually("all connections are up", async || cache.status().connections == CONNECTIONS).await;
        caches.push(cache);
    }
    caches
}

async fn read(cache: Cache, key: Key, loads: Arc<AtomicU32>) -> Lookup {
    let load = || async {
        loads.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok::<_, Infallible>(Some(Bytes::from_static(b"v")))
    };
    cache.get_or_load(&key, Ttl::Class, load).await.expect("infallible")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_misses_cost_one_load_in_one_process_and_across_four() {
    let redis = Redis::start();
    for count in [1, 4] {
        let (caches, loads) = (processes(&redis, count).await, Arc::new(AtomicU32::new(0)));
        let key = POSTS.item(i64::try_from(count).expect("small"));
        let mut readers = JoinSet::new();
        for i in 0..1_000 {
            readers.spawn(read(caches[i % count].clone(), key.clone(), loads.clone()));
        }
        let lookups = readers.join_all().await;
        assert_eq!(loads.load(Ordering::SeqCst), 1, "{count} processes");
        assert!(lookups.iter().all(|lookup| lookup.value.as_deref() == Some(b"v")));
        let alone = Status::Miss { stored: true, collapsed: false };
        assert_eq!(lookups.iter().filter(|lookup| lookup.status == alone).count(), 1);
    }
}

/// The same with four real processes: this test binary, started four times, reads 250 times each; loads are counted in Redis.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_misses_of_four_real_processes_cost_one_load() {
    let redis = Redis::start();
    let program = std::env::current_exe().expect("this program");
    let children: Vec<_> = (0..4)
        .map(|_| {
            Command::new(&program)
                .args(["--exact", "stampede::one_of_four_processes", "--ignored", "--nocapture"])
                .env("STAMPEDE_REDIS", redis.port.to_string())
                .stdout(Stdio::null())
                .spawn()
                .expect("it starts")
        })
        .collect();
    let mut raw = redis.connect();
    let count = |raw: &mut redis::Connection, name: &str| -> u32 {
        redis::cmd("GET").arg(name).query::<Option<u32>>(raw).expect("GET").unwrap_or(0)
    };
    eventually("all four are there", async || count(&mut raw, "ready") == 4).await;
    redis::cmd("SET").arg("go").arg(1).exec(&mut raw).expect("SET");
    for mut child in children {
        assert!(child.wait().expect("it ends").success());
    }
    assert_eq!((count(&mut raw, "reads"), count(&mut raw, "loads")), (1_000, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of the test above, which starts it"]
async fn one_of_four_processes() {
    let Ok(port) = std::env::var("STAMPEDE_REDIS") else { return };
    let url = format!("redis://127.0.0.1:{port}");
    let mut config = cache_layer::CacheConfig::redis(&url);
    let redis = config.redis.as_mut().expect("redis");
    (redis.command_timeout, redis.connect_timeout, redis.lease_hold) = (PATIENCE, PATIENCE, PATIENCE);
    (config.request_budget, config.lease_wait) = (PATIENCE, PATIENCE);
    let cache = config.open(Metrics::default()).expect("a cache");
    assert!(cache.ready(PATIENCE).await);
    let client = redis::Client::open(url).expect("a URL");
    let raw = client.get_multiplexed_async_connection().await.expect("a connection");
    let incr = async |name: &'static str| {
        redis::cmd("INCR").arg(name).exec_async(&mut raw.clone()).await.expect("INCR");
    };
    incr("ready").await;
    eventually("all start", async || {
        redis::cmd("EXISTS").arg("go").query_async::<u8>(&mut raw.clone()).await.expect("EXISTS") == 1
    })
    .await;
    let mut readers = JoinSet::new();
    for _ in 0..250 {
        let (cache, raw) = (cache.clone(), raw.clone());
        readers.spawn(async move {
            let load = || async {
                redis::cmd("INCR").arg("loads").exec_async(&mut raw.clone()).await.expect("INCR");
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok::<_, Infallible>(Some(Bytes::from_static(b"v")))
            };
            cache.get_or_load(&POSTS.item(1), Ttl::Class, load).await.expect("infallible").value
        });
    }
    for value in readers.join_all().await {
        assert_eq!(value.as_deref(), Some(&b"v"[..]));
        incr("reads").await;
    }
}

fn shared(memory: &Arc<MemoryStore>) -> Staged {
    Staged { inner: memory.clone(), ..Staged::default() }
}

/// Two caches over one store, as two processes over one server; what the first one asks of it is counted.
fn two_counted(wait: Duration) -> ([Cache; 2], Arc<MemoryStore>, Arc<Calls>) {
    let memory = Arc::new(MemoryStore::new(&cache_layer::MemoryConfig::default()));
    let cache = |store: Staged| store.patient().with_lease_wait(wait);
    let (here, there) = (shared(&memory), shared(&memory));
    let calls = here.calls.clone();
    ([cache(here), cache(there)], memory, calls)
}

fn two(wait: Duration) -> ([Cache; 2], Arc<MemoryStore>) {
    let (caches, memory, _) = two_counted(wait);
    (caches, memory)
}

async fn read_now(cache: &Cache, key: &Key, value: &'static str) -> Lookup {
    let load = || async move { Ok::<_, Infallible>(Some(Bytes::from_static(value.as_bytes()))) };
    cache.get_or_load(key, Ttl::Class, load).await.expect("infallible")
}

/// Reads with a loader that begins, and then goes on when told.
fn read_slowly(cache: &Cache, key: &Key, gate: &Arc<Notify>) -> (tokio::task::JoinHandle<Lookup>, Arc<Notify>) {
    let (cache, key, gate, begun) = (cache.clone(), key.clone(), gate.clone(), Arc::new(Notify::new()));
    let begins = begun.clone();
    let reading = tokio::spawn(async move {
        let load = || async {
            begins.notify_one();
            gate.notified().await;
            Ok::<_, Infallible>(Some(Bytes::from_static(b"slow")))
        };
        cache.get_or_load(&key, Ttl::Class, load).await.expect("infallible")
    });
    (reading, begun)
}

#[tokio::test]
async fn whose_patience_ends_loads_without_storing() {
    let ([here, there], memory) = two(Duration::from_millis(30));
    let (key, gate) = (POSTS.item(1), Arc::new(Notify::new()));
    let (slow, begun) = read_slowly(&there, &key, &gate);
    begun.notified().await;
    let lookup = read_now(&here, &key, "fast").await;
    assert_eq!(lookup.status, Status::Miss { stored: false, collapsed: false });
    assert!(memory.get(&key).await.expect("an answer").is_none(), "nothing was stored without a lease");
    gate.notify_one();
    assert_eq!(slow.await.expect("no panic").status, Status::Miss { stored: true, collapsed: false });
    assert_eq!(read_now(&here, &key, "not asked").await.value.as_deref(), Some(&b"slow"[..]));
}

#[tokio::test]
async fn who_waits_for_another_process_shares_its_value() {
    let ([here, there], _, calls) = two_counted(PATIENCE);
    let (key, gate) = (POSTS.item(1), Arc::new(Notify::new()));
    let (slow, begun) = read_slowly(&there, &key, &gate);
    begun.notified().await;
    let waiting = tokio::spawn({
        let (here, key) = (here.clone(), key.clone());
        async move { read_now(&here, &key, "not asked").await }
    });
    eventually("it was refused the lease and looked again", async || calls.get.load(Ordering::SeqCst) > 1).await;
    gate.notify_one();
    let lookup = waiting.await.expect("no panic");
    assert_eq!(
        (lookup.status, lookup.value.as_deref()),
        (Status::Miss { stored: true, collapsed: true }, Some(&b"slow"[..]))
    );
    slow.await.expect("no panic");
}

#[tokio::test]
async fn a_cancelled_or_failed_leader_lets_another_process_load_at_once() {
    let ([here, there], memory) = two(PATIENCE);
    let key = POSTS.item(1);
    let (slow, begun) = read_slowly(&there, &key, &Arc::default());
    begun.notified().await;
    assert!(matches!(memory.lease(&key).await, Ok(Leased::Held(_))));
    slow.abort();
    let stored = Status::Miss { stored: true, collapsed: false };
    assert_eq!(read_now(&here, &key, "after the cancelled one").await.status, stored);

    let key = POSTS.item(2);
    let failed = there.get_or_load(&key, Ttl::Class, || async { Err::<Option<Bytes>, _>("down") }).await;
    assert!(failed.is_err());
    let lease = memory.lease(&key).await.expect("an answer").granted().expect("free again");
    memory.release(lease).await;
    assert_eq!(read_now(&here, &key, "after the failed one").await.status, stored);
}

/// The server grants the lease, but whoever asked for it does not learn that: it must not stay with nobody.
#[tokio::test]
async fn a_reader_that_is_gone_before_its_lease_is_granted_gives_it_back() {
    let memory = Arc::new(MemoryStore::new(&cache_layer::MemoryConfig::default()));
    let stores = [(); 3].map(|()| Staged { granted: Some(Arc::default()), ..shared(&memory) });
    let handles = stores.each_ref().map(|store| (store.granted.clone().expect("set"), store.calls.clone()));
    let [cancelled, late, batch] = stores.map(Staged::patient);
    let keys = [1, 2, 3].map(|id| POSTS.item(id));
    let load = || async { Ok::<_, Infallible>(Some(Bytes::from_static(b"v"))) };

    let reading = tokio::spawn({
        let (cache, key) = (cancelled, keys[0].clone());
        async move { cache.get_or_load(&key, Ttl::Class, load).await.map(drop) }
    });
    let granted = async |at: usize| handles[at].1.leased.load(Ordering::SeqCst) == 1;
    eventually("it is granted the lease", async || granted(0).await).await;
    reading.abort();
    reading.await.expect_err("cancelled");
    let impatient = late.with_request_budget(Duration::from_millis(20));
    let lookup = impatient.get_or_load(&keys[1], Ttl::Class, load).await.expect("infallible");
    assert_eq!(lookup.status, Status::Fallback, "it did not wait for the lease");
    let reading = tokio::spawn({
        let (cache, key) = (batch, keys[2].clone());
        let load = async |_| Ok::<_, Infallible>(std::collections::HashMap::new());
        async move { drop(cache.get_many_or_load(&[key], Ttl::Class, load).await) }
    });
    eventually("so is the batch", async || granted(2).await).await;
    reading.abort();
    reading.await.expect_err("cancelled");

    for ((granted, calls), key) in handles.iter().zip(&keys) {
        assert!(matches!(memory.lease(key).await, Ok(Leased::Held(_))), "{key}: granted, and its answer is on the way");
        granted.notify_one();
        eventually("it is given back", async || calls.release.load(Ordering::SeqCst) == 1).await;
        assert!(memory.lease(key).await.expect("an answer").granted().is_some(), "{key}");
    }
}

/// The lease is granted late, and another process loaded and stored in between: there is nothing left to load.
#[tokio::test]
async fn who_is_granted_the_lease_late_looks_again_before_loading() {
    let memory = Arc::new(MemoryStore::new(&cache_layer::MemoryConfig::default()));
    // Late enough to look again, whenever the gate opens.
    let gate = Arc::new(Notify::new());
    let slow = Staged { delay: Duration::from_millis(20), leases: Some(gate.clone()), ..shared(&memory) };
    let calls = slow.calls.clone();
    let here = slow.patient();
    let there = shared(&memory).patient();
    let key = POSTS.item(1);
    let late = tokio::spawn({
        let (here, key) = (here.clone(), key.clone());
        async move { read_now(&here, &key, "a second load").await }
    });
    eventually("it asks for the lease", async || calls.lease.load(Ordering::SeqCst) == 1).await;
    read_now(&there, &key, "the first").await;
    gate.notify_one();
    let lookup = late.await.expect("no panic");
    assert_eq!(lookup.value.as_deref(), Some(&b"the first"[..]));
    assert_eq!(lookup.status, Status::Miss { stored: true, collapsed: true });
    assert_eq!(calls.counts(), [2, 1, 0, 1], "the lease is given back unused");
}

/// While one process waits for another's load, a write comes. What it then finds must be what was loaded after that, or its own.
#[tokio::test]
async fn an_invalidation_while_waiting_for_another_process_is_minded() {
    let ([here, there], _) = two(PATIENCE);
    let (key, gate) = (POSTS.item(1), Arc::new(Notify::new()));
    let (slow, begun) = read_slowly(&there, &key, &gate);
    begun.notified().await;
    here.invalidate(&Invalidation::new().key(&key)).await;
    let lookup = read_now(&here, &key, "new").await;
    assert_eq!(lookup.value.as_deref(), Some(&b"new"[..]), "the invalidation voided the lease");
    gate.notify_one();
    assert_eq!(slow.await.expect("no panic").status, Status::Miss { stored: false, collapsed: false });
    assert_eq!(read_now(&there, &key, "not asked").await.value.as_deref(), Some(&b"new"[..]));
}

/// Followers of a leader that hangs are bound by their own deadline.
#[tokio::test]
async fn a_follower_waits_no_longer_than_its_class_allows() {
    let ([here, _], _) = two(PATIENCE);
    let class = KeyClass::new("hard", PATIENCE).timeouts(Duration::ZERO, Duration::from_millis(30));
    let slow = KeyClass::new("soft", PATIENCE);
    let (leader, begun) = read_slowly(&here, &Key::new(slow, "k"), &Arc::default());
    begun.notified().await;
    let load = || async { unreachable!("it follows the leader") };
    let late = here.get_or_load(&Key::new(class, "k"), Ttl::Class, load).await;
    assert_eq!(late, Err(cache_layer::LoadError::<Infallible>::TimedOut));
    leader.abort();
}
