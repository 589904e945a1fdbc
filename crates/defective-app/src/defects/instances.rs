//! Defects that need two instances of the app on one Redis.

use super::Defect;
use crate::front_cache::{self, FrontCacheConfig};
use std::time::Duration;

pub(super) static TABLE: [Defect; 1] = [Defect::new(
    "other-instance-not-told",
    "a first tier in each process; a write removes the value only in its own process",
    |args| {
        front_cache::install(
            args,
            FrontCacheConfig { local: Some(Duration::from_secs(20)), ..FrontCacheConfig::default() },
        )
    },
)
.caught("defects-instances", "No answer is older than a write")];
