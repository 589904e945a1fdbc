//! Encrypted sessions, shared by all instances of the app.
//!
//! An identity provider authenticates users: who has its token may open a session for any user with `POST /login`.

use crate::app::App;
use crate::args::{AppArgs, non_empty};
use crate::error::AppError;
use crate::respond::{Problem, json, parse_body};
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json};
use bytes::Bytes;
use cache_layer::manage::Token;
use cache_layer::session::{KeyRing, SessionConfig, SessionCookie, SessionError, SessionId, Sessions};
use cache_layer::{MemoryConfig, MemoryStore, Metrics, RedisConfig, StoreStatus};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// Starts and finds sessions.
pub(crate) struct SessionService {
    sessions: Sessions<()>,
    cookie: SessionCookie,
    /// SHA-256 of the identity provider's token; without one nobody can log in. Digests can be compared without constant time, because an
    /// attacker cannot choose how a digest begins.
    provider: Option<[u8; 32]>,
}

/// The user of a request's session. A request extension.
#[derive(Clone)]
pub(crate) struct CurrentUser {
    pub(crate) user: i64,
    session: SessionId,
    handle: String,
}

impl SessionService {
    /// `None` without encryption keys. Sessions are stored in the Redis that is configured for them, else in the cache's, else in memory.
    pub(crate) fn open(
        args: &AppArgs,
        redis: Option<RedisConfig>,
        metrics: &Metrics,
    ) -> Result<Option<Self>, AppError> {
        let Some(keys) = non_empty(&args.session_keys) else { return Ok(None) };
        let (ring, config) = (KeyRing::parse(keys)?, SessionConfig::default());
        let redis = match non_empty(&args.session_redis_url) {
            Some(url) => Some(RedisConfig { url: url.to_owned(), ..redis.unwrap_or_else(|| RedisConfig::new(url)) }),
            None => redis,
        };
        let sessions = match redis {
            Some(mut redis) => {
                // Not under the cache's prefix: clearing the cache must not log everyone out.
                redis.namespace.insert_str(0, "sessions.");
                Sessions::redis(redis, ring, config, metrics.clone())?
            }
            None => Sessions::new(Arc::new(MemoryStore::new(&MemoryConfig::default())), ring, config, metrics.clone())?,
        };
        let cookie = SessionCookie::new("__Host-session", sessions.config().longest).expect("a token");
        if let Some(token) = non_empty(&args.login_token) {
            let _strong_enough = Token::new(token)?;
        }
        let provider = non_empty(&args.login_token).map(|token| Sha256::digest(token).into());
        Ok(Some(Self { sessions, cookie, provider }))
    }

    pub(crate) fn status(&self) -> StoreStatus {
        self.sessions.status()
    }

    /// Retries the deletions of logouts that failed.
    pub(crate) async fn close(&self, at_most: Duration) {
        self.sessions.close(at_most).await;
    }

    async fn current_user(&self, headers: &HeaderMap) -> Result<Option<CurrentUser>, Problem> {
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let Some(id) = self.cookie.find(cookies) else { return Ok(None) };
        let session = self.sessions.load(&id).await?;
        Ok(session.and_then(|session| {
            Some(CurrentUser { user: session.user.parse().ok()?, session: session.id, handle: session.handle })
        }))
    }
}

impl From<SessionError> for Problem {
    /// Not 401: the user may be logged in although Redis does not answer.
    fn from(error: SessionError) -> Self {
        tracing::debug!(%error, "the session store did not answer");
        Self(StatusCode::SERVICE_UNAVAILABLE, "the session store does not answer: try again".into())
    }
}

/// Requires a session, and sets [`CurrentUser`].
pub(crate) fn logged_in(router: Router<App>, app: &App) -> Router<App> {
    router.layer(middleware::from_fn_with_state(app.clone(), check))
}

async fn check(State(app): State<App>, mut request: Request, next: Next) -> Result<Response, Problem> {
    let current_user = match app.session_service() {
        Some(session_service) => session_service.current_user(request.headers()).await?,
        None => None,
    };
    let current_user =
        current_user.ok_or_else(|| Problem(StatusCode::UNAUTHORIZED, "nobody is logged in: POST /login".into()))?;
    request.extensions_mut().insert(current_user);
    Ok(next.run(request).await)
}

pub(crate) fn routes(app: &App) -> Router<App> {
    let own = Router::new()
        .route("/me", get(me))
        .route("/logout", post(logout))
        .route("/sessions", get(list).delete(end_all))
        .route("/sessions/{handle}", axum::routing::delete(end_one));
    logged_in(own, app).route("/login", post(login))
}

#[derive(Deserialize)]
struct Login {
    user: i64,
    #[serde(default)]
    device: String,
}

async fn login(State(app): State<App>, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    let no_login =
        || Problem(StatusCode::NOT_FOUND, "nobody can log in here: SESSION_KEYS and LOGIN_TOKEN are not set".into());
    let session_service = app.session_service().ok_or_else(no_login)?;
    let provider = session_service.provider.ok_or_else(no_login)?;
    let presented = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    if presented.is_none_or(|presented| provider != <[u8; 32]>::from(Sha256::digest(presented))) {
        return Err(Problem(StatusCode::UNAUTHORIZED, "only the identity provider may log users in".into()));
    }
    let Login { user, device } = parse_body(&body)?;
    let note: String = device.chars().take(100).collect();
    let session = session_service.sessions.start(&user.to_string(), &note, &()).await?;
    let body = json(StatusCode::OK, &serde_json::json!({ "user": user, "session": session.handle }));
    Ok(([(SET_COOKIE, session_service.cookie.set(&session.id))], body).into_response())
}

async fn me(Extension(current_user): Extension<CurrentUser>) -> Response {
    json(StatusCode::OK, &serde_json::json!({ "user": current_user.user, "session": current_user.handle }))
}

async fn logout(State(app): State<App>, Extension(current_user): Extension<CurrentUser>) -> Result<Response, Problem> {
    let session_service = require_session_service(&app)?;
    session_service.sessions.end(&current_user.session).await?;
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, session_service.cookie.remove())]).into_response())
}

async fn list(State(app): State<App>, Extension(current_user): Extension<CurrentUser>) -> Result<Response, Problem> {
    let sessions = require_session_service(&app)?.sessions.list(&current_user.user.to_string()).await?;
    let sessions: Vec<_> = sessions
        .iter()
        .map(|session| {
            let started = session.started.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            serde_json::json!({
                "session": session.handle, "device": session.note, "started": started, "left_s": session.left.as_secs(),
                "this": session.handle == current_user.handle,
            })
        })
        .collect();
    Ok(Json(serde_json::json!({ "user": current_user.user, "sessions": sessions })).into_response())
}

async fn end_all(State(app): State<App>, Extension(current_user): Extension<CurrentUser>) -> Result<Response, Problem> {
    let session_service = require_session_service(&app)?;
    session_service.sessions.end_all(&current_user.user.to_string()).await?;
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, session_service.cookie.remove())]).into_response())
}

async fn end_one(
    State(app): State<App>,
    Extension(current_user): Extension<CurrentUser>,
    Path(handle): Path<String>,
) -> Result<Response, Problem> {
    let ended = require_session_service(&app)?.sessions.end_one(&current_user.user.to_string(), &handle).await?;
    if ended { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(Problem::not_found("sessions", handle)) }
}

/// Handlers behind [`logged_in`] always have one.
fn require_session_service(app: &App) -> Result<&SessionService, Problem> {
    app.session_service().ok_or_else(|| Problem(StatusCode::NOT_FOUND, "there are no sessions here".into()))
}
