//! Results of queries, cached by what the query costs the database: the dearer, the longer. They are not invalidated, because every write
//! would do so; their TTLs say how old they may be.

use crate::app::App;
use crate::keys::queries;
use crate::read::{self, CachedQuery};
use axum::Router;

static CACHED_QUERIES: [CachedQuery; 3] = [
    CachedQuery {
        path: "/queries/scores/{id}",
        key: queries::scores,
        sql: "SELECT json_build_object('id', $1::bigint, 'comments', count(*), 'mean_score', round(avg(score), 2))::text
                FROM comments WHERE parent_id = $1",
    },
    CachedQuery {
        path: "/queries/workload/{id}",
        key: queries::workload,
        sql: "SELECT json_build_object('id', $1::bigint, 'people', coalesce(json_agg(w), '[]'))::text FROM
                (SELECT assignee_id AS user, count(*) FILTER (WHERE status <> 'done') AS open, sum(points) AS points,
                        min(due_on) AS next FROM tasks WHERE workspace_id = $1 GROUP BY 1 ORDER BY 3 DESC, 1) w",
    },
    CachedQuery {
        path: "/queries/related/{id}",
        key: queries::related,
        sql: "SELECT json_build_object('id', p.id, 'related',
                       (SELECT coalesce(json_agg(r), '[]') FROM
                         (SELECT q.id, q.title, ts_rank(to_tsvector('english', q.body), to_tsquery('english', replace(p.title, ' ', ' | '))) AS rank
                            FROM (SELECT * FROM posts ORDER BY id DESC LIMIT 500) q WHERE q.id <> p.id
                           ORDER BY 3 DESC, 1 LIMIT 5) r))::text
                FROM posts p WHERE p.id = $1",
    },
];

pub(crate) fn routes() -> Router<App> {
    read::routes(&CACHED_QUERIES)
}
