use cache_layer::manage::WeakToken;
use cache_layer::promise::OutboxError;
use cache_layer::session::{KeyRingError, SessionConfigError};
use cache_layer::warm::WarmError;
use cache_layer::{ConfigError, Strategy};
use std::net::SocketAddr;

/// Why the app could not start or go on. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The database URL is none. It is not repeated, for it may hold a password.
    #[error("the database URL cannot be understood: write postgres://user:password@host:port/database")]
    DatabaseUrl,
    /// Postgres does not answer or refuses.
    #[error("cannot reach Postgres at {host}:{port}: {source}. Start it, or set --database-url (DATABASE_URL)")]
    Database {
        /// Where it was looked for.
        host: String,
        /// Where it was looked for.
        port: u16,
        /// What went wrong.
        source: sqlx::Error,
    },
    /// The tables could not be made or filled.
    #[error("cannot load the {what} into Postgres: {source}. The user needs the right to create tables")]
    SeedData {
        /// What was being made.
        what: &'static str,
        /// What went wrong.
        source: sqlx::Error,
    },
    /// The outbox could not be installed.
    #[error("{0}. With --coherence lease the app needs none")]
    Outbox(#[from] OutboxError),
    /// A token that is none.
    #[error("ADMIN_TOKEN and LOGIN_TOKEN: {0}")]
    Token(#[from] WeakToken),
    /// The keys of sessions.
    #[error("SESSION_KEYS: {0}")]
    Keys(#[from] KeyRingError),
    /// The settings of sessions.
    #[error("{0}")]
    Sessions(#[from] SessionConfigError),
    /// A cache of one process's own, which ends with it.
    #[error(
        "warming a cache of the kind `{0}` from outside is of no use: it is a process's own. Start the app with --warm"
    )]
    CacheNotShared(Strategy),
    /// What to warm.
    #[error("{0}")]
    Warm(#[from] WarmError),
    /// The cache's settings.
    #[error("{0}")]
    Cache(#[from] ConfigError),
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {address}: {source}. Choose another with --listen (LISTEN); port 0 takes a free one")]
    Listen {
        /// The address wanted.
        address: SocketAddr,
        /// What went wrong.
        source: std::io::Error,
    },
    /// The listener broke.
    #[error("the server stopped: {0}")]
    Serve(std::io::Error),
}
