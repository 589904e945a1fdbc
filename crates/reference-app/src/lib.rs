//! The HTTP API over Postgres and [`cache_layer`] that cacheproof tests by default.
//!
//! Four services, `posts`, `profiles`, `products` and `courses`, each with
//!
//! | request | answer |
//! |---|---|
//! | `GET /posts/{id}` | the item: `id`, `version`, its texts, aggregates over its comments |
//! | `GET /posts?filter=recent&page=1` | `filter`, `page`, `version`, `items` (20 a page); filters `recent`, `top`, `oldest` |
//! | `POST /posts` | 201 with `id`, `version`, `list_version`; body `{"title": …, "body": …}` |
//! | `PUT /posts/{id}` | 200 with the same; either text may be left out |
//! | `DELETE /posts/{id}` | 200 with the same |
//! | `GET /health` | 200, or 503 when Postgres is gone |
//! | `GET /metrics` | Prometheus text |
//!
//! **Versions.** An item's `version` is 1 and rises by 1 with each update. A list's `version` counts the writes to its
//! service: it rises by 1 with each create, update or delete, in the same transaction, so it never falls and a list of
//! version *n* shows exactly the first *n* writes. A write answers with the version it made, of the item and of the lists.
//! (Counting in one row makes the writes to one service wait for each other's commit.)
//!
//! **Caching.** Reads go through cache-aside; every read says in `Cache-Status` (RFC 9211) where its answer came from:
//!
//! | `Cache-Status: reference; …` | meaning |
//! |---|---|
//! | `hit; ttl=291` | from the cache, good for 291 s more |
//! | `fwd=uri-miss; stored` | from Postgres, and stored. Without `stored`: not stored |
//! | `fwd=uri-miss; stored; collapsed` | shared with another request's load |
//! | `fwd=request` | the request said `Cache-Control: no-store`: neither read nor stored |
//! | `fwd=bypass; detail=fallback` | the cache gave no answer |
//!
//! Each item read and each list read costs one SQL statement when it is not a hit, each write costs one.

mod app;
mod args;
mod database;
mod error;
mod handlers;
mod resource;
mod respond;
mod schema;
mod serve;
mod telemetry;

pub use app::{App, router};
pub use args::{Load, ServeArgs};
pub use error::AppError;
pub use serve::{serve, serve_on};
