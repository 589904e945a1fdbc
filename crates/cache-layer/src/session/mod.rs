//! Sessions: who is logged in, encrypted, shared by all instances of an app.
//!
//! ```no_run
//! use cache_layer::session::{KeyRing, SessionConfig, SessionCookie, Sessions};
//! use cache_layer::{Metrics, RedisConfig};
//! # #[derive(serde::Serialize, serde::Deserialize)] struct Basket { items: Vec<u32> }
//! # async fn doc(cookie_header: &str) -> Result<(), Box<dyn std::error::Error>> {
//! // Another database than the cache's, whose `clear` may empty its own.
//! let keys = KeyRing::from_env("SESSION_KEYS")?;
//! let sessions = Sessions::<Basket>::redis(
//!     RedisConfig::new("redis://127.0.0.1:6379/1"), keys, SessionConfig::default(), Metrics::default())?;
//! let cookie = SessionCookie::new("__Host-session", sessions.config().longest).expect("a name");
//! // Logging in:
//! let session = sessions.start("user-7", "Firefox on Linux", &Basket { items: vec![] }).await?;
//! let set_cookie = cookie.set(&session.id);
//! // Each request:
//! if let Some(id) = cookie.find([cookie_header]) {
//!     match sessions.load(&id).await? {
//!         Some(session) => println!("hello {}", session.user),
//!         None => println!("please log in"),
//!     }
//! }
//! # let _ = set_cookie; Ok(()) }
//! ```
//!
//! # What is promised
//!
//! - **Permission must be present.** A session is valid only while its own record *and* its line in its user's list are there. The list
//!   is what [`Sessions::end_all`] deletes, so that it takes effect at once, on every instance, on sessions nobody has a list of any more,
//!   too. Whatever Redis loses, a session may end early; none comes back from a loss. And who is listed is who is in: there are no unlisted sessions.
//! - **Ended is ended at once and everywhere.** Nothing is kept in the process. A request that is changing or prolonging a session while
//!   it ends does not bring it back: changes need a lease that the end voids, prolonging needs a record that is there.
//! - **Redis learns nothing that opens a session.** Records are AES-256-GCM with a fresh random nonce, found by the SHA-256 of a 256-bit id that
//!   only the client has. The id is authenticated with the record: one that was changed, cut or put in another's place is no session.
//! - **Changes do not get lost**: [`Sessions::change`] is one at a time for each session, on all instances.
//! - **A session is not a cache.** Where Redis gives no answer the result is [`SessionError::Unavailable`], which is not "logged out": answer 503,
//!   or serve what needs no user, and do not take the cookie away. A logout that fails so is owed by this process and made up for, but say that it failed.
//!
//! # What is not
//!
//! - A session idle for 30 min ends. To save writes it is prolonged only when a minute of that has passed, so an end may come up to a minute early.
//! - Redis that forgets its last writes (failover, an old snapshot) may bring back a session that had ended since, or lose one. Who can *write* to
//!   Redis can put back an old record with its list; who can only read it can do nothing.
//! - Redis under `allkeys-lru` may evict sessions. Give them a server, or at least a database number, of their own.
//! - Users are told apart by the SHA-256 of their name, which can be found out by trying names.
//! - The absolute end is judged by the clocks of the app's machines.

mod cookie;
mod core;
mod guard;
mod id;
mod sessions;
mod user;

pub use crate::encryption::{KeyRing, KeyRingError};
pub use cookie::{SameSite, SessionCookie};
pub use id::SessionId;
pub use sessions::Sessions;

use crate::config::{ConfigError, Strategy};
use crate::key::KeyClass;
use crate::store::CacheError;
use std::fmt;
use std::time::{Duration, SystemTime};

/// Sessions' records: `sessions:data:{SHA-256 of the id}`.
pub const SESSION: KeyClass = KeyClass::new("sessions", Duration::from_secs(30 * 60));
/// The lists of users' sessions: `sessions:user:{SHA-256 of the user}`.
pub const SESSIONS_OF_USER: KeyClass = KeyClass::new("sessions:user", Duration::from_secs(24 * 3600));

/// How long sessions live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// A session that is not used for so long ends.
    pub idle: Duration,
    /// A session ends after so long, used or not.
    pub longest: Duration,
    /// A session is prolonged when so much of its idle time has passed: at most one write in this time.
    pub touch_every: Duration,
    /// Sessions of one user at the same time; one more ends the oldest.
    pub per_user: usize,
    /// How long to wait for another request that is changing the same session.
    pub patience: Duration,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            idle: SESSION.ttl,
            longest: SESSIONS_OF_USER.ttl,
            touch_every: Duration::from_secs(60),
            per_user: 50,
            patience: Duration::from_secs(1),
        }
    }
}

/// A session as it was when it was read.
#[derive(Clone, PartialEq, Eq)]
pub struct Session<T> {
    /// What its client shows. A secret.
    pub id: SessionId,
    /// Whose it is.
    pub user: String,
    /// What it is called in lists: stays when the id changes, and opens nothing.
    pub handle: String,
    /// When it began.
    pub started: SystemTime,
    /// What the app keeps in it.
    pub data: T,
}

impl<T> fmt::Debug for Session<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("handle", &self.handle).field("started", &self.started).finish_non_exhaustive()
    }
}

/// One line in the list of a user's sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// For [`Sessions::end_one`].
    pub handle: String,
    /// What was noted when it began, the kind of device for instance.
    pub note: String,
    /// When it began.
    pub started: SystemTime,
    /// How long it still lives if it is not used again.
    pub left: Duration,
}

/// Why there is no answer. None of these means that a user is logged out.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Redis gave no answer. Whether the user is logged in is not known.
    #[error("the sessions cannot be reached: {0}")]
    Unavailable(#[from] CacheError),
    /// Other requests were changing the session all the time, or one that did got lost: then for as long as a lease lasts.
    #[error("the session is being changed by other requests")]
    Busy,
    /// The app's data cannot be written as JSON, or what was written before cannot be read as the type it has now: give new fields a
    /// `#[serde(default)]`. The data are not shown.
    #[error("the data of the session do not fit: {0}")]
    Data(&'static str),
}

/// Settings that cannot work.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionConfigError {
    /// A store that forgets or that keeps copies.
    #[error(
        "sessions cannot be kept in `{0}`: give them the Redis store itself, or memory where there is one instance only"
    )]
    Store(Strategy),
    /// A time that cannot be kept.
    #[error("the times of sessions cannot work: {0}")]
    Times(&'static str),
    /// Redis cannot be used so.
    #[error(transparent)]
    Redis(#[from] ConfigError),
}
