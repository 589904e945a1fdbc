//! The tables of the services, and their seed data.

use super::resource::{RESOURCES, Resource};
use crate::handlers::hash;

pub(crate) fn schema() -> String {
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

pub(crate) fn seed_sql(resource: &Resource, from: i64, to: i64) -> String {
    let Resource { title, text, children, children_each, .. } = resource;
    let table = resource.name();
    let (own, own_value) = match table {
        "posts" => ("author_id,", format!("1 + {} % 1000,", hash("i"))),
        "profiles" => ("handle,", "'user' || i,".to_owned()),
        _ => ("", String::new()),
    };
    format!(
        "INSERT INTO {table} (id, {own} {title}, {text}, score, created_at, updated_at)
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
             JOIN sentences c ON c.n = {child} / 1000000 % 1000;",
        item = hash("i"),
        child = hash("i * 1000 + k"),
    )
}
