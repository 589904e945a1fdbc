//! Reading through the cache.

use crate::app::App;
use crate::database::DatabaseError;
use crate::respond::{Problem, lookup_response, parse_id, wants_no_cache};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use cache_layer::{Key, LoadError, Lookup, Ttl};

/// A value from the cache, else from `load`. A request with `Cache-Control: no-store` bypasses the cache.
pub(crate) async fn read<L, F>(
    app: &App,
    key: &Key,
    headers: &HeaderMap,
    load: L,
) -> Result<Lookup, LoadError<DatabaseError>>
where
    L: FnOnce() -> F,
    F: Future<Output = Result<Option<Bytes>, DatabaseError>>,
{
    if wants_no_cache(headers) {
        app.cache().bypass(load).await
    } else {
        app.cache().get_or_load(key, Ttl::Class, load).await
    }
}

/// [`read`] of a value that may also be loaded in the background, as its key's class says: before its TTL ends, after it, or when the
/// request does not wait.
pub(crate) async fn read_refreshing<L, F>(
    app: &App,
    key: &Key,
    headers: &HeaderMap,
    load: L,
) -> Result<Lookup, LoadError<DatabaseError>>
where
    L: Fn(App) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Option<Bytes>, DatabaseError>> + Send + 'static,
{
    if wants_no_cache(headers) {
        app.cache().bypass(|| load(app.clone())).await
    } else {
        let owned = app.clone();
        app.cache().get_or_refresh(key, Ttl::Class, move || load(owned.clone())).await
    }
}

/// A statement by id whose result is cached under one key.
#[derive(Debug)]
pub(crate) struct CachedQuery {
    /// For instance `/users/{id}`.
    pub(crate) path: &'static str,
    pub(crate) key: fn(i64) -> Key,
    /// $1 id. One row with one text, the body of the answer; or no row.
    pub(crate) sql: &'static str,
}

/// A GET route for each query.
pub(crate) fn routes(queries: &'static [CachedQuery]) -> Router<App> {
    queries.iter().fold(Router::new(), |router, query| {
        let answer = async |State(app): State<App>, Path(id): Path<String>, headers: HeaderMap| {
            show(&app, query, &id, &headers).await
        };
        router.route(query.path, get(answer))
    })
}

async fn show(app: &App, query: &'static CachedQuery, id: &str, headers: &HeaderMap) -> Result<Response, Problem> {
    let id = parse_id(id)?;
    let load = move |app: App| async move { app.database().read(sqlx::query_scalar(query.sql).bind(id)).await };
    let lookup = read_refreshing(app, &(query.key)(id), headers, load).await?;
    Ok(lookup_response(lookup, query.path.trim_start_matches('/').split('/').next().unwrap_or_default(), id))
}
