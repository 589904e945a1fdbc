use super::RuleError;
use super::pattern::{Captures, Pattern, Template};
use crate::key::{KeyClass, ServeStale, Tag};
use crate::store::Invalidation;
use http::{HeaderName, Method, StatusCode, request, response};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

type OfRequest<T> = Arc<dyn Fn(&request::Parts) -> T + Send + Sync>;
type OfAnswer<T> = Arc<dyn Fn(&response::Parts) -> T + Send + Sync>;

/// Whom an answer may be shown to.
#[derive(Clone)]
pub enum Scope {
    /// Everybody. Requests that carry credentials (`Authorization`, `Cookie`, …) go past the cache, unread and unstored.
    Shared,
    /// The user it was made for, told apart by an [`Identity`]. Requests without an identity go past the cache.
    PerUser(Identity),
    /// Nobody: the path is never cached. For exceptions before a wider rule.
    Never,
}

impl Scope {
    /// For the user that a function finds in a request, by a session or token that was *verified*.
    ///
    /// A hit never reaches what is inside of the layer. So whatever verifies the user must stand outside of it, and the function
    /// must read what that left (an extension), not what a client can write; or the identity is the credential itself
    /// ([`Scope::per_credential`]).
    pub fn per_user(identity: impl Fn(&request::Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        Self::PerUser(Identity(Arc::new(identity)))
    }

    /// For whoever sends the same value of a header, such as `Authorization`. A credential that was revoked still gets what
    /// is in the cache, for at most one TTL.
    #[must_use]
    pub fn per_credential(header: HeaderName) -> Self {
        Self::per_user(move |request| {
            let values: Vec<_> = request.headers.get_all(&header).iter().map(|value| value.to_str()).collect();
            // One that is no text, or more than one: whose request that is, is for the service to say.
            if let [Ok(value)] = values[..] { Some(value.to_owned()) } else { None }
        })
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shared => "Shared",
            Self::PerUser(_) => "PerUser",
            Self::Never => "Never",
        })
    }
}

/// Finds out who sent a request. Only a SHA-256 of it gets into keys.
#[derive(Clone)]
pub struct Identity(OfRequest<Option<String>>);

impl Identity {
    /// An empty identity is none.
    pub(super) fn of(&self, request: &request::Parts) -> Option<String> {
        (self.0)(request).filter(|identity| !identity.is_empty())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

/// How the answers to `GET` (and `HEAD`) of some paths are cached.
#[derive(Clone)]
pub struct Rule {
    path: String,
    tags: Vec<String>,
    pub(super) class: KeyClass,
    pub(super) scope: Scope,
    pub(super) despite_credentials: bool,
    /// The query parameters of the key; `None`: the query as it is.
    pub(super) query: Option<Vec<String>>,
    pub(super) headers: Vec<HeaderName>,
    pub(super) tags_of: Option<OfRequest<Vec<Tag>>>,
    pub(super) skip_if: Option<OfRequest<bool>>,
    pub(super) store_if: Option<OfAnswer<bool>>,
    pub(super) statuses: Vec<StatusCode>,
    pub(super) absent_for: Duration,
    pub(super) limit: usize,
    pub(super) within: Duration,
    pub(super) obey_no_cache: bool,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Rule");
        shown.field("path", &self.path).field("class", &self.class).field("scope", &self.scope);
        shown.field("query", &self.query).field("headers", &self.headers).field("tags", &self.tags);
        shown.finish_non_exhaustive()
    }
}

impl Rule {
    /// Answers to `GET path` are kept for `ttl`, shared by all who send no credentials.
    ///
    /// A path's placeholders: `{id}` one segment, `{id:int}` one that is a whole number in its plain spelling (many services take `+7`
    /// and `07` for 7, but no tag would know that), `{*rest}` all that is left. The first rule that matches counts.
    #[must_use]
    pub fn get(path: impl Into<String>, ttl: Duration) -> Self {
        Self {
            path: path.into(),
            tags: Vec::new(),
            class: KeyClass::new("http", ttl),
            scope: Scope::Shared,
            despite_credentials: false,
            query: None,
            headers: Vec::new(),
            tags_of: None,
            skip_if: None,
            store_if: None,
            statuses: vec![StatusCode::OK, StatusCode::MOVED_PERMANENTLY, StatusCode::PERMANENT_REDIRECT],
            absent_for: Duration::ZERO,
            limit: 1 << 20,
            within: Duration::from_secs(5),
            obey_no_cache: true,
        }
    }

    /// A class of your own: its name is a line in the metrics, its TTL, jitter and hard timeout count. Answers past their TTL are never
    /// served here, whatever it says: `Cache-Status` and `Age` would have to tell.
    #[must_use]
    pub fn class(mut self, class: KeyClass) -> Self {
        // "Nothing" means "not to be stored" here, and must not be kept as "there is no such thing".
        self.class = class.absent(Duration::ZERO).stale(ServeStale::Never, Duration::ZERO);
        self
    }

    /// Whom answers may be shown to.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Answers with [`Scope::Shared`] are shared although the request carries credentials: they must not depend on them. **Where
    /// they do, one user's answer reaches another.** For services that send cookies with everything.
    #[must_use]
    pub fn shared_despite_credentials(mut self) -> Self {
        self.scope = Scope::Shared;
        self.despite_credentials = true;
        self
    }

    /// Only these query parameters belong to the key. The service does not get to see others (except by axum's `OriginalUri`), so that they
    /// cannot change what is stored. Unless told, the whole query belongs to the key.
    #[must_use]
    pub fn query<T: Into<String>>(mut self, parameters: impl IntoIterator<Item = T>) -> Self {
        self.query = Some(parameters.into_iter().map(Into::into).collect());
        self
    }

    /// A request header that belongs to the key. Headers that an answer names in `Vary` are found out without this, at the
    /// price of a second look-up; a header that the service reads without saying so must be named.
    #[must_use]
    pub fn header(mut self, name: HeaderName) -> Self {
        self.headers.push(name);
        self
    }

    /// Answers are invalidated by this tag: a template such as `posts:{id}` with the path's placeholders, decoded and
    /// [`crate::key::sanitised`].
    #[must_use]
    pub fn tag(mut self, template: impl Into<String>) -> Self {
        self.tags.push(template.into());
        self
    }

    /// Tags found by a function, too. They must depend on nothing but what belongs to the key.
    #[must_use]
    pub fn tags_of(mut self, tags: impl Fn(&request::Parts) -> Vec<Tag> + Send + Sync + 'static) -> Self {
        self.tags_of = Some(Arc::new(tags));
        self
    }

    /// Requests of which this is true go past the cache.
    #[must_use]
    pub fn skip_if(mut self, skip: impl Fn(&request::Parts) -> bool + Send + Sync + 'static) -> Self {
        self.skip_if = Some(Arc::new(skip));
        self
    }

    /// Answers of which this is not true are not stored.
    #[must_use]
    pub fn store_if(mut self, store: impl Fn(&response::Parts) -> bool + Send + Sync + 'static) -> Self {
        self.store_if = Some(Arc::new(store));
        self
    }

    /// The statuses that are stored; 200, 301 and 308 unless told.
    #[must_use]
    pub fn statuses(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.statuses = statuses.into_iter().collect();
        self
    }

    /// 404 and 410 are stored as well, for so long. Tag what comes into being, or it is missed for as long.
    #[must_use]
    pub fn absent_for(mut self, ttl: Duration) -> Self {
        self.absent_for = ttl;
        self
    }

    /// Longer bodies are passed through as they come; 1 MiB unless told.
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Bodies that take longer are passed through as they come; 5 s unless told.
    #[must_use]
    pub fn body_within(mut self, at_most: Duration) -> Self {
        self.within = at_most;
        self
    }

    /// A client's `Cache-Control: no-cache` and `max-age=0` (reload) are not obeyed, as they cost a load each. `no-store` is.
    #[must_use]
    pub fn ignore_no_cache(mut self) -> Self {
        self.obey_no_cache = false;
        self
    }

    pub(super) fn compile(self) -> Result<Compiled, RuleError> {
        let storable = |s: &StatusCode| !s.is_informational() && ![206, 304].contains(&s.as_u16());
        if let Some(status) = self.statuses.iter().find(|status| !storable(status)) {
            return Err(RuleError::Status(*status));
        }
        let pattern = Pattern::parse(&self.path)?;
        let tags = self.tags.iter().map(|tag| Template::parse(tag, &pattern)).collect::<Result<_, _>>()?;
        Ok(Compiled { rule: self, pattern, tags })
    }
}

/// A rule whose texts were understood.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) rule: Rule,
    pattern: Pattern,
    tags: Vec<Template>,
}

impl Compiled {
    pub(super) fn captures(&self, path: &str) -> Option<Captures<'_>> {
        self.pattern.captures(path)
    }

    pub(super) fn tags(&self, captures: &Captures<'_>, request: &request::Parts) -> Vec<Tag> {
        let mut tags: Vec<_> = self.tags.iter().map(|tag| Tag::new(tag.render(captures))).collect();
        if let Some(more) = &self.rule.tags_of {
            tags.extend(more(request));
        }
        tags
    }
}

/// What requests that write make invalid.
///
/// After every answer but a 4xx the tags get a new generation, before the client sees the answer: also after a 5xx, when nobody
/// knows whether the write was committed, and also when the client is gone by then.
#[derive(Clone, Debug)]
pub struct WriteRule {
    path: String,
    methods: Vec<Method>,
    tags: Vec<String>,
}

impl WriteRule {
    /// Requests to these paths with any method but `GET`, `HEAD`, `OPTIONS` and `TRACE`. All rules that match count.
    #[must_use]
    pub fn to(path: impl Into<String>) -> Self {
        Self { path: path.into(), methods: Vec::new(), tags: Vec::new() }
    }

    /// Only this method; may be said several times.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.methods.push(method);
        self
    }

    /// A tag that becomes invalid, as in [`Rule::tag`].
    #[must_use]
    pub fn invalidates(mut self, template: impl Into<String>) -> Self {
        self.tags.push(template.into());
        self
    }

    pub(super) fn compile(self) -> Result<CompiledWrite, RuleError> {
        let pattern = Pattern::parse(&self.path)?;
        let tags = self.tags.iter().map(|tag| Template::parse(tag, &pattern)).collect::<Result<_, _>>()?;
        Ok(CompiledWrite { pattern, methods: self.methods, tags })
    }
}

#[derive(Debug)]
pub(super) struct CompiledWrite {
    pattern: Pattern,
    methods: Vec<Method>,
    tags: Vec<Template>,
}

impl CompiledWrite {
    /// What a request makes invalid beside `what`.
    pub(super) fn add(&self, method: &Method, path: &str, mut what: Invalidation) -> Invalidation {
        if self.methods.is_empty() || self.methods.contains(method) {
            let captures = self.pattern.captures(path);
            for tag in captures.iter().flat_map(|captures| self.tags.iter().map(|tag| tag.render(captures))) {
                what = what.tag(Tag::new(tag));
            }
        }
        what
    }
}
