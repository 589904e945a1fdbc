//! The tables, made where they are missing and filled where they are short.

use crate::args::Load;
use crate::error::AppError;
use crate::resource::{RESOURCES, Resource};
use sqlx::{AssertSqlSafe, Executor, PgConnection, PgPool, Row};
use std::time::Instant;

/// Any number: it keeps two apps that start together from loading twice.
const LOCK: i64 = 0x00ca_c4e9;

pub(crate) async fn prepare(pool: &PgPool, load: &Load) -> Result<(), AppError> {
    let failed = |what| move |source| AppError::Load { what, source };
    let mut tx = pool.begin().await.map_err(failed("schema"))?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *tx).await.map_err(failed("schema"))?;
    let schema = schema();
    tx.execute(sqlx::raw_sql(AssertSqlSafe(schema))).await.map_err(failed("schema"))?;
    let mut added = false;
    for (resource, wanted) in RESOURCES.iter().zip(load.0) {
        added |= fill(&mut tx, resource, wanted).await.map_err(failed(resource.name()))?;
    }
    tx.commit().await.map_err(failed("data"))?;
    if added {
        let names: Vec<_> = RESOURCES.iter().flat_map(|r| [r.name(), r.children]).collect();
        let analyze = format!("VACUUM (ANALYZE) {}", names.join(", "));
        pool.execute(sqlx::raw_sql(AssertSqlSafe(analyze))).await.map_err(failed("statistics"))?;
    }
    Ok(())
}

fn schema() -> String {
    let mut sql =
        String::from("CREATE TABLE IF NOT EXISTS revisions (service text PRIMARY KEY, n bigint NOT NULL DEFAULT 0);\n");
    for resource in &RESOURCES {
        let Resource { title, text, children, .. } = resource;
        let table = resource.name();
        let own = match table {
            "posts" => "author_id bigint NOT NULL DEFAULT 1,",
            "profiles" => "handle text NOT NULL DEFAULT 'user' || currval('profiles_id_seq'),",
            _ => "",
        };
        sql += &format!(
            "INSERT INTO revisions (service) VALUES ('{table}') ON CONFLICT DO NOTHING;
             CREATE TABLE IF NOT EXISTS {table} (
                 id bigserial PRIMARY KEY, version bigint NOT NULL DEFAULT 1,
                 {title} text NOT NULL, {text} text NOT NULL, score int NOT NULL DEFAULT 0, {own}
                 created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now());
             CREATE TABLE IF NOT EXISTS {children} (
                 id bigserial PRIMARY KEY, parent_id bigint NOT NULL,
                 author text NOT NULL, score int NOT NULL, body text NOT NULL, created_at timestamptz NOT NULL);
             CREATE INDEX IF NOT EXISTS {table}_by_score ON {table} (score DESC, id DESC);
             CREATE INDEX IF NOT EXISTS {children}_by_parent ON {children} (parent_id);\n"
        );
    }
    sql + "CREATE INDEX IF NOT EXISTS posts_by_author ON posts (author_id);"
}

/// Rows that are missing, the same on every machine. True when there were any.
async fn fill(tx: &mut PgConnection, resource: &Resource, wanted: i64) -> Result<bool, sqlx::Error> {
    let table = resource.name();
    let count = format!("SELECT count(*), coalesce(max(id), 0) FROM {table}");
    let row = sqlx::query(AssertSqlSafe(count)).fetch_one(&mut *tx).await?;
    let (have, last): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    if have >= wanted {
        return Ok(false);
    }
    let start = Instant::now();
    tx.execute(sqlx::raw_sql(AssertSqlSafe(filling(resource, last + 1, last + wanted - have)))).await?;
    tracing::info!(service = table, rows = wanted - have, ms = start.elapsed().as_millis(), "loaded");
    Ok(true)
}

/// Sentences are drawn by a hash of the row's number out of a thousand, so that texts differ and loading is one join.
fn filling(resource: &Resource, from: i64, to: i64) -> String {
    let Resource { title, text, children, children_each, .. } = resource;
    let table = resource.name();
    let hash = |what: &str| format!("(hashint8extended({what}, 31) & 9223372036854775807)");
    let (own, own_value) = match table {
        "posts" => ("author_id,", format!("1 + {} % 1000,", hash("i"))),
        "profiles" => ("handle,", "'user' || i,".to_owned()),
        _ => ("", String::new()),
    };
    format!(
        "CREATE TEMP TABLE IF NOT EXISTS sentences ON COMMIT DROP AS
           SELECT n, (SELECT string_agg((ARRAY['cache','latency','holds','every','reader','answers','quickly','while',
                'database','rests','nobody','notices','stale','value','before','commit','shows','after','redis','returns',
                'memory','grows','until','evicted','pages','follow','writers','under','load','percentile'])
                [1 + {word} % 30], ' ') FROM generate_series(1, 20) k) AS t
             FROM generate_series(0, 999) n;
         ANALYZE sentences; -- or the joins below are planned with sorts and take four times as long
         INSERT INTO {table} (id, {own} {title}, {text}, score, created_at, updated_at)
           SELECT i, {own_value} initcap(left(a.t, 40)), a.t || '. ' || b.t || '. ' || c.t || '.',
                  ({item} % 1000)::int, at, at
             FROM generate_series({from}, {to}) i
             CROSS JOIN LATERAL (SELECT timestamptz '2026-01-01 00:00Z' + i * interval '1 minute' AS at) w
             JOIN sentences a ON a.n = {item} % 1000
             JOIN sentences b ON b.n = {item} / 1000 % 1000
             JOIN sentences c ON c.n = {item} / 1000000 % 1000;
         INSERT INTO {children} (parent_id, author, score, body, created_at)
           SELECT i, 'user' || 1 + {child} % 1000, (1 + {child} % 5)::int, a.t || ' ' || b.t || ' ' || c.t,
                  timestamptz '2026-01-01 00:00Z' + i * interval '1 minute' + k * interval '1 hour'
             FROM generate_series({from}, {to}) i CROSS JOIN generate_series(1, {children_each}) k
             JOIN sentences a ON a.n = {child} % 1000
             JOIN sentences b ON b.n = {child} / 1000 % 1000
             JOIN sentences c ON c.n = {child} / 1000000 % 1000;
         SELECT setval('{table}_id_seq', {to});",
        word = hash("n * 20 + k"),
        item = hash("i"),
        child = hash("i * 1000 + k"),
    )
}
