//! The app's rooms: each has its tables, how they are filled, its routes, and what its writes make invalid.

pub(crate) mod catalogue;
pub(crate) mod content;
pub(crate) mod dashboards;
pub(crate) mod feed;
pub(crate) mod notes;
pub(crate) mod ops;
pub(crate) mod people;
pub(crate) mod preferences;
pub(crate) mod projects;
pub(crate) mod reports;
pub(crate) mod schemas;
pub(crate) mod session;
pub(crate) mod views;
pub(crate) mod warming;

use crate::app::App;
use crate::args::Load;
use crate::error::AppError;
use axum::Router;
use content::RESOURCES;
use sqlx::{AssertSqlSafe, Executor, PgConnection, PgPool, Row};
use std::time::Instant;

/// A table that can be filled by its name.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// Rows it has when nobody says how many.
    pub(crate) unasked: i64,
    /// The statements that add rows, from one id to another.
    fill: fn(&Table, i64, i64) -> String,
    /// What else they fill.
    with: &'static [&'static str],
}

/// In this order: later rows may be made from earlier ones.
pub(crate) static TABLES: [Table; 11] = [
    Table { name: "posts", unasked: 0, fill: service, with: &["comments"] },
    Table { name: "profiles", unasked: 0, fill: service, with: &["endorsements"] },
    Table { name: "products", unasked: 0, fill: service, with: &["reviews"] },
    Table { name: "courses", unasked: 0, fill: service, with: &["feedback"] },
    Table { name: "users", unasked: 300, fill: people::filling, with: &[] },
    Table { name: "workspaces", unasked: 60, fill: dashboards::filling, with: &[] },
    Table { name: "projects", unasked: 120, fill: projects::filling, with: &["members", "tasks"] },
    Table { name: "requirements", unasked: 200, fill: catalogue::filling, with: &[] },
    Table { name: "features", unasked: 50, fill: catalogue::filling, with: &[] },
    Table { name: "schemas", unasked: 3, fill: schemas::filling, with: &[] },
    Table { name: "notes", unasked: 900, fill: notes::filling, with: &[] },
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
        .merge(catalogue::routes())
        .merge(schemas::routes())
        .merge(reports::routes())
        .merge(preferences::routes())
        .merge(session::routes(app))
        .merge(notes::routes(app))
}

fn service(table: &Table, from: i64, to: i64) -> String {
    let resource = RESOURCES.iter().find(|resource| resource.name() == table.name);
    resource.map(|resource| content::filling(resource, from, to)).unwrap_or_default()
}

/// Any number: it keeps two apps that start together from loading twice.
const LOCK: i64 = 0x00ca_c4e9;

/// Makes the tables where they are missing and fills them where they are short.
pub(crate) async fn prepare(pool: &PgPool, load: &Load) -> Result<(), AppError> {
    let failed = |what| move |source| AppError::Load { what, source };
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
    ];
    tx.execute(sqlx::raw_sql(AssertSqlSafe(schemas.join("\n")))).await.map_err(failed("schema"))?;
    let mut added = Vec::new();
    for (table, wanted) in TABLES.iter().zip(load.0) {
        if fill(&mut tx, table, wanted, added.is_empty()).await.map_err(failed(table.name))? {
            added.push(table.name);
            added.extend(table.with);
        }
    }
    tx.execute(notes::GUARD).await.map_err(failed("row-level security"))?;
    tx.commit().await.map_err(failed("data"))?;
    if !added.is_empty() {
        let analyze = format!("VACUUM (ANALYZE) {}", added.join(", "));
        pool.execute(sqlx::raw_sql(AssertSqlSafe(analyze))).await.map_err(failed("statistics"))?;
    }
    Ok(())
}

/// Rows that are missing, the same on every machine. True when there were any.
async fn fill(tx: &mut PgConnection, table: &Table, wanted: i64, first: bool) -> Result<bool, sqlx::Error> {
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

/// A thousand sentences, `n` from 0. Rows draw theirs by a hash of their number, so that texts differ and loading is one join.
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

/// A number that looks random and is the same everywhere, from a number.
pub(crate) fn hash(what: &str) -> String {
    format!("(hashint8extended({what}, 31) & 9223372036854775807)")
}
