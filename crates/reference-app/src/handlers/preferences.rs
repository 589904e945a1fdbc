//! A user's preferences: read with every page, changed rarely, and read again right after a change. So a write also updates the cache
//! (write-through).

use crate::app::App;
use crate::commit::commit;
use crate::database::{DatabaseError, STATEMENT_TIMEOUT};
use crate::keys;
use crate::read::{self, CachedQuery};
use crate::respond::{Problem, json, parse_body, parse_id};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::put;
use bytes::Bytes;
use cache_layer::{Invalidation, Ttl};
use serde_json::{Map, Value};
use tokio::time::timeout;

pub(crate) const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS preferences (
    user_id bigint PRIMARY KEY, version bigint NOT NULL DEFAULT 1, wishes jsonb NOT NULL);";

static CACHED_QUERIES: [CachedQuery; 1] = [CachedQuery {
    path: "/users/{id}/preferences",
    key: keys::preferences,
    sql: "SELECT json_build_object('id', u.id, 'version', coalesce(p.version, 0), 'wishes', coalesce(p.wishes, '{}'))::text
            FROM users u LEFT JOIN preferences p ON p.user_id = u.id WHERE u.id = $1",
}];

pub(crate) fn routes() -> Router<App> {
    read::routes(&CACHED_QUERIES).route("/users/{id}/preferences", put(replace_preferences))
}

/// Replaces all preferences; those that are left out are removed.
async fn replace_preferences(State(app): State<App>, Path(id): Path<String>, body: Bytes) -> Result<Response, Problem> {
    let (user, wishes): (_, Map<String, Value>) = (parse_id(&id)?, parse_body(&body)?);
    let statement = sqlx::query_as(
        "INSERT INTO preferences (user_id, wishes) SELECT id, $2 FROM users WHERE id = $1
         ON CONFLICT (user_id) DO UPDATE SET wishes = excluded.wishes, version = preferences.version + 1 RETURNING version",
    );
    let statement = statement.bind(user).bind(Value::Object(wishes));
    let (key, writer, reader) = (keys::preferences(user), app.clone(), app.clone());
    let stale = Invalidation::new().key(&key);
    // As every write invalidates; before the new value is read, because with --writes-wait the confirmation deletes once more.
    let write = async move { commit::<(i64,)>(&writer, statement, move |_| stale).await };
    let load =
        move || async move { reader.database().read(sqlx::query_scalar(CACHED_QUERIES[0].sql).bind(user)).await };
    // Continues in a task of its own if the request times out.
    let written = app.cache().write_through(&key, Ttl::Class, Invalidation::new(), write, load);
    let written = timeout(STATEMENT_TIMEOUT, written).await.map_err(|_| DatabaseError::Timeout)??;
    let (version,) = written.answer.ok_or_else(|| Problem::not_found("users", user))?;
    Ok(json(StatusCode::OK, &serde_json::json!({ "id": user, "version": version })))
}
