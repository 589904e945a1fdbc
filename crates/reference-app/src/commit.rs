//! Writing, and what it makes invalid.

use crate::app::App;
use crate::database::{DatabaseError, STATEMENT_TIMEOUT, WriteStatement};
use crate::respond::Problem;
use axum::http::StatusCode;
use cache_layer::Invalidation;
use sqlx::FromRow;
use sqlx::postgres::PgRow;
use tokio::time::{Instant, timeout};

/// Writes, and after the commit invalidates what `stale` names; then only is the write acknowledged. `None`: there was nothing to
/// change. After an error, too, is invalidated what can be named without an answer, for whether it was committed is not known.
///
/// In a task of its own: a client that hangs up between commit and invalidation must not leave a stale value behind, nor one that was
/// told that the database gave no answer.
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
            let told = app.cache().invalidate(&stale).await;
            app.wait_until_visible(committed, &stale, told).await;
        }
        written
    });
    let written = timeout(STATEMENT_TIMEOUT, task).await.map_err(|_| DatabaseError::Timeout)?;
    let written = written.map_err(|_| Problem(StatusCode::INTERNAL_SERVER_ERROR, "the write broke off".into()))?;
    Ok(written?)
}
