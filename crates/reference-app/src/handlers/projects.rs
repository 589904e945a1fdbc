//! Projects, their teams and their tasks.

use super::{SeedTable, hash};
use crate::app::App;
use crate::commit::commit;
use crate::keys;
use crate::read::{self, CachedQuery};
use crate::respond::{Problem, created_response, json, parse_body, parse_id};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{post, put};
use bytes::Bytes;
use cache_layer::Invalidation;
use serde::Deserialize;

/// A project never moves to another workspace, so its tasks can store the workspace.
pub(crate) const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS projects (
    id bigserial PRIMARY KEY, version bigint NOT NULL DEFAULT 1, workspace_id bigint NOT NULL DEFAULT 1,
    name text NOT NULL, description text NOT NULL DEFAULT '', status text NOT NULL DEFAULT 'active',
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX IF NOT EXISTS projects_by_workspace ON projects (workspace_id);
CREATE TABLE IF NOT EXISTS members (
    project_id bigint NOT NULL, user_id bigint NOT NULL, role text NOT NULL DEFAULT 'member', PRIMARY KEY (project_id, user_id));
CREATE INDEX IF NOT EXISTS members_by_user ON members (user_id);
CREATE TABLE IF NOT EXISTS tasks (
    id bigserial PRIMARY KEY, version bigint NOT NULL DEFAULT 1, project_id bigint NOT NULL, workspace_id bigint NOT NULL,
    assignee_id bigint, title text NOT NULL, status text NOT NULL DEFAULT 'todo', points int NOT NULL DEFAULT 1,
    due_on date NOT NULL DEFAULT current_date + 14, updated_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX IF NOT EXISTS tasks_by_project ON tasks (project_id);
CREATE INDEX IF NOT EXISTS tasks_by_assignee ON tasks (assignee_id);
CREATE INDEX IF NOT EXISTS tasks_by_workspace ON tasks (workspace_id, updated_at DESC, id DESC);";

/// Each project has five members and a dozen tasks, spread over the existing users and workspaces.
pub(crate) fn seed_sql(_: &SeedTable, from: i64, to: i64) -> String {
    let (project, task) = (hash("i"), hash("i * 1000 + k"));
    format!(
        "INSERT INTO projects (id, workspace_id, name, description, status, created_at, updated_at)
           SELECT i, 1 + i % (SELECT greatest(count(*), 1) FROM workspaces), initcap(left(a.t, 30)), a.t || '.',
                  (ARRAY['active','active','active','paused','done'])[1 + {project} % 5], at, at
             FROM generate_series({from}, {to}) i
             CROSS JOIN LATERAL (SELECT timestamptz '2026-01-01 00:00Z' + i * interval '3 hours' AS at) w
             JOIN sentences a ON a.n = {project} % 1000;
         INSERT INTO members (project_id, user_id, role)
           SELECT i, 1 + (i * 5 + k * (1 + i / 60)) % (SELECT greatest(count(*), 1) FROM users), (ARRAY['lead','member'])[least(k, 2)]
             FROM generate_series({from}, {to}) i CROSS JOIN generate_series(1, 5) k ON CONFLICT DO NOTHING;
         INSERT INTO tasks (project_id, workspace_id, assignee_id, title, status, points, due_on, updated_at)
           SELECT p.id, p.workspace_id, m.user_id, initcap(left(a.t, 40)),
                  (ARRAY['todo','todo','doing','review','done'])[1 + {task} % 5], 1 + {task} % 8,
                  date '2026-02-01' + (p.id % 60 + k)::int, p.created_at + k * interval '7 minutes'
             FROM generate_series({from}, {to}) i JOIN projects p ON p.id = i CROSS JOIN generate_series(1, 12) k
             CROSS JOIN LATERAL (SELECT user_id FROM members WHERE project_id = p.id ORDER BY user_id
                                 OFFSET k % (SELECT count(*) FROM members WHERE project_id = p.id) LIMIT 1) m
             JOIN sentences a ON a.n = {task} % 1000;"
    )
}

/// The query that is warmed.
pub(crate) fn details() -> &'static CachedQuery {
    &CACHED_QUERIES[0]
}

static CACHED_QUERIES: [CachedQuery; 5] = [
    CachedQuery {
        path: "/projects/{id}",
        key: keys::projects::details,
        sql: "SELECT json_build_object('id', id, 'version', version, 'workspace', workspace_id, 'name', name,
                       'description', description, 'status', status, 'created_at', created_at, 'updated_at', updated_at)::text
                FROM projects WHERE id = $1",
    },
    CachedQuery {
        path: "/projects/{id}/full",
        key: keys::projects::full,
        sql: "SELECT json_build_object('id', p.id, 'version', p.version, 'workspace', p.workspace_id, 'name', p.name,
                       'description', p.description, 'status', p.status,
                       'team', (SELECT coalesce(json_agg(json_build_object('id', u.id, 'handle', u.handle, 'role', m.role)
                                                ORDER BY m.role, u.id), '[]')
                                  FROM members m JOIN users u ON u.id = m.user_id WHERE m.project_id = p.id),
                       'tasks', (SELECT coalesce(json_agg(json_build_object('id', t.id, 'title', t.title, 'status', t.status)
                                                 ORDER BY t.id), '[]') FROM tasks t WHERE t.project_id = p.id))::text
                FROM projects p WHERE p.id = $1",
    },
    CachedQuery {
        path: "/projects/{id}/tasks",
        key: keys::projects::tasks,
        sql: "SELECT json_build_object('id', p.id, 'tasks',
                       (SELECT coalesce(json_agg(json_build_object('id', t.id, 'version', t.version, 'title', t.title,
                                        'status', t.status, 'points', t.points, 'assignee', t.assignee_id, 'due_on', t.due_on)
                                        ORDER BY t.due_on, t.id), '[]') FROM tasks t WHERE t.project_id = p.id))::text
                FROM projects p WHERE p.id = $1",
    },
    CachedQuery {
        path: "/projects/{id}/team",
        key: keys::projects::team,
        sql: "SELECT json_build_object('id', p.id, 'team',
                       (SELECT coalesce(json_agg(json_build_object('id', u.id, 'handle', u.handle, 'role', m.role)
                                        ORDER BY m.role, u.id), '[]')
                          FROM members m JOIN users u ON u.id = m.user_id WHERE m.project_id = p.id))::text
                FROM projects p WHERE p.id = $1",
    },
    CachedQuery {
        path: "/projects/{id}/stats",
        key: keys::project_stats,
        sql: "WITH own AS (SELECT * FROM tasks WHERE project_id = $1)
              SELECT json_build_object('id', p.id,
                       'members', (SELECT count(*) FROM members m WHERE m.project_id = p.id),
                       'tasks', (SELECT count(*) FROM own), 'points', (SELECT coalesce(sum(points), 0) FROM own),
                       'done_points', (SELECT coalesce(sum(points), 0) FROM own WHERE status = 'done'),
                       'by_status', (SELECT coalesce(json_object_agg(status, n), '{}') FROM
                                      (SELECT status, count(*) AS n FROM own GROUP BY status) s))::text
                FROM projects p WHERE p.id = $1",
    },
];

pub(crate) fn routes() -> Router<App> {
    read::routes(&CACHED_QUERIES)
        .route("/projects", post(create))
        .route("/projects/{id}", put(update))
        .route("/projects/{id}/tasks", post(add_task))
        .route("/projects/{id}/tasks/{task}", put(change_task))
        .route("/projects/{id}/team/{user}", put(join).delete(leave))
}

#[derive(Deserialize)]
struct Draft {
    name: Option<String>,
    description: Option<String>,
    status: Option<String>,
    workspace: Option<i64>,
}

/// id, version, workspace
type Project = (i64, i64, i64);

async fn create(State(app): State<App>, body: Bytes) -> Result<Response, Problem> {
    let draft: Draft = parse_body(&body)?;
    let name = draft.name.ok_or_else(|| Problem::bad_request("a new project needs a `name`"))?;
    let space = draft.workspace.unwrap_or(1);
    let statement = sqlx::query_as(
        "INSERT INTO projects (name, description, status, workspace_id)
         VALUES ($1, coalesce($2, ''), coalesce($3, 'active'), $4) RETURNING id, version",
    );
    let statement = statement.bind(name).bind(draft.description).bind(draft.status).bind(space);
    let stale = move |_: Option<&(i64, i64)>| Invalidation::new().key(&keys::dashboards::overview(space));
    created_response("projects", commit(&app, statement, stale).await?)
}

/// A project's name and status are shown in many places: its own pages, its members' lists of projects, its workspace's dashboard.
async fn update(State(app): State<App>, Path(id): Path<String>, body: Bytes) -> Result<Response, Problem> {
    let (id, draft): (_, Draft) = (parse_id(&id)?, parse_body(&body)?);
    let statement = sqlx::query_as(
        "UPDATE projects SET name = coalesce($2, name), description = coalesce($3, description),
                status = coalesce($4, status), version = version + 1, updated_at = now()
          WHERE id = $1 RETURNING id, version, workspace_id",
    );
    let statement = statement.bind(id).bind(draft.name).bind(draft.description).bind(draft.status);
    let stale = move |project: Option<&Project>| keys::project_changed(id, project.map(|(_, _, space)| *space));
    let project = commit(&app, statement, stale).await?;
    let (id, version, _) = project.ok_or_else(|| Problem::not_found("projects", id))?;
    Ok(json(StatusCode::OK, &serde_json::json!({ "id": id, "version": version })))
}

#[derive(Deserialize)]
struct TaskDraft {
    title: Option<String>,
    status: Option<String>,
    points: Option<i32>,
    assignee: Option<i64>,
}

/// id, version, workspace, assignee, assignee before
type Task = (i64, i64, i64, Option<i64>, Option<i64>);

fn stale_task(project: i64) -> impl FnOnce(Option<&Task>) -> Invalidation + Send + 'static {
    move |task| {
        let people = task.into_iter().flat_map(|(_, _, _, now, before)| [*now, *before]).flatten();
        keys::task_changed(project, task.map(|(_, _, space, ..)| *space), people)
    }
}

async fn add_task(State(app): State<App>, Path(project): Path<String>, body: Bytes) -> Result<Response, Problem> {
    let (project, draft): (_, TaskDraft) = (parse_id(&project)?, parse_body(&body)?);
    let title = draft.title.ok_or_else(|| Problem::bad_request("a new task needs a `title`"))?;
    let statement = sqlx::query_as(
        "INSERT INTO tasks (project_id, workspace_id, title, status, points, assignee_id)
         SELECT id, workspace_id, $2, coalesce($3, 'todo'), coalesce($4, 1), $5 FROM projects WHERE id = $1
         RETURNING id, version, workspace_id, assignee_id, NULL::bigint",
    );
    let statement = statement.bind(project).bind(title).bind(draft.status).bind(draft.points).bind(draft.assignee);
    let task = commit(&app, statement, stale_task(project)).await?;
    let (id, version, ..) = task.ok_or_else(|| Problem::not_found("projects", project))?;
    Ok(json(StatusCode::CREATED, &serde_json::json!({ "id": id, "version": version })))
}

async fn change_task(
    State(app): State<App>,
    Path((project, task)): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, Problem> {
    let (project, id, draft): (_, _, TaskDraft) = (parse_id(&project)?, parse_id(&task)?, parse_body(&body)?);
    let statement = sqlx::query_as(
        "WITH old AS (SELECT id, assignee_id FROM tasks WHERE project_id = $1 AND id = $2 FOR UPDATE)
         UPDATE tasks t SET title = coalesce($3, t.title), status = coalesce($4, t.status), points = coalesce($5, t.points),
                assignee_id = coalesce($6, t.assignee_id), version = t.version + 1, updated_at = now()
           FROM old WHERE t.id = old.id RETURNING t.id, t.version, t.workspace_id, t.assignee_id, old.assignee_id",
    );
    let statement = statement.bind(project).bind(id).bind(draft.title).bind(draft.status).bind(draft.points);
    let task = commit(&app, statement.bind(draft.assignee), stale_task(project)).await?;
    let (id, version, ..) = task.ok_or_else(|| Problem::not_found("tasks", id))?;
    Ok(json(StatusCode::OK, &serde_json::json!({ "id": id, "version": version })))
}

async fn join(state: State<App>, path: Path<(String, String)>) -> Result<Response, Problem> {
    let sql = "INSERT INTO members (project_id, user_id) SELECT p.id, u.id FROM projects p, users u WHERE p.id = $1 AND u.id = $2
               ON CONFLICT DO NOTHING RETURNING user_id";
    change_team(
        state,
        path,
        sql,
        "nothing to change: there is no such project or user, or the user is already on the team",
    )
    .await
}

async fn leave(state: State<App>, path: Path<(String, String)>) -> Result<Response, Problem> {
    let sql = "DELETE FROM members WHERE project_id = $1 AND user_id = $2 RETURNING user_id";
    change_team(state, path, sql, "nothing to change: the user is not on the team").await
}

async fn change_team(
    State(app): State<App>,
    Path((project, user)): Path<(String, String)>,
    sql: &'static str,
    nothing: &'static str,
) -> Result<Response, Problem> {
    let (project, user) = (parse_id(&project)?, parse_id(&user)?);
    let stale = move |_: Option<&(i64,)>| keys::team_changed(project, user);
    let changed = commit(&app, sqlx::query_as(sql).bind(project).bind(user), stale).await?;
    changed.ok_or_else(|| Problem(StatusCode::CONFLICT, nothing.into()))?;
    Ok(json(StatusCode::OK, &serde_json::json!({ "project": project, "user": user })))
}
