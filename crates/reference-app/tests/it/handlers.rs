//! What the handlers answer, and what their writes invalidate.

use crate::support::{Postgres, Redis, RunningApp, args};
use serde_json::{Value, json};

/// Reads each path twice; the second read is a hit. Returns the bodies.
async fn warm(app: &RunningApp, paths: &[&str]) -> Vec<Value> {
    let mut bodies = Vec::new();
    for path in paths {
        let (first, again) = (app.get(path).await, app.get(path).await);
        assert_eq!((first.status, again.is_hit()), (200, true), "{path}: {first:?}, {again:?}");
        assert_eq!(first.body, again.body, "{path}");
        bodies.push(again.body);
    }
    bodies
}

/// The paths in `gone` are no longer cached, those in `kept` still are.
async fn expect_invalidated(app: &RunningApp, gone: &[&str], kept: &[&str], after: &str) {
    for path in gone {
        assert!(!app.get(path).await.is_hit(), "{path} is still cached: {after}");
    }
    for path in kept {
        assert!(app.get(path).await.is_hit(), "{path} was invalidated needlessly: {after}");
    }
}

const USER: [&str; 5] = ["/users/7", "/users/7/full", "/users/7/projects", "/users/7/tasks", "/users/7/dashboard"];

#[tokio::test]
async fn an_update_invalidates_everything_that_shows_it_and_nothing_else() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let app = RunningApp::start(args(&postgres, Some(&redis), "redis")).await;
    let [profile, full, projects, tasks, dashboard] = USER;
    let project = {
        let mine = app.get(projects).await.body["projects"][0]["id"].as_i64().expect("user 7 has a project");
        format!("/projects/{mine}")
    };
    let [project_full, project_tasks, team, stats] =
        ["full", "tasks", "team", "stats"].map(|part| format!("{project}/{part}"));
    let space = app.get(&project).await.number("workspace");
    let [overview, space_stats, activity] =
        ["overview", "stats", "activity"].map(|part| format!("/dashboards/{space}/{part}"));
    let others = ["/users/8", "/users/8/full", "/platform/stats"];
    let pages = [&project, &project_full, &project_tasks, &team, &stats, &overview, &space_stats, &activity];
    let pages = pages.map(String::as_str);
    let all = [&USER[..], &pages, &others].concat();
    warm(&app, &all).await;

    // The user's row.
    assert_eq!(app.put(profile, json!({ "name": "New Name" })).await.number("version"), 2);
    let kept = [&[projects, tasks, dashboard][..], &pages, &others].concat();
    expect_invalidated(&app, &[profile, full], &kept, "a new name").await;
    assert_eq!(app.get(full).await.body["name"], "New Name");

    // The project's row.
    warm(&app, &all).await;
    assert_eq!(app.put(&project, json!({ "status": "done" })).await.number("version"), 2);
    let gone = [&project, &project_full, projects, &overview];
    expect_invalidated(&app, &gone, &[profile, full, tasks, dashboard, &team, &stats, others[0]], "a project done")
        .await;

    // A task that is reassigned: both users' pages change.
    warm(&app, &all).await;
    let mine = app.get(tasks).await.body["tasks"].as_array().expect("tasks").clone();
    let task = mine.iter().find(|task| format!("/projects/{}", task["project"]) == project);
    let task = match task {
        Some(task) => task["id"].clone(),
        None => app.post(&project_tasks, json!({ "title": "t", "assignee": 7 })).await.body["id"].clone(),
    };
    warm(&app, &all).await;
    let given = app.put(&format!("{project_tasks}/{task}"), json!({ "assignee": 8, "status": "review" })).await;
    assert_eq!(given.status, 200);
    let theirs = ["/users/8/full", &project_full, &project_tasks, &stats, &overview, &space_stats, &activity];
    let kept = [profile, projects, &project, &team, "/users/8", "/platform/stats"];
    expect_invalidated(&app, &[&[full, tasks, dashboard], &theirs[..]].concat(), &kept, "a task given away").await;
    assert!(!app.get(tasks).await.body["tasks"].as_array().expect("tasks").iter().any(|mine| mine["id"] == task));

    // The team.
    warm(&app, &all).await;
    assert_eq!(app.delete(&format!("{team}/7")).await.status, 200);
    let gone = [&team, &project_full, &stats, projects, full];
    expect_invalidated(&app, &gone, &[profile, tasks, &project, &overview], "left the team").await;
    assert_eq!(app.delete(&format!("{team}/7")).await.status, 409, "the user is no longer on the team");
    assert_eq!(app.put(&format!("{team}/7"), json!({})).await.status, 200);
    let back = app.get(&team).await.body["team"].as_array().expect("a team").iter().any(|member| member["id"] == 7);
    assert!(back);
}

#[tokio::test]
async fn new_users_projects_and_tasks_show_at_once() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let app = RunningApp::start(args(&postgres, Some(&redis), "redis")).await;
    assert_eq!(app.get("/users/301").await.status, 404);
    let user = app.post("/users", json!({ "name": "Ada" })).await;
    assert_eq!((user.status, user.number("id")), (201, 301));
    assert_eq!(app.get("/users/301").await.body["handle"], "user301");

    warm(&app, &["/dashboards/3/overview", "/dashboards/3/stats"]).await;
    let project = app.post("/projects", json!({ "name": "Engine", "workspace": 3 })).await;
    assert_eq!((project.status, project.number("id")), (201, 121));
    let shown = app.get("/dashboards/3/overview").await;
    assert!(shown.body["projects"].as_array().expect("projects").iter().any(|p| p["name"] == "Engine"), "{shown:?}");

    let before = app.get("/dashboards/3/stats").await.number("tasks");
    warm(&app, &["/projects/121/tasks", "/users/301/tasks"]).await;
    let task = app.post("/projects/121/tasks", json!({ "title": "Cards", "assignee": 301 })).await;
    assert_eq!(task.status, 201);
    for path in ["/projects/121/tasks", "/users/301/tasks"] {
        assert_eq!(app.get(path).await.body["tasks"][0]["title"], "Cards", "{path}");
    }
    assert_eq!(app.get("/dashboards/3/stats").await.number("tasks"), before + 1);
    for (answer, status) in [
        (app.post("/projects/999/tasks", json!({ "title": "t" })).await, 404),
        (app.post("/projects", json!({})).await, 400),
        (app.post("/users", json!({ "bio": "b" })).await, 400),
        (app.put("/users/999", json!({ "name": "n" })).await, 404),
        (app.put("/projects/999", json!({ "name": "n" })).await, 404),
        (app.put("/projects/1/tasks/99999", json!({ "title": "t" })).await, 404),
        (app.put("/projects/999/team/1", json!({})).await, 409),
        (app.get("/dashboards/999/stats").await, 404),
    ] {
        assert_eq!(answer.status, status, "{answer:?}");
    }
}

#[tokio::test]
async fn the_feed_follows_creates_updates_and_votes() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let app = RunningApp::start(args(&postgres, Some(&redis), "redis")).await;
    let fifth = |feed: &Value| feed["posts"].as_array().expect("posts").iter().find(|post| post["id"] == 5).cloned();
    let author = fifth(&app.get("/feed/all").await.body).expect("post 5")["author"].clone();
    let own = format!("/feed/users/{author}");
    let feeds = ["/feed/all", "/feed/top", &own];
    let shown = [&feeds[..], &["/posts/5", "/posts?filter=top", "/posts/6"]].concat();
    let mut raw = redis.connect();
    warm(&app, &shown).await;
    for (key, limit) in
        [("posts:all".to_owned(), 300), (format!("posts:user:{author}"), 300), ("posts:top:10".to_owned(), 300)]
    {
        let ttl: i64 = redis::cmd("TTL").arg(&key).query(&mut raw).expect("TTL");
        assert!((limit - 20..=limit).contains(&ttl), "{key}: {ttl} s");
    }

    let score = app.get("/posts/5").await.number("score");
    for (vote, status, now) in [("upvote", 200, 1), ("upvote", 409, 1), ("unvote", 200, 0), ("unvote", 409, 0)] {
        let voted = app.post(&format!("/posts/5/{vote}"), json!({ "user": 3 })).await;
        assert_eq!(voted.status, status, "{vote}: {voted:?}");
        if status == 200 {
            expect_invalidated(&app, &shown[..5], &shown[5..], vote).await;
        }
        assert_eq!(app.get("/posts/5").await.number("score"), score + now, "one vote each");
        assert_eq!(fifth(&app.get(&own).await.body).expect("post 5")["score"], score + now);
        warm(&app, &shown).await;
    }
    let created = app.post("/posts", json!({ "title": "Newest", "body": "of all" })).await;
    assert_eq!(created.status, 201);
    assert_eq!(app.get("/feed/all").await.body["posts"][0]["title"], "Newest");
    assert_eq!(
        app.get("/feed/users/1").await.body["posts"][0]["title"],
        "Newest",
        "posts without an author are user 1's"
    );
    let path = format!("/posts/{}", created.number("id"));
    app.put(&path, json!({ "title": "Renamed" })).await;
    assert_eq!(app.get("/feed/all").await.body["posts"][0]["title"], "Renamed");
    app.delete(&path).await;
    assert_ne!(app.get("/feed/all").await.body["posts"][0]["title"], "Renamed");
    assert_eq!(app.post("/posts/99999/upvote", json!({ "user": 1 })).await.status, 409);
    assert_eq!(app.get("/feed/top").await.body["posts"].as_array().expect("posts").len(), 10);
}

#[tokio::test]
async fn after_a_profile_is_deleted_no_post_or_feed_names_it_as_author() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let app = RunningApp::start(args(&postgres, Some(&redis), "redis")).await;
    // Before anything is cached: there are fewer profiles here than authors.
    let author = "WITH u AS (UPDATE posts SET author_id = 9 WHERE id IN (8, 12) RETURNING 1) SELECT count(*) FROM u";
    assert_eq!(postgres.number(author).await, 2);
    let shown = ["/feed", "/feed/all", "/feed/users/9", "/posts/8", "/posts/12"];
    warm(&app, &shown).await;
    assert_eq!(app.delete("/profiles/9").await.status, 200);
    for path in shown {
        let (read, current) = (app.get(path).await, app.get_no_store(path).await);
        assert_eq!(read.body, current.body, "{path}: {}", read.cache);
    }
    assert_eq!(app.get("/posts/8").await.body["author"], Value::Null);
    assert_eq!(app.get("/feed/users/9").await.body["posts"], json!([]));
}

#[tokio::test]
async fn requirements_features_validations_reports_and_preferences_have_the_ttls_of_the_story() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let app = RunningApp::start(args(&postgres, Some(&redis), "redis")).await;
    let document = json!({ "title": "t", "points": "many" });
    let checked = app.post("/schemas/1/validate", document.clone()).await;
    assert_eq!(checked.body["problems"], json!(["`points` is a string, not a number"]));
    assert!(app.post("/schemas/1/validate", document.clone()).await.is_hit(), "the same document is validated once");
    assert!(
        !app.post("/schemas/1/validate", json!({ "title": "t" })).await.is_hit(),
        "another document has its own key"
    );
    warm(&app, &["/requirements/4", "/features/4", "/reports/keywords", "/reports/authors", "/users/4/preferences"])
        .await;
    warm(&app, &["/devices/4", "/users/4/devices", "/regions/4"]).await;
    warm(&app, &["/queries/scores/4", "/queries/workload/4", "/queries/related/4"]).await;

    let mut raw = redis.connect();
    let keys: Vec<String> = redis::cmd("KEYS").arg("schemas:valid:1-*").query(&mut raw).expect("KEYS");
    let validation = keys.first().expect("a validation").clone();
    for (key, seconds) in [
        ("requirements:item:4", 3600),
        ("features:item:4", 900),
        (validation.as_str(), 7200),
        ("queries:report:keywords", 300),
        ("users:preferences:4", 86_400),
        ("users:profile:4", 3600),
        ("sessions:data:4", 86_400),
        ("sessions:user:4", 3600),
        ("static:region:4", 86_400),
        // By cost: 1, 5 and 15 minutes.
        ("queries:scores:4", 60),
        ("queries:workload:4", 300),
        ("queries:related:4", 900),
    ] {
        app.get("/users/4").await;
        let ttl: i64 = redis::cmd("TTL").arg(key).query(&mut raw).expect("TTL");
        // Some TTLs are shortened randomly by up to a tenth.
        assert!((seconds * 9 / 10 - 20..=seconds).contains(&ttl), "{key}: {ttl} s of {seconds}");
    }

    for path in ["/requirements/4", "/features/4"] {
        assert_eq!(app.put(path, json!({ "status": "on" })).await.number("version"), 2);
        let fresh = app.get(path).await;
        assert_eq!((fresh.is_hit(), fresh.body["status"].as_str()), (false, Some("on")), "{path}");
        assert_eq!(app.put("/features/999", json!({})).await.status, 404);
    }
    assert_eq!(app.put("/schemas/1", json!({ "title": "string", "points": "string" })).await.number("version"), 2);
    let again = app.post("/schemas/1/validate", document).await;
    assert_eq!((again.is_hit(), again.body["valid"].as_bool()), (false, Some(true)), "the schema changed");
    for (answer, status) in [
        (app.put("/schemas/99", json!({})).await, 404),
        (app.post("/schemas/99/validate", json!({})).await, 404),
        (app.post("/schemas/1/validate", json!([1])).await, 400),
        (app.get("/reports/everything").await, 404),
        (app.put("/users/999/preferences", json!({})).await, 404),
        (app.get("/users/999/preferences").await, 404),
    ] {
        assert_eq!(answer.status, status, "{answer:?}");
    }
    for version in [1, 2] {
        let wishes = json!({ "theme": "dark", "round": version });
        assert_eq!(app.put("/users/4/preferences", wishes.clone()).await.number("version"), version);
        assert_eq!(app.get("/users/4/preferences").await.body["wishes"], wishes);
    }
}

/// Without any cache: the database shows nobody another user's notes, not even to a superuser.
#[tokio::test]
async fn row_level_security_separates_the_notes_of_users() {
    let postgres = Postgres::start().await;
    reference_app::App::build(&args(&postgres, None, "none").app).await.expect("the app");
    // The app's user is a superuser here; the role in which it reads notes is not.
    for (role, user, seen) in [("reference_app_notes", "7", 3), ("reference_app_notes", "", 0), ("none", "7", 900)] {
        let pool = postgres.pool(1).await;
        let mut tx = pool.acquire().await.expect("a connection");
        let set = format!("BEGIN; SELECT set_config('role', '{role}', true), set_config('app.user', '{user}', true)");
        sqlx::Executor::execute(&mut *tx, sqlx::raw_sql(sqlx::AssertSqlSafe(set))).await.expect("settings");
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM notes").fetch_one(&mut *tx).await.expect("notes");
        assert_eq!(count, seen, "{role} as user {user:?}");
        let forged = sqlx::query("INSERT INTO notes (owner_id, body) VALUES (8, 'not mine')").execute(&mut *tx).await;
        assert_eq!(forged.is_err(), role != "none", "{role} writes for another user");
    }
}
