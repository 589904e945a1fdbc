//! Postgres as the handlers see it: one statement a call, each counted.

use crate::args::ServeArgs;
use crate::error::AppError;
use crate::resource::Resource;
use crate::schema;
use crate::telemetry::{Query, Telemetry};
use bytes::Bytes;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, FromRow, PgPool, Row};
use std::time::Duration;
use tokio::time::timeout;

/// The longest wait for one statement, a free connection included.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub(crate) struct Database {
    pool: PgPool,
    telemetry: Telemetry,
}

/// What a write made.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Written {
    pub(crate) id: i64,
    pub(crate) version: i64,
    pub(crate) list_version: i64,
    /// Posts whose body shows the item.
    #[serde(skip)]
    pub(crate) shown_in: Vec<i64>,
}

impl FromRow<'_, PgRow> for Written {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get(0)?,
            version: row.try_get(1)?,
            list_version: row.try_get(2)?,
            shown_in: row.try_get(3)?,
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error(transparent)]
    Sqlx(#[from] sqlx::Error),
    #[error("no answer in {PATIENCE:?}")]
    Timeout,
}

impl Database {
    pub(crate) async fn open(args: &ServeArgs, telemetry: Telemetry) -> Result<Self, AppError> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| args.database_url.starts_with(scheme)) {
            return Err(AppError::DatabaseUrl);
        }
        // The error of a bad URL may repeat it, password included; so it is dropped.
        let options: PgConnectOptions = args.database_url.parse().map_err(|_| AppError::DatabaseUrl)?;
        let (host, port) = (options.get_host().to_owned(), options.get_port());
        let pool = PgPoolOptions::new()
            .max_connections(args.db_connections)
            .min_connections(args.db_connections.min(4))
            .acquire_timeout(PATIENCE)
            // sqlx looks after a connection when it comes back; once more before each use would cost a round trip.
            .test_before_acquire(false)
            .connect_with(options.application_name("reference-app"))
            .await
            .map_err(|source| AppError::Database { host, port, source })?;
        schema::prepare(&pool, &args.load).await?;
        Ok(Self { pool, telemetry })
    }

    pub(crate) async fn item(&self, resource: &Resource, id: i64) -> Result<Option<Bytes>, DatabaseError> {
        let sql = resource.statements().item.as_str();
        let row = sqlx::query_scalar::<_, String>(AssertSqlSafe(sql)).bind(id).fetch_optional(&self.pool);
        Ok(self.counted(Query::Read, row).await?.map(Bytes::from))
    }

    pub(crate) async fn list(&self, resource: &Resource, filter: usize, page: u32) -> Result<Bytes, DatabaseError> {
        let sql = resource.statements().lists[filter].as_str();
        let page = i64::from(page);
        let row = sqlx::query_scalar::<_, String>(AssertSqlSafe(sql)).bind(page).fetch_one(&self.pool);
        Ok(self.counted(Query::Read, row).await?.into())
    }

    pub(crate) async fn create(&self, resource: &Resource, title: &str, text: &str) -> Result<Written, DatabaseError> {
        let sql = resource.statements().create.as_str();
        let row = sqlx::query_as(AssertSqlSafe(sql)).bind(title).bind(text).fetch_one(&self.pool);
        self.counted(Query::Write, row).await
    }

    pub(crate) async fn update(
        &self,
        resource: &Resource,
        id: i64,
        title: Option<&str>,
        text: Option<&str>,
    ) -> Result<Option<Written>, DatabaseError> {
        let sql = resource.statements().update.as_str();
        let row = sqlx::query_as(AssertSqlSafe(sql)).bind(id).bind(title).bind(text).fetch_optional(&self.pool);
        self.counted(Query::Write, row).await
    }

    pub(crate) async fn delete(&self, resource: &Resource, id: i64) -> Result<Option<Written>, DatabaseError> {
        let sql = resource.statements().delete.as_str();
        let row = sqlx::query_as(AssertSqlSafe(sql)).bind(id).fetch_optional(&self.pool);
        self.counted(Query::Write, row).await
    }

    pub(crate) async fn answers(&self) -> bool {
        let probe = sqlx::query("SELECT 1").execute(&self.pool);
        timeout(Duration::from_secs(1), self.counted(Query::Health, probe)).await.is_ok_and(|result| result.is_ok())
    }

    pub(crate) async fn close(&self) {
        timeout(Duration::from_secs(1), self.pool.close()).await.ok();
    }

    async fn counted<T>(
        &self,
        query: Query,
        statement: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, DatabaseError> {
        self.telemetry.query(query);
        Ok(timeout(PATIENCE, statement).await.map_err(|_| DatabaseError::Timeout)??)
    }
}
