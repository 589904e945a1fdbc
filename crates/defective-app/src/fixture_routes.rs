//! Routes that the fixture adds to those of the reference app, so that a scenario can act as a user without handling
//! cookies:
//!
//! | request | answer |
//! |---|---|
//! | `GET /mine` | the profile of the user in `X-User` |
//! | `PUT /visits/{n}` | logs visitor n in, as a browser would: `id`, `version` (how many times by now) |
//! | `GET /visits/{n}` | the same while the session is there, else 404 |
//! | `DELETE /visits/{n}` | logs out |

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use reference_app::ServeArgs;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tower::ServiceExt as _;

const TOKEN: &str = "fixture-identity-provider-0001";
/// Any 32 bytes.
const KEYS: &str = "fixture:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Turns sessions and login on.
pub(crate) fn enable_login(args: &mut ServeArgs) {
    args.app.session_keys = Some(KEYS.to_owned());
    args.app.login_token = Some(TOKEN.to_owned());
}

/// Adds these routes to the app's.
pub(crate) fn with_fixture_routes(routes: Router) -> Router {
    let browsers = Browsers { app: routes.clone(), cookies: Arc::default() };
    let own = Router::new()
        .route("/mine", get(mine))
        .route("/visits/{visitor}", get(show_session).put(log_in).delete(log_out))
        .with_state(browsers);
    own.fallback_service(routes)
}

/// One browser for each visitor. It keeps the cookie after the end of the session.
#[derive(Clone)]
struct Browsers {
    app: Router,
    cookies: Arc<Mutex<HashMap<u64, Cookie>>>,
}

#[derive(Clone, Default)]
struct Cookie {
    text: String,
    logins: u64,
}

async fn mine(State(browsers): State<Browsers>, headers: HeaderMap) -> Response {
    let user = headers.get("x-user").and_then(|user| user.to_str().ok()?.parse::<u64>().ok());
    let Some(user) = user else { return StatusCode::UNAUTHORIZED.into_response() };
    browsers.ask("GET", &format!("/users/{user}"), &[], String::new()).await
}

async fn log_in(State(browsers): State<Browsers>, Path(visitor): Path<u64>) -> Response {
    let body = serde_json::json!({ "user": visitor, "device": "fixture" }).to_string();
    let token = format!("Bearer {TOKEN}");
    let answer = browsers.ask("POST", "/login", &[(AUTHORIZATION.as_str(), &token)], body).await;
    let cookie = answer.headers().get(SET_COOKIE).and_then(|cookie| cookie.to_str().ok()?.split(';').next());
    let Some(cookie) = cookie.map(str::to_owned) else { return answer };
    let mut cookies = browsers.cookies.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = cookies.entry(visitor).or_default();
    (kept.text, kept.logins) = (cookie, kept.logins + 1);
    visit(visitor, kept.logins)
}

async fn show_session(State(browsers): State<Browsers>, Path(visitor): Path<u64>) -> Response {
    let cookie = browsers.cookie(visitor);
    match browsers.ask("GET", "/me", &[(COOKIE.as_str(), &cookie.text)], String::new()).await {
        answer if answer.status() == StatusCode::OK => visit(visitor, cookie.logins),
        answer if answer.status() == StatusCode::UNAUTHORIZED => StatusCode::NOT_FOUND.into_response(),
        answer => answer,
    }
}

async fn log_out(State(browsers): State<Browsers>, Path(visitor): Path<u64>) -> Response {
    let cookie = browsers.cookie(visitor);
    match browsers.ask("POST", "/logout", &[(COOKIE.as_str(), &cookie.text)], String::new()).await {
        answer if answer.status() == StatusCode::UNAUTHORIZED => StatusCode::NOT_FOUND.into_response(),
        answer if answer.status().is_success() => visit(visitor, cookie.logins),
        answer => answer,
    }
}

fn visit(visitor: u64, version: u64) -> Response {
    axum::Json(serde_json::json!({ "id": visitor, "version": version })).into_response()
}

impl Browsers {
    fn cookie(&self, visitor: u64) -> Cookie {
        self.cookies.lock().unwrap_or_else(PoisonError::into_inner).get(&visitor).cloned().unwrap_or_default()
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: String) -> Response {
        let request = Request::builder().method(method).uri(path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let Ok(request) = request.body(Body::from(body)) else { return StatusCode::BAD_REQUEST.into_response() };
        let Ok(answer) = self.app.clone().oneshot(request).await;
        answer
    }
}
