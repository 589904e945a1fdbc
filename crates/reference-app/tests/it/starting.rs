//! Startup, loading, shutdown.

use crate::support::{Postgres, Redis, RunningApp, args, eventually, free_port};
use reference_app::{App, AppError, ServeArgs, serve};
use std::time::Duration;
use tokio::sync::oneshot;

#[tokio::test]
async fn loading_is_deterministic_and_does_not_touch_full_tables() {
    let (one, other) = (Postgres::start().await, Postgres::start().await);
    for postgres in [&one, &other] {
        App::build(&args(postgres, None, "none").app).await.expect("the app");
    }
    let print = "SELECT hashtextextended(string_agg(t::text, '' ORDER BY t::text), 0) FROM
        (SELECT id, title, body, score, author_id, created_at FROM posts) t";
    let comments = "SELECT hashtextextended(string_agg(t::text, '' ORDER BY t::text), 0) FROM
        (SELECT parent_id, author, score, body, created_at FROM comments) t";
    for sql in [print, comments] {
        assert_eq!(one.number(sql).await, other.number(sql).await);
    }
    assert_eq!(one.number("SELECT count(*) FROM posts").await, 60);
    assert_eq!(one.number("SELECT count(*) FROM comments").await, 1200);
    let before = one.number(print).await;
    let mut more = args(&one, None, "none");
    more.app.load = "posts=50,courses=40".parse().expect("a load");
    let app = RunningApp::start(more).await;
    assert_eq!(one.number(print).await, before, "more than enough posts: none added");
    assert_eq!(one.number("SELECT count(*) FROM courses").await, 40, "courses topped up");
    let created = app.post("/courses", serde_json::json!({ "title": "t", "summary": "s" })).await;
    assert_eq!(created.number("id"), 41, "new ids follow the loaded ones");
}

#[tokio::test]
async fn startup_errors_say_what_to_do() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let good = args(&postgres, Some(&redis), "redis");
    let failure = async |args: ServeArgs| App::build(&args.app).await.err().expect("an error").to_string();

    let mut unreachable = good.clone();
    unreachable.app.database_url = format!("postgres://u:secret@127.0.0.1:{}/db", free_port());
    let text = failure(unreachable).await;
    assert!(text.contains("cannot reach Postgres at 127.0.0.1:") && text.contains("--database-url"), "{text}");
    assert!(!text.contains("secret"), "{text}");

    let mut nonsense = good.clone();
    nonsense.app.database_url = "mysql://u:secret@h/db".into();
    let text = failure(nonsense).await;
    assert!(text.contains("postgres://") && !text.contains("secret"), "{text}");

    let mut without = good.clone();
    without.app.redis_url = None;
    assert!(failure(without).await.contains("no Redis URL"));

    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut port = good.clone();
    port.listen = taken.local_addr().expect("an address");
    let error = serve(port, std::future::pending()).await.expect_err("taken");
    assert!(matches!(error, AppError::Listen { .. }) && error.to_string().contains("--listen"), "{error}");
}

#[tokio::test]
async fn serve_answers_until_it_is_stopped() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let mut args = args(&postgres, Some(&redis), "redis");
    args.listen.set_port(free_port());
    let app = RunningApp::at_url(format!("http://{}", args.listen));
    let health = format!("{}/health", app.url);
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(serve(args, async {
        stopped.await.ok();
    }));
    let healthy = async || app.http.get(&health).send().await.is_ok_and(|answer| answer.status().as_u16() == 200);
    eventually("healthy", healthy).await;
    assert_eq!(app.get("/posts/1").await.number("id"), 1, "healthy means ready");
    stop.send(()).expect("serving");
    let served = tokio::time::timeout(Duration::from_secs(20), serving).await.expect("stops");
    served.expect("no panic").expect("a clean end");
    assert!(!healthy().await, "the port is closed");
}

#[tokio::test]
async fn a_stop_during_startup_ends_it_at_once() {
    let postgres = Postgres::start().await;
    let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut args = args(&postgres, None, "none");
    args.app.database_url = format!("postgres://u@{}/db", hanging.local_addr().expect("an address"));
    args.listen.set_port(free_port());
    // Stopped while it waits for a Postgres that accepts connections and never answers.
    let served = serve(args, async move {
        let _silent = hanging.accept().await;
    });
    served.await.expect("a stop is not an error");
}
