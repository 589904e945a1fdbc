//! Management endpoints: looking at a cache and changing it by hand, behind a bearer token.
//!
//! | request | answer |
//! |---|---|
//! | `GET /stats` | [`Statistics`](crate::Statistics): hits, misses, rates, operations, errors, latency |
//! | `GET /health` | [`Health`](crate::Health), 200 whatever it says: an app whose cache is down is not down |
//! | `GET /keys?pattern=posts:*&limit=100` | names that match, at most 1,000; `complete` says whether these are all |
//! | `GET /keys/{name}` | TTL, size, tags and age of a value; with `?value=true` the value, too |
//! | `DELETE /keys/{name}` | how many went: 0 or 1 |
//! | `POST /clear` `{"pattern": "posts:*", "limit": 10000}` | how many went, at most `limit` (100,000); `*` stands for all of the layer |
//! | `POST /invalidate` `{"tags": […], "keys": […]}` | what a committed write would do; at most 1,000 of them |
//! | `POST /warm` `{"plans": ["users"]}` | begins; without names all plans. 409 while it is under way |
//! | `GET /warm`, `DELETE /warm` | how far it got; stop it |
//!
//! Names are those without namespace, percent-encoded in the path (`a%2Fb` in a name is `a%252Fb` in the path); no name or pattern
//! reaches beyond the namespace. Without a namespace, a pattern may match keys that others put on the same server.
//! A name that is put while a pass is under way may be missed: to be sure of what *was* there, invalidate a tag.
//! `202` with `"owed": true`: the cache did not confirm in time; it will not be read until that is made up for.
//!
//! Everything else is `{"error": {"code": …, "message": …}}`: 401 without a token, 403 with a wrong one. Without any token set, no path is
//! there. Every change is written to the log (target `cache_layer::audit`) with the id of the token; the token itself never is.
//!
//! ```no_run
//! # use cache_layer::{Cache, manage::{Manage, Token, WeakToken}};
//! # fn doc(cache: Cache, secret: Option<String>) -> Result<axum::Router, WeakToken> {
//! let tokens = secret.iter().map(|secret| Token::new(secret)).collect::<Result<_, _>>()?;
//! let app = axum::Router::new().nest("/cache", Manage::new(cache).tokens(tokens).router());
//! # Ok(app) }
//! ```

mod access;
mod keys;
mod problem;
mod token;
mod views;

pub use token::{Token, WeakToken};

use crate::cache::Cache;
use crate::warm::Warmer;
use access::Door;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use problem::Problem;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The largest body of a request, in bytes.
const BODY: usize = 256 << 10;

/// Passes over the names of the servers at a time.
const PASSES: usize = 2;

/// What is managed, and by whom.
#[derive(Clone)]
pub struct Manage {
    cache: Cache,
    tokens: Vec<Token>,
    warmer: Option<Warmer>,
}

/// What the handlers share.
#[derive(Clone)]
struct Desk {
    cache: Cache,
    warmer: Option<Warmer>,
    passes: Arc<Semaphore>,
}

impl Manage {
    /// Of a cache, by nobody yet.
    #[must_use]
    pub fn new(cache: Cache) -> Self {
        Self { cache, tokens: Vec::new(), warmer: None }
    }

    /// By those who have one of these tokens. Several: so that a new one can be handed out before the old one goes.
    #[must_use]
    pub fn tokens(mut self, tokens: Vec<Token>) -> Self {
        self.tokens = tokens;
        self
    }

    /// With warming.
    #[must_use]
    pub fn warmer(mut self, warmer: Warmer) -> Self {
        self.warmer = Some(warmer);
        self
    }

    /// The routes, to be nested where you like. Without tokens there are none.
    pub fn router(self) -> Router {
        if self.tokens.is_empty() {
            return Router::new();
        }
        let passes = Arc::new(Semaphore::new(PASSES));
        let desk = Desk { cache: self.cache, warmer: self.warmer, passes };
        Router::new()
            .route("/stats", get(views::statistics))
            .route("/advice", get(views::advice))
            .route("/health", get(views::health))
            .route("/keys", get(keys::list))
            .route("/keys/{*name}", get(keys::look).delete(keys::delete))
            .route("/clear", post(keys::clear))
            .route("/invalidate", post(keys::invalidate))
            .route("/warm", get(views::warm_status).post(views::warm).delete(views::stop_warming))
            .fallback(async || Problem::not_found("there is no such path"))
            .method_not_allowed_fallback(async || Problem::method_not_allowed())
            .layer(DefaultBodyLimit::max(BODY))
            .layer(from_fn_with_state(Door::new(self.tokens), access::check))
            .with_state(desk)
    }
}
