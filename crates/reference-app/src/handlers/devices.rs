//! Devices on which users are signed in. A page reads its device's record with every request, so it is cached for a day; changing the
//! record or signing out invalidates it and the user's list.

use super::{SeedTable, hash};
use crate::app::App;
use crate::commit::commit;
use crate::keys::sessions;
use crate::read::{self, CachedQuery};
use crate::respond::{Problem, json, parse_body, parse_id};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::put;
use bytes::Bytes;
use cache_layer::Invalidation;
use serde::Deserialize;

pub(crate) const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS devices (
    id bigserial PRIMARY KEY, version bigint NOT NULL DEFAULT 1, user_id bigint NOT NULL, name text NOT NULL,
    signed_in_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX IF NOT EXISTS devices_by_user ON devices (user_id);";

pub(crate) fn seed_sql(_: &SeedTable, from: i64, to: i64) -> String {
    format!(
        "INSERT INTO devices (id, user_id, name, signed_in_at)
           SELECT i, 1 + i % (SELECT greatest(count(*), 1) FROM users), (ARRAY['phone','laptop','tablet'])[1 + {} % 3] || ' ' || i,
                  timestamptz '2026-01-01 00:00Z' + i * interval '1 hour'
             FROM generate_series({from}, {to}) i;",
        hash("i")
    )
}

static CACHED_QUERIES: [CachedQuery; 2] = [
    CachedQuery {
        path: "/devices/{id}",
        key: sessions::data,
        sql: "SELECT json_build_object('id', id, 'version', version, 'user', user_id, 'name', name,
                                       'signed_in_at', signed_in_at)::text FROM devices WHERE id = $1",
    },
    CachedQuery {
        path: "/users/{id}/devices",
        key: sessions::of_user,
        sql: "SELECT json_build_object('id', u.id, 'devices',
                       (SELECT coalesce(json_agg(json_build_object('id', d.id, 'version', d.version, 'name', d.name) ORDER BY d.id), '[]')
                          FROM devices d WHERE d.user_id = u.id))::text
                FROM users u WHERE u.id = $1",
    },
];

pub(crate) fn routes() -> Router<App> {
    read::routes(&CACHED_QUERIES).route("/devices/{id}", put(rename).delete(sign_out))
}

#[derive(Deserialize)]
struct Draft {
    name: String,
}

/// version, user
type Device = (i64, i64);

async fn rename(State(app): State<App>, Path(id): Path<String>, body: Bytes) -> Result<Response, Problem> {
    let (id, Draft { name }) = (parse_id(&id)?, parse_body(&body)?);
    let sql = "UPDATE devices SET name = $2, version = version + 1 WHERE id = $1 RETURNING version, user_id";
    let changed = commit(&app, sqlx::query_as(sql).bind(id).bind(name), move |device| changed(id, device)).await?;
    answer(id, changed)
}

async fn sign_out(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = parse_id(&id)?;
    let sql = "DELETE FROM devices WHERE id = $1 RETURNING version, user_id";
    let gone = commit(&app, sqlx::query_as(sql).bind(id), move |device| changed(id, device)).await?;
    answer(id, gone)
}

/// The list of a user who is not known expires within the hour.
fn changed(id: i64, device: Option<&Device>) -> Invalidation {
    let stale = Invalidation::new().key(&sessions::data(id));
    device.into_iter().fold(stale, |stale, (_, user)| stale.key(&sessions::of_user(*user)))
}

fn answer(id: i64, changed: Option<Device>) -> Result<Response, Problem> {
    let (version, _) = changed.ok_or_else(|| Problem::not_found("devices", id))?;
    Ok(json(StatusCode::OK, &serde_json::json!({ "id": id, "version": version })))
}
