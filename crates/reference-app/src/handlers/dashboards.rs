//! Dashboards of workspaces, and the statistics of the whole platform.

use super::{SeedTable, hash};
use crate::app::App;
use crate::keys;
use crate::read::{self, CachedQuery, read_refreshing};
use crate::respond::{Problem, lookup_response};
use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;

pub(crate) const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS workspaces (
    id bigserial PRIMARY KEY, name text NOT NULL, created_at timestamptz NOT NULL DEFAULT now());";

pub(crate) fn seed_sql(_: &SeedTable, from: i64, to: i64) -> String {
    format!(
        "INSERT INTO workspaces (id, name, created_at)
           SELECT i, initcap(left(a.t, 20)), timestamptz '2026-01-01 00:00Z' + i * interval '1 hour'
             FROM generate_series({from}, {to}) i JOIN sentences a ON a.n = {} % 1000;",
        hash("i")
    )
}

/// The query that is warmed.
pub(crate) fn overview() -> &'static CachedQuery {
    &CACHED_QUERIES[0]
}

static CACHED_QUERIES: [CachedQuery; 3] = [
    CachedQuery {
        path: "/dashboards/{id}/overview",
        key: keys::dashboard::overview,
        sql: "SELECT json_build_object('id', w.id, 'name', w.name, 'projects',
                       (SELECT coalesce(json_agg(json_build_object('id', p.id, 'name', p.name, 'status', p.status,
                                        'tasks', (SELECT count(*) FROM tasks t WHERE t.project_id = p.id),
                                        'done', (SELECT count(*) FROM tasks t WHERE t.project_id = p.id AND t.status = 'done'))
                                        ORDER BY p.id), '[]') FROM projects p WHERE p.workspace_id = w.id))::text
                FROM workspaces w WHERE w.id = $1",
    },
    CachedQuery {
        path: "/dashboards/{id}/stats",
        key: keys::dashboard::stats,
        sql: "WITH own AS (SELECT * FROM tasks WHERE workspace_id = $1)
              SELECT json_build_object('id', w.id, 'tasks', (SELECT count(*) FROM own),
                       'people', (SELECT count(DISTINCT assignee_id) FROM own),
                       'by_status', (SELECT coalesce(json_object_agg(status, s), '{}') FROM
                                      (SELECT status, count(*) AS tasks, sum(points) AS points FROM own GROUP BY status) s),
                       'by_week', (SELECT coalesce(json_agg(b ORDER BY week), '[]') FROM
                                    (SELECT date_trunc('week', due_on)::date AS week, count(*) AS due FROM own GROUP BY 1) b))::text
                FROM workspaces w WHERE w.id = $1",
    },
    CachedQuery {
        path: "/dashboards/{id}/activity",
        key: keys::dashboard::activity,
        sql: "SELECT json_build_object('id', w.id, 'latest',
                       (SELECT coalesce(json_agg(l), '[]') FROM
                         (SELECT id, project_id AS project, title, status, assignee_id AS assignee, updated_at AS at FROM tasks
                           WHERE workspace_id = w.id ORDER BY updated_at DESC, id DESC LIMIT 20) l))::text
                FROM workspaces w WHERE w.id = $1",
    },
];

/// Reads every table: the most expensive statement, and its answer may be a little old.
pub(crate) const PLATFORM: &str = "SELECT json_build_object('as_of', now(),
    'users', (SELECT count(*) FROM users), 'workspaces', (SELECT count(*) FROM workspaces),
    'projects', (SELECT coalesce(json_object_agg(status, n), '{}') FROM (SELECT status, count(*) AS n FROM projects GROUP BY 1) p),
    'tasks', (SELECT coalesce(json_object_agg(status, n), '{}') FROM (SELECT status, count(*) AS n FROM tasks GROUP BY 1) t),
    'posts', (SELECT count(*) FROM posts), 'comments', (SELECT count(*) FROM comments),
    'mean_score', (SELECT round(avg(score), 2) FROM comments),
    'busiest', (SELECT coalesce(json_agg(b), '[]') FROM (SELECT assignee_id AS user, count(*) AS open FROM tasks
                 WHERE status <> 'done' GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5) b))::text";

pub(crate) fn routes() -> Router<App> {
    read::routes(&CACHED_QUERIES).route("/platform/stats", get(platform))
}

async fn platform(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    let load = |app: App| async move { app.database().read(sqlx::query_scalar(PLATFORM)).await };
    Ok(lookup_response(read_refreshing(&app, &keys::platform(), &headers, load).await?, "platform", "stats"))
}
