//! Defects of invalidation.

use super::Defect;
use crate::front_cache::{self, FrontCacheConfig, InvalidationPolicy};
use crate::write_behind;
use axum::http::StatusCode;
use std::time::Duration;

const SCENARIO: &str = "defects-freshness";
const FRESH: &str = "No answer is older than a write";

pub(super) static TABLE: [Defect; 8] = [
    Defect::new("no-invalidation", "a write leaves the cached value as it is", |args| {
        front_cache::install(
            args,
            FrontCacheConfig { invalidation: InvalidationPolicy::Never, ..FrontCacheConfig::default() },
        )
    })
    .caught(SCENARIO, FRESH),
    Defect::new(
        "invalidates-before-commit",
        "deletes the key, then writes: reads in between store the old value",
        |args| {
            front_cache::install(
                args,
                FrontCacheConfig { invalidation: InvalidationPolicy::BeforeCommit, ..FrontCacheConfig::default() },
            )
        },
    )
    .caught(SCENARIO, FRESH),
    Defect::new(
        "fill-after-invalidate",
        "a load of 30 ms reads before a write and stores after the write's delete",
        |args| {
            front_cache::install(
                args,
                FrontCacheConfig {
                    leases: false,
                    extra_load_time: Duration::from_millis(30),
                    ..FrontCacheConfig::default()
                },
            )
        },
    )
    .caught(SCENARIO, FRESH),
    Defect::new(
        "refresh-overwrites-newer",
        "each hit is reloaded in the background, and stored even if it was written since",
        |args| {
            let extra_load_time = Duration::from_millis(5);
            front_cache::install(
                args,
                FrontCacheConfig {
                    leases: false,
                    refreshes_on_hit: true,
                    extra_load_time,
                    ..FrontCacheConfig::default()
                },
            )
        },
    )
    .caught(SCENARIO, FRESH),
    Defect::new("invalidates-everything", "each write flushes the whole cache", |args| {
        front_cache::install(
            args,
            FrontCacheConfig { invalidation: InvalidationPolicy::Everything, ..FrontCacheConfig::default() },
        )
    })
    .caught(SCENARIO, "Writes cost the hit rate little"),
    Defect::new(
        "404-outlives-create",
        "caches the 404 of a missing post, and creating the post does not delete it",
        |args| {
            let is_stored = |status| matches!(status, StatusCode::OK | StatusCode::NOT_FOUND);
            front_cache::install(args, FrontCacheConfig { is_stored, ..FrontCacheConfig::default() })
        },
    )
    .caught(SCENARIO, "What was created can be read"),
    Defect::new(
        "write-behind-drops",
        "acknowledges a write from a queue of 4, and drops what does not fit",
        write_behind::install,
    )
    .caught(SCENARIO, "What was acknowledged is in the database"),
    Defect::new(
        "torn-value",
        "the text of a post is cached separately for 2 s, and a write does not delete it",
        |args| {
            front_cache::install(
                args,
                FrontCacheConfig { text_ttl: Some(Duration::from_secs(2)), ..FrontCacheConfig::default() },
            )
        },
    )
    .caught(SCENARIO, "Each value is of one write"),
];
