//! The HTTP API over Postgres and [`cache_layer`] that cacheproof tests by default.
//!
//! A showcase, not a product: each module of `handlers` shows one way to cache. Only private notes and sessions depend on who the user
//! is.
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
//! and
//!
//! | requests | cached |
//! |---|---|
//! | `GET /feed` | by the HTTP cache layer: `ETag`, 304 |
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
//! | `GET`, `POST /notes`; `DELETE /notes/{id}` | by the HTTP cache layer, for each user; row-level security in Postgres |
//! | `/cache/…` | [`cache_layer::manage`], with the admin token |
//!
//! **Versions.** An item's `version` is 1 and rises by 1 with each update. A list's `version` counts the writes to its
//! service: it rises by 1 with each create, update or delete, in the same transaction. So it never falls, and a list of
//! version *n* shows exactly the first *n* writes. A write answers with the new versions of the item and of the lists.
//! (The count is one row, so the writes to one service wait for each other's commit.)
//!
//! **Caching.** Reads use cache-aside. Every read reports in `Cache-Status` (RFC 9211) where its answer came from:
//!
//! | `Cache-Status: reference; …` | meaning |
//! |---|---|
//! | `hit; ttl=291` | from the cache, fresh for another 291 s |
//! | `fwd=uri-miss; stored` | from Postgres, and stored. Without `stored`: not stored |
//! | `fwd=uri-miss; stored; collapsed` | shared with another request's load |
//! | `hit; ttl=-3; detail=…` | from the cache, 3 s after it expired; `detail` says why |
//! | `fwd=partial-miss` | some of a batch from Postgres |
//! | `fwd=request` | the request had `Cache-Control: no-store`: neither read from the cache nor stored |
//! | `fwd=bypass; detail=fallback` | the cache did not answer |
//!
//! A read that is not a hit costs one SQL statement, and so does a write. For private notes it is two: one sets the user.

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
