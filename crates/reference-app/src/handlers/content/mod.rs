//! The four services, posts, profiles, products and courses: items, lists, and writes that invalidate both.

mod resource;
mod schema;

pub(crate) use resource::{RESOURCES, Resource, with_revision_count};
pub(crate) use schema::{schema, seed_sql};

use crate::app::App;
use crate::commit::commit;
use crate::database::WriteStatement;
use crate::read::read;
use crate::respond::{Problem, json, lookup_response, parse_body, parse_id};
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use cache_layer::Invalidation;
use cache_layer::key::POSTS;
use resource::{FILTERS, LAST_PAGE};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};

pub(crate) fn routes() -> Router<App> {
    RESOURCES.iter().fold(Router::new(), |router, resource| {
        let collection = get(async |State(app): State<App>, Query(query): Query<ListQuery>, headers: HeaderMap| {
            list(app, resource, &query, &headers).await
        })
        .post(async |State(app): State<App>, body: Bytes| create(app, resource, body).await);
        let one = get(async |State(app): State<App>, Path(id): Path<String>, headers: HeaderMap| {
            item(app, resource, &id, &headers).await
        })
        .put(async |State(app): State<App>, Path(id): Path<String>, body: Bytes| update(app, resource, &id, body).await)
        .delete(async |State(app): State<App>, Path(id): Path<String>| delete(app, resource, &id).await);
        let name = resource.name();
        router.route(&format!("/{name}"), collection).route(&format!("/{name}/{{id}}"), one)
    })
}

#[derive(Debug, Deserialize)]
struct ListQuery {
    filter: Option<String>,
    page: Option<String>,
}

/// The texts of an item, under any service's names for them.
#[derive(Debug, Deserialize)]
struct Draft {
    #[serde(alias = "name")]
    title: Option<String>,
    #[serde(alias = "bio", alias = "description", alias = "summary")]
    body: Option<String>,
}

/// The result of a write.
#[derive(Debug, Serialize)]
pub(crate) struct Written {
    id: i64,
    version: i64,
    list_version: i64,
    /// Posts that show the item; lists of posts then show it, too.
    #[serde(skip)]
    shown_in: Vec<i64>,
}

impl FromRow<'_, PgRow> for Written {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get(0)?,
            version: row.try_get(1)?,
            list_version: row.try_get(2)?,
            shown_in: row.try_get(3)?,
        })
    }
}

async fn item(app: App, resource: &'static Resource, id: &str, headers: &HeaderMap) -> Result<Response, Problem> {
    let id = parse_id(id)?;
    let load = || app.database().read(sqlx::query_scalar(resource.statements().item()).bind(id));
    let lookup = read(&app, &resource.service.item(id), headers, load).await?;
    Ok(lookup_response(lookup, resource.name(), id))
}

async fn list(
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
    let load = || app.database().read(sqlx::query_scalar(resource.statements().list(filter)).bind(i64::from(page)));
    let lookup = read(&app, &resource.service.list(FILTERS[filter].name, page), headers, load).await?;
    Ok(lookup_response(lookup, "page", page))
}

async fn create(app: App, resource: &'static Resource, body: Bytes) -> Result<Response, Problem> {
    let draft = parse_body::<Draft>(&body)?;
    let (Some(title), Some(text)) = (draft.title, draft.body) else {
        return Err(Problem::bad_request(format!("a new item needs `{}` and `{}`", resource.title, resource.text)));
    };
    let statement = sqlx::query_as(resource.statements().create()).bind(title).bind(text);
    let written = write(&app, resource, None, statement).await?;
    let written = written.ok_or_else(|| Problem::not_found(resource.name(), "new"))?;
    let location = format!("/{}/{}", resource.name(), written.id);
    Ok(([(header::LOCATION, location)], json(StatusCode::CREATED, &written)).into_response())
}

async fn update(app: App, resource: &'static Resource, id: &str, body: Bytes) -> Result<Response, Problem> {
    let (id, draft) = (parse_id(id)?, parse_body::<Draft>(&body)?);
    let statement = sqlx::query_as(resource.statements().update()).bind(id).bind(draft.title).bind(draft.body);
    answer(write(&app, resource, Some(id), statement).await?, resource, id)
}

async fn delete(app: App, resource: &'static Resource, id: &str) -> Result<Response, Problem> {
    let id = parse_id(id)?;
    let statement = sqlx::query_as(resource.statements().delete()).bind(id);
    answer(write(&app, resource, Some(id), statement).await?, resource, id)
}

/// Writes an item and invalidates it, the lists, and the posts that show it.
pub(crate) async fn write(
    app: &App,
    resource: &'static Resource,
    id: Option<i64>,
    statement: WriteStatement<Written>,
) -> Result<Option<Written>, Problem> {
    let stale = move |written: Option<&Written>| {
        let mut stale = Invalidation::new().tag(resource.service.lists());
        if let Some(id) = id {
            stale = stale.key(&resource.service.item(id));
        }
        let posts = written.map_or(&[][..], |written| written.shown_in.as_slice());
        if !posts.is_empty() {
            stale = stale.tag(POSTS.lists());
        }
        posts.iter().fold(stale, |stale, post| stale.key(&POSTS.item(*post)))
    };
    commit(app, statement, stale).await
}

fn answer(written: Option<Written>, resource: &Resource, id: i64) -> Result<Response, Problem> {
    let written = written.ok_or_else(|| Problem::not_found(resource.name(), id))?;
    Ok(json(StatusCode::OK, &written))
}
