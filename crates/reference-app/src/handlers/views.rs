//! Page views of posts: counted in the cache, written to the database a moment later (write-behind).
//!
//! Each process has its own count for each post, so that none overwrites another's; the sum is shown. A process that is killed loses the
//! counts that it had not written. With coherence `outbox` the cache must never be ahead of the database, so each view is written at
//! once.

use crate::app::App;
use crate::database::{Database, DatabaseError, STATEMENT_TIMEOUT};
use crate::respond::{Problem, json, parse_id};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use cache_layer::patterns::write_behind::{Entry, Sink, WriteBehind, WriteBehindConfig};
use cache_layer::{Cache, KeyClass, key};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

pub(crate) const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS views (
    post_id bigint NOT NULL, process text NOT NULL, n bigint NOT NULL, PRIMARY KEY (post_id, process));";

const CLASS: KeyClass = KeyClass::new("views", key::ttl::HOUR);

/// Counters of one process.
pub(crate) struct ViewCounter {
    process: String,
    database: Database,
    /// `None` with the outbox.
    write_behind: Option<WriteBehind<i64>>,
    /// Counting is a read and a write, so it needs a lock for each post; a few posts share one.
    locks: [Mutex<()>; 16],
}

struct ViewCountSink {
    process: String,
    database: Database,
}

#[async_trait::async_trait]
impl Sink<i64> for ViewCountSink {
    type Error = DatabaseError;

    /// Counts only grow, so a batch may be written twice, and late.
    async fn write(&self, batch: &[Entry<i64>]) -> Result<(), DatabaseError> {
        let (posts, counts): (Vec<i64>, Vec<i64>) = batch
            .iter()
            .filter_map(|entry| Some((entry.id.split(':').next_back()?.parse::<i64>().ok()?, *entry.value)))
            .unzip();
        let statement = sqlx::query_as::<_, (i64,)>(
            "WITH new AS (INSERT INTO views (post_id, process, n) SELECT post, $3, n FROM unnest($1::bigint[], $2::bigint[]) u (post, n)
               ON CONFLICT (post_id, process) DO UPDATE SET n = greatest(views.n, excluded.n) RETURNING 1) SELECT count(*) FROM new",
        );
        self.database.write(statement.bind(posts).bind(counts).bind(self.process.clone())).await.map(|_| ())
    }

    /// A bad value or a violated constraint: classes 22 and 23 of SQLSTATE.
    fn is_refusal(&self, error: &DatabaseError) -> bool {
        let DatabaseError::Sqlx(sqlx::Error::Database(error)) = error else { return false };
        error.code().is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
    }
}

impl ViewCounter {
    pub(crate) fn start(cache: &Cache, database: &Database) -> Self {
        // Unique among all processes on all machines.
        let process =
            format!("{:016x}{:016x}", RandomState::new().hash_one(std::process::id()), RandomState::new().hash_one(0));
        let sink = ViewCountSink { process: process.clone(), database: database.clone() };
        let write_behind = WriteBehind::start(cache.clone(), CLASS, sink, WriteBehindConfig::default()).ok();
        Self { process, database: database.clone(), write_behind, locks: Default::default() }
    }

    /// Adds one view.
    async fn count(&self, post: i64) -> Result<(), Problem> {
        let Some(write_behind) = &self.write_behind else { return self.count_at_once(post).await };
        let lock = usize::try_from(post.unsigned_abs() % self.locks.len() as u64).unwrap_or_default();
        let _turn = self.locks[lock].lock().await;
        let id = format!("{}:{post}", self.process);
        let mine = "SELECT n FROM views WHERE post_id = $1 AND process = $2";
        let load = || self.database.one(sqlx::query_scalar(mine).bind(post).bind(self.process.clone()));
        let before = write_behind.get_or_load(&id, load).await?.map_or(0, |n| *n);
        write_behind
            .put(&id, before + 1)
            .await
            .map_err(|error| Problem(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))
    }

    async fn count_at_once(&self, post: i64) -> Result<(), Problem> {
        let statement = sqlx::query_as::<_, (i64,)>(
            "INSERT INTO views (post_id, process, n) VALUES ($1, 'all', 1)
             ON CONFLICT (post_id, process) DO UPDATE SET n = views.n + 1 RETURNING n",
        );
        timeout(STATEMENT_TIMEOUT, self.database.write(statement.bind(post)))
            .await
            .map_err(|_| DatabaseError::Timeout)??;
        Ok(())
    }

    /// Writes the unwritten views; logs them if that takes too long.
    pub(crate) async fn close(&self, at_most: Duration) {
        if let Some(write_behind) = &self.write_behind
            && let Err(unwritten) = write_behind.close(at_most).await
        {
            tracing::error!(
                posts = unwritten.entries.len(),
                "views were not written to the database in time: they are lost"
            );
        }
    }
}

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/posts/{id}/views", get(show).post(count))
}

/// Counts a view. It does not check that the post exists.
async fn count(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Problem> {
    app.views().count(parse_id(&id)?).await?;
    Ok(json(StatusCode::ACCEPTED, &serde_json::json!({ "counted": true })))
}

/// The count in the database, which is a moment behind.
async fn show(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = parse_id(&id)?;
    let sum = "SELECT coalesce(sum(n), 0)::bigint FROM views WHERE post_id = $1";
    let views: i64 = app.database().one(sqlx::query_scalar(sum).bind(id)).await?.unwrap_or_default();
    Ok(json(StatusCode::OK, &serde_json::json!({ "id": id, "views": views })))
}
