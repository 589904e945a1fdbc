//! `#[cached]`.

use cache_layer::bulkhead::BulkheadConfig;
use cache_layer::{Cache, CacheConfig, Metrics, cached};
use std::collections::HashMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

struct Reports {
    cache: Cache,
    computed: AtomicU32,
}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("no such region")]
struct NoSuchRegion;

impl Reports {
    fn new() -> Self {
        let cache = CacheConfig::memory().open(Metrics::default()).expect("a cache");
        Self { cache, computed: AtomicU32::new(0) }
    }

    fn count(&self) -> u32 {
        self.computed.load(Ordering::SeqCst)
    }

    #[cached(cache = "self.cache", ttl = "5m", prefix = "reports")]
    async fn sales(&self, region: &str, year: u32) -> Result<Vec<String>, NoSuchRegion> {
        self.computed.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        if region == "nowhere" {
            return Err(NoSuchRegion);
        }
        let checked: Result<u32, NoSuchRegion> = if year > 3000 { Err(NoSuchRegion) } else { Ok(year) };
        Ok(vec![region.to_owned(), checked?.to_string()])
    }

    /// Takes its arguments by value and by pattern, and says itself what tells answers apart.
    #[cached(cache = "self.cache", ttl = "1h", prefix = "reports", key = "user, page + 1")]
    pub async fn pages<T: Display>(
        &self,
        user: T,
        page: u32,
        mut sizes: Vec<u32>,
    ) -> Result<u32, Box<dyn std::error::Error>> {
        self.computed.fetch_add(1, Ordering::SeqCst);
        sizes.push("10".parse()?);
        Ok(sizes.iter().sum::<u32>() * page)
    }

    #[cached(cache = "self.cache", ttl = "1h", prefix = "reports")]
    async fn unencodable(&self) -> Result<HashMap<(u8, u8), u8>, NoSuchRegion> {
        self.computed.fetch_add(1, Ordering::SeqCst);
        Ok(HashMap::from([((1, 2), 3)]))
    }
}

#[cached(cache = "cache", ttl = "30s", prefix = "squares", key = "of")]
async fn square(cache: &Cache, of: u64) -> Result<u64, std::convert::Infallible> {
    Ok(of * of)
}

/// Runs one at a time, and calls another one that is memoised.
struct Narrow {
    cache: Cache,
    running: AtomicU32,
    most: AtomicU32,
}

impl Narrow {
    #[cached(cache = "self.cache", ttl = "5m", prefix = "narrow")]
    async fn outer(&self, n: u32) -> Result<u64, std::convert::Infallible> {
        self.most.fetch_max(self.running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
        let squared = square(&self.cache, u64::from(n)).await;
        self.running.fetch_sub(1, Ordering::SeqCst);
        squared
    }
}

#[tokio::test]
async fn no_more_are_computed_at_a_time_than_may_be_and_none_is_refused() {
    let limit = BulkheadConfig { at_most: 1, wait: Duration::from_millis(1), waiting_at_most: 1 };
    let cache = CacheConfig::memory().open(Metrics::default()).expect("a cache").with_loads_at_most(limit);
    let narrow = Narrow { cache, running: AtomicU32::new(0), most: AtomicU32::new(0) };
    let answers = futures_util::future::join_all((0..8).map(|n| narrow.outer(n))).await;
    assert_eq!(answers, (0..8).map(|n| Ok(n * n)).collect::<Vec<_>>());
    assert_eq!(narrow.most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_same_arguments_are_computed_once() {
    let reports = Reports::new();
    let (first, second) = tokio::join!(reports.sales("north", 2026), reports.sales("north", 2026));
    assert_eq!(first, Ok(vec!["north".into(), "2026".into()]));
    assert_eq!(first, second);
    assert_eq!(reports.count(), 1, "calls at the same time share one");
    reports.sales("north", 2026).await.expect("remembered");
    reports.sales("north", 2025).await.expect("computed");
    reports.sales("south", 2026).await.expect("computed");
    assert_eq!(reports.count(), 3);
    assert_eq!(square(&reports.cache, 12).await, Ok(144));
    assert_eq!(square(&reports.cache, 12).await, Ok(144));
    let mut names = reports.cache.scan("*", 100).await.expect("names");
    names.sort();
    let sales = ["reports:sales:north:2025", "reports:sales:north:2026", "reports:sales:south:2026"];
    assert_eq!(names, [&sales[..], &["squares:square:12"]].concat());
}

#[tokio::test]
async fn errors_are_the_callers_and_are_not_kept() {
    let reports = Reports::new();
    for calls in 1..3 {
        assert_eq!(reports.sales("nowhere", 1).await, Err(NoSuchRegion));
        assert_eq!(reports.count(), calls);
    }
    assert_eq!(reports.sales("north", 4000).await, Err(NoSuchRegion));
}

#[tokio::test]
async fn no_two_lists_of_arguments_have_one_key() {
    let reports = Reports::new();
    for region in ["a:1", "a", "a%3A1", "", ":", "a*"] {
        reports.sales(region, 1).await.expect("computed");
    }
    assert_eq!(reports.count(), 6);
    assert_eq!(reports.pages("u:1", 1, vec![1]).await.expect("computed"), 11);
    assert_eq!(reports.pages("u:1", 1, vec![2]).await.expect("remembered"), 11, "sizes are not part of the key");
    assert_eq!(reports.pages(7, 2, vec![2]).await.expect("computed"), 24);
    assert_eq!(reports.cache.scan("reports:pages:*", 9).await.expect("names").len(), 2);
}

#[tokio::test]
async fn what_cannot_be_kept_is_computed_each_time() {
    let reports = Reports::new();
    for calls in 1..3 {
        assert_eq!(reports.unencodable().await, Ok(HashMap::from([((1, 2), 3)])));
        assert_eq!(reports.count(), calls);
    }
}
