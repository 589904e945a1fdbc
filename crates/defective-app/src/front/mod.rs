//! A cache of the fixture's own in front of the app's routes: what many apps have that wrote theirs by hand. The app behind it caches
//! nothing, so that what is in Redis is the front's.
//!
//! With [`Screws::default`] it is right (the control `front` of the table passes every scenario): values are filled under a lease, so that
//! none read before a write is stored after it; a write deletes after its commit and before it is acknowledged; what could not be deleted is
//! owed. A defect turns one screw.

mod local;
mod screws;
mod wire;

pub(crate) use local::Local;
pub(crate) use screws::{Gate, Removes, Screws};
pub(crate) use wire::{Failed, Manners, Wire};

use crate::ask::{Asked, Kind};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use cache_layer::Strategy;
use reference_app::ServeArgs;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

/// A value, or a lease that was given to the asker (its own token) or is another's.
const LOOK: &str = "local v = redis.call('GET', KEYS[1])
if v then return v end
if ARGV[2] == '' then redis.call('SET', KEYS[1], ARGV[1]) else redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return ARGV[1]";

/// Stores a value if its lease is still there.
const FILL: &str = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[2]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1";

const TOO_SLOW: &[u8] = br#"{"error":"the database gave no answer in time"}"#;

static FILL_DIGEST: LazyLock<String> = LazyLock::new(|| redis::Script::new(FILL).get_hash().to_owned());

pub(crate) struct Front {
    wire: Wire,
    screws: Screws,
    tokens: AtomicU64,
    loads: AtomicU64,
    local: Local,
    texts: Local,
    gates: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// What the cache said.
enum Looked {
    /// Status and body.
    Value(StatusCode, Bytes),
    /// Nothing; the lease to fill under, if it is ours.
    Nothing(Option<String>),
}

/// Plants a front cache with these screws.
pub(crate) fn plant(args: &mut ServeArgs, screws: Screws) -> crate::Wrap {
    let front = Arc::new(Front::new(args, screws));
    Box::new(|_, routes| before(routes, front))
}

/// Routes with a front cache before them.
pub(crate) fn before(routes: Router, front: Arc<Front>) -> Router {
    Router::new().fallback_service(routes).layer(middleware::from_fn_with_state(front, serve))
}

async fn serve(State(front): State<Arc<Front>>, request: Request, next: Next) -> Response {
    let Some(asked) = Asked::of(&request) else { return next.run(request).await };
    match asked.kind {
        Kind::Read => front.read(&asked, next).await,
        // In a task of its own: what a client's hanging up leaves undone would stay stale.
        Kind::Write => {
            let written = tokio::spawn(async move { front.write(&asked, request, next).await });
            written.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
        }
    }
}

impl Front {
    pub(crate) fn new(args: &mut ServeArgs, screws: Screws) -> Self {
        args.app.cache = Some(Strategy::None);
        let wire = Wire::new(args.app.redis_url.as_deref(), screws.manners);
        // Two instances must not take each other's leases for their own.
        let tokens = AtomicU64::new(u64::from(std::process::id()) << 32);
        Self {
            wire,
            screws,
            tokens,
            loads: AtomicU64::new(0),
            local: Local::default(),
            texts: Local::default(),
            gates: Mutex::default(),
        }
    }

    async fn read(self: &Arc<Self>, asked: &Asked, next: Next) -> Response {
        let name = (self.screws.name)(asked);
        if let Some((status, body)) = self.local.get(&name) {
            return answer(status, body, "front; hit");
        }
        let mut left = self.screws.retries;
        loop {
            let (response, stored) = self.read_once(&name, asked, next.clone()).await;
            if stored || left == 0 {
                return response;
            }
            left -= 1;
        }
    }

    /// An answer, and whether nothing is left to be done for the cache.
    async fn read_once(self: &Arc<Self>, name: &str, asked: &Asked, next: Next) -> (Response, bool) {
        let lease = match self.look(name).await {
            Ok(Looked::Value(status, body)) => {
                if let Some(ttl) = self.screws.local {
                    self.local.keep(name, status, &body, ttl);
                }
                if self.screws.refreshes {
                    self.refresh(name.to_owned(), asked.clone(), next);
                }
                return (answer(status, body, "front; hit"), true);
            }
            Ok(Looked::Nothing(lease)) => lease,
            Err(_) => return (self.fall_back(asked, next).await, false),
        };
        let gate = self.gate(name);
        let _turn = match &gate {
            Some(gate) => Some(gate.lock().await),
            None => None,
        };
        // Another may have stored it while this one stood at the gate; or its lease is over by now.
        let lease = match (lease, gate.is_some()) {
            (None, true) => match self.look_again(name).await {
                Ok(Looked::Value(status, body)) => {
                    return (answer(status, body, "front; fwd=uri-miss; collapsed"), true);
                }
                Ok(Looked::Nothing(lease)) => lease,
                Err(_) => return (self.fall_back(asked, next).await, false),
            },
            (lease, _) => lease,
        };
        let (status, body) = self.load(asked, next).await;
        let to_store = (self.screws.stores)(status) && body.len() <= self.screws.largest;
        let stored = !to_store || self.fill(name, lease, status, &body).await.is_ok();
        (answer(status, body, "front; fwd=uri-miss"), stored)
    }

    async fn write(&self, asked: &Asked, request: Request, next: Next) -> Response {
        if self.screws.removes == Removes::BeforeCommit {
            self.remove(asked).await.ok();
        }
        let response = next.run(request).await;
        let removed = match self.screws.removes {
            Removes::AfterCommit => self.remove(asked).await,
            Removes::Everything => self.wire.call(redis::pipe().cmd("FLUSHDB").ignore()).await,
            Removes::BeforeCommit | Removes::Never => Ok(()),
        };
        if removed.is_err() && self.screws.writes_need_redis {
            return (StatusCode::SERVICE_UNAVAILABLE, r#"{"error":"the cache gave no answer"}"#).into_response();
        }
        response
    }

    async fn remove(&self, asked: &Asked) -> Result<(), Failed> {
        let names = (self.screws.made_invalid)(asked);
        let removed = self.wire.remove(&names).await;
        self.local.remove(&names);
        removed.inspect_err(|_| self.lament())
    }

    async fn look(&self, name: &str) -> Result<Looked, Failed> {
        let token = format!("?{:x}", self.tokens.fetch_add(1, Ordering::Relaxed));
        let mut commands = redis::pipe();
        if self.screws.leases {
            let lasts = if self.screws.dies_every == 0 { "3000" } else { "" };
            commands.cmd("EVAL").arg(LOOK).arg(1).arg(name).arg(&token).arg(lasts);
        } else {
            commands.get(name);
        }
        let answer = self.wire.call::<(Option<Vec<u8>>,)>(&commands).await;
        let (found,) = answer.inspect_err(|_| self.lament())?;
        Ok(match found {
            None => Looked::Nothing(Some(String::new())), // no leases: whoever loads, stores
            Some(value) if value.first() == Some(&b'?') => {
                Looked::Nothing((value == token.as_bytes()).then_some(token))
            }
            Some(value) => {
                let status = value.get(..3).and_then(|code| StatusCode::from_bytes(code).ok()).unwrap_or_default();
                Looked::Value(status, Bytes::from(value).slice(3..))
            }
        })
    }

    /// After another held the key's lock.
    async fn look_again(&self, name: &str) -> Result<Looked, Failed> {
        let looked = self.look(name).await?;
        if self.screws.dies_every == 0 || !matches!(looked, Looked::Nothing(None)) {
            return Ok(looked);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.look(name).await
    }

    async fn fill(&self, name: &str, lease: Option<String>, status: StatusCode, body: &[u8]) -> Result<(), Failed> {
        let Some(lease) = lease else { return Ok(()) };
        if self.screws.dies_every > 0 && self.loads.load(Ordering::Relaxed).is_multiple_of(self.screws.dies_every) {
            return Ok(());
        }
        let value = [status.as_str().as_bytes(), body].concat();
        let ttl = self.screws.ttl.map(|ttl| ttl.as_millis().to_string());
        let mut commands = redis::pipe();
        if !self.screws.leases {
            let set = commands.cmd("SET").arg(name).arg(&value);
            if let Some(ttl) = &ttl {
                set.arg("PX").arg(ttl);
            }
        } else {
            let known = self.screws.script_once && self.loads.load(Ordering::Relaxed) > 1;
            let (command, script) = if known { ("EVALSHA", FILL_DIGEST.as_str()) } else { ("EVAL", FILL) };
            commands.cmd(command).arg(script).arg(1).arg(name).arg(&lease).arg(&value).arg(ttl.unwrap_or_default());
        }
        self.wire.call::<()>(commands.ignore()).await
    }

    async fn load(&self, asked: &Asked, next: Next) -> (StatusCode, Bytes) {
        self.loads.fetch_add(1, Ordering::Relaxed);
        let loaded = tokio::time::timeout(self.screws.load_at_most, fetch(asked, next)).await;
        let loaded = loaded.unwrap_or((StatusCode::SERVICE_UNAVAILABLE, Bytes::from_static(TOO_SLOW)));
        if !self.screws.load_takes.is_zero() {
            tokio::time::sleep(self.screws.load_takes).await;
        }
        match (self.screws.text_apart, loaded) {
            (Some(ttl), (StatusCode::OK, body)) => (StatusCode::OK, self.with_text_apart(&asked.key(), body, ttl)),
            (_, loaded) => loaded,
        }
    }

    /// The item with the text that is kept for it, which is then not its own.
    fn with_text_apart(&self, key: &str, body: Bytes, ttl: Duration) -> Bytes {
        let Ok(mut item) = serde_json::from_slice::<serde_json::Value>(&body) else { return body };
        let Some(text) = item.get("body").map(ToString::to_string) else { return body };
        match self.texts.get(key) {
            Some((_, kept)) => item["body"] = serde_json::from_slice(&kept).unwrap_or_default(),
            None => self.texts.keep(key, StatusCode::OK, &text.into(), ttl),
        }
        item.to_string().into()
    }

    /// Stores a value whatever is there.
    pub(crate) async fn keep(&self, asked: &Asked, body: &[u8]) {
        self.fill(&(self.screws.name)(asked), Some(String::new()), StatusCode::OK, body).await.ok();
    }

    async fn fall_back(&self, asked: &Asked, next: Next) -> Response {
        tokio::time::sleep(self.screws.fallback_after).await;
        let _turn = match (self.screws.gate, self.gate("")) {
            (Gate::OneForAll, Some(gate)) => Some(gate.lock_owned().await),
            _ => None,
        };
        let (status, body) = self.load(asked, next).await;
        answer(status, body, "front; fwd=bypass; detail=fallback")
    }

    fn refresh(self: &Arc<Self>, name: String, asked: Asked, next: Next) {
        let front = Arc::clone(self);
        tokio::spawn(async move {
            let (status, body) = front.load(&asked, next).await;
            if status == StatusCode::OK {
                front.fill(&name, Some(String::new()), status, &body).await.ok();
            }
        });
    }

    fn gate(&self, name: &str) -> Option<Arc<tokio::sync::Mutex<()>>> {
        let name = match self.screws.gate {
            Gate::OneForEachKey => name,
            Gate::OneForAll => "",
            Gate::Open => return None,
        };
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(gates.entry(name.to_owned()).or_default()))
    }

    fn lament(&self) {
        for line in 0..self.screws.laments {
            tracing::error!(line, "Redis gave no answer: {}", "at cache.rs, called from handler.rs; ".repeat(8));
        }
    }
}

/// Past the cache, as a request that says `no-store` goes.
pub(crate) async fn fetch(asked: &Asked, next: Next) -> (StatusCode, Bytes) {
    let mut request = Request::get(asked.uri.clone()).body(Body::empty()).unwrap_or_default();
    request.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let response = next.run(request).await;
    let status = response.status();
    (status, to_bytes(response.into_body(), usize::MAX).await.unwrap_or_default())
}

fn answer(status: StatusCode, body: Bytes, cache_status: &'static str) -> Response {
    (status, [("cache-status", cache_status), (CONTENT_TYPE.as_str(), "application/json")], body).into_response()
}
