//! Lists of posts that are kept as long as posts are. [`POSTS`] has the items and the pages.

use super::of;
use crate::key::{Key, KeyClass, POSTS, ttl};
use std::fmt::Display;

/// All posts.
pub const ALL: KeyClass = KeyClass::new("posts:all", ttl::FIVE_MINUTES);
/// The posts of a user.
pub const OF_USER: KeyClass = KeyClass::new("posts:user", ttl::FIVE_MINUTES);
/// The posts with the most votes.
pub const TOP: KeyClass = KeyClass::new("posts:top", ttl::FIVE_MINUTES);

/// `posts:all`; like every list of posts it goes with the tag [`Service::lists`](super::super::Service::lists).
#[must_use]
pub fn all() -> Key {
    Key::new(ALL, ALL.name).tagged(POSTS.lists())
}

/// `posts:user:{id}`
#[must_use]
pub fn of_user(id: impl Display) -> Key {
    of(OF_USER, id).tagged(POSTS.lists())
}

/// `posts:top:{n}`
#[must_use]
pub fn top(n: u32) -> Key {
    of(TOP, n).tagged(POSTS.lists())
}
