//! Private notes: each user sees only their own. Postgres enforces it (row-level security). Cached pages are encrypted.

use super::session::{self, CurrentUser};
use super::{SeedTable, hash};
use crate::app::App;
use crate::commit::commit_by;
use crate::database::TextStatement;
use crate::respond::{Problem, json, parse_body, parse_id};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Extension, Router};
use bytes::Bytes;
use cache_layer::http::{HttpCacheLayer, Rule, Scope};
use cache_layer::{Invalidation, KeyClass, Tag};
use serde::Deserialize;
use std::time::Duration;

/// A policy applies to the owner of a table if it is forced, but never to a superuser. A superuser therefore reads notes in another
/// role, which [`AS_USER`] sets.
pub(crate) const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS notes (
    id bigserial PRIMARY KEY, owner_id bigint NOT NULL, body text NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX IF NOT EXISTS notes_by_owner ON notes (owner_id, id);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_policies WHERE tablename = 'notes' AND policyname = 'own') THEN
    CREATE POLICY own ON notes USING (owner_id = nullif(current_setting('app.user', true), '')::bigint);
  END IF;
  IF (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = session_user) THEN
    BEGIN
      CREATE ROLE reference_app_notes NOLOGIN;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; -- or made meanwhile, for another database
    END;
    GRANT SELECT, INSERT, DELETE ON notes TO reference_app_notes;
    GRANT USAGE ON SEQUENCE notes_id_seq TO reference_app_notes;
  END IF;
END $$;";

/// $1: a user's id as text. Until the end of the transaction only their notes are visible.
pub(crate) const AS_USER: &str = "SELECT set_config('app.user', $1, true), set_config('role',
    CASE WHEN rolsuper OR rolbypassrls THEN 'reference_app_notes' ELSE 'none' END, true)
    FROM pg_roles WHERE rolname = session_user";

/// Applies the policy to the owner, too. Only after the table is filled.
pub(crate) const FORCE_ROW_SECURITY: &str = "ALTER TABLE notes FORCE ROW LEVEL SECURITY";

pub(crate) fn seed_sql(_: &SeedTable, from: i64, to: i64) -> String {
    format!(
        "INSERT INTO notes (id, owner_id, body, created_at)
           SELECT i, 1 + i % (SELECT greatest(count(*), 1) FROM users), 'Note ' || i || ': ' || a.t || '.',
                  timestamptz '2026-01-01 00:00Z' + i * interval '1 minute'
             FROM generate_series({from}, {to}) i JOIN sentences a ON a.n = {} % 1000;",
        hash("i")
    )
}

/// The tag of everything that shows a user's notes.
fn of_user(user: i64) -> Tag {
    Tag::new(format!("notes:{user}"))
}

/// `/notes` as pages that the HTTP cache layer caches for each user. The session check is outside of that layer, so that it also runs
/// for hits.
pub(crate) fn routes(app: &App) -> Router<App> {
    let user = |request: &Parts| request.extensions.get::<CurrentUser>().map(|current_user| current_user.user);
    let rule = Rule::get("/notes", Duration::from_secs(300))
        .class(KeyClass::new("notes", Duration::from_secs(300)).sealed())
        .scope(Scope::per_user(move |request| user(request).map(|user| user.to_string())))
        .tags_of(move |request| user(request).map(of_user).into_iter().collect());
    let caching = HttpCacheLayer::builder(app.cache().clone()).named("reference").rule(rule).build();
    let caching = caching.expect("a valid rule: every start checks it");
    let pages = Router::new().route("/notes", get(list).post(add)).route("/notes/{id}", delete(remove)).layer(caching);
    session::logged_in(pages, app)
}

async fn list(State(app): State<App>, Extension(current_user): Extension<CurrentUser>) -> Result<Response, Problem> {
    // No condition on the owner: the policy is one.
    let statement = sqlx::query_scalar(
        "SELECT json_build_object('user', current_setting('app.user')::bigint, 'notes', coalesce(json_agg(json_build_object(
                  'id', id, 'owner', owner_id, 'body', body, 'at', created_at) ORDER BY id DESC), '[]'))::text FROM notes",
    );
    let notes = app.database().read_as(AS_USER, current_user.user, statement).await?;
    Ok(([(CONTENT_TYPE, "application/json")], notes.unwrap_or_default()).into_response())
}

#[derive(Deserialize)]
struct Draft {
    body: String,
}

async fn add(
    State(app): State<App>,
    Extension(current_user): Extension<CurrentUser>,
    body: Bytes,
) -> Result<Response, Problem> {
    let Draft { body } = parse_body(&body)?;
    let statement = sqlx::query_scalar("INSERT INTO notes (owner_id, body) VALUES ($1, $2) RETURNING id::text");
    let new = change(&app, current_user.user, statement.bind(current_user.user).bind(body)).await?;
    let id = new.ok_or_else(|| Problem::not_found("notes", "new"))?;
    Ok(json(StatusCode::CREATED, &serde_json::json!({ "id": id })))
}

/// Another user's note is not found.
async fn remove(
    State(app): State<App>,
    Extension(current_user): Extension<CurrentUser>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = parse_id(&id)?;
    let statement = sqlx::query_scalar("DELETE FROM notes WHERE id = $1 RETURNING id::text").bind(id);
    let gone = change(&app, current_user.user, statement).await?;
    gone.ok_or_else(|| Problem::not_found("notes", id))?;
    Ok(json(StatusCode::OK, &serde_json::json!({ "id": id })))
}

async fn change(app: &App, user: i64, statement: TextStatement) -> Result<Option<i64>, Problem> {
    let write = {
        let app = app.clone();
        async move { app.database().write_as(AS_USER, user, statement).await }
    };
    let changed = commit_by(app, write, move |_: Option<&Bytes>| Invalidation::new().tag(of_user(user))).await?;
    Ok(changed.and_then(|id| std::str::from_utf8(&id).ok()?.parse().ok()))
}
