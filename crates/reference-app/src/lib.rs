//! The HTTP API over Postgres and [`cache_layer`] that cacheproof tests by default.
//!
//! A showcase, not a product: each room of it shows one way to cache. Who a caller is matters to private notes and sessions only.
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
//! and beside them
//!
//! | requests | cached |
//! |---|---|
//! | `GET /feed` | by the HTTP layer: `ETag`, 304 |
//! | `GET /feed/all`, `/feed/top`, `/feed/users/{id}`; `POST /posts/{id}/upvote`, `/unvote` `{"user": …}` | `posts:all`, `posts:top:10`, `posts:user:{id}` |
//! | `POST /posts/{id}/views`, `GET` the same | counted by write-behind |
//! | `GET`, `PUT /users/{id}`; `POST /users`; `GET /users/{id}/full`, `/projects`, `/tasks`, `/dashboard` | cache-aside, invalidated together |
//! | `GET /users?ids=1,2,3` | as a batch |
//! | `GET`, `PUT /users/{id}/preferences` | write-through |
//! | `GET`, `PUT /projects/{id}`; `POST /projects`; `GET /projects/{id}/full`, `/tasks`, `/team`, `/stats` | the last by refresh-ahead |
//! | `POST /projects/{id}/tasks`, `PUT /projects/{id}/tasks/{task}`; `PUT`, `DELETE /projects/{id}/team/{user}` | invalidate all pages that show them |
//! | `GET /dashboards/{id}/overview`, `/stats`, `/activity` | stale-while-revalidate |
//! | `GET /platform/stats` | fail-safe |
//! | `GET`, `PUT /requirements/{id}`, `/features/{id}` | 1 h, 15 min |
//! | `POST /schemas/{id}/validate`, `PUT /schemas/{id}` | outcomes by document, 2 h |
//! | `GET /reports/keywords`, `/authors` | memoised by `#[cached]` |
//! | `POST /login`, `/logout`; `GET /me`; `GET`, `DELETE /sessions`, `DELETE /sessions/{handle}` | sessions, never in the process |
//! | `GET`, `POST /notes`; `DELETE /notes/{id}` | by the HTTP layer for each user; row-level security beneath |
//! | `/cache/…` | [`cache_layer::manage`], for who has the token |
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
//! | `hit; ttl=-3; detail=…` | from the cache, 3 s past its end: why is said |
//! | `fwd=partial-miss` | some of a batch from Postgres |
//! | `fwd=request` | the request said `Cache-Control: no-store`: neither read nor stored |
//! | `fwd=bypass; detail=fallback` | the cache gave no answer |
//!
//! Each read costs one SQL statement when it is not a hit, each write costs one; those of private notes two, for one says as whom.

mod app;
mod args;
mod commit;
mod database;
mod error;
mod handlers;
mod keys;
mod outbox;
mod read;
mod respond;
mod serve;
mod telemetry;
mod warm;

pub use app::{App, router};
pub use args::{AppArgs, SeedData, ServeArgs, WarmArgs};
pub use cache_layer::warm::{PlanState, PlanStatus, WarmStatus};
pub use error::AppError;
pub use serve::{serve, serve_on};
pub use warm::warm;
