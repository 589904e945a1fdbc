//! Requirements, features, schemas, query results, API responses, static data.

use super::of;
use crate::key::{Key, KeyClass, sanitised, ttl};
use std::fmt::Display;

/// Requirements.
pub const REQUIREMENTS: KeyClass = KeyClass::new("requirements:item", ttl::HOUR);
/// Features.
pub const FEATURES: KeyClass = KeyClass::new("features:item", ttl::QUARTER_HOUR);
/// Outcomes of schema validations.
pub const SCHEMAS: KeyClass = KeyClass::new("schemas:valid", ttl::HOUR.saturating_mul(2));
/// Results of queries that cost little: an old answer saves little, so it is not kept long.
pub const CHEAP_QUERIES: KeyClass = KeyClass::new("queries:cheap", ttl::MINUTE);
/// Results of queries.
pub const QUERIES: KeyClass = KeyClass::new("queries:usual", ttl::FIVE_MINUTES);
/// Results of queries that cost a lot.
pub const COSTLY_QUERIES: KeyClass = KeyClass::new("queries:costly", ttl::QUARTER_HOUR);
/// Responses of an API.
pub const API: KeyClass = KeyClass::new("api", ttl::FIVE_MINUTES);
/// Data that change with a release.
pub const STATIC: KeyClass = KeyClass::new("static", ttl::DAY);

/// What a query costs the database, which decides how long its result is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cost {
    /// Up to some 10 ms: an index look-up.
    Cheap,
    /// Up to some 100 ms.
    Usual,
    /// More: reports, aggregates.
    Costly,
}

impl Cost {
    /// The class of results of this cost.
    #[must_use]
    pub const fn class(self) -> KeyClass {
        match self {
            Self::Cheap => CHEAP_QUERIES,
            Self::Usual => QUERIES,
            Self::Costly => COSTLY_QUERIES,
        }
    }
}

/// `requirements:item:{id}`
#[must_use]
pub fn requirement(id: impl Display) -> Key {
    of(REQUIREMENTS, id)
}

/// `features:item:{id}`
#[must_use]
pub fn feature(id: impl Display) -> Key {
    of(FEATURES, id)
}

/// `schemas:valid:{id}`
#[must_use]
pub fn schema(id: impl Display) -> Key {
    of(SCHEMAS, id)
}

/// `queries:{name}:{parameters…}`; the same query has the same key whatever it is thought to cost.
#[must_use]
pub fn query(cost: Cost, name: &str, parameters: &[&dyn Display]) -> Key {
    let mut key = format!("queries:{}", sanitised(name));
    for parameter in parameters {
        key.push(':');
        key.push_str(&sanitised(&parameter.to_string()));
    }
    Key::new(cost.class(), key)
}

/// `api:{type}:{id}`
#[must_use]
pub fn api(kind: &str, id: impl Display) -> Key {
    resource(API, kind, id)
}

/// `static:{type}:{id}`
#[must_use]
pub fn fixed(kind: &str, id: impl Display) -> Key {
    resource(STATIC, kind, id)
}

/// `{class}:{type}:{id}`, for a class of your own that is named after its resource.
#[must_use]
pub fn resource(class: KeyClass, kind: &str, id: impl Display) -> Key {
    Key::new(class, format!("{}:{}:{}", class.name, sanitised(kind), sanitised(&id.to_string())))
}
