//! The outbox in Postgres, read by snapshots.

use super::outbox::{Outbox, OutboxError};
use super::relay::{Log, LogError, Poll, Position, Replay};
use async_trait::async_trait;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, FromRow, PgPool};
use std::time::Duration;

/// One poll for each cache server takes a millisecond; the deletion of old rows goes on beside them.
const CONNECTIONS: u32 = 2;
/// Above so many rows between two polls, emptying the cache is cheaper than replaying them.
const ROWS_AT_MOST: i64 = 10_000;
/// Above so many names the same.
const NAMES_AT_MOST: usize = 50_000;
/// Rows deleted by one statement.
const TRIM_BATCH: i64 = 1_000;
/// Statements of one [`Log::trim`].
const TRIM_BATCHES: usize = 20;

/// The outbox of one Postgres database. Cheap to clone.
///
/// Rows are found by snapshot, never by their number: a transaction that took a lower number may commit later. A position is
/// the text of a snapshot and which history it belongs to: system, timeline, database and the outbox's own file. Where a function
/// that says so is not permitted, the server's start stands in for it, and a restart of Postgres empties the cache once.
///
/// Must reach the primary. Needs `synchronous_commit` on, as it is by default: without it, a crash takes back commits that caches
/// have seen. One poll is one statement: half a millisecond, round trips included, with 300,000
/// rows in the table.
#[derive(Clone)]
pub struct PostgresLog {
    pool: PgPool,
    poll: String,
    horizon: String,
    trim: String,
}

impl std::fmt::Debug for PostgresLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresLog").finish_non_exhaustive()
    }
}

impl PostgresLog {
    /// Installs the outbox where it is missing, and reads it from now on, over connections of its own to the database of `pool`: the
    /// relay must not queue behind requests, least of all when they all go to the database because it is late.
    ///
    /// # Errors
    /// As [`Outbox::install`].
    pub async fn open(pool: &PgPool, outbox: &Outbox) -> Result<Self, OutboxError> {
        outbox.install(pool).await?;
        Self::installed(pool, outbox).await
    }

    /// Reads an outbox that is there already, as [`PostgresLog::open`] does.
    ///
    /// # Errors
    /// The database refused, or could not be reached.
    pub async fn installed(pool: &PgPool, outbox: &Outbox) -> Result<Self, OutboxError> {
        let options = pool.connect_options().as_ref().clone().application_name("cache-layer relay");
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect_with(options).await?;
        let permitted = "SELECT has_function_privilege('pg_control_system()', 'EXECUTE'),
                                has_function_privilege('pg_walfile_name(pg_lsn)', 'EXECUTE')
                                AND has_function_privilege('pg_current_wal_lsn()', 'EXECUTE')";
        let (system, timeline): (bool, bool) = sqlx::query_as(permitted).fetch_one(&pool).await?;
        let start = "'start' || (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint";
        let system = if system { "(SELECT system_identifier::text FROM pg_control_system())" } else { start };
        // The name of the current WAL file begins with the timeline; the control file learns of a promotion only later.
        let timeline = if timeline { "left(pg_walfile_name(pg_current_wal_lsn()), 8)" } else { start };
        let (rows, horizon) = (outbox.name("cache_outbox"), outbox.name("cache_outbox_horizon"));
        // The oldest transaction of the snapshot comes as a parameter of its own: so the planner sees that few rows are younger, and
        // takes the index however large and shuffled the table is.
        let poll = format!(
            "WITH here AS MATERIALIZED (
               SELECT concat_ws('.', {system}, {timeline}, (SELECT oid FROM pg_database WHERE datname = current_database()),
                                '{rows_text}'::regclass::oid, pg_relation_filenode('{rows_text}'::regclass)) AS history,
                      pg_current_snapshot() AS snapshot),
             since AS MATERIALIZED (
               SELECT s FROM (SELECT $2::pg_snapshot AS s) given, here, {horizon} h
                WHERE here.history = $1
                  AND pg_snapshot_xmin(s) >= h.trimmed                            -- nothing after it was deleted
                  AND pg_snapshot_xmax(s) <= pg_snapshot_xmax(here.snapshot)),    -- it is not of a future that was undone
             fresh AS MATERIALIZED (
               SELECT keys, tags, everything, at FROM {rows}
                WHERE txid >= $3::text::xid8 AND NOT pg_visible_in_snapshot(txid, $2::pg_snapshot)
                  AND (SELECT true FROM since)
                LIMIT $4)
             SELECT here.history, here.snapshot::text, pg_is_in_recovery(), EXISTS (SELECT FROM since),
                    (SELECT count(*) FROM fresh), (SELECT coalesce(bool_or(everything), false) FROM fresh),
                    (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(at)), 0)::float8 FROM fresh),
                    ARRAY(SELECT DISTINCT unnest(keys) FROM fresh), ARRAY(SELECT DISTINCT unnest(tags) FROM fresh)
               FROM here",
            rows_text = rows.replace('\'', "''"),
        );
        // Two generations: what goes was visible to every snapshot taken since the last turn, at least one retention ago. A
        // transaction that stays open holds its own rows, and all later ones.
        let horizon_sql = format!(
            "UPDATE {horizon} SET trimmed = upto, upto = pg_snapshot_xmin(pg_current_snapshot()), at = clock_timestamp()
              WHERE at < clock_timestamp() - make_interval(secs => $1)"
        );
        let trim = format!(
            "DELETE FROM {rows} WHERE id = ANY (ARRAY(
               SELECT id FROM {rows} WHERE txid < (SELECT trimmed FROM {horizon})
                ORDER BY txid LIMIT $1 FOR UPDATE SKIP LOCKED))"
        );
        Ok(Self { pool, poll, horizon: horizon_sql, trim })
    }
}

/// One row: history, snapshot, standby, known, count, everything, age in s, keys, tags.
type PollRow = (String, String, bool, bool, i64, bool, f64, Vec<String>, Vec<String>);

#[async_trait]
impl Log for PostgresLog {
    async fn poll(&self, since: Option<&Position>) -> Result<Poll, LogError> {
        let since = since.and_then(Since::of);
        let row = sqlx::query(AssertSqlSafe(self.poll.as_str()))
            .bind(since.map(|since| since.history))
            .bind(since.map(|since| since.snapshot))
            .bind(since.map(|since| since.oldest.to_string()))
            .bind(ROWS_AT_MOST + 1)
            .fetch_one(&self.pool)
            .await
            .map_err(failed)?;
        let (history, snapshot, standby, known, count, everything, age, keys, tags) =
            PollRow::from_row(&row).map_err(failed)?;
        if standby {
            return Err(LogError::Database("this is a standby; the outbox must be read on the primary".into()));
        }
        let position = Position::from_text(format!("{history}/{snapshot}"));
        if !known || everything || count > ROWS_AT_MOST || keys.len() + tags.len() > NAMES_AT_MOST {
            return Ok(Poll { position, replay: Replay::Everything });
        }
        let lag = Duration::try_from_secs_f64(age).unwrap_or_default();
        let rows = u64::try_from(count).unwrap_or_default();
        Ok(Poll { position, replay: Replay::Rows { keys, tags, rows, lag } })
    }

    async fn trim(&self, retention: Duration) -> Result<u64, LogError> {
        let turn = sqlx::query(AssertSqlSafe(self.horizon.as_str())).bind(retention.as_secs_f64());
        turn.execute(&self.pool).await.map_err(failed)?;
        let mut gone = 0;
        for _ in 0..TRIM_BATCHES {
            let batch = sqlx::query(AssertSqlSafe(self.trim.as_str())).bind(TRIM_BATCH);
            let deleted = batch.execute(&self.pool).await.map_err(failed)?.rows_affected();
            gone += deleted;
            if i64::try_from(deleted).unwrap_or(i64::MAX) < TRIM_BATCH {
                break;
            }
        }
        Ok(gone)
    }
}

fn failed(error: sqlx::Error) -> LogError {
    LogError::Database(error.to_string())
}

/// A position taken apart.
#[derive(Clone, Copy, Debug)]
struct Since<'a> {
    history: &'a str,
    snapshot: &'a str,
    /// The oldest transaction that it may not have seen.
    oldest: u64,
}

impl<'a> Since<'a> {
    /// `None` where the text is not one that this log could have written. It comes out of a cache: anybody may have written it. And Postgres
    /// refuses a snapshot that is not in order: an error where there should be an empty cache.
    fn of(position: &'a Position) -> Option<Self> {
        let (history, snapshot) = position.as_str().split_once('/')?;
        let number = |text: &str| text.parse::<u64>().ok();
        let mut fields = snapshot.splitn(3, ':');
        let (xmin, xmax, running) = (number(fields.next()?)?, number(fields.next()?)?, fields.next()?);
        let running =
            if running.is_empty() { Vec::new() } else { running.split(',').map(number).collect::<Option<_>>()? };
        let inside = running.iter().all(|id| (xmin..xmax).contains(id));
        (xmin > 0 && xmin <= xmax && inside && running.is_sorted()).then_some(Self { history, snapshot, oldest: xmin })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_position_of_ours_is_understood() {
        let understood = |text: &str| Since::of(&Position::from_text(text)).is_some();
        for good in ["7.1.5.6.7/100:100:", "h/100:105:100,102", "start1.x/1:3:2"] {
            assert!(understood(good), "{good}");
        }
        for bad in [
            "",
            "/",
            "100:100:",
            "h/100:99:",
            "h/100:105:104,102",
            "h/100:105:105",
            "h/0:1:",
            "h/a:b:",
            "h/1:2",
            "h/1:2:,",
        ] {
            assert!(!understood(bad), "{bad}");
        }
    }
}
