//! What is sent together is carried out in the order that it depends on, also where a part of it has to be sent again.

use crate::support::{Redis, eventually};
use crate::topologies::{Cluster, ask};
use bytes::Bytes;
use cache_layer::key::POSTS;
use cache_layer::{CacheStore, Invalidation, Metrics, RedisConfig, RedisStore};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

const TTL: Duration = Duration::from_secs(60);

/// What the server carries out from now on, a line for each command.
struct Monitor(BufReader<TcpStream>);

impl Monitor {
    fn of(redis: &Redis) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", redis.port)).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        stream.write_all(b"MONITOR\r\n").expect("sent");
        let mut monitor = Self(BufReader::new(stream));
        assert_eq!(monitor.line().trim(), "+OK");
        monitor
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line in time");
        line
    }

    /// The names of the commands until now that are among these; those of scripts are left out.
    fn so_far(mut self, redis: &Redis, among: &[&str]) -> Vec<String> {
        redis::cmd("ECHO").arg("the end").exec(&mut redis.connect()).expect("ECHO");
        let mut met = Vec::new();
        loop {
            let line = self.line();
            if line.contains("\"the end\"") {
                return met;
            }
            let name = line.split('"').nth(1).unwrap_or_default().to_owned();
            if !line.contains(" lua]") && among.contains(&name.as_str()) {
                met.push(name);
            }
        }
    }
}

async fn store(redis: &Redis) -> RedisStore {
    let patient = redis.patiently().redis.expect("redis");
    let store = RedisStore::open(RedisConfig { announce: true, ..patient }, &Metrics::default()).expect("a store");
    store.ready().await;
    store
}

fn forget_scripts(redis: &Redis) {
    redis::cmd("SCRIPT").arg("FLUSH").exec(&mut redis.connect()).expect("SCRIPT FLUSH");
}

/// Otherwise others forget the old value, and find it once more.
#[tokio::test]
async fn a_set_is_told_after_it_is_done_also_where_the_server_does_not_know_the_script() {
    let redis = Redis::start();
    let store = store(&redis).await;
    let key = POSTS.item(1);
    for _ in 0..2 {
        forget_scripts(&redis);
        let monitor = Monitor::of(&redis);
        store.set(&key, &Bytes::from_static(b"v"), TTL).await.expect("set");
        let met = monitor.so_far(&redis, &["EVALSHA", "EVAL", "PUBLISH"]);
        assert_eq!(met.last().map(String::as_str), Some("PUBLISH"), "{met:?}");
        assert!(met.contains(&"EVAL".to_owned()), "the script was not known: {met:?}");
    }
}

/// Otherwise a tag that changes in between would go unnoticed, and requests that wait for the load would be given its value.
#[tokio::test]
async fn the_tags_are_looked_at_after_the_fill_also_where_the_server_does_not_know_the_script() {
    let redis = Redis::start();
    let store = store(&redis).await;
    let lease = store.lease(&POSTS.list("top", 1)).await.expect("an answer").granted().expect("a lease");
    forget_scripts(&redis);
    let monitor = Monitor::of(&redis);
    assert_eq!(store.fill(&lease, &Bytes::from_static(b"v"), TTL).await, Ok(true));
    let met = monitor.so_far(&redis, &["EVALSHA", "EVAL", "GET"]);
    assert_eq!(met.last().map(String::as_str), Some("GET"), "{met:?}");
    assert!(met.contains(&"EVAL".to_owned()), "the script was not known: {met:?}");
}

/// The same where key and tag live on different servers, and that of the key is slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tags_are_looked_at_after_the_fill_also_in_a_cluster() {
    let cluster = tokio::task::spawn_blocking(|| Cluster::start(3, 0)).await.expect("a cluster");
    let config = crate::support::patiently(&cluster.url()).redis.expect("redis");
    let store = Arc::new(RedisStore::open(config, &Metrics::default()).expect("a store"));
    store.ready().await;
    let tag = POSTS.lists();
    let slot = |name: &str| {
        let slot = ask(cluster.masters[0].port, &["CLUSTER", "KEYSLOT", name]);
        slot.trim().parse::<usize>().expect("a slot")
    };
    let master = |name: &str| (0..3).rev().find(|i| slot(name) >= i * 16_384 / 3).expect("one");
    let of_tag = &cluster.masters[master(&format!("!tag:{}", tag.name()))];
    let lists = (1..100).map(|page| POSTS.list("top", page));
    let key = lists.into_iter().find(|key| cluster.masters[master(key.name())].port != of_tag.port).expect("another");
    let of_key = cluster.masters[master(key.name())].port;
    let lease = store.lease(&key).await.expect("an answer").granted().expect("a lease");
    let before = of_tag.calls("get");
    assert!(ask(of_key, &["CLIENT", "PAUSE", "60000", "WRITE"]).contains("OK"));
    let filling = tokio::spawn({
        let store = store.clone();
        async move { store.fill(&lease, &Bytes::from_static(b"old"), TTL).await }
    });
    // Time for a look that comes too early; without one nothing is to be seen.
    for _ in 0..50 {
        if of_tag.calls("get") > before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    store.delete(&Invalidation::new().tag(tag)).await.expect("delete");
    assert!(ask(of_key, &["CLIENT", "UNPAUSE"]).contains("OK"));
    assert_eq!(filling.await.expect("no panic"), Ok(false), "its tag changed before it was stored");
    eventually("nor is it read", async || store.get(&key).await == Ok(None)).await;
}
