use super::problem::Problem;
use super::token::Token;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines about refused callers.
const SELDOM: Duration = Duration::from_secs(10);

/// Who may come in.
#[derive(Clone, Debug)]
pub(super) struct Door {
    tokens: Arc<[Token]>,
    refused: Arc<Mutex<Refused>>,
}

#[derive(Debug, Default)]
struct Refused {
    since: u64,
    last_line: Option<Instant>,
}

/// Who is asking: the id of the token, for the audit log.
#[derive(Clone, Debug)]
pub(super) struct Who(pub(super) String);

impl Door {
    pub(super) fn new(tokens: Vec<Token>) -> Self {
        Self { tokens: tokens.into(), refused: Arc::default() }
    }

    fn let_in(&self, headers: &HeaderMap) -> Result<Who, Problem> {
        let presented = bearer(headers).ok_or_else(Problem::unauthorized)?;
        let token = Token::find(&self.tokens, presented).ok_or_else(|| {
            self.count_refused();
            Problem::forbidden()
        })?;
        Ok(Who(token.id().to_owned()))
    }

    /// Somebody may be guessing. That is worth a line, not a line for each guess.
    fn count_refused(&self) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.since += 1;
        if refused.last_line.is_none_or(|last| last.elapsed() >= SELDOM) {
            let times = std::mem::take(&mut refused.since);
            refused.last_line = Some(Instant::now());
            drop(refused);
            tracing::warn!(target: "cache_layer::audit", times, "wrong management token");
        }
    }
}

/// The one token of the one `Authorization` header.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else { return None };
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

/// Before everything else, unknown paths included: who has no token learns nothing.
pub(super) async fn check(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let mut response = match door.let_in(request.headers()) {
        Ok(who) => {
            request.extensions_mut().insert(who);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
