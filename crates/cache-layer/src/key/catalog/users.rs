//! Users.

use super::of;
use crate::key::{Key, KeyClass, ttl};
use crate::store::Invalidation;
use std::fmt::Display;

/// What a user is called, looks like, and so on.
pub const PROFILE: KeyClass = KeyClass::new("users:profile", ttl::HOUR).jittered(10);
/// A user with everything around.
pub const FULL: KeyClass = KeyClass::new("users:full", ttl::FIVE_MINUTES).jittered(10);
/// The projects of a user.
pub const PROJECTS: KeyClass = KeyClass::new("users:projects", ttl::QUARTER_HOUR).jittered(10);
/// The tasks of a user.
pub const TASKS: KeyClass = KeyClass::new("users:tasks", ttl::FIVE_MINUTES).jittered(10);
/// What a user sees first.
pub const DASHBOARD: KeyClass = KeyClass::new("users:dashboard", ttl::FIVE_MINUTES).jittered(10);
/// What a user has chosen.
pub const PREFERENCES: KeyClass = KeyClass::new("users:preferences", ttl::DAY).jittered(10);

/// `users:profile:{id}`
#[must_use]
pub fn profile(id: impl Display) -> Key {
    of(PROFILE, id)
}

/// `users:full:{id}`
#[must_use]
pub fn full(id: impl Display) -> Key {
    of(FULL, id)
}

/// `users:projects:{id}`
#[must_use]
pub fn projects(id: impl Display) -> Key {
    of(PROJECTS, id)
}

/// `users:tasks:{id}`
#[must_use]
pub fn tasks(id: impl Display) -> Key {
    of(TASKS, id)
}

/// `users:dashboard:{id}`
#[must_use]
pub fn dashboard(id: impl Display) -> Key {
    of(DASHBOARD, id)
}

/// `users:preferences:{id}`
#[must_use]
pub fn preferences(id: impl Display) -> Key {
    of(PREFERENCES, id)
}

/// All keys of a user: by name, since they are few and known, which costs reads nothing.
#[must_use]
pub fn everything_of(id: impl Display) -> Invalidation {
    let classes = [PROFILE, FULL, PROJECTS, TASKS, DASHBOARD, PREFERENCES];
    classes.into_iter().fold(Invalidation::new(), |all, class| all.key(&of(class, &id)))
}
