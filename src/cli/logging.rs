//! Logs to stderr: warnings by default, more by `CACHEPROOF_LOG=debug`.

use tracing_subscriber::EnvFilter;

/// Starts logging. goose logs through the `log` crate; taking its place here keeps goose from installing a
/// logger of its own.
pub fn start() {
    let filter = EnvFilter::try_from_env("CACHEPROOF_LOG").unwrap_or_else(|_| EnvFilter::new("warn,goose=off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
