//! One function a request.

use crate::app::App;
use crate::database::{DatabaseError, Written};
use crate::resource::{FILTERS, LAST_PAGE, Resource};
use crate::respond::{Problem, json, looked_up, wants_no_cache};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cache_layer::key::POSTS;
use cache_layer::{Invalidation, Key, Lookup, Ttl};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(crate) struct ListQuery {
    filter: Option<String>,
    page: Option<String>,
}

/// The texts of an item; every service's own names for them are understood.
#[derive(Debug, Deserialize)]
struct Draft {
    #[serde(alias = "name")]
    title: Option<String>,
    #[serde(alias = "bio", alias = "description", alias = "summary")]
    body: Option<String>,
}

pub(crate) async fn item(
    app: App,
    resource: &'static Resource,
    id: &str,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let id = parse_id(id)?;
    let load = || app.database().item(resource, id);
    let lookup = read(&app, &resource.service.item(id), headers, load).await?;
    Ok(looked_up(lookup, &format!("{}/{id}", resource.name())))
}

pub(crate) async fn list(
    app: App,
    resource: &'static Resource,
    query: &ListQuery,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let wanted = query.filter.as_deref().unwrap_or(FILTERS[0].name);
    let filter = FILTERS.iter().position(|filter| filter.name == wanted).ok_or_else(|| {
        Problem::bad_request(format!(
            "there is no filter `{wanted}`: write {}",
            FILTERS.each_ref().map(|f| f.name).join(", ")
        ))
    })?;
    let page = query.page.as_deref().unwrap_or("1").parse().ok().filter(|page| (1..=LAST_PAGE).contains(page));
    let page = page.ok_or_else(|| Problem::bad_request(format!("page is a number from 1 to {LAST_PAGE}")))?;
    let load = || async { app.database().list(resource, filter, page).await.map(Some) };
    let lookup = read(&app, &resource.service.list(FILTERS[filter].name, page), headers, load).await?;
    Ok(looked_up(lookup, "page"))
}

async fn read<L, F>(app: &App, key: &Key, headers: &HeaderMap, load: L) -> Result<Lookup, DatabaseError>
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

pub(crate) async fn create(app: App, resource: &'static Resource, body: Bytes) -> Result<Response, Problem> {
    let draft = parse_draft(&body)?;
    let (Some(title), Some(text)) = (draft.title, draft.body) else {
        return Err(Problem::bad_request(format!("a new item needs `{}` and `{}`", resource.title, resource.text)));
    };
    let write = {
        let app = app.clone();
        async move { app.database().create(resource, &title, &text).await.map(Some) }
    };
    let written = commit(app, resource, None, write).await?.ok_or_else(|| Problem::not_found(resource.name()))?;
    let location = format!("/{}/{}", resource.name(), written.id);
    Ok(([(header::LOCATION, location)], json(StatusCode::CREATED, &written)).into_response())
}

pub(crate) async fn update(app: App, resource: &'static Resource, id: &str, body: Bytes) -> Result<Response, Problem> {
    let (id, draft) = (parse_id(id)?, parse_draft(&body)?);
    let write = {
        let app = app.clone();
        async move { app.database().update(resource, id, draft.title.as_deref(), draft.body.as_deref()).await }
    };
    answer(commit(app, resource, Some(id), write).await?, resource, id)
}

pub(crate) async fn delete(app: App, resource: &'static Resource, id: &str) -> Result<Response, Problem> {
    let id = parse_id(id)?;
    let write = {
        let app = app.clone();
        async move { app.database().delete(resource, id).await }
    };
    answer(commit(app, resource, Some(id), write).await?, resource, id)
}

/// Writes, and after the commit invalidates the lists, the item, and what else shows it; then only is the write acknowledged.
///
/// In a task of its own: a client that hangs up between commit and invalidation must not leave a stale value behind.
async fn commit(
    app: App,
    resource: &'static Resource,
    id: Option<i64>,
    write: impl Future<Output = Result<Option<Written>, DatabaseError>> + Send + 'static,
) -> Result<Option<Written>, Problem> {
    let task = tokio::spawn(async move {
        let written = write.await;
        // After an error, too: whether it was committed is not known.
        if !matches!(written, Ok(None)) {
            let mut stale = Invalidation::new().group(resource.service.lists());
            if let Some(id) = id {
                stale = stale.key(&resource.service.item(id));
            }
            for post in written.iter().flatten().flat_map(|written| &written.shown_in) {
                stale = stale.key(&POSTS.item(*post));
            }
            app.cache().invalidate(&stale).await;
        }
        written
    });
    let written = task.await.map_err(|_| Problem(StatusCode::INTERNAL_SERVER_ERROR, "the write broke off".into()))?;
    Ok(written?)
}

fn answer(written: Option<Written>, resource: &Resource, id: i64) -> Result<Response, Problem> {
    let written = written.ok_or_else(|| Problem::not_found(&format!("{}/{id}", resource.name())))?;
    Ok(json(StatusCode::OK, &written))
}

fn parse_id(text: &str) -> Result<i64, Problem> {
    text.parse().map_err(|_| Problem::bad_request(format!("`{text}` is no id: ids are whole numbers from 1")))
}

fn parse_draft(body: &[u8]) -> Result<Draft, Problem> {
    serde_json::from_slice(body)
        .map_err(|error| Problem::bad_request(format!("the body is not the JSON expected: {error}")))
}

/// 200 as long as Postgres answers: without a cache the app is slower, not ill.
pub(crate) async fn health(State(app): State<App>) -> Response {
    let (postgres, cache) = (app.database().answers().await, app.cache().status());
    let status = if postgres { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let text = match (postgres, cache.usable) {
        (true, true) => "ok",
        (true, false) => "degraded",
        (false, _) => "down",
    };
    let body = serde_json::json!({
        "status": text,
        "postgres": if postgres { "up" } else { "down" },
        "cache": {
            "strategy": app.cache().strategy().name(),
            "state": cache.breaker.name(),
            "usable": cache.usable,
            "connections": cache.connections,
            "owed_invalidations": cache.owed_invalidations,
        },
    });
    json(status, &body)
}

pub(crate) async fn metrics(State(app): State<App>) -> Response {
    let _sets_the_gauges = app.cache().status();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], app.telemetry().render()).into_response()
}

pub(crate) type IdPath = Path<String>;
pub(crate) type ListParams = Query<ListQuery>;
