//! What Prometheus gets: valid OpenMetrics, with the names that dashboards and alerts use, and few series.

use crate::samples::Samples;
use crate::support::Redis;
use bytes::Bytes;
use cache_layer::key::{POSTS, PROFILES};
use cache_layer::{Invalidation, Metrics, Sampler, Ttl};
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::time::Duration;

#[tokio::test]
async fn the_metrics_are_valid_openmetrics_and_bounded() {
    let redis = Redis::start();
    let metrics = Metrics::default();
    let cache = redis.patiently().open(metrics.clone()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    let _sampler = Sampler::start(&cache, Duration::from_millis(10), Duration::ZERO);
    for id in 0..500 {
        let load = || async { Ok::<_, Infallible>(Some(Bytes::from_static(b"v"))) };
        cache.get_or_load(&POSTS.item(id % 250), Ttl::Class, load).await.expect("infallible");
        cache.get_or_load(&PROFILES.list(&format!("filter {id}"), 1), Ttl::Class, load).await.expect("infallible");
        if id % 2 == 0 {
            cache.invalidate(&Invalidation::new().key(&POSTS.item(id))).await;
        }
    }
    crate::support::eventually("sampled", async || Samples::of(&metrics).contains("cache_redis_up{")).await;
    let _sets_gauges = cache.status();
    let samples = Samples::of(&metrics);
    let text = samples.as_str();
    let families = families(text);
    for (name, kind) in [
        ("cache_hits", "counter"),
        ("cache_misses", "counter"),
        ("cache_operation_duration_seconds", "histogram"),
        ("cache_breaker_state", "gauge"),
        ("cache_breaker_opens", "counter"),
        ("cache_loads_running", "gauge"),
        ("cache_bulkhead_rejections", "counter"),
        ("cache_redis_memory_used_bytes", "gauge"),
        ("cache_redis_memory_max_bytes", "gauge"),
        ("cache_redis_keys", "gauge"),
        ("cache_redis_evicted_keys", "counter"),
        ("cache_redis_clients", "gauge"),
    ] {
        assert_eq!(families.get(name).map(String::as_str), Some(kind), "{name} in\n{text}");
    }
    assert!(text.contains(r#"class="posts""#) && text.contains(r#"class="profiles:list""#), "{text}");
    assert!(!text.contains("filter"), "no names of keys");
    let series = text.lines().filter(|line| !line.starts_with('#') && !line.contains("_bucket{")).count();
    assert!(series < 120, "{series} series after 1,000 keys:\n{text}");
}

/// Each family with its type, every line held to the rules of OpenMetrics 1.0 that parsers insist on.
fn families(text: &str) -> HashMap<String, String> {
    assert!(text.ends_with("# EOF\n"), "it ends with EOF");
    let (mut families, mut current, mut seen) = (HashMap::new(), (String::new(), String::new()), HashSet::new());
    for line in text.lines().filter(|line| *line != "# EOF") {
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                current = (name.to_owned(), kind.to_owned());
                let before = families.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "{name} comes once");
            }
            (Some("#"), Some("UNIT"), Some(name), Some(unit)) => {
                assert!(name.ends_with(&format!("_{unit}")), "{name} ends with its unit {unit}");
            }
            (Some("#"), Some("HELP"), ..) => {}
            _ => {
                let (series, value) = line.rsplit_once(' ').expect("a value");
                value.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
                let name = series.split('{').next().expect("a name");
                let suffix = name.strip_prefix(current.0.as_str()).unwrap_or_else(|| panic!("{line} in {}", current.0));
                let fits = match current.1.as_str() {
                    "counter" => suffix == "_total",
                    "gauge" => suffix.is_empty(),
                    "histogram" => matches!(suffix, "_bucket" | "_sum" | "_count"),
                    other => panic!("{other}"),
                };
                assert!(fits, "{line} in a {}", current.1);
                assert!(seen.insert(series.to_owned()), "{series} comes once");
            }
        }
    }
    families
}
