//! The fixture's own cache in front of the app's routes, as many apps write it by hand. The app behind it caches nothing, so
//! everything in Redis is from this cache.
//!
//! With [`FrontCacheConfig::default`] it is correct (the healthy deployment `front` passes every scenario): a value is stored
//! under a lease, so that none that was read before a write is stored after it; a write deletes its keys after the commit and
//! before it is acknowledged; a deletion that failed is repeated before the next read. A defect changes one setting.

mod config;
mod local;
mod redis_client;

pub(crate) use config::{FrontCacheConfig, InvalidationPolicy, LoadLock};
pub(crate) use local::LocalCache;
pub(crate) use redis_client::{RedisClient, RedisClientConfig, RedisFailure};

use crate::data_request::{Access, DataRequest};
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

/// Returns the value, or a lease: the caller's own token if it got the lease, else another's.
const LOOKUP_SCRIPT: &str = "local v = redis.call('GET', KEYS[1])
if v then return v end
if ARGV[2] == '' then redis.call('SET', KEYS[1], ARGV[1]) else redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return ARGV[1]";

/// Stores a value if its lease still exists.
const FILL_SCRIPT: &str = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[2]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1";

const LOAD_TIMEOUT_BODY: &[u8] = br#"{"error":"the database did not answer in time"}"#;

static FILL_SCRIPT_DIGEST: LazyLock<String> = LazyLock::new(|| redis::Script::new(FILL_SCRIPT).get_hash().to_owned());

pub(crate) struct FrontCache {
    redis_client: RedisClient,
    config: FrontCacheConfig,
    tokens: AtomicU64,
    loads: AtomicU64,
    local: LocalCache,
    texts: LocalCache,
    load_locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// What the cache returned.
enum CacheLookup {
    /// Status and body.
    Value(StatusCode, Bytes),
    /// No value; and the lease for storing one, if the caller got it.
    Nothing(Option<String>),
}

/// Installs a front cache with these settings.
pub(crate) fn install(args: &mut ServeArgs, config: FrontCacheConfig) -> crate::RouteWrapper {
    let front_cache = Arc::new(FrontCache::new(args, config));
    Box::new(|_, routes| wrap_routes(routes, front_cache))
}

/// Puts a front cache in front of the routes.
pub(crate) fn wrap_routes(routes: Router, front_cache: Arc<FrontCache>) -> Router {
    Router::new().fallback_service(routes).layer(middleware::from_fn_with_state(front_cache, serve))
}

async fn serve(State(front_cache): State<Arc<FrontCache>>, request: Request, next: Next) -> Response {
    let Some(data_request) = DataRequest::of(&request) else { return next.run(request).await };
    match data_request.kind {
        Access::Read => front_cache.read(&data_request, next).await,
        // In its own task: if the client disconnects, the deletion must still happen.
        Access::Write => {
            let written = tokio::spawn(async move { front_cache.write(&data_request, request, next).await });
            written.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
        }
    }
}

impl FrontCache {
    pub(crate) fn new(args: &mut ServeArgs, config: FrontCacheConfig) -> Self {
        args.app.cache = Some(Strategy::None);
        let redis_client = RedisClient::new(args.app.redis_url.as_deref(), config.redis_client_config);
        // Two instances must not use the same tokens.
        let tokens = AtomicU64::new(u64::from(std::process::id()) << 32);
        Self {
            redis_client,
            config,
            tokens,
            loads: AtomicU64::new(0),
            local: LocalCache::default(),
            texts: LocalCache::default(),
            load_locks: Mutex::default(),
        }
    }

    async fn read(self: &Arc<Self>, data_request: &DataRequest, next: Next) -> Response {
        let name = (self.config.name)(data_request);
        if let Some((status, body)) = self.local.get(&name) {
            return answer(status, body, "front; hit");
        }
        let mut left = self.config.retries;
        loop {
            let (response, stored) = self.read_once(&name, data_request, next.clone()).await;
            if stored || left == 0 {
                return response;
            }
            left -= 1;
        }
    }

    /// The answer, and whether its value was stored (or need not be).
    async fn read_once(self: &Arc<Self>, name: &str, data_request: &DataRequest, next: Next) -> (Response, bool) {
        let lease = match self.lookup(name).await {
            Ok(CacheLookup::Value(status, body)) => {
                if let Some(ttl) = self.config.local {
                    self.local.store(name, status, &body, ttl);
                }
                if self.config.refreshes_on_hit {
                    self.refresh(name.to_owned(), data_request.clone(), next);
                }
                return (answer(status, body, "front; hit"), true);
            }
            Ok(CacheLookup::Nothing(lease)) => lease,
            Err(_) => return (self.fall_back(data_request, next).await, false),
        };
        let load_lock = self.load_lock(name);
        let _turn = match &load_lock {
            Some(load_lock) => Some(load_lock.lock().await),
            None => None,
        };
        // Another request may have stored it while this one waited for the lock; or its lease has expired.
        let lease = match (lease, load_lock.is_some()) {
            (None, true) => match self.lookup_after_lock(name).await {
                Ok(CacheLookup::Value(status, body)) => {
                    return (answer(status, body, "front; fwd=uri-miss; collapsed"), true);
                }
                Ok(CacheLookup::Nothing(lease)) => lease,
                Err(_) => return (self.fall_back(data_request, next).await, false),
            },
            (lease, _) => lease,
        };
        let (status, body) = self.load(data_request, next).await;
        let to_store = (self.config.is_stored)(status) && body.len() <= self.config.max_body_bytes;
        let stored = !to_store || self.fill(name, lease, status, &body).await.is_ok();
        (answer(status, body, "front; fwd=uri-miss"), stored)
    }

    async fn write(&self, data_request: &DataRequest, request: Request, next: Next) -> Response {
        if self.config.invalidation == InvalidationPolicy::BeforeCommit {
            self.remove(data_request).await.ok();
        }
        let response = next.run(request).await;
        let removed = match self.config.invalidation {
            InvalidationPolicy::AfterCommit => self.remove(data_request).await,
            InvalidationPolicy::Everything => self.redis_client.call(redis::pipe().cmd("FLUSHDB").ignore()).await,
            InvalidationPolicy::BeforeCommit | InvalidationPolicy::Never => Ok(()),
        };
        if removed.is_err() && self.config.writes_need_redis {
            return (StatusCode::SERVICE_UNAVAILABLE, r#"{"error":"the cache did not answer"}"#).into_response();
        }
        response
    }

    async fn remove(&self, data_request: &DataRequest) -> Result<(), RedisFailure> {
        let names = (self.config.invalidated_keys)(data_request);
        let removed = self.redis_client.remove(&names).await;
        self.local.remove(&names);
        removed.inspect_err(|_| self.log_failure())
    }

    async fn lookup(&self, name: &str) -> Result<CacheLookup, RedisFailure> {
        let token = format!("?{:x}", self.tokens.fetch_add(1, Ordering::Relaxed));
        let mut commands = redis::pipe();
        if self.config.leases {
            let lasts = if self.config.lock_holder_dies_every == 0 { "3000" } else { "" };
            commands.cmd("EVAL").arg(LOOKUP_SCRIPT).arg(1).arg(name).arg(&token).arg(lasts);
        } else {
            commands.get(name);
        }
        let answer = self.redis_client.call::<(Option<Vec<u8>>,)>(&commands).await;
        let (found,) = answer.inspect_err(|_| self.log_failure())?;
        Ok(match found {
            None => CacheLookup::Nothing(Some(String::new())), // no leases: every load is stored
            Some(value) if value.first() == Some(&b'?') => {
                CacheLookup::Nothing((value == token.as_bytes()).then_some(token))
            }
            Some(value) => {
                let status = value.get(..3).and_then(|code| StatusCode::from_bytes(code).ok()).unwrap_or_default();
                CacheLookup::Value(status, Bytes::from(value).slice(3..))
            }
        })
    }

    /// The look-up after waiting for the key's lock.
    async fn lookup_after_lock(&self, name: &str) -> Result<CacheLookup, RedisFailure> {
        let lookup = self.lookup(name).await?;
        if self.config.lock_holder_dies_every == 0 || !matches!(lookup, CacheLookup::Nothing(None)) {
            return Ok(lookup);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.lookup(name).await
    }

    async fn fill(
        &self,
        name: &str,
        lease: Option<String>,
        status: StatusCode,
        body: &[u8],
    ) -> Result<(), RedisFailure> {
        let Some(lease) = lease else { return Ok(()) };
        if self.config.lock_holder_dies_every > 0
            && self.loads.load(Ordering::Relaxed).is_multiple_of(self.config.lock_holder_dies_every)
        {
            return Ok(());
        }
        let value = [status.as_str().as_bytes(), body].concat();
        let ttl = self.config.ttl.map(|ttl| ttl.as_millis().to_string());
        let mut commands = redis::pipe();
        if !self.config.leases {
            let set = commands.cmd("SET").arg(name).arg(&value);
            if let Some(ttl) = &ttl {
                set.arg("PX").arg(ttl);
            }
        } else {
            let known = self.config.script_once && self.loads.load(Ordering::Relaxed) > 1;
            let (command, script) =
                if known { ("EVALSHA", FILL_SCRIPT_DIGEST.as_str()) } else { ("EVAL", FILL_SCRIPT) };
            commands.cmd(command).arg(script).arg(1).arg(name).arg(&lease).arg(&value).arg(ttl.unwrap_or_default());
        }
        self.redis_client.call::<()>(commands.ignore()).await
    }

    async fn load(&self, data_request: &DataRequest, next: Next) -> (StatusCode, Bytes) {
        self.loads.fetch_add(1, Ordering::Relaxed);
        let loaded = tokio::time::timeout(self.config.load_timeout, fetch(data_request, next)).await;
        let loaded = loaded.unwrap_or((StatusCode::SERVICE_UNAVAILABLE, Bytes::from_static(LOAD_TIMEOUT_BODY)));
        if !self.config.extra_load_time.is_zero() {
            tokio::time::sleep(self.config.extra_load_time).await;
        }
        match (self.config.text_ttl, loaded) {
            (Some(ttl), (StatusCode::OK, body)) => {
                (StatusCode::OK, self.with_separate_text(&data_request.key(), body, ttl))
            }
            (_, loaded) => loaded,
        }
    }

    /// The item with its text from the separate cache, which can be outdated.
    fn with_separate_text(&self, key: &str, body: Bytes, ttl: Duration) -> Bytes {
        let Ok(mut item) = serde_json::from_slice::<serde_json::Value>(&body) else { return body };
        let Some(text) = item.get("body").map(ToString::to_string) else { return body };
        match self.texts.get(key) {
            Some((_, cached)) => item["body"] = serde_json::from_slice(&cached).unwrap_or_default(),
            None => self.texts.store(key, StatusCode::OK, &text.into(), ttl),
        }
        item.to_string().into()
    }

    /// Stores a value unconditionally.
    pub(crate) async fn store(&self, data_request: &DataRequest, body: &[u8]) {
        self.fill(&(self.config.name)(data_request), Some(String::new()), StatusCode::OK, body).await.ok();
    }

    async fn fall_back(&self, data_request: &DataRequest, next: Next) -> Response {
        tokio::time::sleep(self.config.fallback_delay).await;
        let _turn = match (self.config.load_lock, self.load_lock("")) {
            (LoadLock::Global, Some(load_lock)) => Some(load_lock.lock_owned().await),
            _ => None,
        };
        let (status, body) = self.load(data_request, next).await;
        answer(status, body, "front; fwd=bypass; detail=fallback")
    }

    fn refresh(self: &Arc<Self>, name: String, data_request: DataRequest, next: Next) {
        let front_cache = Arc::clone(self);
        tokio::spawn(async move {
            let (status, body) = front_cache.load(&data_request, next).await;
            if status == StatusCode::OK {
                front_cache.fill(&name, Some(String::new()), status, &body).await.ok();
            }
        });
    }

    fn load_lock(&self, name: &str) -> Option<Arc<tokio::sync::Mutex<()>>> {
        let name = match self.config.load_lock {
            LoadLock::PerKey => name,
            LoadLock::Global => "",
            LoadLock::Unlocked => return None,
        };
        let mut load_locks = self.load_locks.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(load_locks.entry(name.to_owned()).or_default()))
    }

    fn log_failure(&self) {
        for line in 0..self.config.log_lines_per_failure {
            tracing::error!(line, "Redis did not answer: {}", "at cache.rs, called from handler.rs; ".repeat(8));
        }
    }
}

/// Loads past the cache, with `Cache-Control: no-store`.
pub(crate) async fn fetch(data_request: &DataRequest, next: Next) -> (StatusCode, Bytes) {
    let mut request = Request::get(data_request.uri.clone()).body(Body::empty()).unwrap_or_default();
    request.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let response = next.run(request).await;
    let status = response.status();
    (status, to_bytes(response.into_body(), usize::MAX).await.unwrap_or_default())
}

fn answer(status: StatusCode, body: Bytes, cache_status: &'static str) -> Response {
    (status, [("cache-status", cache_status), (CONTENT_TYPE.as_str(), "application/json")], body).into_response()
}
