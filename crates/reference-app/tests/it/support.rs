//! The app on private servers.

#[path = "../../../cache-layer/tests/it/support.rs"]
#[expect(dead_code, reason = "the cache layer's own tests use more of it")]
mod redis_server;

#[path = "../../../cache-layer/tests/it/postgres.rs"]
mod postgres;

pub use postgres::Postgres;
pub use redis_server::{Redis, Server, eventually, free_port};

use reference_app::{App, AppArgs, ServeArgs, router, serve_on};
use tokio::sync::oneshot;

/// The app in this process, on its own port.
pub struct RunningApp {
    pub url: String,
    pub http: reqwest::Client,
    app: Option<App>,
    _stop: Option<oneshot::Sender<()>>,
}

/// A response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub cache: String,
    pub body: serde_json::Value,
}

impl Answer {
    pub fn number(&self, field: &str) -> i64 {
        self.body[field].as_i64().unwrap_or_else(|| panic!("{field} in {}", self.body))
    }

    pub fn is_hit(&self) -> bool {
        self.cache.starts_with("reference; hit")
    }
}

pub const ADMIN_TOKEN: &str = "the-admin-token-of-the-tests";
pub const LOGIN_TOKEN: &str = "the-login-token-of-the-tests";
/// 32 zero bytes.
pub const SESSION_KEYS: &str = "k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// With long timeouts: a busy machine must not look like an outage.
pub fn args(postgres: &Postgres, redis: Option<&Redis>, cache: &str) -> ServeArgs {
    ServeArgs {
        listen: ([127, 0, 0, 1], 0).into(),
        warm: false,
        app: AppArgs {
            database_url: postgres.url(),
            redis_url: redis.map(Redis::url),
            cache: Some(cache.parse().expect("a strategy")),
            coherence: None,
            writes_wait: false,
            namespace: None,
            cache_timeout_ms: Some(10_000),
            environment: None,
            loads_at_most: 0,
            load: "posts=60,profiles=30,products=30,courses=30".parse().expect("a load"),
            db_connections: 8,
            admin_token: Some(ADMIN_TOKEN.into()),
            session_keys: Some(SESSION_KEYS.into()),
            redis_ca: None,
            session_redis_url: None,
            login_token: Some(LOGIN_TOKEN.into()),
        },
    }
}

impl RunningApp {
    pub async fn start(args: ServeArgs) -> Self {
        let listener = tokio::net::TcpListener::bind(args.listen).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let app = App::build(&args.app).await.expect("the app");
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            stopped.await.ok();
        };
        tokio::spawn(serve_on(listener, router(app.clone()), shutdown));
        Self { url, http: reqwest::Client::new(), app: Some(app), _stop: Some(stop) }
    }

    /// An app that is already running.
    pub fn at_url(url: String) -> Self {
        Self { url, http: reqwest::Client::new(), app: None, _stop: None }
    }

    /// The app, if it runs in this process.
    pub fn app(&self) -> &App {
        self.app.as_ref().expect("an app of this process")
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.http.get(self.at(path))).await
    }

    pub async fn get_no_store(&self, path: &str) -> Answer {
        self.send(self.http.get(self.at(path)).header("cache-control", "no-store")).await
    }

    pub async fn post(&self, path: &str, body: serde_json::Value) -> Answer {
        self.send(self.http.post(self.at(path)).json(&body)).await
    }

    pub async fn put(&self, path: &str, body: serde_json::Value) -> Answer {
        self.send(self.http.put(self.at(path)).json(&body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.http.delete(self.at(path))).await
    }

    pub async fn metrics(&self) -> String {
        let answer = self.http.get(self.at("/metrics")).send().await.expect("an answer");
        answer.text().await.expect("text")
    }

    /// The sum of the samples whose lines have this prefix.
    pub async fn metric(&self, prefix: &str) -> u64 {
        let text = self.metrics().await;
        let lines = text.lines().filter(|line| line.starts_with(prefix));
        lines.map(|line| line.rsplit(' ').next().expect("a value").parse::<u64>().expect("a number")).sum()
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let cache = answer.headers().get("cache-status").map_or("", |value| value.to_str().expect("text")).to_owned();
        Answer { status, cache, body: answer.json().await.expect("JSON") }
    }
}
