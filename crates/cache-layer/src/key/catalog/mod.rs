//! The keys of the stories, by resource: each a function that makes the key, and a class that says how long it lives.
//!
//! All follow `resource:type:id`, so that a key says what it is and a pattern (`users:tasks:*`) takes one kind of it. Whatever is
//! not written down here comes from outside and is [`sanitised`]: two different inputs never make one key.
//!
//! | keys | TTL |
//! |---|---|
//! | `posts:all`, `posts:user:{id}`, `posts:top:{n}` | 5 min |
//! | `users:profile:{id}` | 1 h |
//! | `users:full:{id}`, `users:tasks:{id}`, `users:dashboard:{id}` | 5 min |
//! | `users:projects:{id}` | 15 min |
//! | `users:preferences:{id}` | 24 h |
//! | `projects:details:{id}` | 30 min |
//! | `projects:full:{id}`, `projects:tasks:{id}` | 5 min |
//! | `projects:team:{id}` | 1 h |
//! | `projects:stats:{id}` | 15 min |
//! | `sessions:data:{id}` | 24 h |
//! | `sessions:user:{id}` | 1 h |
//! | `dashboards:overview:{id}`, `dashboards:stats:{id}` | 5 min |
//! | `dashboards:activity:{id}` | 2 min |
//! | `requirements:item:{id}` | 1 h |
//! | `features:item:{id}` | 15 min |
//! | `schemas:valid:{id}` | 2 h |
//! | `queries:{name}:{parameters…}` | 5 min; 1 min when cheap, 15 min when costly |
//! | `api:{type}:{id}` | 5 min |
//! | `static:{type}:{id}` | 24 h |
//!
//! What is warmed together (users, projects, dashboards) has its TTLs shortened at random by up to a tenth, so that it does not
//! end together.

pub mod dashboards;
pub mod posts;
pub mod product;
pub mod projects;
pub mod sessions;
pub mod users;

use super::{Key, KeyClass, sanitised};
use std::fmt::Display;

/// Every class of the catalogue.
pub const CLASSES: [KeyClass; 27] = [
    posts::ALL,
    posts::OF_USER,
    posts::TOP,
    users::PROFILE,
    users::FULL,
    users::PROJECTS,
    users::TASKS,
    users::DASHBOARD,
    users::PREFERENCES,
    projects::DETAILS,
    projects::FULL,
    projects::TASKS,
    projects::TEAM,
    projects::STATS,
    sessions::DATA,
    sessions::OF_USER,
    dashboards::OVERVIEW,
    dashboards::STATS,
    dashboards::ACTIVITY,
    product::REQUIREMENTS,
    product::FEATURES,
    product::SCHEMAS,
    product::CHEAP_QUERIES,
    product::QUERIES,
    product::COSTLY_QUERIES,
    product::API,
    product::STATIC,
];

/// `{class}:{id}`, for classes whose name is `resource:type`.
fn of(class: KeyClass, id: impl Display) -> Key {
    Key::new(class, format!("{}:{}", class.name, sanitised(&id.to_string())))
}
