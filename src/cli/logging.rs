//! Logs to stderr: warnings by default, more with `CACHEPROOF_LOG=debug`.

use tracing_subscriber::EnvFilter;

use super::terminal::MaskedStderr;

/// Starts logging. The `log` crate is bridged, too, so that goose cannot install its own logger.
pub fn start() {
    let filter = EnvFilter::try_from_env("CACHEPROOF_LOG").unwrap_or_else(|_| EnvFilter::new("warn,goose=off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| MaskedStderr).init();
}
