//! Lifetimes to choose from. A class of its own lifetime is fine, too; these are the ones the catalogue is made of.

use std::time::Duration;

/// 60 s: lists, and what changes while one looks at it.
pub const MINUTE: Duration = Duration::from_secs(60);
/// 300 s: what is read often and may be a little old.
pub const FIVE_MINUTES: Duration = Duration::from_secs(300);
/// 900 s: what is costly to compute.
pub const QUARTER_HOUR: Duration = Duration::from_secs(900);
/// 3600 s: what rarely changes.
pub const HOUR: Duration = Duration::from_secs(3600);
/// 86400 s: preferences, static data.
pub const DAY: Duration = Duration::from_secs(86_400);
/// 604800 s: what is as good as constant.
pub const WEEK: Duration = Duration::from_secs(604_800);
