//! Keys and their lifetimes: the one place where they are written down.
//!
//! | class | key | TTL |
//! |---|---|---|
//! | posts, profiles | `posts:{id}`, `profiles:{id}` | 5 min |
//! | products, courses | `products:{id}`, `courses:{id}` | 10 min |
//! | lists of each service | `{service}:list:{filter}:{page}` | 1 min |
//!
//! A store may put a namespace such as `prod:` in front of all of them.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// Posts: items for 5 min.
pub const POSTS: Service = Service::new("posts", "posts:list", MINUTE.saturating_mul(5));
/// Profiles: items for 5 min.
pub const PROFILES: Service = Service::new("profiles", "profiles:list", MINUTE.saturating_mul(5));
/// Products: items for 10 min.
pub const PRODUCTS: Service = Service::new("products", "products:list", MINUTE.saturating_mul(10));
/// Courses: items for 10 min.
pub const COURSES: Service = Service::new("courses", "courses:list", MINUTE.saturating_mul(10));

/// Every service that has keys, in the order of the table above.
pub const SERVICES: [Service; 4] = [POSTS, PROFILES, PRODUCTS, COURSES];

/// Keys that share a lifetime and a line in the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyClass {
    /// What the metrics call it; also what its keys begin with.
    pub name: &'static str,
    /// How long a value of this class may be served.
    pub ttl: Duration,
}

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
        Self { items: KeyClass { name, ttl }, pages: KeyClass { name: list, ttl: MINUTE } }
    }

    /// The service's name, `posts` for instance.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.items.name
    }

    /// `{service}:{id}`
    #[must_use]
    pub fn item(&self, id: i64) -> Key {
        Key { name: format!("{}:{id}", self.items.name), class: self.items, group: None }
    }

    /// `{service}:list:{filter}:{page}`. Bytes of the filter that have a meaning in keys or patterns are percent-encoded.
    #[must_use]
    pub fn list(&self, filter: &str, page: u32) -> Key {
        Key {
            name: format!("{}:{}:{page}", self.pages.name, sanitised(filter)),
            class: self.pages,
            group: Some(self.lists()),
        }
    }

    /// All lists of this service, to be invalidated together.
    #[must_use]
    pub const fn lists(&self) -> Group {
        Group { name: self.pages.name }
    }
}

/// One key: its name without namespace, its class, and the group it is invalidated with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    name: String,
    class: KeyClass,
    group: Option<Group>,
}

impl Key {
    /// A key of a class of your own. `name` is used as it is.
    #[must_use]
    pub fn custom(name: impl Into<String>, class: KeyClass, group: Option<Group>) -> Self {
        Self { name: name.into(), class, group }
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

    /// The group it is invalidated with, if any.
    #[must_use]
    pub const fn group(&self) -> Option<Group> {
        self.group
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Keys that are invalidated together without knowing their names. Every key of a group begins with `{name}:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    /// What the keys of the group begin with, without the last colon.
    pub name: &'static str,
}

fn sanitised(part: &str) -> Cow<'_, str> {
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
mod tests {
    use super::*;

    #[test]
    fn keys_follow_the_documented_patterns() {
        assert_eq!(POSTS.item(7).name(), "posts:7");
        assert_eq!(PROFILES.item(7).name(), "profiles:7");
        assert_eq!(PRODUCTS.item(7).name(), "products:7");
        assert_eq!(COURSES.item(7).name(), "courses:7");
        for service in SERVICES {
            assert_eq!(service.list("recent", 3).name(), format!("{}:list:recent:3", service.name()));
            assert!(service.list("recent", 3).name().starts_with(&format!("{}:", service.lists().name)));
        }
    }

    #[test]
    fn ttl_of_each_key_class() {
        let minutes = |m: u64| Duration::from_secs(60 * m);
        assert_eq!(SERVICES.map(|s| s.items.ttl), [minutes(5), minutes(5), minutes(10), minutes(10)]);
        assert_eq!(SERVICES.map(|s| s.pages.ttl), [minutes(1); 4]);
    }

    #[test]
    fn a_filter_cannot_forge_another_key() {
        assert_eq!(POSTS.list("a:1*", 2).name(), "posts:list:a%3A1%2A:2");
        assert_ne!(POSTS.list("a:1", 2), POSTS.list("a", 1));
    }
}
