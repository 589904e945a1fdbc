//! Writes, and the invalidations that follow them.

use crate::app::App;
use crate::database::{DatabaseError, STATEMENT_TIMEOUT, WriteStatement};
use crate::respond::Problem;
use axum::http::StatusCode;
use cache_layer::Invalidation;
use sqlx::FromRow;
use sqlx::postgres::PgRow;
use tokio::time::{Instant, timeout};

/// Writes, invalidates what `stale` names after the commit, and only then acknowledges the write. `None`: there was nothing to change.
/// After an error it invalidates what can be named without the answer, because the write may have been committed.
///
/// It runs in a task of its own, so that no stale value is left behind if the client disconnects between commit and invalidation, or if
/// the request times out.
pub(crate) async fn commit<T>(
    app: &App,
    statement: WriteStatement<T>,
    stale: impl FnOnce(Option<&T>) -> Invalidation + Send + 'static,
) -> Result<Option<T>, Problem>
where
    T: for<'r> FromRow<'r, PgRow> + Send + Unpin + 'static,
{
    let write = {
        let app = app.clone();
        async move { app.database().write(statement).await }
    };
    commit_by(app, write, stale).await
}

/// [`commit`] of a write that takes more than one statement.
pub(crate) async fn commit_by<T: Send + 'static>(
    app: &App,
    write: impl Future<Output = Result<Option<T>, DatabaseError>> + Send + 'static,
    stale: impl FnOnce(Option<&T>) -> Invalidation + Send + 'static,
) -> Result<Option<T>, Problem> {
    let app = app.clone();
    let task = tokio::spawn(async move {
        let written = write.await;
        if !matches!(written, Ok(None)) {
            let committed = Instant::now();
            let stale = stale(written.as_ref().ok().and_then(Option::as_ref));
            let result = app.cache().invalidate(&stale).await;
            app.wait_until_visible(committed, &stale, result).await;
        }
        written
    });
    let written = timeout(STATEMENT_TIMEOUT, task).await.map_err(|_| DatabaseError::Timeout)?;
    let written = written.map_err(|_| Problem(StatusCode::INTERNAL_SERVER_ERROR, "the write failed".into()))?;
    Ok(written?)
}
