//! Dashboards.

use super::of;
use crate::key::{Key, KeyClass, ttl};
use crate::store::Invalidation;
use std::fmt::Display;

/// What one sees first.
pub const OVERVIEW: KeyClass = KeyClass::new("dashboards:overview", ttl::FIVE_MINUTES).jittered(10);
/// Figures.
pub const STATS: KeyClass = KeyClass::new("dashboards:stats", ttl::FIVE_MINUTES).jittered(10);
/// What happened last.
pub const ACTIVITY: KeyClass = KeyClass::new("dashboards:activity", ttl::MINUTE.saturating_mul(2)).jittered(10);

/// `dashboards:overview:{id}`
#[must_use]
pub fn overview(id: impl Display) -> Key {
    of(OVERVIEW, id)
}

/// `dashboards:stats:{id}`; the platform's own are those of `platform`.
#[must_use]
pub fn stats(id: impl Display) -> Key {
    of(STATS, id)
}

/// `dashboards:activity:{id}`
#[must_use]
pub fn activity(id: impl Display) -> Key {
    of(ACTIVITY, id)
}

/// All keys of a dashboard: by name, since they are few and known, which costs reads nothing.
#[must_use]
pub fn everything_of(id: impl Display) -> Invalidation {
    [OVERVIEW, STATS, ACTIVITY].into_iter().fold(Invalidation::new(), |all, class| all.key(&of(class, &id)))
}
