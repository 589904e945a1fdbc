//! Managing and warming the cache.

use crate::support::{ADMIN_TOKEN, Postgres, Redis, RunningApp, args, eventually};
use reference_app::{WarmArgs, warm};
use serde_json::{Value, json};

async fn manage(app: &RunningApp, method: &str, path: &str, token: Option<&str>, body: Value) -> (u16, Value) {
    let request = app.http.request(method.parse().expect("a method"), format!("{}/cache{path}", app.url));
    let request = if let Some(token) = token { request.bearer_auth(token) } else { request };
    let request = if body.is_null() { request } else { request.json(&body) };
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

#[tokio::test]
async fn managing_the_cache_needs_the_token() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let mut args = args(&postgres, Some(&redis), "redis");
    let app = RunningApp::start(args.clone()).await;
    for path in ["/posts/1", "/posts/1", "/posts/2", "/profiles/1"] {
        app.get(path).await;
    }
    assert_eq!(manage(&app, "GET", "/stats", None, Value::Null).await.0, 401);
    assert_eq!(manage(&app, "GET", "/stats", Some("another-token-of-some-length"), Value::Null).await.0, 403);
    let (status, stats) = manage(&app, "GET", "/stats", Some(ADMIN_TOKEN), Value::Null).await;
    assert_eq!(status, 200);
    assert!(stats.to_string().contains("\"hits\":1"), "{stats}");
    let (status, cleared) = manage(&app, "POST", "/clear", Some(ADMIN_TOKEN), json!({ "pattern": "posts:*" })).await;
    assert_eq!(status, 200, "{cleared}");
    assert!(!app.get("/posts/1").await.is_hit(), "cleared");
    assert!(app.get("/profiles/1").await.is_hit(), "other keys are kept");
    let (status, health) = manage(&app, "GET", "/health", Some(ADMIN_TOKEN), Value::Null).await;
    assert_eq!((status, &health["state"]), (200, &json!("up")), "{health}");

    args.app.admin_token = None;
    let closed = RunningApp::start(args.clone()).await;
    assert_eq!(manage(&closed, "GET", "/stats", Some(ADMIN_TOKEN), Value::Null).await.0, 404);
    args.app.admin_token = Some("short".into());
    let error = reference_app::App::build(&args.app).await.err().expect("too weak").to_string();
    assert!(error.contains("ADMIN_TOKEN") && !error.contains("short\""), "{error}");
}

/// The newest users and projects, and the busiest dashboards, are hits at the first read.
async fn expect_warm(app: &RunningApp) {
    for path in ["/users/300", "/users/201", "/projects/120", "/projects/71", "/platform/stats"] {
        assert!(app.get(path).await.is_hit(), "{path} is not warm");
    }
    let (mut warm, mut cold) = (0, 0);
    for space in 1..=60 {
        let hit = app.get(&format!("/dashboards/{space}/overview")).await.is_hit();
        warm += u32::from(hit);
        cold += u32::from(!hit);
    }
    assert_eq!((warm, cold), (50, 10));
    assert!(
        !app.get("/users/200").await.is_hit() && !app.get("/projects/70").await.is_hit(),
        "as many as were asked for"
    );
}

#[tokio::test]
async fn the_warm_command_warms_all_instances_and_loads_nothing_twice() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let args = args(&postgres, Some(&redis), "redis");
    let app = RunningApp::start(args.clone()).await;
    let command =
        |plans: &[&str]| WarmArgs { plans: plans.iter().map(|&plan| plan.to_owned()).collect(), app: args.app.clone() };
    let forever = std::future::pending;
    assert!(warm(command(&["user"]), forever()).await.expect_err("unknown").to_string().contains("users, projects"));
    let mut alone = command(&[]);
    alone.app.cache = Some(cache_layer::Strategy::Memory);
    assert!(warm(alone, forever()).await.expect_err("not shared").to_string().contains("--warm"));

    let status = warm(command(&[]), forever()).await.expect("warmed");
    let done: Vec<_> =
        status.plans.iter().map(|plan| (plan.name, plan.done, plan.outcomes.get("stored").copied())).collect();
    let all =
        [("users", 100, Some(100)), ("projects", 50, Some(50)), ("dashboards", 50, Some(50)), ("platform", 1, Some(1))];
    assert_eq!(done, all);
    let again = warm(command(&["users"]), forever()).await.expect("warmed");
    assert_eq!(again.plans[0].outcomes.get("present"), Some(&100), "{:?}", again.plans[0]);
    expect_warm(&app).await;
}

#[tokio::test]
async fn the_endpoint_warms_while_requests_are_served() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let app = RunningApp::start(args(&postgres, Some(&redis), "redis")).await;
    let (status, body) = manage(&app, "POST", "/warm", Some(ADMIN_TOKEN), json!({})).await;
    assert!(status == 200 || status == 202, "{status} {body}");
    eventually("warm", async || {
        let (_, status) = manage(&app, "GET", "/warm", Some(ADMIN_TOKEN), Value::Null).await;
        status["running"] == false
            && status["plans"].as_array().is_some_and(|plans| plans.iter().all(|plan| plan["state"] == "finished"))
    })
    .await;
    expect_warm(&app).await;
}
