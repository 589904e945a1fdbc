//! Keys and their lifetimes: the one place where they are written down.
//!
//! | class | key | TTL |
//! |---|---|---|
//! | posts, profiles | `posts:{id}`, `profiles:{id}` | 5 min |
//! | products, courses | `products:{id}`, `courses:{id}` | 10 min |
//! | lists of each service | `{service}:list:{filter}:{page}` | 1 min |
//!
//! [`catalog`] has the keys of users, projects, sessions, dashboards and more. A store may put a namespace such as `prod:` in front of all of them.

pub mod catalog;
mod policy;
pub mod ttl;

pub use policy::{KeyClass, Refresh, ServeStale, jittered};

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// Posts: items for 5 min.
pub const POSTS: Service = Service::new("posts", "posts:list", ttl::FIVE_MINUTES);
/// Profiles: items for 5 min.
pub const PROFILES: Service = Service::new("profiles", "profiles:list", ttl::FIVE_MINUTES);
/// Products: items for 10 min.
pub const PRODUCTS: Service = Service::new("products", "products:list", ttl::MINUTE.saturating_mul(10));
/// Courses: items for 10 min.
pub const COURSES: Service = Service::new("courses", "courses:list", ttl::MINUTE.saturating_mul(10));

/// Every service that has keys, in the order of the table above.
pub const SERVICES: [Service; 4] = [POSTS, PROFILES, PRODUCTS, COURSES];

/// A resource with items and lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    /// The class of `{service}:{id}`.
    pub items: KeyClass,
    /// The class of `{service}:list:{filter}:{page}`.
    pub pages: KeyClass,
}

impl Service {
    const fn new(name: &'static str, list: &'static str, ttl: Duration) -> Self {
        Self { items: KeyClass::new(name, ttl), pages: KeyClass::new(list, ttl::MINUTE) }
    }

    /// The service's name, `posts` for instance.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.items.name
    }

    /// `{service}:{id}`
    #[must_use]
    pub fn item(&self, id: i64) -> Key {
        Key::new(self.items, format!("{}:{id}", self.items.name))
    }

    /// `{service}:list:{filter}:{page}`. Bytes of the filter that have a meaning in keys or patterns are percent-encoded.
    #[must_use]
    pub fn list(&self, filter: &str, page: u32) -> Key {
        Key::new(self.pages, format!("{}:{}:{page}", self.pages.name, sanitised(filter))).tagged(self.lists())
    }

    /// All lists of this service, to be invalidated together.
    #[must_use]
    pub const fn lists(&self) -> Tag {
        Tag(Cow::Borrowed(self.pages.name))
    }
}

/// One key: its name without namespace, its class, and the tags it is invalidated by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    name: String,
    class: KeyClass,
    tags: Vec<Tag>,
}

impl Key {
    /// A key of a class of your own. `name` is used as it is: [`sanitised`] parts from outside.
    #[must_use]
    pub fn new(class: KeyClass, name: impl Into<String>) -> Self {
        Self { name: name.into(), class, tags: Vec::new() }
    }

    /// Invalidated by this tag, too. Each tag costs a read one small look-up in the same round trip.
    #[must_use]
    pub fn tagged(mut self, tag: Tag) -> Self {
        self.tags.push(tag);
        self
    }

    /// The name without namespace.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its class.
    #[must_use]
    pub const fn class(&self) -> KeyClass {
        self.class
    }

    /// Whether its values are fresh as long as the store keeps them, and not loaded anew before.
    pub(crate) fn ends_with_its_ttl(&self) -> bool {
        self.class.stale_for.is_zero() && self.class.refresh == Refresh::Never
    }

    /// The tags it is invalidated by.
    #[must_use]
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What keys can have in common, to be invalidated together without knowing their names.
///
/// An entry keeps the generation of each of its tags as of before its load; invalidating a tag gives it a new one, and entries
/// of another generation are no longer there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tag(pub(crate) Cow<'static, str>);

impl Tag {
    /// A tag by name. The name is used as it is: [`sanitised`] parts from outside.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self(name.into())
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// A part of a key's name from outside: every byte but letters, digits, `-`, `_` and `.` is percent-encoded. So it cannot forge a
/// separator (`:`), match many keys (`*`), choose a cluster's slot (`{}`) or look like a key of the layer's own (`!`), and two
/// different parts stay different.
#[must_use]
pub fn sanitised(part: &str) -> Cow<'_, str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if part.bytes().all(plain) {
        return Cow::Borrowed(part);
    }
    let mut out = String::with_capacity(part.len() + 8);
    for byte in part.bytes() {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests;
