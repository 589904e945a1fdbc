//! Static data, which changes with a release and not with a request: cached for a day.

use super::SeedTable;
use crate::app::App;
use crate::keys;
use crate::read::{self, CachedQuery};
use axum::Router;

pub(crate) const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS regions (
    id bigserial PRIMARY KEY, version bigint NOT NULL DEFAULT 1, code text NOT NULL, name text NOT NULL);";

pub(crate) fn seed_sql(_: &SeedTable, from: i64, to: i64) -> String {
    format!(
        "INSERT INTO regions (id, code, name)
           SELECT i, 'R' || lpad(i::text, 3, '0'), initcap((ARRAY['north','south','east','west'])[1 + i % 4]) || ' ' || i
             FROM generate_series({from}, {to}) i;"
    )
}

static CACHED_QUERIES: [CachedQuery; 1] = [CachedQuery {
    path: "/regions/{id}",
    key: keys::region,
    sql: "SELECT json_build_object('id', id, 'version', version, 'code', code, 'name', name)::text FROM regions WHERE id = $1",
}];

pub(crate) fn routes() -> Router<App> {
    read::routes(&CACHED_QUERIES)
}
