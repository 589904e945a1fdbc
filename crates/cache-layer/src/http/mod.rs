//! A tower layer that caches responses by itself.
//!
//! ```
//! use axum::{Router, routing::get};
//! use cache_layer::http::{HttpCacheLayer, Rule, Scope, WriteRule};
//! use cache_layer::{CacheConfig, Metrics};
//! use std::time::Duration;
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cache = CacheConfig::memory().open(Metrics::default())?;
//! let caching = HttpCacheLayer::builder(cache)
//!     .rule(Rule::get("/posts/{id:int}", Duration::from_secs(300)).tag("posts:{id}").absent_for(Duration::from_secs(5)))
//!     .rule(Rule::get("/posts", Duration::from_secs(60)).query(["filter", "page"]).tag("posts:list"))
//!     .rule(Rule::get("/me", Duration::from_secs(60)).scope(Scope::per_credential(http::header::AUTHORIZATION)))
//!     .write(WriteRule::to("/posts").invalidates("posts:list"))
//!     .write(WriteRule::to("/posts/{id}").invalidates("posts:list").invalidates("posts:{id}"))
//!     .build()?;
//! let app: Router = Router::new().route("/posts/{id}", get(async || "a post")).layer(caching);
//! # let _ = app; Ok(()) }
//! ```
//!
//! # What is promised
//!
//! - **An answer that was made before an invalidation is never stored after it.** A miss takes a lease before the service is called,
//!   and the answer is stored only while that lease and the generations of its tags stand: the promise of [`crate::Cache`].
//! - **No answer reaches another user unless a rule says so.** Requests with credentials go past a [`Scope::Shared`] rule, and
//!   [`Scope::PerUser`] puts a SHA-256 of the identity into the key. What no key can tell apart is not stored: answers with
//!   `Set-Cookie`, `Vary: *`, to requests with a body.
//! - **What is cached is what the service says**: `no-store`, `no-cache`, `private`, `max-age` and `s-maxage` are obeyed where
//!   they say less than the rule. `Vary` is honoured: a resource's answers get one key for each combination of the headers that they name.
//! - **A client that hangs up breaks nothing**: loads and writes run on in tasks of their own, to their fill or invalidation.
//! - **Bodies** are gathered up to [`Rule::body_limit`] and [`Rule::body_within`]; beyond, what was gathered and the rest go through as they come,
//!   unstored, and no more than the limit and one frame is ever held for one request. An event stream is not gathered at all.
//!
//! Each answer carries `Cache-Status` (RFC 9211): `cache-layer; hit; ttl=42`, or `fwd=` with why the service was asked and `detail=` with
//! why nothing was stored. Cached ones carry an `ETag` (the service's, or a strong one of the body), hits their `Age`;
//! `If-None-Match` is answered with 304 on hits and misses, `HEAD` out of what a `GET` stored (the service sees a `GET`).
//!
//! # What is not
//!
//! - What the service reads from a request must be in the key: the path, the query, the host, a few `X-Forwarded-…` headers, the headers
//!   that a rule or `Vary` names, the identity. A service that reads anything else without saying `Vary` gets its answers mixed up.
//! - Authentication must stand outside of the layer, for a hit never reaches what stands inside ([`Scope::per_user`]).
//! - A credential counts as one if its header is `Authorization`, `Cookie`, `Proxy-Authorization`, `X-Api-Key` or `X-Auth-Token`;
//!   tell others to [`HttpCacheBuilder::credential`]. A client certificate cannot be seen here.
//! - `Range` requests, preconditions (`If-Match`) and upgrades go past the cache; request directives such as `max-stale`, which are advice, are not
//!   looked at. A partial or unfinished answer is never stored.
//! - `Expires` is not compared with any clock: an answer that has it but no `max-age` is not stored. Where an answer's
//!   life is shorter than its rule's, its end may be told by the clocks of the machines that store and serve it.

mod answer;
mod body;
mod conditions;
mod key;
mod load;
mod pattern;
mod record;
mod rule;
mod service;

pub use body::CacheBody;
pub use rule::{Identity, Rule, Scope, WriteRule};
pub use service::HttpCache;

use crate::cache::Cache;
use crate::key::Key;
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderName, StatusCode};
use rule::{Compiled, CompiledWrite};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tower_layer::Layer;

/// Caches the responses of the service it is put around. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpCacheLayer {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    cache: Cache,
    name: String,
    rules: Vec<Compiled>,
    writes: Vec<CompiledWrite>,
    credentials: Vec<HeaderName>,
    warned_at: AtomicU64,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCache").field("rules", &self.rules).field("writes", &self.writes).finish_non_exhaustive()
    }
}

impl Shared {
    /// One line in ten seconds: where one entry is garbage, many are.
    fn warn_of_garbage(&self, key: &Key) {
        let now = answer::now_ms() / 1000;
        let last = self.warned_at.load(Ordering::Relaxed);
        if now >= last + 10 && self.warned_at.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            tracing::warn!(%key, "what the cache holds is no response; asking the service");
        }
    }
}

/// The rules of a layer to be.
pub struct HttpCacheBuilder {
    cache: Cache,
    name: String,
    rules: Vec<Rule>,
    writes: Vec<WriteRule>,
    credentials: Vec<HeaderName>,
}

impl fmt::Debug for HttpCacheBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCacheBuilder")
            .field("rules", &self.rules)
            .field("writes", &self.writes)
            .finish_non_exhaustive()
    }
}

impl HttpCacheLayer {
    /// A layer over a cache, without rules as yet: what no rule matches goes through as it is.
    #[must_use]
    pub fn builder(cache: Cache) -> HttpCacheBuilder {
        let more = ["x-api-key", "x-auth-token"].map(HeaderName::from_static);
        let credentials = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION].into_iter().chain(more).collect();
        HttpCacheBuilder { cache, name: "cache-layer".into(), rules: Vec::new(), writes: Vec::new(), credentials }
    }
}

impl HttpCacheBuilder {
    /// One rule more. The first that matches a path counts.
    #[must_use]
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// One rule more for what writes make invalid. All that match count.
    #[must_use]
    pub fn write(mut self, rule: WriteRule) -> Self {
        self.writes.push(rule);
        self
    }

    /// A header that carries credentials, beside those that are known for it.
    #[must_use]
    pub fn credential(mut self, header: HeaderName) -> Self {
        self.credentials.push(header);
        self
    }

    /// What the layer calls itself in `Cache-Status`; `cache-layer` unless told.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The layer.
    ///
    /// # Errors
    /// A path, tag or status of a rule cannot work, or the name is no token.
    pub fn build(self) -> Result<HttpCacheLayer, RuleError> {
        let first = self.name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !first || !self.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.*".contains(&b)) {
            return Err(RuleError::Name(self.name));
        }
        let shared = Shared {
            cache: self.cache,
            name: self.name,
            rules: self.rules.into_iter().map(Rule::compile).collect::<Result<_, _>>()?,
            writes: self.writes.into_iter().map(WriteRule::compile).collect::<Result<_, _>>()?,
            credentials: self.credentials,
            warned_at: AtomicU64::new(0),
        };
        Ok(HttpCacheLayer { shared: Arc::new(shared) })
    }
}

impl<S> Layer<S> for HttpCacheLayer {
    type Service = HttpCache<S>;

    fn layer(&self, inner: S) -> HttpCache<S> {
        HttpCache { inner, shared: Arc::clone(&self.shared) }
    }
}

/// A rule that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A path that is none.
    #[error("the path `{path}` of a rule cannot be understood: {why}")]
    Path {
        /// As it was given.
        path: String,
        /// What to write instead.
        why: &'static str,
    },
    /// A tag that cannot be made of the path's placeholders.
    #[error("the tag `{tag}` of a rule cannot be made: {why}")]
    Tag {
        /// As it was given.
        tag: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A status that is no whole answer.
    #[error("answers with status {0} are never stored: they are no whole answers")]
    Status(StatusCode),
    /// A name for `Cache-Status` that is no token.
    #[error("`{0}` is no name for Cache-Status: write letters, digits, `-`, `_` and `.`, a letter first")]
    Name(String),
}
