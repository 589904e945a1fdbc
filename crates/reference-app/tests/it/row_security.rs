//! Row-level security and the caching middleware: a policy in Postgres decides which rows a user sees, and no cached answer
//! may show them to another user.

use crate::support::{Postgres, Redis};
use axum::body::{Body, to_bytes};
use axum::extract::{Extension, Request, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use cache_layer::http::{HttpCacheLayer, Rule, Scope, WriteRule};
use cache_layer::{Cache, Metrics};
use sqlx::postgres::{PgPool, PgPoolOptions};
use std::time::Duration;
use tower::ServiceExt;

const USERS: [&str; 2] = ["alice", "bob"];

#[derive(Clone)]
struct User(String);

const TABLE: [&str; 7] = [
    "CREATE ROLE app LOGIN",
    "CREATE TABLE notes (id bigserial PRIMARY KEY, owner text NOT NULL, body text NOT NULL)",
    "ALTER TABLE notes ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY own ON notes USING (owner = current_setting('app.user', true))",
    "GRANT SELECT, INSERT ON notes TO app",
    "GRANT USAGE ON SEQUENCE notes_id_seq TO app",
    "INSERT INTO notes (owner, body) VALUES ('alice', 'a'), ('bob', 'b')",
];

async fn database(postgres: &Postgres) -> PgPool {
    let owner = PgPool::connect(&postgres.url()).await.expect("a connection");
    for statement in TABLE {
        sqlx::query(statement).execute(&owner).await.expect(statement);
    }
    // Neither the owner nor a superuser: policies do not apply to them.
    let url = postgres.url().replace("postgres@", "app@");
    PgPoolOptions::new().max_connections(8).connect(&url).await.expect("a connection")
}

async fn as_user<'a>(pool: &PgPool, user: &User) -> sqlx::Transaction<'a, sqlx::Postgres> {
    let mut transaction = pool.begin().await.expect("a transaction");
    let set = sqlx::query("SELECT set_config('app.user', $1, true)").bind(&user.0);
    set.execute(&mut *transaction).await.expect("set_config");
    transaction
}

/// The owners of all visible rows. Only the policy selects them; there is no `WHERE`.
async fn notes(State(pool): State<PgPool>, Extension(user): Extension<User>) -> Json<Vec<String>> {
    let mut transaction = as_user(&pool, &user).await;
    let rows = sqlx::query_scalar("SELECT owner FROM notes ORDER BY id").fetch_all(&mut *transaction);
    Json(rows.await.expect("rows"))
}

async fn write(State(pool): State<PgPool>, Extension(user): Extension<User>) -> StatusCode {
    let mut transaction = as_user(&pool, &user).await;
    let insert = sqlx::query("INSERT INTO notes (owner, body) VALUES ($1, 'x')").bind(&user.0);
    insert.execute(&mut *transaction).await.expect("a row");
    transaction.commit().await.expect("committed");
    StatusCode::CREATED
}

/// Authentication is outside of the cache, and sets the user.
async fn authenticated(mut request: Request, next: Next) -> Response {
    let token = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or("");
    let Some(user) = USERS.into_iter().find(|user| token == format!("Bearer token of {user}")) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    request.extensions_mut().insert(User(user.to_owned()));
    next.run(request).await
}

fn app(pool: &PgPool, cache: &Cache, rule: Rule) -> Router {
    let layer = HttpCacheLayer::builder(cache.clone())
        .rule(rule.tag("notes"))
        .write(WriteRule::to("/notes").invalidates("notes"))
        .build()
        .expect("rules");
    let router = Router::new().route("/notes", get(notes).post(write)).layer(layer);
    router.layer(middleware::from_fn(authenticated)).with_state(pool.clone())
}

#[derive(Debug, Default)]
struct ReadCounts {
    hits: usize,
    /// Answers with a row of another user.
    leaks: usize,
    /// Answers without a row that was written before the request.
    stale: usize,
}

/// Both users read concurrently in many tasks, and sometimes write.
async fn run_concurrent_reads(app: &Router) -> ReadCounts {
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let app = app.clone();
            tokio::spawn(async move {
                let user = USERS[task % 2];
                let mut seen = ReadCounts::default();
                let mut rows = 0;
                for i in 0..60 {
                    let method = if i % 20 == 10 { "POST" } else { "GET" };
                    let request = Request::builder().method(method).uri("/notes");
                    let request = request.header(AUTHORIZATION, format!("Bearer token of {user}"));
                    let request = request.body(Body::empty()).expect("a request");
                    let answer = app.clone().oneshot(request).await.expect("infallible");
                    if method == "POST" {
                        assert_eq!(answer.status(), StatusCode::CREATED);
                        rows += 1;
                        continue;
                    }
                    assert_eq!(answer.status(), StatusCode::OK);
                    let hit = answer.headers()["cache-status"].to_str().expect("text").contains("; hit");
                    let body = to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
                    let owners: Vec<String> = serde_json::from_slice(&body).expect("JSON");
                    seen.hits += usize::from(hit);
                    seen.leaks += usize::from(owners.iter().any(|owner| owner != user));
                    let own = owners.iter().filter(|owner| *owner == user).count();
                    seen.stale += usize::from(own < rows);
                    rows = rows.max(own);
                }
                seen
            })
        })
        .collect();
    let mut all = ReadCounts::default();
    for task in tasks {
        let seen = task.await.expect("no panic");
        all.hits += seen.hits;
        all.leaks += seen.leaks;
        all.stale += seen.stale;
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_a_policy_hides_stay_hidden_behind_the_cache() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let pool = database(&postgres).await;
    let cache = redis.patiently().open(Metrics::default()).expect("a cache");
    assert!(cache.ready(Duration::from_secs(10)).await);
    let rule = || Rule::get("/notes", Duration::from_secs(60));
    let by_user = |request: &axum::http::request::Parts| request.extensions.get::<User>().map(|user| user.0.clone());

    let per_user = run_concurrent_reads(&app(&pool, &cache, rule().scope(Scope::per_user(by_user)))).await;
    println!("per user: {per_user:?}");
    assert!(per_user.hits > 50, "{per_user:?}");
    assert_eq!((per_user.leaks, per_user.stale), (0, 0), "{per_user:?}");

    // A rule without a user scope: requests with credentials bypass the cache.
    let unsaid = run_concurrent_reads(&app(&pool, &cache, rule())).await;
    assert_eq!((unsaid.hits, unsaid.leaks, unsaid.stale), (0, 0, 0), "{unsaid:?}");

    // The mistake, made on purpose: this test detects it.
    let shared = run_concurrent_reads(&app(&pool, &cache, rule().shared_despite_credentials())).await;
    println!("shared by force: {shared:?}");
    assert!(shared.leaks > 20, "sharing must leak, or this test detects nothing: {shared:?}");
}
