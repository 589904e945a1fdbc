//! How long an outage is felt. Run alone, with the figures: `cargo nextest run -p cache-layer recovery:: --no-capture`

use crate::proxy::BlackHole;
use crate::samples::Samples;
use crate::support::{Redis, eventually};
use bytes::Bytes;
use cache_layer::key::POSTS;
use cache_layer::{Cache, CacheConfig, Metrics, Status, Ttl};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const READERS: usize = 20;
const KEYS: i64 = 200;
const OUTAGE: Duration = Duration::from_secs(5);
/// One reader's pause between reads, and what its database takes.
const PAUSE: Duration = Duration::from_millis(5);
const DATABASE: Duration = Duration::from_millis(2);

struct Answer {
    begun: Instant,
    took: Duration,
    status: Status,
}

/// Readers with a loader that takes time, each answer noted.
struct Load {
    cache: Cache,
    metrics: Metrics,
    answers: Arc<Mutex<Vec<Answer>>>,
    stop: Arc<AtomicBool>,
    readers: JoinSet<()>,
}

impl Load {
    async fn on(url: String) -> Self {
        let metrics = Metrics::default();
        let cache = CacheConfig::redis(url).open(metrics.clone()).expect("a cache");
        assert!(cache.ready(Duration::from_secs(10)).await);
        let all_up = async || cache.status().connections == 10;
        eventually("all connections are up", all_up).await;
        let (answers, stop) = (Arc::<Mutex<Vec<Answer>>>::default(), Arc::new(AtomicBool::new(false)));
        let mut readers = JoinSet::new();
        for reader in 0..READERS {
            let (cache, answers, stop) = (cache.clone(), answers.clone(), stop.clone());
            readers.spawn(async move {
                let mut id = i64::try_from(reader).expect("small");
                while !stop.load(Ordering::Relaxed) {
                    id = (id + 7) % KEYS;
                    let load = || async {
                        tokio::time::sleep(DATABASE).await;
                        Ok::<_, Infallible>(Some(Bytes::from(id.to_string())))
                    };
                    let begun = Instant::now();
                    let lookup = cache.get_or_load(&POSTS.item(id), Ttl::Class, load).await.expect("infallible");
                    let took = begun.elapsed();
                    assert_eq!(lookup.value, Some(Bytes::from(id.to_string())), "every answer is right");
                    answers.lock().expect("no panic").push(Answer { begun, took, status: lookup.status });
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        let load = Self { cache, metrics, answers, stop, readers };
        // Warm: nearly everything is a hit.
        let warm = async || {
            let answers = load.answers.lock().expect("no panic");
            let hits = answers.iter().rev().take(200).filter(|answer| matches!(answer.status, Status::Hit { .. }));
            hits.count() > 180
        };
        eventually("the cache is warm", warm).await;
        load
    }

    fn hits_since(&self, since: Instant) -> usize {
        let answers = self.answers.lock().expect("no panic");
        answers.iter().rev().take_while(|a| a.begun >= since).filter(|a| matches!(a.status, Status::Hit { .. })).count()
    }

    fn timeouts(&self) -> u64 {
        Samples::of(&self.metrics).sum_with("cache_errors_total", "timeout")
    }

    /// From `since` to the end of the first answer out of the cache that was asked for after it.
    async fn used_again(&self, since: Instant) -> Duration {
        eventually("the cache is used again", async || self.hits_since(since) > 0).await;
        let answers = self.answers.lock().expect("no panic");
        let hits = answers.iter().filter(|a| a.begun >= since && matches!(a.status, Status::Hit { .. }));
        hits.map(|a| a.begun + a.took - since).min().expect("a hit")
    }

    /// Stops; what was answered between two moments, as a line of the table.
    async fn figures(mut self, what: &str, from: Instant, to: Instant, timeouts: u64, used_again: Duration) -> Figures {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(reader) = self.readers.join_next().await {
            reader.expect("no reader fails");
        }
        let timeouts = self.timeouts() - timeouts;
        let answers = self.answers.lock().expect("no panic");
        let mut took: Vec<_> = answers.iter().filter(|a| a.begun >= from && a.begun < to).map(|a| a.took).collect();
        took.sort();
        let at = |share: usize| took[(took.len() - 1) * share / 1000];
        let figures = Figures { requests: took.len(), p50: at(500), p99: at(990), max: at(1000), timeouts, used_again };
        println!(
            "{what:<28} {:>6} requests, 0 failed | p50 {:>6.1?} p99 {:>6.1?} max {:>6.1?} | {:>3} timeouts | used again after {:.1?}",
            figures.requests, figures.p50, figures.p99, figures.max, figures.timeouts, figures.used_again
        );
        figures
    }
}

struct Figures {
    requests: usize,
    p50: Duration,
    p99: Duration,
    max: Duration,
    timeouts: u64,
    used_again: Duration,
}

impl Figures {
    /// Ten times what is promised: this machine may be shared, and noisy.
    fn hold(&self, used_again: Duration) {
        assert!(self.max < Duration::from_secs(1), "no request waits for the cache: {:?}", self.max);
        assert!(self.p50 < Duration::from_millis(50), "most do not wait at all: {:?}", self.p50);
        assert!(self.p99 <= self.max);
        assert!(self.used_again < used_again, "{:?}", self.used_again);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_redis_costs_no_request_and_is_used_again_at_once() {
    let mut redis = Redis::start();
    let load = Load::on(redis.url()).await;
    let (from, timeouts) = (Instant::now(), load.timeouts());
    redis.kill();
    tokio::time::sleep(OUTAGE).await;
    let (redis, back) = tokio::task::spawn_blocking(|| {
        redis.start_again();
        (redis, Instant::now())
    })
    .await
    .expect("Redis comes back");
    let used_again = load.used_again(back).await;
    let figures = load.figures("killed for 5 s", from, back, timeouts, used_again).await;
    figures.hold(Duration::from_secs(2));
    assert!(figures.requests > 1000, "{}", figures.requests);
    drop(redis);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_redis_costs_one_timeout_for_each_connection_not_for_each_request() {
    let redis = Redis::start();
    let load = Load::on(redis.url()).await;
    let (from, timeouts) = (Instant::now(), load.timeouts());
    redis.freeze();
    tokio::time::sleep(OUTAGE).await;
    redis.thaw();
    let back = Instant::now();
    let used_again = load.used_again(back).await;
    let figures = load.figures("frozen for 5 s", from, back, timeouts, used_again).await;
    figures.hold(Duration::from_secs(2));
    // Ten connections, twenty readers: what was under way when it froze, and hardly more.
    assert!(figures.timeouts <= 4 * 10, "{} timeouts of {} requests", figures.timeouts, figures.requests);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_fall_silent_are_replaced_in_less_than_a_second() {
    let redis = Redis::start();
    let proxy = BlackHole::before(redis.port).await;
    let load = Load::on(format!("redis://127.0.0.1:{}", proxy.port)).await;
    let (before, timeouts) = (proxy.accepted.load(Ordering::SeqCst), load.timeouts());
    let from = Instant::now();
    proxy.swallow();
    let used_again = load.used_again(from).await;
    let made = || proxy.accepted.load(Ordering::SeqCst) - before;
    eventually("all are new", async || made() >= 10 && load.cache.status().connections == 10).await;
    let whole = from.elapsed();
    let made = made();
    let figures = load.figures("connections gone silent", from, from + whole, timeouts, used_again).await;
    println!("{:<28} all ten replaced after {whole:.1?}, {made} connections made", "");
    figures.hold(Duration::from_secs(10));
    assert!(figures.timeouts <= 4 * 10, "{} timeouts", figures.timeouts);
    assert!((10..=40).contains(&made), "each is replaced, and none again and again: {made}");
}

/// Silence is noticed without a request, too: by the regular ping.
#[tokio::test]
async fn a_connection_that_nobody_uses_is_replaced_as_well() {
    let redis = Redis::start();
    let proxy = BlackHole::before(redis.port).await;
    let cache =
        CacheConfig::redis(format!("redis://127.0.0.1:{}", proxy.port)).open(Metrics::default()).expect("a cache");
    eventually("all connections are up", async || cache.status().connections == 10).await;
    let before = proxy.accepted.load(Ordering::SeqCst);
    proxy.swallow();
    let took = eventually("all are new", async || {
        proxy.accepted.load(Ordering::SeqCst) >= before + 10 && cache.status().connections == 10
    })
    .await;
    println!("ten idle connections replaced after {took:.1?}");
}
