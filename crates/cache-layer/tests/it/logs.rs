//! What is logged, in bytes, while Redis is well and while it is dead.

use crate::log::Log;
use crate::support::{Redis, eventually};
use bytes::Bytes;
use cache_layer::key::POSTS;
use cache_layer::{Cache, CacheConfig, Invalidation, Metrics, Sampler, Ttl};
use std::convert::Infallible;
use std::time::{Duration, Instant};
use tracing::Level;

/// Of reads in one phase. The line of the sampler, every ten seconds in production, comes every 200 ms here: so this
/// stands for an outage of two minutes.
const PHASE: Duration = Duration::from_millis(2_400);
const SUMMARY: Duration = Duration::from_millis(200);

/// Reads for a while, and writes now and then; how many reads.
async fn use_it(cache: &Cache) -> usize {
    let (start, mut reads) = (Instant::now(), 0);
    while start.elapsed() < PHASE {
        for id in 0..10 {
            let load = || async { Ok::<_, Infallible>(Some(Bytes::from_static(b"v"))) };
            cache.get_or_load(&POSTS.item(id), Ttl::Class, load).await.expect("infallible");
            reads += 1;
        }
        if reads % 500 == 0 {
            cache.invalidate(&Invalidation::new().key(&POSTS.item(1)).tag(POSTS.lists())).await;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    reads
}

async fn bytes_per_read_well_and_dead(level: Level) -> (f64, f64, String) {
    let (log, _guard) = Log::listen(level);
    let mut redis = Redis::start();
    let cache = CacheConfig::redis(redis.url()).open(Metrics::default()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    let _sampler = Sampler::start(&cache, Duration::from_millis(50), SUMMARY);
    use_it(&cache).await;
    log.take();

    let reads = use_it(&cache).await;
    let well = log.take().len() as f64 / reads as f64;
    redis.kill();
    let reads = use_it(&cache).await;
    let text = log.take();
    let dead = text.len() as f64 / reads as f64;
    redis.start_again();
    eventually("used again", async || {
        let load = || async { Ok::<_, Infallible>(Some(Bytes::from_static(b"v"))) };
        cache.get_or_load(&POSTS.item(1), Ttl::Class, load).await.expect("infallible");
        cache.status().usable
    })
    .await;
    println!("{level}: {well:.1} bytes a read while all is well, {dead:.1} while Redis is dead");
    (well, dead, text)
}

#[tokio::test]
async fn a_dead_redis_does_not_flood_the_log_at_level_info() {
    let (well, dead, text) = bytes_per_read_well_and_dead(Level::INFO).await;
    assert!(well > 0.0, "there is a line now and then");
    assert!(dead <= 2.0 * well, "{well} bytes a read, then {dead}:\n{text}");
    assert!(text.contains("breaker opens") && text.contains("fallbacks="), "it is said:\n{text}");
}

#[tokio::test]
async fn a_dead_redis_does_not_flood_the_log_at_level_debug() {
    let (well, dead, text) = bytes_per_read_well_and_dead(Level::DEBUG).await;
    assert!(dead <= 2.0 * well, "{well} bytes a read, then {dead}");
    assert!(text.contains("class=\"posts\"") && text.contains("status=\"fallback\""), "each read says how it went");
    assert!(!text.contains("posts:1"), "no names of keys");
}

#[tokio::test]
async fn each_read_says_hit_or_miss_at_level_debug() {
    let (log, _guard) = Log::listen(Level::DEBUG);
    let cache = CacheConfig::memory().open(Metrics::default()).expect("a cache");
    for status in ["miss", "hit"] {
        let load = || async {
            tracing::info!("the loader's own line");
            Ok::<_, Infallible>(Some(Bytes::from_static(b"v")))
        };
        cache.get_or_load(&POSTS.item(7), Ttl::Class, load).await.expect("infallible");
        let text = log.take();
        assert!(text.contains(&format!("cache read class=\"posts\" status=\"{status}\"")), "{text}");
        let inside = text.contains("cache.get_or_load{class=\"posts\"}: ") && text.contains("the loader's own line");
        assert_eq!(inside, status == "miss", "{text}");
    }
}
