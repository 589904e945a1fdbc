//! Users: their profiles, projects and tasks.

use super::{SeedTable, hash};
use crate::app::App;
use crate::commit::commit;
use crate::keys;
use crate::read::{self, CachedQuery};
use crate::respond::{
    CACHE_STATUS, Problem, cache_status, created_response, json, parse_body, parse_id, wants_no_cache,
};
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use bytes::Bytes;
use cache_layer::{Invalidation, Key, Lookup, Status, Ttl};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashMap;

/// A handle never changes, so editing a profile need not invalidate the teams and tasks that show it.
pub(crate) const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS users (
    id bigserial PRIMARY KEY, version bigint NOT NULL DEFAULT 1,
    handle text NOT NULL DEFAULT 'user' || currval('users_id_seq'), name text NOT NULL, bio text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now());";

pub(crate) fn seed_sql(_: &SeedTable, from: i64, to: i64) -> String {
    format!(
        "INSERT INTO users (id, handle, name, bio, created_at, updated_at)
           SELECT i, 'user' || i, initcap(left(a.t, 24)), a.t || '.', at, at
             FROM generate_series({from}, {to}) i
             CROSS JOIN LATERAL (SELECT timestamptz '2026-01-01 00:00Z' + i * interval '1 hour' AS at) w
             JOIN sentences a ON a.n = {} % 1000;",
        hash("i")
    )
}

/// The query that is warmed.
pub(crate) fn profile() -> &'static CachedQuery {
    &CACHED_QUERIES[0]
}

static CACHED_QUERIES: [CachedQuery; 5] = [
    CachedQuery {
        path: "/users/{id}",
        key: keys::users::profile,
        sql: "SELECT json_build_object('id', id, 'version', version, 'handle', handle, 'name', name, 'bio', bio,
                                       'created_at', created_at, 'updated_at', updated_at)::text FROM users WHERE id = $1",
    },
    CachedQuery {
        path: "/users/{id}/full",
        key: keys::users::full,
        sql: "SELECT json_build_object('id', u.id, 'version', u.version, 'handle', u.handle, 'name', u.name, 'bio', u.bio,
                       'projects', (SELECT count(*) FROM members m WHERE m.user_id = u.id),
                       'tasks', (SELECT coalesce(json_object_agg(status, n), '{}') FROM
                                  (SELECT status, count(*) AS n FROM tasks t WHERE t.assignee_id = u.id GROUP BY status) s),
                       'created_at', u.created_at, 'updated_at', u.updated_at)::text FROM users u WHERE u.id = $1",
    },
    CachedQuery {
        path: "/users/{id}/projects",
        key: keys::user_projects,
        sql: "SELECT json_build_object('id', u.id, 'projects',
                       (SELECT coalesce(json_agg(json_build_object('id', p.id, 'name', p.name, 'status', p.status, 'role', m.role)
                                        ORDER BY p.id), '[]')
                          FROM members m JOIN projects p ON p.id = m.project_id WHERE m.user_id = u.id))::text
                FROM users u WHERE u.id = $1",
    },
    CachedQuery {
        path: "/users/{id}/tasks",
        key: keys::users::tasks,
        sql: "SELECT json_build_object('id', u.id, 'tasks',
                       (SELECT coalesce(json_agg(json_build_object('id', t.id, 'version', t.version, 'project', t.project_id,
                                        'title', t.title, 'status', t.status, 'due_on', t.due_on) ORDER BY t.due_on, t.id), '[]')
                          FROM tasks t WHERE t.assignee_id = u.id AND t.status <> 'done'))::text
                FROM users u WHERE u.id = $1",
    },
    CachedQuery {
        path: "/users/{id}/dashboard",
        key: keys::users::dashboard,
        sql: "WITH mine AS (SELECT * FROM tasks WHERE assignee_id = $1)
              SELECT json_build_object('id', u.id,
                       'open', (SELECT count(*) FROM mine WHERE status <> 'done'),
                       'done', (SELECT count(*) FROM mine WHERE status = 'done'),
                       'points', (SELECT coalesce(sum(points), 0) FROM mine WHERE status <> 'done'),
                       'next', (SELECT json_agg(n) FROM (SELECT id, title, due_on FROM mine WHERE status <> 'done'
                                                          ORDER BY due_on, id LIMIT 5) n),
                       'by_project', (SELECT json_object_agg(project_id, n) FROM
                                       (SELECT project_id, count(*) AS n FROM mine GROUP BY project_id) b))::text
                FROM users u WHERE u.id = $1",
    },
];

pub(crate) fn routes() -> Router<App> {
    read::routes(&CACHED_QUERIES).route("/users", get(get_many).post(create)).route("/users/{id}", put(update))
}

/// Users in one batch.
const AT_ONCE: usize = 100;

#[derive(Deserialize)]
struct UserIds {
    ids: String,
}

/// The profiles of several users: one round trip to the cache, and one statement for all misses.
async fn get_many(
    State(app): State<App>,
    Query(UserIds { ids }): Query<UserIds>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let ids = ids.split(',').map(parse_id).collect::<Result<Vec<_>, _>>()?;
    if ids.len() > AT_ONCE {
        return Err(Problem::bad_request(format!("ask for {AT_ONCE} users at most")));
    }
    let keys: Vec<_> = ids.iter().map(keys::users::profile).collect();
    let ids_of: HashMap<_, _> = keys.iter().cloned().zip(ids.iter().copied()).collect();
    let load = |missing: Vec<Key>| {
        let wanted = missing.iter().filter_map(|key| ids_of.get(key).copied()).collect();
        let found = app.database().many(USERS_BY_ID, wanted);
        async { Ok(found.await?.into_iter().map(|(id, text)| (keys::users::profile(id), Bytes::from(text))).collect()) }
    };
    let found: HashMap<Key, Bytes>;
    let (values, status) = if wants_no_cache(&headers) {
        found = load(keys.clone()).await?;
        (keys.iter().map(|key| found.get(key).cloned()).collect(), cache_status(Status::Bypass))
    } else {
        let batch = app.cache().get_many_or_load(&keys, Ttl::Class, load).await;
        let missed = batch.missed().next().is_some();
        let fell_back = |answer: &Option<Lookup>| matches!(answer, Some(Lookup { status: Status::Fallback, .. }));
        let status = if batch.answers.iter().any(fell_back) {
            cache_status(Status::Fallback)
        } else {
            HeaderValue::from_static(if missed { "reference; fwd=partial-miss" } else { "reference; hit" })
        };
        if let Some(error) = batch.failed {
            return Err(error.into());
        }
        let values: Vec<Option<Bytes>> =
            batch.answers.into_iter().map(|answer| answer.and_then(|answer| answer.value)).collect();
        (values, status)
    };
    let (present, missing): (Vec<_>, Vec<_>) = ids.iter().zip(&values).partition(|(_, value)| value.is_some());
    let users =
        present.into_iter().filter_map(|(_, value)| serde_json::from_slice::<Box<RawValue>>(value.as_ref()?).ok());
    let body = serde_json::json!({ "users": users.collect::<Vec<_>>(), "missing": missing.iter().map(|(id, _)| **id).collect::<Vec<i64>>() });
    Ok(([(CACHE_STATUS, status)], json(StatusCode::OK, &body)).into_response())
}

const USERS_BY_ID: &str =
    "SELECT id, json_build_object('id', id, 'version', version, 'handle', handle, 'name', name, 'bio', bio,
    'created_at', created_at, 'updated_at', updated_at)::text FROM users WHERE id = ANY ($1)";

#[derive(Deserialize)]
struct Draft {
    name: Option<String>,
    bio: Option<String>,
}

async fn create(State(app): State<App>, body: Bytes) -> Result<Response, Problem> {
    let draft: Draft = parse_body(&body)?;
    let name = draft.name.ok_or_else(|| Problem::bad_request("a new user needs a `name`"))?;
    let statement = sqlx::query_as("INSERT INTO users (name, bio) VALUES ($1, coalesce($2, '')) RETURNING id, version");
    // Missing users are not cached, so a new user invalidates nothing.
    let new = commit(&app, statement.bind(name).bind(draft.bio), |_: Option<&(i64, i64)>| Invalidation::new()).await?;
    created_response("users", new)
}

async fn update(State(app): State<App>, Path(id): Path<String>, body: Bytes) -> Result<Response, Problem> {
    let (id, draft): (_, Draft) = (parse_id(&id)?, parse_body(&body)?);
    let statement = sqlx::query_as(
        "UPDATE users SET name = coalesce($2, name), bio = coalesce($3, bio), version = version + 1, updated_at = now()
          WHERE id = $1 RETURNING version",
    );
    let stale = move |_: Option<&(i64,)>| keys::user_changed(id);
    let (version,) = commit(&app, statement.bind(id).bind(draft.name).bind(draft.bio), stale)
        .await?
        .ok_or_else(|| Problem::not_found("users", id))?;
    Ok(json(StatusCode::OK, &serde_json::json!({ "id": id, "version": version })))
}
