//! Redis in each topology: standalone, with Sentinels, as a Cluster; with TLS and an ACL user; local and in containers. The reference
//! app uses it as its cache, and reaches it only through cacheproof's proxies.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::HashSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cacheproof::run::probe::Prober;
use cacheproof::scenario::{CacheServer, Provider, RedisSpec, StackSpec, Topology};
use cacheproof::stack::{Deployment, Node, ProcessFaultKind, Stack, free_port};
use cacheproof::supervise::Guard;

use crate::stack::{PROGRAM, containers, docker_answers, nothing_outlives_kill_minus_nine, processes_in, spec};
use crate::support::CACHEPROOF;

/// A Redis of this topology, beside a Postgres.
fn deployment(provider: Provider, topology: Topology, tls: bool) -> StackSpec {
    let mut spec = spec(provider);
    let redis = spec.redis.take().unwrap();
    // To run all of these tests with Valkey: CACHEPROOF_TEST_SERVER=valkey, with valkey-server in the PATH.
    let valkey = std::env::var("CACHEPROOF_TEST_SERVER").is_ok_and(|server| server == "valkey");
    let server = if valkey { CacheServer::Valkey } else { CacheServer::Redis };
    spec.redis = Some(RedisSpec { server, topology, replicas: topology.replicas(), tls, acl: tls, ..redis });
    spec
}

/// The reference app on a stack; killed when dropped.
struct App {
    child: Child,
    url: String,
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl App {
    async fn start(stack: &Stack, directory: &Path) -> Self {
        let redis = stack.redis.as_ref().unwrap();
        let port = free_port().unwrap();
        let log = std::fs::File::create(directory.join("app.log")).unwrap();
        let mut command = Command::new(CACHEPROOF);
        command.arg("serve").env("LISTEN", format!("127.0.0.1:{port}")).env("LOAD", "posts=50");
        command.env("REDIS_URL", redis.app_url()).env("DATABASE_URL", stack.postgres.as_ref().unwrap().app_url());
        command.env("CACHE", "redis").stdout(Stdio::null()).stderr(log);
        if let Some(ca) = redis.ca_file() {
            command.env("REDIS_CA_FILE", ca);
        }
        let app = Self { child: command.spawn().unwrap(), url: format!("http://127.0.0.1:{port}") };
        let begun = Instant::now();
        while app.ask("/health").await.is_none_or(|(status, _)| status != 200) {
            let log = || std::fs::read_to_string(directory.join("app.log")).unwrap();
            assert!(begun.elapsed() < Duration::from_secs(60), "the app did not come up: {}", log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        app
    }

    /// Status and `Cache-Status` of an answer.
    async fn ask(&self, path: &str) -> Option<(u16, String)> {
        let answer = reqwest::get(format!("{}{path}", self.url)).await.ok()?;
        let source = answer.headers().get("cache-status").map(|value| value.to_str().unwrap().to_owned());
        Some((answer.status().as_u16(), source.unwrap_or_default()))
    }

    /// Asks for posts until every one comes from the cache.
    async fn serves_hits(&self) {
        let begun = Instant::now();
        loop {
            let mut hits = 0;
            for post in 1..=20 {
                let (status, source) = self.ask(&format!("/posts/{post}")).await.unwrap();
                assert_eq!(status, 200, "a cache failure must not fail reads");
                hits += usize::from(source.contains("; hit"));
            }
            if hits == 20 {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "only {hits} of 20 came from the cache");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ports of 127.0.0.1 to which the app has connections.
    fn connected_to(&self) -> HashSet<u16> {
        let sockets: HashSet<String> = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .unwrap()
            .flatten()
            .filter_map(|entry| {
                let link = std::fs::read_link(entry.path()).ok()?;
                Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
            })
            .collect();
        std::fs::read_to_string("/proc/net/tcp")
            .unwrap()
            .lines()
            .skip(1)
            .filter_map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                let port = u16::from_str_radix(words[2].rsplit(':').next()?, 16).ok()?;
                // 01: established.
                (words[3] == "01" && sockets.contains(words[9])).then_some(port)
            })
            .collect()
    }
}

fn proxy_port(node: &Node) -> u16 {
    node.proxy.as_ref().unwrap().address().port()
}

/// A port of a server itself.
fn own_port(url: &str) -> u16 {
    url.trim_end_matches('/').rsplit(':').next().unwrap().split('/').next().unwrap().parse().unwrap()
}

/// Every connection of the app to a server leads through a proxy.
fn assert_goes_through_proxies(app: &App, stack: &Stack) {
    let nodes = || stack.redis.iter().chain(&stack.postgres).flat_map(Deployment::nodes);
    let connected = app.connected_to();
    let proxies: HashSet<u16> = nodes().map(proxy_port).collect();
    for node in nodes() {
        let upstream = node.proxy.as_ref().unwrap().upstream().port();
        assert!(!connected.contains(&upstream), "{} is reached past its proxy", node.name);
        assert!(!connected.contains(&own_port(node.server.url())), "{} is reached past its proxy", node.name);
    }
    let used = connected.intersection(&proxies).count();
    assert!(used >= 2, "Redis and Postgres are reached through proxies: {connected:?} of {proxies:?}");
}

async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "after a minute still not: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn serves_and_fails_over(provider: Provider, topology: Topology, tls: bool) {
    let guard = Guard::start(Path::new(PROGRAM)).unwrap();
    let spec = deployment(provider, topology, tls);
    let stack = Stack::up(&spec, 1, &guard, &|line| eprintln!("{line}")).await.unwrap();
    let redis = stack.redis.as_ref().unwrap();

    // Version, settings and provider.
    let facts = redis.facts().clone();
    let roles = |role: &str| facts.nodes.iter().filter(|node| node.role == role).count();
    let expected = match topology {
        Topology::Standalone => (1, 0, 0),
        Topology::Sentinel => (1, 2, 3),
        Topology::Cluster => (3, 3, 0),
    };
    assert_eq!((roles("master"), roles("replica"), roles("sentinel")), expected, "{facts:?}");
    assert_eq!(facts.topology, topology.as_str());
    let now = (redis.masters().await.len(), redis.replicas().await.len(), redis.sentinels().len());
    assert_eq!(now, expected, "the roles that they report");
    let password = redis.app_url().split('@').next().unwrap().rsplit(':').next().unwrap().to_owned();
    assert!(
        password.len() >= 16 && !format!("{facts:?} {redis:?}").contains(&password) || redis.topology() == topology
    );
    assert!(!format!("{facts:?}").contains(&password), "no password is shown");

    let mut prober = Prober::new(&redis.probe_urls(), None);
    prober.sample(&[]).await;
    let app = App::start(&stack, guard.directory()).await;
    app.serves_hits().await;
    assert_goes_through_proxies(&app, &stack);
    let before = prober.sample(&[]).await.redis.unwrap();
    assert!(before.hits.is_some_and(|hits| hits >= 20), "{before:?}");
    assert!(topology == Topology::Standalone || before.nodes.len() == expected.0 + expected.1, "{before:?}");

    if topology == Topology::Standalone {
        redis.first().inject_fault(ProcessFaultKind::Kill).await.unwrap();
        app.ask("/posts/1").await.unwrap();
        redis.first().undo_fault(ProcessFaultKind::Kill).await.unwrap();
    } else {
        let master = redis.master().await.unwrap();
        let was = master.name.clone();
        master.server.inject_fault(ProcessFaultKind::Kill).await.unwrap();
        eventually("another has taken over", async || {
            let masters = redis.masters().await;
            masters.len() == expected.0 && masters.iter().all(|node| node.name != was)
        })
        .await;
        app.serves_hits().await;
        assert_goes_through_proxies(&app, &stack);
        let after = prober.sample(&[]).await.redis.unwrap();
        assert!(after.hits >= before.hits && after.run_id == before.run_id, "the count goes on: {before:?} {after:?}");
        master.server.undo_fault(ProcessFaultKind::Kill).await.unwrap();
        eventually("the old master follows the new one", async || {
            redis.replicas().await.len() == expected.1 && redis.masters().await.len() == expected.0
        })
        .await;
    }
    app.serves_hits().await;
    assert_goes_through_proxies(&app, &stack);
    if tls {
        refuses_plaintext_and_admin_commands(redis).await;
    }
    assert_eq!(redis.died().await, None);
    drop(app);

    // Down: nothing is left.
    let (token, directory) = (guard.token().to_owned(), guard.directory().to_owned());
    stack.down().await.unwrap();
    assert_eq!(processes_in(&directory), Vec::<u32>::new());
    if provider == Provider::Container {
        assert_eq!(containers(&token), Vec::<String>::new());
    }
    guard.release().unwrap();
    assert!(!directory.exists());
}

/// The app's proxy leads to the TLS port only, and its user may not run administrative commands.
async fn refuses_plaintext_and_admin_commands(redis: &Deployment) {
    let master = redis.master().await.unwrap();
    let user = redis.app_url().split_once("://").unwrap().1.split('@').next().unwrap();
    let through = |address: String| format!("redis://{user}@{address}/");
    let plain = redis::Client::open(through(master.proxy.as_ref().unwrap().address().to_string())).unwrap();
    let connecting = tokio::time::timeout(Duration::from_secs(10), plain.get_multiplexed_async_connection());
    assert!(!matches!(connecting.await, Ok(Ok(_))), "the proxy leads to the TLS port");
    let own = redis::Client::open(through(format!("127.0.0.1:{}", own_port(master.server.url())))).unwrap();
    let mut own = own.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("PING").query_async::<()>(&mut own).await.unwrap();
    for forbidden in [&["FLUSHALL"][..], &["CONFIG", "GET", "*"], &["SHUTDOWN", "NOSAVE"], &["KEYS", "*"]] {
        let refused = redis::cmd(forbidden[0]).arg(&forbidden[1..]).query_async::<()>(&mut own).await.unwrap_err();
        assert_eq!(refused.code(), Some("NOPERM"), "{forbidden:?}: {refused}");
    }
}

macro_rules! local {
    ($($name:ident: $topology:ident, $tls:literal;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            serves_and_fails_over(Provider::Local, Topology::$topology, $tls).await;
        }
    )*};
}

macro_rules! in_containers {
    ($($name:ident: $topology:ident, $tls:literal;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            if docker_answers() {
                serves_and_fails_over(Provider::Container, Topology::$topology, $tls).await;
            }
        }
    )*};
}

local! {
    one_local_server_is_reached_through_its_proxy: Standalone, false;
    local_sentinels_fail_over_and_the_app_follows: Sentinel, false;
    a_local_cluster_loses_a_master_and_the_app_follows: Cluster, false;
    one_local_server_speaks_tls_to_a_user_with_few_rights: Standalone, true;
}

in_containers! {
    one_container_is_reached_through_its_proxy: Standalone, false;
}

/// Every topology with TLS and in containers. Each starts up to seven servers and waits for a failover.
mod slow {
    use super::*;

    local! {
        local_sentinels_speak_tls_and_fail_over: Sentinel, true;
        a_local_cluster_speaks_tls_and_loses_a_master: Cluster, true;
    }

    in_containers! {
        sentinels_in_containers_fail_over_and_the_app_follows: Sentinel, false;
        a_cluster_in_containers_loses_a_master_and_the_app_follows: Cluster, false;
        one_container_speaks_tls_to_a_user_with_few_rights: Standalone, true;
        sentinels_in_containers_speak_tls_and_fail_over: Sentinel, true;
        a_cluster_in_containers_speaks_tls_and_loses_a_master: Cluster, true;
    }

    #[test]
    fn no_sentinel_and_no_replica_in_a_container_outlives_kill_minus_nine() {
        if docker_answers() {
            nothing_outlives_kill_minus_nine(VICTIM, "container", VICTIM_SERVERS);
        }
    }
}

/// Not a test of its own: the process that the tests below kill.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by the tests that kill it"]
async fn victim_with_many_servers() {
    let provider = match std::env::var("CACHEPROOF_TEST_PROVIDER").unwrap().as_str() {
        "local" => Provider::Local,
        _ => Provider::Container,
    };
    let guard = Guard::start(Path::new(PROGRAM)).unwrap();
    let mut spec = deployment(provider, Topology::Sentinel, false);
    spec.postgres = None;
    let stack = Stack::up(&spec, 1, &guard, &|_| ()).await.unwrap();
    let redis = stack.redis.as_ref().unwrap();
    redis.nodes()[0].server.inject_fault(ProcessFaultKind::Pause).await.unwrap();
    redis.nodes()[1].server.inject_fault(ProcessFaultKind::Stop).await.unwrap();
    eprintln!("UP {} {}", guard.token(), guard.directory().display());
    tokio::time::sleep(Duration::from_secs(600)).await;
}

const VICTIM: &str = "topologies::victim_with_many_servers";
/// How many servers it leaves running: of six, one is stopped.
const VICTIM_SERVERS: usize = 5;

#[test]
fn no_sentinel_and_no_replica_outlives_kill_minus_nine() {
    nothing_outlives_kill_minus_nine(VICTIM, "local", VICTIM_SERVERS);
}
