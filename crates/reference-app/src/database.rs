//! Postgres for the handlers: one statement per call, each counted.

use crate::args::AppArgs;
use crate::error::AppError;
use crate::handlers;
use crate::telemetry::{Query, Telemetry};
use bytes::Bytes;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{FromRow, PgPool, Postgres};
use std::time::Duration;
use tokio::time::timeout;

/// The longest a request waits for one statement, including the wait for a free connection.
pub(crate) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest a write is waited for in the background. Postgres continues a statement whose client has given up, and its keys must be
/// invalidated after the commit, however late that is.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub(crate) struct Database {
    pool: PgPool,
    telemetry: Telemetry,
}

/// A statement that answers with one text.
pub(crate) type TextStatement = ScalarStatement<String>;
/// A statement that answers with one value.
pub(crate) type ScalarStatement<T> = sqlx::query::QueryScalar<'static, Postgres, T, PgArguments>;
/// A statement that answers with one row.
pub(crate) type WriteStatement<T> = sqlx::query::QueryAs<'static, Postgres, T, PgArguments>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error(transparent)]
    Sqlx(#[from] sqlx::Error),
    #[error("no answer in time")]
    Timeout,
}

impl Database {
    pub(crate) async fn open(args: &AppArgs, telemetry: Telemetry) -> Result<Self, AppError> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| args.database_url.starts_with(scheme)) {
            return Err(AppError::DatabaseUrl);
        }
        // The error may contain the URL with its password, so it is dropped.
        let options: PgConnectOptions = args.database_url.parse().map_err(|_| AppError::DatabaseUrl)?;
        let (host, port) = (options.get_host().to_owned(), options.get_port());
        let pool = PgPoolOptions::new()
            .max_connections(args.db_connections)
            .min_connections(args.db_connections.min(4))
            .acquire_timeout(STATEMENT_TIMEOUT)
            // sqlx tests a connection when it is returned; a second test before each use would cost a round trip.
            .test_before_acquire(false)
            .connect_with(options.application_name("reference-app"))
            .await
            .map_err(|source| AppError::Database { host, port, source })?;
        handlers::prepare(&pool, &args.load).await?;
        Ok(Self { pool, telemetry })
    }

    /// The text of one row: the body of an answer.
    pub(crate) async fn read(&self, statement: TextStatement) -> Result<Option<Bytes>, DatabaseError> {
        Ok(self.run_counted(Query::Read, statement.fetch_optional(&self.pool)).await?.map(Bytes::from))
    }

    /// The row that a write returns. May take a minute; [`crate::commit`] therefore runs it in a task of its own.
    pub(crate) async fn write<T>(&self, statement: WriteStatement<T>) -> Result<Option<T>, DatabaseError>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        self.run_counted(Query::Write, statement.fetch_optional(&self.pool)).await
    }

    /// One value, if there is a row.
    pub(crate) async fn one<T>(&self, statement: ScalarStatement<T>) -> Result<Option<T>, DatabaseError>
    where
        (T,): for<'r> FromRow<'r, PgRow>,
        T: Send + Unpin,
    {
        self.run_counted(Query::Read, statement.fetch_optional(&self.pool)).await
    }

    /// The ids that a statement lists, at most so many.
    pub(crate) async fn ids(&self, sql: &'static str, at_most: i64) -> Result<Vec<i64>, DatabaseError> {
        self.run_counted(Query::Read, sqlx::query_scalar(sql).bind(at_most).fetch_all(&self.pool)).await
    }

    /// Texts, each with its id.
    pub(crate) async fn many(&self, sql: &'static str, ids: Vec<i64>) -> Result<Vec<(i64, String)>, DatabaseError> {
        self.run_counted(Query::Read, sqlx::query_as(sql).bind(ids).fetch_all(&self.pool)).await
    }

    /// Reads as a user: `identity` sets the user until the end of the transaction.
    pub(crate) async fn read_as(
        &self,
        identity: &'static str,
        user: i64,
        statement: TextStatement,
    ) -> Result<Option<Bytes>, DatabaseError> {
        self.as_user(Query::Read, identity, user, statement).await
    }

    /// Writes as a user.
    pub(crate) async fn write_as(
        &self,
        identity: &'static str,
        user: i64,
        statement: TextStatement,
    ) -> Result<Option<Bytes>, DatabaseError> {
        self.as_user(Query::Write, identity, user, statement).await
    }

    async fn as_user(
        &self,
        query: Query,
        identity: &'static str,
        user: i64,
        statement: TextStatement,
    ) -> Result<Option<Bytes>, DatabaseError> {
        self.telemetry.query(query);
        let work = async {
            let mut tx = self.pool.begin().await?;
            sqlx::query(identity).bind(user.to_string()).execute(&mut *tx).await?;
            let row = statement.fetch_optional(&mut *tx).await?;
            tx.commit().await?;
            Ok(row.map(Bytes::from))
        };
        self.run_counted(query, work).await
    }

    pub(crate) const fn pool(&self) -> &PgPool {
        &self.pool
    }

    pub(crate) async fn is_reachable(&self) -> bool {
        let probe = sqlx::query("SELECT 1").execute(&self.pool);
        timeout(Duration::from_secs(1), self.run_counted(Query::Health, probe)).await.is_ok_and(|result| result.is_ok())
    }

    pub(crate) async fn close(&self) {
        timeout(Duration::from_secs(1), self.pool.close()).await.ok();
    }

    async fn run_counted<T>(
        &self,
        query: Query,
        statement: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, DatabaseError> {
        self.telemetry.query(query);
        let at_most = if query == Query::Write { WRITE_TIMEOUT } else { STATEMENT_TIMEOUT };
        Ok(timeout(at_most, statement).await.map_err(|_| DatabaseError::Timeout)??)
    }
}
