//! Sessions on several instances, and private notes.

use crate::support::{LOGIN_TOKEN, Postgres, Redis, RunningApp, args, eventually};
use serde_json::{Value, json};

/// A client with its own cookie.
struct Client {
    cookie: String,
    http: reqwest::Client,
}

struct Page {
    status: u16,
    cache: String,
    body: Value,
}

impl Client {
    async fn login(app: &RunningApp, user: i64) -> Self {
        let http = reqwest::Client::new();
        let request = http.post(format!("{}/login", app.url)).bearer_auth(LOGIN_TOKEN);
        let answer = request.json(&json!({ "user": user, "device": "a test" })).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200);
        let cookie = answer.headers()["set-cookie"].to_str().expect("text").to_owned();
        for part in ["HttpOnly", "Secure", "SameSite=Lax", "__Host-session="] {
            assert!(cookie.contains(part), "{part} in {cookie}");
        }
        Self { cookie: cookie.split(';').next().expect("a pair").to_owned(), http }
    }

    async fn send(&self, app: &RunningApp, method: &str, path: &str, body: Value) -> Page {
        let method = method.parse().expect("a method");
        let request = self.http.request(method, format!("{}{path}", app.url)).header("cookie", &self.cookie);
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = request.send().await.expect("an answer");
        let cache = answer.headers().get("cache-status").map_or("", |value| value.to_str().expect("text")).to_owned();
        let status = answer.status().as_u16();
        Page { status, cache, body: answer.json().await.unwrap_or_default() }
    }

    async fn get(&self, app: &RunningApp, path: &str) -> Page {
        self.send(app, "GET", path, Value::Null).await
    }
}

async fn two_apps(postgres: &Postgres, redis: &Redis) -> [RunningApp; 2] {
    [
        RunningApp::start(args(postgres, Some(redis), "redis")).await,
        RunningApp::start(args(postgres, Some(redis), "redis")).await,
    ]
}

#[tokio::test]
async fn a_session_is_valid_on_every_instance_until_a_logout_on_any() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let apps = two_apps(&postgres, &redis).await;
    for (token, status) in [("", 401), ("a-wrong-token-of-some-length", 401), (LOGIN_TOKEN, 200)] {
        let request = apps[0].http.post(format!("{}/login", apps[0].url)).bearer_auth(token);
        let answer = request.json(&json!({ "user": 7 })).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{token}");
    }
    for path in ["/me", "/sessions", "/notes"] {
        assert_eq!(apps[0].get(path).await.status, 401, "{path} without a session");
    }
    let (phone, laptop) = (Client::login(&apps[0], 9).await, Client::login(&apps[1], 9).await);
    for app in &apps {
        assert_eq!(phone.get(app, "/me").await.body["user"], 9, "shared between instances");
    }
    let sessions = laptop.get(&apps[0], "/sessions").await.body["sessions"].as_array().expect("sessions").clone();
    assert_eq!(sessions.len(), 2, "{sessions:?}");
    assert_eq!(sessions.iter().filter(|session| session["this"] == true).count(), 1);

    assert_eq!(phone.send(&apps[0], "POST", "/logout", Value::Null).await.status, 204);
    for app in &apps {
        assert_eq!(phone.get(app, "/me").await.status, 401, "gone everywhere at once");
        assert_eq!(laptop.get(app, "/me").await.status, 200, "and only this one");
    }
    // First one session of another device, then all.
    let tablet = Client::login(&apps[0], 9).await;
    let handle = tablet.get(&apps[0], "/me").await.body["session"].as_str().expect("a handle").to_owned();
    let one = format!("/sessions/{handle}");
    assert_eq!(laptop.send(&apps[1], "DELETE", &one, Value::Null).await.status, 204);
    assert_eq!(laptop.send(&apps[1], "DELETE", &one, Value::Null).await.status, 404);
    assert_eq!(tablet.get(&apps[0], "/me").await.status, 401);
    assert_eq!(laptop.send(&apps[1], "DELETE", "/sessions", Value::Null).await.status, 204);
    assert_eq!(laptop.get(&apps[0], "/me").await.status, 401);
    let forged = Client { cookie: "__Host-session=AAAA".into(), http: reqwest::Client::new() };
    assert_eq!(forged.get(&apps[0], "/me").await.status, 401);
}

#[tokio::test]
async fn without_redis_a_session_is_unknown_not_ended() {
    let (postgres, mut redis) = (Postgres::start().await, Redis::start());
    let mut args = args(&postgres, Some(&redis), "redis");
    // Logged in with a long timeout; only the wait for a dead Redis is to be short.
    let client = Client::login(&RunningApp::start(args.clone()).await, 3).await;
    args.app.cache_timeout_ms = Some(50);
    let app = RunningApp::start(args).await;
    redis.kill();
    assert_eq!(client.get(&app, "/me").await.status, 503);
    assert_eq!(client.get(&app, "/notes").await.status, 503);
    assert_eq!(app.get("/posts/1").await.status, 200, "requests without a user still work");
}

#[tokio::test]
async fn clearing_the_cache_ends_no_session() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let mut args = args(&postgres, Some(&redis), "redis");
    let other_database = format!("{}/1", redis.url().trim_end_matches('/'));
    for (namespace, url) in [(Some("app:".to_owned()), None), (None, Some(other_database))] {
        args.app.namespace = namespace;
        args.app.session_redis_url = url;
        let app = RunningApp::start(args.clone()).await;
        let client = Client::login(&app, 3).await;
        app.get("/posts/1").await;
        assert!(app.app().cache().clear().await.expect("cleared") > 0);
        assert!(!app.get("/posts/1").await.is_hit());
        assert_eq!(client.get(&app, "/me").await.status, 200);
    }
}

#[tokio::test]
async fn without_keys_or_token_nobody_logs_in() {
    let postgres = Postgres::start().await;
    let mut args = args(&postgres, None, "memory");
    args.app.login_token = None;
    let app = RunningApp::start(args.clone()).await;
    assert_eq!(app.post("/login", json!({ "user": 1 })).await.status, 404);
    args.app.session_keys = None;
    let app = RunningApp::start(args).await;
    assert_eq!(app.post("/login", json!({ "user": 1 })).await.status, 404);
    assert_eq!(app.get("/me").await.status, 401);
}

/// The sessions' Redis is used whatever the cache's strategy is.
#[tokio::test]
async fn sessions_are_shared_when_the_cache_is_not() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let mut args = args(&postgres, None, "memory");
    args.app.session_redis_url = Some(redis.url());
    let apps = [RunningApp::start(args.clone()).await, RunningApp::start(args).await];
    let client = Client::login(&apps[0], 9).await;
    assert_eq!(client.get(&apps[1], "/me").await.body["user"], 9);
}

/// Two users, two instances, concurrent readers and writers: every answer belongs to the user of the request, cached or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_users_cached_notes_never_reach_another() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let apps = std::sync::Arc::new(two_apps(&postgres, &redis).await);
    let readers: Vec<_> = [11, 12, 13]
        .into_iter()
        .map(|user| {
            let apps = std::sync::Arc::clone(&apps);
            tokio::spawn(async move {
                let client = Client::login(&apps[0], user).await;
                let mut hits = 0;
                for round in 0..40 {
                    let page = client.get(&apps[round % 2], "/notes").await;
                    assert_eq!((page.status, &page.body["user"]), (200, &json!(user)), "{}", page.cache);
                    let notes = page.body["notes"].as_array().expect("notes");
                    assert!(notes.len() >= 3 && notes.iter().all(|note| note["owner"] == user), "{notes:?}");
                    hits += u32::from(page.cache.starts_with("reference; hit"));
                    if round % 10 == 9 {
                        let new = client
                            .send(&apps[0], "POST", "/notes", json!({ "body": format!("{user}: {round}") }))
                            .await;
                        assert_eq!(new.status, 201);
                        let seen = client.get(&apps[1], "/notes").await;
                        assert_eq!(seen.body["notes"][0]["body"], format!("{user}: {round}"), "shown at once");
                    }
                }
                assert!(hits >= 20, "the cache took part: {hits} hits");
                client
            })
        })
        .collect();
    let mut clients = Vec::new();
    for reader in readers {
        clients.push(reader.await.expect("no mix-up"));
    }
    // A user can delete only their own notes.
    let own = clients[0].get(&apps[0], "/notes").await.body["notes"][0]["id"].clone();
    let path = format!("/notes/{own}");
    assert_eq!(clients[1].send(&apps[0], "DELETE", &path, Value::Null).await.status, 404);
    assert_eq!(clients[0].send(&apps[0], "DELETE", &path, Value::Null).await.status, 200);
    let left = clients[0].get(&apps[1], "/notes").await;
    assert!(left.body["notes"].as_array().expect("notes").iter().all(|note| note["id"] != own));
    let health = apps[0].get("/health").await.body;
    assert_eq!(
        (&health["sessions"]["usable"], &health["sessions"]["owed_deletions"]),
        (&true.into(), &0.into()),
        "{health}"
    );
    assert_eq!((apps[0].metric("sessions_usable").await, apps[0].metric("sessions_owed_deletions").await), (1, 0));
    eventually("sessions are counted", async || apps[0].metric("cache_hits_total{class=\"sessions").await > 0).await;
}

#[tokio::test]
async fn notes_and_preferences_are_encrypted_in_redis() {
    let (postgres, redis) = (Postgres::start().await, Redis::start());
    let app = RunningApp::start(args(&postgres, Some(&redis), "redis")).await;
    let client = Client::login(&app, 7).await;
    let note = json!({ "body": "buy a red bicycle" });
    assert_eq!(client.send(&app, "POST", "/notes", note).await.status, 201);
    assert_eq!(app.put("/users/7/preferences", json!({ "colour": "turquoise" })).await.status, 200);
    app.put("/users/7", json!({ "bio": "a public text" })).await;
    for _ in 0..2 {
        client.get(&app, "/notes").await;
        app.get("/users/7/preferences").await;
        app.get("/users/7").await;
    }
    assert!(client.get(&app, "/notes").await.cache.starts_with("reference; hit"), "the page is cached");
    assert!(app.get("/users/7/preferences").await.is_hit());

    let mut raw = redis.connect();
    let names: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut raw).expect("KEYS");
    let mut dump = String::new();
    for name in &names {
        let kind: String = redis::cmd("TYPE").arg(name).query(&mut raw).expect("TYPE");
        let read = match kind.as_str() {
            "hash" => "HGETALL",
            "string" => "GET",
            _ => continue,
        };
        let value: redis::Value = redis::cmd(read).arg(name).query(&mut raw).expect(read);
        let parts = match &value {
            redis::Value::Array(parts) => parts.clone(),
            redis::Value::Map(pairs) => pairs.iter().flat_map(|(name, value)| [name.clone(), value.clone()]).collect(),
            other => vec![other.clone()],
        };
        for part in parts {
            if let redis::Value::BulkString(bytes) = part {
                dump += &String::from_utf8_lossy(&bytes);
            }
        }
    }
    assert!(dump.contains("a public text"), "this looks where values are: {names:?}");
    for secret in ["red bicycle", "turquoise"] {
        assert!(!dump.contains(secret), "{secret}");
    }
}
