use cache_layer::manage::WeakToken;
use cache_layer::promise::OutboxError;
use cache_layer::session::{KeyRingError, SessionConfigError};
use cache_layer::warm::WarmError;
use cache_layer::{ConfigError, Strategy};
use std::net::SocketAddr;

/// Why the app could not start or continue. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The database URL is invalid. It is not repeated, because it may contain a password.
    #[error("the database URL is invalid: write postgres://user:password@host:port/database")]
    DatabaseUrl,
    /// Postgres does not answer or refuses.
    #[error("cannot reach Postgres at {host}:{port}: {source}. Start it, or set --database-url (DATABASE_URL)")]
    Database {
        /// The host of the URL.
        host: String,
        /// The port of the URL.
        port: u16,
        /// What went wrong.
        source: sqlx::Error,
    },
    /// The tables could not be created or filled.
    #[error("cannot load the {what} into Postgres: {source}. The user needs the right to create tables")]
    SeedData {
        /// What was being loaded.
        what: &'static str,
        /// What went wrong.
        source: sqlx::Error,
    },
    /// The outbox could not be installed.
    #[error("{0}. With --coherence lease the app needs no outbox")]
    Outbox(#[from] OutboxError),
    /// A token that is too weak.
    #[error("ADMIN_TOKEN and LOGIN_TOKEN: {0}")]
    Token(#[from] WeakToken),
    /// The keys of sessions.
    #[error("SESSION_KEYS: {0}")]
    Keys(#[from] KeyRingError),
    /// The settings of sessions.
    #[error("{0}")]
    Sessions(#[from] SessionConfigError),
    /// The cache is in the process, so that another process cannot warm it.
    #[error("`warm` cannot fill a cache of the kind `{0}`: it is in the app's process. Start the app with --warm")]
    CacheNotShared(Strategy),
    /// What to warm.
    #[error("{0}")]
    Warm(#[from] WarmError),
    /// The cache's settings.
    #[error("{0}")]
    Cache(#[from] ConfigError),
    /// The address is in use, or not one of this machine.
    #[error("cannot listen on {address}: {source}. Choose another with --listen (LISTEN); port 0 picks a free port")]
    Listen {
        /// The address wanted.
        address: SocketAddr,
        /// What went wrong.
        source: std::io::Error,
    },
    /// The listener failed.
    #[error("the server stopped: {0}")]
    Serve(std::io::Error),
}
