//! Feeds of posts, and votes on posts: `posts:all`, `posts:user:{id}`, `posts:top:10`. Like the lists of posts they are invalidated by
//! every write to a post. `/feed` is the first of them, without what the discussions are about, as a page that the HTTP cache
//! layer caches, with `ETag` and 304.

use super::content::{self, RESOURCES, with_revision_count};
use crate::app::App;
use crate::keys::{self, posts, product};
use crate::read::read;
use crate::respond::{Problem, json, lookup_response, parse_body, parse_id};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use cache_layer::http::{HttpCacheLayer, Rule};
use cache_layer::key::{Key, POSTS};
use serde::Deserialize;
use sqlx::AssertSqlSafe;
use std::sync::LazyLock;

pub(crate) const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS votes (
    post_id bigint NOT NULL, user_id bigint NOT NULL, PRIMARY KEY (post_id, user_id));";

/// What `posts:all` shows.
const LATEST: &str = "(SELECT * FROM posts ORDER BY id DESC LIMIT 200)";
const TOP: &str = "(SELECT * FROM posts ORDER BY score DESC, id DESC LIMIT 10)";
/// The text that a post's keywords are taken from: its own, or with that of its latest comments.
const OF_POST: &str = "p.body";
const OF_DISCUSSION: &str = "concat_ws(' ', p.title, p.body, (SELECT string_agg(body, ' ') FROM
    (SELECT body FROM comments c WHERE c.parent_id = p.id ORDER BY c.created_at DESC LIMIT 6) latest))";
const OF_USER: &str = "(SELECT * FROM posts WHERE author_id = $1 ORDER BY id DESC LIMIT 200)";

struct Statements {
    /// Without what the comments are about: a page for everybody, made by the HTTP cache layer.
    page: String,
    all: String,
    top: String,
    /// $1 author.
    of_user: String,
    /// $1 post, $2 user; as in the next one.
    upvote: String,
    unvote: String,
}

static STATEMENTS: LazyLock<Statements> = LazyLock::new(|| {
    let change = |vote: &str, by: &str| {
        let before = format!("vote AS ({vote} RETURNING post_id),");
        let change = format!(
            "UPDATE posts SET score = score {by}, version = version + 1 FROM vote WHERE id = vote.post_id
             RETURNING id, version"
        );
        with_revision_count(&RESOURCES[0], &before, &change, "'{}'::bigint[]")
    };
    Statements {
        page: listing(LATEST, OF_POST),
        all: listing(LATEST, OF_DISCUSSION),
        top: listing(TOP, OF_DISCUSSION),
        of_user: listing(OF_USER, OF_DISCUSSION),
        upvote: change("INSERT INTO votes SELECT id, $2 FROM posts WHERE id = $1 ON CONFLICT DO NOTHING", "+ 1"),
        unvote: change("DELETE FROM votes WHERE post_id = $1 AND user_id = $2", "- 1"),
    }
});

fn listing(of: &str, text: &str) -> String {
    format!(
        "SELECT json_build_object('posts', coalesce(json_agg(json_build_object(
                  'id', p.id, 'version', p.version, 'title', p.title, 'excerpt', left(p.body, 160), 'score', p.score,
                  'author', p.author_id, 'comments', (SELECT count(*) FROM comments c WHERE c.parent_id = p.id),
                  'keywords', (SELECT json_agg(lexeme) FROM (SELECT lexeme FROM unnest(to_tsvector('english', {text})) LIMIT 5) w))
                ORDER BY p.at), '[]'))::text
           FROM (SELECT *, row_number() OVER () AS at FROM {of} latest) p"
    )
}

pub(crate) fn routes(app: &App) -> Router<App> {
    let rule =
        Rule::get("/feed", posts::ALL.ttl).class(product::API).tag(POSTS.lists().name().to_owned()).query([""; 0]);
    let caching = HttpCacheLayer::builder(app.cache().clone()).named("reference").rule(rule).build();
    let caching = caching.expect("a valid rule: every start checks it");
    let page = Router::new().route("/feed", get(page)).layer(caching);
    page.route(
        "/feed/all",
        get(async |State(app): State<App>, headers: HeaderMap| {
            show(&app, &keys::posts::all(), &STATEMENTS.all, None, &headers).await
        }),
    )
    .route(
        "/feed/top",
        get(async |State(app): State<App>, headers: HeaderMap| {
            show(&app, &keys::posts::top(10), &STATEMENTS.top, None, &headers).await
        }),
    )
    .route(
        "/feed/users/{id}",
        get(async |State(app): State<App>, Path(id): Path<String>, headers: HeaderMap| {
            let id = parse_id(&id)?;
            show(&app, &keys::posts::of_user(id), &STATEMENTS.of_user, Some(id), &headers).await
        }),
    )
    .route("/posts/{id}/upvote", post(async |app, id, body| vote(app, id, body, &STATEMENTS.upvote).await))
    .route("/posts/{id}/unvote", post(async |app, id, body| vote(app, id, body, &STATEMENTS.unvote).await))
}

/// Not cached here, but by the HTTP cache layer around it.
async fn page(State(app): State<App>) -> Result<Response, Problem> {
    let feed = app.database().read(sqlx::query_scalar(AssertSqlSafe(STATEMENTS.page.as_str()))).await?;
    Ok(([(CONTENT_TYPE, "application/json")], feed.unwrap_or_default()).into_response())
}

async fn show(
    app: &App,
    key: &Key,
    sql: &'static str,
    author: Option<i64>,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let load = || {
        let statement = sqlx::query_scalar(AssertSqlSafe(sql));
        app.database().read(if let Some(author) = author { statement.bind(author) } else { statement })
    };
    Ok(lookup_response(read(app, key, headers, load).await?, "feed", key))
}

#[derive(Deserialize)]
struct Voter {
    user: i64,
}

/// Each user has one vote on a post; the second upvote changes nothing and says so.
async fn vote(
    State(app): State<App>,
    Path(id): Path<String>,
    body: Bytes,
    sql: &'static str,
) -> Result<Response, Problem> {
    let (id, Voter { user }) = (parse_id(&id)?, parse_body(&body)?);
    let statement = sqlx::query_as(AssertSqlSafe(sql)).bind(id).bind(user);
    match content::write(&app, &RESOURCES[0], Some(id), statement).await? {
        Some(written) => Ok(json(StatusCode::OK, &written)),
        None => {
            let text = format!("nothing to change: there is no posts/{id}, or user {user} has already voted so");
            Err(Problem(StatusCode::CONFLICT, text))
        }
    }
}
