//! Projects.

use super::of;
use crate::key::{Key, KeyClass, ttl};
use crate::store::Invalidation;
use std::fmt::Display;

/// What a project is.
pub const DETAILS: KeyClass = KeyClass::new("projects:details", ttl::MINUTE.saturating_mul(30)).jittered(10);
/// A project with everything around.
pub const FULL: KeyClass = KeyClass::new("projects:full", ttl::FIVE_MINUTES).jittered(10);
/// The tasks of a project.
pub const TASKS: KeyClass = KeyClass::new("projects:tasks", ttl::FIVE_MINUTES).jittered(10);
/// Who works on a project.
pub const TEAM: KeyClass = KeyClass::new("projects:team", ttl::HOUR).jittered(10);
/// Figures about a project.
pub const STATS: KeyClass = KeyClass::new("projects:stats", ttl::QUARTER_HOUR).jittered(10);

/// `projects:details:{id}`
#[must_use]
pub fn details(id: impl Display) -> Key {
    of(DETAILS, id)
}

/// `projects:full:{id}`
#[must_use]
pub fn full(id: impl Display) -> Key {
    of(FULL, id)
}

/// `projects:tasks:{id}`
#[must_use]
pub fn tasks(id: impl Display) -> Key {
    of(TASKS, id)
}

/// `projects:team:{id}`
#[must_use]
pub fn team(id: impl Display) -> Key {
    of(TEAM, id)
}

/// `projects:stats:{id}`
#[must_use]
pub fn stats(id: impl Display) -> Key {
    of(STATS, id)
}

/// All keys of a project: by name, since they are few and known, which costs reads nothing.
#[must_use]
pub fn everything_of(id: impl Display) -> Invalidation {
    let classes = [DETAILS, FULL, TASKS, TEAM, STATS];
    classes.into_iter().fold(Invalidation::new(), |all, class| all.key(&of(class, &id)))
}
