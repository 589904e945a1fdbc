//! Samples of the database's own statistics.

use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{Connection as _, PgConnection, Row as _};

use super::statements::StatementReading;
use cacheproof_core::journal::PostgresSample;
use cacheproof_stack::postgres_options;

/// The name that is in every statement of cacheproof while a run lasts. Postgres tells statements apart by what they do and not by
/// their comments: a mere `SELECT 1` of cacheproof would be one entry with that of an app.
const OWN_NAME: &str = "cacheproof_probe";

/// The probe of one database.
pub(super) struct PostgresProbe {
    options: PgConnectOptions,
    connection: Option<(PgConnection, Statements)>,
}

/// How it counts statements.
#[derive(Clone, Debug)]
enum Statements {
    /// By pg_stat_statements, in this schema.
    Counted { schema: String, has_info: bool },
    /// Not at all: transactions are counted instead.
    Unknown,
}

impl PostgresProbe {
    /// `None` for an invalid URL.
    pub(super) fn new(url: &str) -> Option<Self> {
        Some(Self { options: postgres_options(url).ok()?, connection: None })
    }

    /// Forgets a connection that does not answer.
    pub(super) fn disconnect(&mut self) {
        self.connection = None;
    }

    pub(super) async fn fetch_sample(&mut self) -> Option<PostgresSample> {
        if self.connection.is_none() {
            let mut connection = PgConnection::connect_with(&self.options).await.ok()?;
            let statements = Statements::of(&mut connection).await.ok()?;
            self.connection = Some((connection, statements));
        }
        let (connection, statements) = self.connection.as_mut()?;
        let sample = connections(connection).await.ok()?;
        if let Statements::Counted { schema, has_info } = statements {
            match count_statements(connection, schema, *has_info, &sample).await {
                Ok(sample) => return Some(sample),
                // From now on, transactions are counted instead.
                Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| is_missing(&code)) => {
                    *statements = Statements::Unknown;
                }
                Err(_) => return None,
            }
        }
        let transactions = format!(
            "WITH /* cacheproof */ {OWN_NAME} AS (SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()) \
             SELECT * FROM {OWN_NAME}"
        );
        let transactions: i64 = fetch(connection, transactions).await.ok()?.try_get(0).ok()?;
        Some(PostgresSample { queries: u64::try_from(transactions).ok()?, ..sample })
    }
}

/// How much of the text of a statement is read.
const MAX_TEXT: usize = 200;

impl PostgresProbe {
    /// How often each statement was executed for everybody but cacheproof. `None` where that is not counted.
    pub(super) async fn read_statements(&mut self) -> Option<StatementReading> {
        let sample = self.fetch_sample().await.filter(|sample| sample.exact)?;
        let (connection, Statements::Counted { schema, .. }) = self.connection.as_mut()? else { return None };
        let statement = format!(
            "WITH /* cacheproof */ {OWN_NAME} AS (SELECT userid::int8 AS \"user\", coalesce(queryid, 0) AS id, \
             min(left(query, {MAX_TEXT})) AS text, sum(calls)::int8 AS calls \
             FROM {schema}.pg_stat_statements WHERE coalesce(query, '') NOT LIKE '%{OWN_NAME}%' \
             AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) \
             GROUP BY 1, 2) SELECT \"user\", id, text, calls FROM {OWN_NAME}"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(statement)).fetch_all(connection).await.ok()?;
        let read = |row: PgRow| {
            let text: Option<String> = row.try_get(2).ok()?;
            let calls = u64::try_from(row.try_get::<i64, _>(3).ok()?).ok()?;
            let text = text.unwrap_or_else(|| "(text unknown)".to_owned());
            Some(((row.try_get(0).ok()?, row.try_get(1).ok()?), (text, calls)))
        };
        let counting = (sample.started, sample.counting_since, sample.evicted);
        Some(StatementReading { calls: rows.into_iter().filter_map(read).collect(), counting })
    }
}

impl Statements {
    /// The extension may be in a schema where statements are not looked for, and may be of a version without the view
    /// pg_stat_statements_info.
    async fn of(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let found = format!(
            "WITH /* cacheproof */ {OWN_NAME} AS (SELECT quote_ident(nspname::text) AS schema, \
             to_regclass(quote_ident(nspname::text) || '.pg_stat_statements_info') IS NOT NULL AS has_info \
             FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace WHERE extname = 'pg_stat_statements') \
             SELECT schema, has_info FROM {OWN_NAME}"
        );
        let found = sqlx::query(sqlx::AssertSqlSafe(found)).fetch_optional(connection).await?;
        match found {
            Some(row) => Ok(Self::Counted { schema: row.try_get(0)?, has_info: row.try_get(1)? }),
            None => Ok(Self::Unknown),
        }
    }
}

async fn fetch(connection: &mut PgConnection, statement: String) -> Result<PgRow, sqlx::Error> {
    sqlx::query(sqlx::AssertSqlSafe(statement)).fetch_one(connection).await
}

/// The client connections and the start of the server.
async fn connections(connection: &mut PgConnection) -> Result<PostgresSample, sqlx::Error> {
    // Of other users' connections, Postgres shows not even what kind they are, unless this user may read all statistics.
    let statement = format!(
        "WITH /* cacheproof */ {OWN_NAME} AS (SELECT count(*) FILTER (WHERE backend_type = 'client backend' AND application_name <> 'cacheproof') AS clients, \
         count(*) FILTER (WHERE backend_type IS NULL) AS hidden FROM pg_stat_activity WHERE datname = current_database()) \
         SELECT clients, hidden, pg_postmaster_start_time()::text FROM {OWN_NAME}"
    );
    let row = fetch(connection, statement).await?;
    let (clients, hidden): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let connections = u64::try_from(clients).ok().filter(|_| hidden == 0);
    Ok(PostgresSample { connections, started: row.try_get(2)?, ..PostgresSample::default() })
}

/// The statements of everybody but cacheproof. The text of a statement may be missing; then it is somebody's.
async fn count_statements(
    connection: &mut PgConnection,
    schema: &str,
    has_info: bool,
    sample: &PostgresSample,
) -> Result<PostgresSample, sqlx::Error> {
    let info = if has_info {
        format!(
            "(SELECT dealloc FROM {schema}.pg_stat_statements_info), (SELECT stats_reset::text FROM {schema}.pg_stat_statements_info)"
        )
    } else {
        "NULL::int8, NULL::text".into()
    };
    let statement = format!(
        "WITH /* cacheproof */ {OWN_NAME} AS (SELECT coalesce(sum(calls), 0)::int8 AS calls, coalesce(sum(total_exec_time), 0)::float8 AS busy \
         FROM {schema}.pg_stat_statements WHERE coalesce(query, '') NOT LIKE '%{OWN_NAME}%' \
         AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())) \
         SELECT calls, busy, {info} FROM {OWN_NAME}"
    );
    let row = fetch(connection, statement).await?;
    let number = |value: i64| u64::try_from(value).ok();
    let out_of_range = || sqlx::Error::Decode("a count below 0".into());
    Ok(PostgresSample {
        queries: number(row.try_get(0)?).ok_or_else(out_of_range)?,
        exact: true,
        busy: Some(row.try_get::<f64, _>(1)? / 1000.0),
        evicted: row.try_get::<Option<i64>, _>(2)?.and_then(number),
        counting_since: row.try_get::<Option<String>, _>(3)?.unwrap_or_default(),
        ..sample.clone()
    })
}

/// Whether this error code of Postgres means that pg_stat_statements is not available: no such table, column or function, no
/// permission, not loaded. Other errors are temporary: a server that shuts down, a cancelled statement.
fn is_missing(code: &str) -> bool {
    matches!(code, "42P01" | "42703" | "42883" | "42501" | "55000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_extension_ends_exact_counting() {
        assert!(["42P01", "42703", "42883", "42501", "55000"].into_iter().all(is_missing));
        // Shutting down, cancelled, out of memory, too many connections: the next sample may be exact again.
        assert!(!["57P01", "57P03", "57014", "53200", "53300"].into_iter().any(is_missing));
    }
}
