//! The app under test: how it is started, and where its answers say what they are.

use std::fmt;
/// The app under test.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetSpec {
    /// The reference app, or any HTTP app.
    pub kind: TargetKind,
    /// Base URL of an app that is running already.
    pub url: Option<String>,
    /// Command that starts the app; docs/scenario.md lists the placeholders. Empty: cacheproof's own
    /// `serve` for the reference app, nothing for an HTTP app.
    pub start: Vec<String>,
    /// Further arguments for the reference app's `serve`.
    pub args: Vec<String>,
    /// Whether a redirect to a path of the same app is followed. Elsewhere it never is.
    pub follow_redirects: bool,
    /// Path that answers 2xx once the app is ready.
    pub ready: String,
    /// How many of it run side by side on the same servers; requests are dealt to them in turn.
    pub instances: usize,
    /// How the reference app caches.
    pub cache: CacheKind,
    /// How a response says that it came from the cache.
    pub hit: CacheStatusSpec,
    /// How a request asks to go past the cache.
    pub bypass: Option<BypassSpec>,
    /// JSON field (dots for depth) that must equal the key in the path.
    pub identity: Option<String>,
    /// Where the version of an item stands.
    pub version: Option<VersionSpec>,
    /// The longest body that is read, in bytes, as sent and unpacked.
    pub max_body: u64,
    /// JSON fields that hold the `{token}` of the write that they are from: it must be this item's, and the same in
    /// all of them.
    pub tokens: Vec<String>,
}

/// The longest body that is read where the scenario does not say: a longer one would measure the network, not the cache.
pub const DEFAULT_MAX_BODY: u64 = 8 << 20;

/// What kind of app is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// The reference app of this repository (or another build of it, by `start`).
    Reference,
    /// Any app that speaks HTTP.
    Http,
}

/// How the reference app caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheKind {
    /// In Redis.
    #[default]
    Redis,
    /// In the app's own memory.
    Memory,
    /// In the app's own memory and in Redis as the second tier.
    TwoTier,
    /// Not at all.
    None,
}

/// How a response says where it came from. `Cache-Status` (RFC 9211), `X-Cache` and the headers like it are understood
/// without this.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CacheStatusSpec {
    /// A header…
    pub header: Option<String>,
    /// …or a JSON field (dots for depth).
    pub json: Option<String>,
    /// The name of the cache in `Cache-Status` that counts. `None`: the one nearest to the user.
    pub cache: Option<String>,
    /// Values that mean a hit (compared without case); `true` for a JSON boolean.
    pub hit: Vec<String>,
    /// Values that mean a miss.
    pub miss: Vec<String>,
    /// Values that mean the app served a stale answer knowingly.
    pub stale: Vec<String>,
    /// Values that mean the cache was bypassed.
    pub bypass: Vec<String>,
    /// Values that mean the app answered without the cache because it could not reach it.
    pub fallback: Vec<String>,
    /// What an answer is that says nothing.
    pub absent: Absent,
}

/// What an answer is that does not say where it came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Absent {
    /// Neither a hit nor a miss.
    #[default]
    Unknown,
    /// A hit: the app marks only its misses.
    Hit,
    /// A miss: the app marks only its hits.
    Miss,
}

impl CacheStatusSpec {
    /// Whether an answer may say that the app fell back: by a value of [`Self::fallback`], or by `Cache-Status`, where
    /// the scenario does not say that the app tells hits in another way.
    pub fn may_signal_fallback(&self) -> bool {
        let is_standard = |name: &String| name.eq_ignore_ascii_case("cache-status");
        let is_own = self.json.is_some() || self.header.as_ref().is_some_and(|name| !is_standard(name));
        !is_own || !self.fallback.is_empty()
    }
}

/// How a request asks to go past the cache.
#[derive(Clone, Debug, PartialEq)]
pub enum BypassSpec {
    /// A request header, name and value.
    Header(String, String),
    /// Text added to the query: `nocache=1`.
    Query(String),
}

/// Where a response carries the version of an item.
#[derive(Clone, Debug, PartialEq)]
pub enum VersionSpec {
    /// A JSON field (dots for depth) holding a whole number or a time.
    Json(String),
    /// A response header holding a whole number or a time.
    Header(String),
}

impl fmt::Display for VersionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(path) => write!(f, "field \"{path}\""),
            Self::Header(name) => write!(f, "header {name}"),
        }
    }
}
