//! The handlers, by theme. Each module has its tables, their seed data, its routes, and what its writes invalidate.

pub(crate) mod catalogue;
pub(crate) mod content;
pub(crate) mod dashboards;
pub(crate) mod devices;
pub(crate) mod feed;
pub(crate) mod notes;
pub(crate) mod ops;
pub(crate) mod people;
pub(crate) mod preferences;
pub(crate) mod projects;
pub(crate) mod queries;
pub(crate) mod regions;
pub(crate) mod reports;
pub(crate) mod schemas;
pub(crate) mod session;
pub(crate) mod views;
pub(crate) mod warming;

use crate::app::App;
use crate::args::SeedData;
use crate::error::AppError;
use axum::Router;
use content::RESOURCES;
use sqlx::{AssertSqlSafe, Executor, PgConnection, PgPool, Row};
use std::time::Instant;

/// A table that `--load` can fill.
#[derive(Debug)]
pub(crate) struct SeedTable {
    pub(crate) name: &'static str,
    /// Rows it gets if `--load` does not name it.
    pub(crate) default_rows: i64,
    /// The statements that add the rows with ids from one number to another.
    fill: fn(&SeedTable, i64, i64) -> String,
    /// The other tables that these statements fill.
    also_seeds: &'static [&'static str],
}

/// In this order: later rows may be made from earlier ones.
pub(crate) static TABLES: [SeedTable; 13] = [
    SeedTable { name: "posts", default_rows: 0, fill: service, also_seeds: &["comments"] },
    SeedTable { name: "profiles", default_rows: 0, fill: service, also_seeds: &["endorsements"] },
    SeedTable { name: "products", default_rows: 0, fill: service, also_seeds: &["reviews"] },
    SeedTable { name: "courses", default_rows: 0, fill: service, also_seeds: &["feedback"] },
    SeedTable { name: "users", default_rows: 300, fill: people::seed_sql, also_seeds: &[] },
    SeedTable { name: "workspaces", default_rows: 60, fill: dashboards::seed_sql, also_seeds: &[] },
    SeedTable { name: "projects", default_rows: 120, fill: projects::seed_sql, also_seeds: &["members", "tasks"] },
    SeedTable { name: "requirements", default_rows: 200, fill: catalogue::seed_sql, also_seeds: &[] },
    SeedTable { name: "features", default_rows: 50, fill: catalogue::seed_sql, also_seeds: &[] },
    SeedTable { name: "schemas", default_rows: 3, fill: schemas::seed_sql, also_seeds: &[] },
    SeedTable { name: "notes", default_rows: 900, fill: notes::seed_sql, also_seeds: &[] },
    SeedTable { name: "devices", default_rows: 400, fill: devices::seed_sql, also_seeds: &[] },
    SeedTable { name: "regions", default_rows: 200, fill: regions::seed_sql, also_seeds: &[] },
];

/// The routes of all rooms.
pub(crate) fn routes(app: &App) -> Router<App> {
    ops::routes()
        .merge(content::routes())
        .merge(feed::routes(app))
        .merge(views::routes())
        .merge(people::routes())
        .merge(projects::routes())
        .merge(dashboards::routes())
        .merge(devices::routes())
        .merge(regions::routes())
        .merge(queries::routes())
        .merge(catalogue::routes())
        .merge(schemas::routes())
        .merge(reports::routes())
        .merge(preferences::routes())
        .merge(session::routes(app))
        .merge(notes::routes(app))
}

fn service(table: &SeedTable, from: i64, to: i64) -> String {
    let resource = RESOURCES.iter().find(|resource| resource.name() == table.name);
    resource.map(|resource| content::seed_sql(resource, from, to)).unwrap_or_default()
}

/// The key of an advisory lock, which keeps two apps that start together from loading twice.
const LOCK: i64 = 0x00ca_c4e9;

/// Creates missing tables and adds missing rows.
pub(crate) async fn prepare(pool: &PgPool, load: &SeedData) -> Result<(), AppError> {
    let failed = |what| move |source| AppError::SeedData { what, source };
    let mut tx = pool.begin().await.map_err(failed("schema"))?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *tx).await.map_err(failed("schema"))?;
    let schema = content::schema();
    let schemas = [
        schema.as_str(),
        feed::SCHEMA,
        people::SCHEMA,
        projects::SCHEMA,
        dashboards::SCHEMA,
        catalogue::SCHEMA,
        schemas::SCHEMA,
        preferences::SCHEMA,
        views::SCHEMA,
        notes::SCHEMA,
        devices::SCHEMA,
        regions::SCHEMA,
    ];
    tx.execute(sqlx::raw_sql(AssertSqlSafe(schemas.join("\n")))).await.map_err(failed("schema"))?;
    let mut added = Vec::new();
    for (table, wanted) in TABLES.iter().zip(load.0) {
        if fill(&mut tx, table, wanted, added.is_empty()).await.map_err(failed(table.name))? {
            added.push(table.name);
            added.extend(table.also_seeds);
        }
    }
    tx.execute(notes::FORCE_ROW_SECURITY).await.map_err(failed("row-level security"))?;
    tx.commit().await.map_err(failed("data"))?;
    if !added.is_empty() {
        let analyze = format!("VACUUM (ANALYZE) {}", added.join(", "));
        pool.execute(sqlx::raw_sql(AssertSqlSafe(analyze))).await.map_err(failed("statistics"))?;
    }
    Ok(())
}

/// Adds the missing rows, the same on every machine. True if there were any.
async fn fill(tx: &mut PgConnection, table: &SeedTable, wanted: i64, first: bool) -> Result<bool, sqlx::Error> {
    let name = table.name;
    let count = format!("SELECT count(*), coalesce(max(id), 0) FROM {name}");
    let row = sqlx::query(AssertSqlSafe(count)).fetch_one(&mut *tx).await?;
    let (have, last): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    if have >= wanted {
        return Ok(false);
    }
    let start = Instant::now();
    if first {
        tx.execute(sqlx::raw_sql(AssertSqlSafe(sentences()))).await?;
    }
    let (from, to) = (last + 1, last + wanted - have);
    let statements = (table.fill)(table, from, to) + &format!("SELECT setval('{name}_id_seq', {to});");
    tx.execute(sqlx::raw_sql(AssertSqlSafe(statements))).await?;
    tracing::info!(table = name, rows = wanted - have, ms = start.elapsed().as_millis(), "loaded");
    Ok(true)
}

/// A temporary table of a thousand sentences. Rows pick theirs by a hash of their id, so that texts differ and loading is one join.
fn sentences() -> String {
    format!(
        "CREATE TEMP TABLE sentences ON COMMIT DROP AS
           SELECT n, (SELECT string_agg((ARRAY['cache','latency','holds','every','reader','answers','quickly','while',
                'database','rests','nobody','notices','stale','value','before','commit','shows','after','redis','returns',
                'memory','grows','until','evicted','pages','follow','writers','under','load','percentile'])
                [1 + {} % 30], ' ') FROM generate_series(1, 20) k) AS t
             FROM generate_series(0, 999) n;
         ANALYZE sentences; -- or the joins are planned with sorts and take four times as long",
        hash("n * 20 + k")
    )
}

/// SQL for a pseudo-random number that depends only on the given expression.
pub(crate) fn hash(what: &str) -> String {
    format!("(hashint8extended({what}, 31) & 9223372036854775807)")
}
