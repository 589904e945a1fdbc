//! Cache warming: the newest users, the active projects and workspaces, the platform's statistics.

use super::{dashboards, people, projects};
use crate::database::{Database, DatabaseError};
use crate::keys;
use crate::read::CachedQuery;
use cache_layer::Cache;
use cache_layer::warm::{Plan, WarmError, Warmer};

const USERS: &str = "SELECT id FROM users ORDER BY created_at DESC, id DESC LIMIT $1";
const PROJECTS: &str = "SELECT id FROM projects ORDER BY updated_at DESC, id DESC LIMIT $1";
const DASHBOARDS: &str = "SELECT workspace_id FROM tasks GROUP BY 1 ORDER BY max(updated_at) DESC, 1 LIMIT $1";

/// The plans: 100 users, 50 projects, 50 dashboards, the platform's statistics.
pub(crate) fn warmer(cache: &Cache, database: &Database) -> Result<Warmer, WarmError> {
    let platform = {
        let database = database.clone();
        let list = async |_| Ok::<_, DatabaseError>(vec![()]);
        let load = move |()| {
            let database = database.clone();
            async move { database.read(sqlx::query_scalar(dashboards::PLATFORM)).await }
        };
        Plan::new("platform", 1, list, |()| keys::platform(), load)
    };
    let plans = vec![
        plan("users", 100, USERS, people::profile(), database),
        plan("projects", 50, PROJECTS, projects::details(), database),
        plan("dashboards", 50, DASHBOARDS, dashboards::overview(), database),
        platform,
    ];
    Warmer::new(cache.clone(), plans)
}

fn plan(
    name: &'static str,
    limit: usize,
    list: &'static str,
    query: &'static CachedQuery,
    database: &Database,
) -> Plan {
    let (lists, loads) = (database.clone(), database.clone());
    let list = move |limit: usize| {
        let database = lists.clone();
        async move { database.ids(list, i64::try_from(limit).unwrap_or(i64::MAX)).await }
    };
    let load = move |id: i64| {
        let database = loads.clone();
        async move { database.read(sqlx::query_scalar(query.sql).bind(id)).await }
    };
    Plan::new(name, limit, list, |id| (query.key)(*id), load)
}
