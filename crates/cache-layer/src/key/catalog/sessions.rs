//! Sessions. They are no copy of something else, and an ended one must be gone everywhere at once: so they are never kept in the
//! memory of one process.

use super::of;
use crate::key::{Key, KeyClass, ttl};
use std::fmt::Display;

/// What a session holds. Its own sliding lifetime is shorter.
pub const DATA: KeyClass = KeyClass::new("sessions:data", ttl::DAY).shared_only();
/// The sessions of a user.
pub const OF_USER: KeyClass = KeyClass::new("sessions:user", ttl::HOUR).shared_only();

/// `sessions:data:{id}`
#[must_use]
pub fn data(id: impl Display) -> Key {
    of(DATA, id)
}

/// `sessions:user:{id}`
#[must_use]
pub fn of_user(id: impl Display) -> Key {
    of(OF_USER, id)
}
