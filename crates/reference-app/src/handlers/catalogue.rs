//! Requirements and features.

use super::{SeedTable, hash};
use crate::app::App;
use crate::commit::commit;
use crate::keys;
use crate::read::{self, CachedQuery};
use crate::respond::{Problem, json, parse_body, parse_id};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::put;
use bytes::Bytes;
use cache_layer::{Invalidation, Key};
use serde::Deserialize;

pub(crate) const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS requirements (
    id bigserial PRIMARY KEY, version bigint NOT NULL DEFAULT 1, title text NOT NULL, body text NOT NULL,
    status text NOT NULL DEFAULT 'draft', updated_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS features (
    id bigserial PRIMARY KEY, version bigint NOT NULL DEFAULT 1, title text NOT NULL, body text NOT NULL,
    status text NOT NULL DEFAULT 'off', updated_at timestamptz NOT NULL DEFAULT now());";

pub(crate) fn seed_sql(table: &SeedTable, from: i64, to: i64) -> String {
    let (name, item) = (table.name, hash("i"));
    let states = if name == "features" { "'off','beta','on'" } else { "'draft','agreed','built'" };
    format!(
        "INSERT INTO {name} (id, title, body, status, updated_at)
           SELECT i, initcap(left(a.t, 40)), a.t || '. ' || b.t || '.', (ARRAY[{states}])[1 + {item} % 3],
                  timestamptz '2026-01-01 00:00Z' + i * interval '1 hour'
             FROM generate_series({from}, {to}) i
             JOIN sentences a ON a.n = {item} % 1000 JOIN sentences b ON b.n = {item} / 1000 % 1000;"
    )
}

static CACHED_QUERIES: [CachedQuery; 2] = [
    CachedQuery {
        path: "/requirements/{id}",
        key: keys::product::requirement,
        sql: "SELECT json_build_object('id', id, 'version', version, 'title', title, 'body', body, 'status', status,
                                       'updated_at', updated_at)::text FROM requirements WHERE id = $1",
    },
    CachedQuery {
        path: "/features/{id}",
        key: keys::product::feature,
        sql: "SELECT json_build_object('id', id, 'version', version, 'title', title, 'body', body, 'status', status,
                                       'updated_at', updated_at)::text FROM features WHERE id = $1",
    },
];

const CHANGE_REQUIREMENT: &str = "UPDATE requirements SET title = coalesce($2, title), body = coalesce($3, body),
    status = coalesce($4, status), version = version + 1, updated_at = now() WHERE id = $1 RETURNING version";
const CHANGE_FEATURE: &str = "UPDATE features SET title = coalesce($2, title), body = coalesce($3, body),
    status = coalesce($4, status), version = version + 1, updated_at = now() WHERE id = $1 RETURNING version";

pub(crate) fn routes() -> Router<App> {
    let requirement = async |app, id, body| change(app, id, body, CHANGE_REQUIREMENT, keys::product::requirement).await;
    let feature = async |app, id, body| change(app, id, body, CHANGE_FEATURE, keys::product::feature).await;
    read::routes(&CACHED_QUERIES).route("/requirements/{id}", put(requirement)).route("/features/{id}", put(feature))
}

#[derive(Deserialize)]
struct Draft {
    title: Option<String>,
    body: Option<String>,
    status: Option<String>,
}

async fn change(
    State(app): State<App>,
    Path(id): Path<String>,
    body: Bytes,
    sql: &'static str,
    key: fn(i64) -> Key,
) -> Result<Response, Problem> {
    let (id, draft): (_, Draft) = (parse_id(&id)?, parse_body(&body)?);
    let statement = sqlx::query_as(sql).bind(id).bind(draft.title).bind(draft.body).bind(draft.status);
    let stale = move |_: Option<&(i64,)>| Invalidation::new().key(&key(id));
    let changed = commit(&app, statement, stale).await?;
    let (version,) = changed.ok_or_else(|| Problem(StatusCode::NOT_FOUND, format!("there is no {}", key(id))))?;
    Ok(json(StatusCode::OK, &serde_json::json!({ "id": id, "version": version })))
}
