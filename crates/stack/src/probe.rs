//! Requests to one server, each on a fresh connection: does it answer, its version, its settings.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use crate::{StackError, connect_redis};
use cacheproof_core::scenario::CacheServer;

// Every statement that cacheproof sends while a run lasts reads from an expression with the name `cacheproof_probe`. Postgres tells
// statements apart by such names but not by comments, so none of them is counted together with one of the app.

/// Which product a server is. A Sentinel counts as its Redis or Valkey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerKind {
    Redis,
    Valkey,
    Postgres,
}

impl From<CacheServer> for ServerKind {
    fn from(server: CacheServer) -> Self {
        match server {
            CacheServer::Redis => Self::Redis,
            CacheServer::Valkey => Self::Valkey,
        }
    }
}

/// A server's version, and the settings that matter for the results.
pub(super) type VersionAndSettings = (String, Vec<(String, String)>);

/// How long a server may take to answer with its version and settings.
const FACTS_TIMEOUT: Duration = Duration::from_secs(10);

impl ServerKind {
    /// Its name in messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Redis => "Redis",
            Self::Valkey => "Valkey",
            Self::Postgres => "Postgres",
        }
    }

    /// The name of its program.
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Redis => "redis-server",
            Self::Valkey => "valkey-server",
            Self::Postgres => "postgres",
        }
    }

    /// The name of its table in the scenario.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Redis | Self::Valkey => "redis",
            Self::Postgres => "postgres",
        }
    }

    /// The oldest version that works of a server that cacheproof starts; of Postgres also of any other.
    pub(super) fn needed(self) -> &'static str {
        match self {
            Self::Redis | Self::Valkey => "7.0",
            Self::Postgres => "13",
        }
    }

    /// An error for a version that is too old.
    pub(super) fn check_version(self, what: &str, version: &str) -> Result<(), StackError> {
        if version_parts(version) >= version_parts(self.needed()) {
            return Ok(());
        }
        Err(StackError::TooOld { what: what.into(), found: version.into(), needed: self.needed() })
    }

    /// Whether a fresh connection gets an answer within `timeout`; the error says why not.
    pub(super) async fn ping(self, url: &str, timeout: Duration) -> Result<(), String> {
        let asked = async {
            match self {
                Self::Redis | Self::Valkey => {
                    let mut connection = redis_connection(url).await.map_err(|error| error.to_string())?;
                    redis::cmd("PING").query_async::<()>(&mut connection).await.map_err(|error| error.to_string())
                }
                Self::Postgres => {
                    let mut connection = connect_postgres(url).await.map_err(|error| error.to_string())?;
                    let answer = sqlx::raw_sql(
                        "WITH /* cacheproof */ cacheproof_probe AS (SELECT 1) SELECT * FROM cacheproof_probe",
                    )
                    .execute(&mut connection)
                    .await;
                    answer.map(|_| ()).map_err(|error| error.to_string())
                }
            }
        };
        match tokio::time::timeout(timeout, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} ms", timeout.as_millis())),
        }
    }

    /// Version and settings.
    pub(super) async fn facts(self, url: &str) -> Result<VersionAndSettings, String> {
        let facts = async {
            match self {
                Self::Redis | Self::Valkey => redis_facts(url).await.map_err(|error| error.to_string()),
                Self::Postgres => postgres_facts(url).await.map_err(|error| error.to_string()),
            }
        };
        tokio::time::timeout(FACTS_TIMEOUT, facts).await.unwrap_or_else(|_| Err("it does not answer requests".into()))
    }
}

/// The leading numbers of a version: `7.0.15` is 7, 0, 15.
fn version_parts(version: &str) -> Vec<u32> {
    version.split(|letter: char| !letter.is_ascii_digit()).map_while(|part| part.parse().ok()).collect()
}

async fn redis_connection(url: &str) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
    connect_redis(url, &redis::AsyncConnectionConfig::new()).await
}

/// What a Redis (or Sentinel) answers to one command, within a second.
pub(super) async fn redis_command<T: redis::FromRedisValue>(url: &str, command: &[&str]) -> Result<T, String> {
    let asked = async {
        let mut connection = redis_connection(url).await?;
        let mut cmd = redis::Cmd::new();
        cmd.arg(command);
        cmd.query_async(&mut connection).await
    };
    match tokio::time::timeout(Duration::from_secs(1), asked).await {
        Ok(answer) => answer.map_err(|error: redis::RedisError| error.to_string()),
        Err(_) => Err("no answer within 1 s".into()),
    }
}

async fn redis_facts(url: &str) -> redis::RedisResult<VersionAndSettings> {
    let mut connection = redis_connection(url).await?;
    // A hosted server may not allow INFO; then its version stays unknown.
    let info = match redis::cmd("INFO").arg("server").query_async::<String>(&mut connection).await {
        Err(error) if error.is_unrecoverable_error() || error.is_timeout() => return Err(error),
        info => info.unwrap_or_default(),
    };
    // Valkey also reports the Redis version that it is compatible with.
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name));
    let version = field("valkey_version:").or_else(|| field("redis_version:")).unwrap_or_default();
    let mut settings = Vec::new();
    for name in ["maxmemory", "maxmemory-policy", "appendonly", "appendfsync"] {
        // A hosted server may not have CONFIG; then its settings stay unknown.
        let answer: redis::RedisResult<Vec<String>> =
            redis::cmd("CONFIG").arg("GET").arg(name).query_async(&mut connection).await;
        if let Ok([_, value]) = answer.as_deref() {
            settings.push((name.to_owned(), value.clone()));
        }
    }
    Ok((version.trim().to_owned(), settings))
}

/// Options of a connection that bears the name of cacheproof, so that nobody takes it for one of the app's.
///
/// # Errors
/// The URL is invalid.
pub fn postgres_options(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    Ok(url.parse::<PgConnectOptions>()?.application_name("cacheproof"))
}

pub(super) async fn connect_postgres(url: &str) -> Result<PgConnection, sqlx::Error> {
    PgConnection::connect_with(&postgres_options(url)?).await
}

async fn postgres_facts(url: &str) -> Result<VersionAndSettings, sqlx::Error> {
    let mut connection = connect_postgres(url).await?;
    let version: String = sqlx::query_scalar(
        "WITH /* cacheproof */ cacheproof_probe AS (SELECT current_setting('server_version')) SELECT * FROM cacheproof_probe",
    )
    .fetch_one(&mut connection)
    .await?;
    let settings: Vec<(String, String)> = sqlx::query_as(
        "WITH /* cacheproof */ cacheproof_probe AS (SELECT name, current_setting(name, true) AS value FROM pg_settings WHERE name IN \
         ('shared_buffers', 'max_connections', 'fsync', 'synchronous_commit', 'shared_preload_libraries')) \
         SELECT name, coalesce(value, '') FROM cacheproof_probe ORDER BY name",
    )
    .fetch_all(&mut connection)
    .await?;
    connection.close().await?;
    // `15.18 (Debian 15.18-0+deb12u1)`
    Ok((version.split(' ').next().unwrap_or_default().to_owned(), settings))
}

/// Makes Postgres count statements.
pub(super) async fn enable_statement_counting(url: &str) -> Result<(), sqlx::Error> {
    let mut connection = connect_postgres(url).await?;
    sqlx::raw_sql("CREATE /* cacheproof */ EXTENSION IF NOT EXISTS pg_stat_statements")
        .execute(&mut connection)
        .await?;
    connection.close().await
}

/// A URL without its password, to be shown. Unlike `mask_passwords`, which masks passwords within any text, this gives a URL that
/// can be used.
pub(super) fn without_password(url: &str) -> String {
    let Ok(mut url) = reqwest::Url::parse(url) else { return "(unreadable URL)".into() };
    let _ = url.set_password(None);
    let shown: Vec<(String, String)> =
        url.query_pairs().filter(|(name, _)| !name.contains("pass")).map(|(a, b)| (a.into(), b.into())).collect();
    if url.query().is_some() {
        url.set_query(None);
        if !shown.is_empty() {
            url.query_pairs_mut().extend_pairs(shown);
        }
    }
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_url_has_no_password() {
        assert_eq!(without_password("redis://:s3cret@127.0.0.1:6379/"), "redis://127.0.0.1:6379/");
        assert_eq!(without_password("postgres://me:s3cret@db:5432/app"), "postgres://me@db:5432/app");
        assert_eq!(without_password("postgres://db/app?user=me&password=s3cret"), "postgres://db/app?user=me");
        assert_eq!(without_password("s3cret"), "(unreadable URL)");
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(ServerKind::Redis.check_version("redis-server", "7.0.15").is_ok());
        assert!(ServerKind::Redis.check_version("redis-server", "10.0.1").is_ok());
        assert!(ServerKind::Redis.check_version("redis-server", "7.0").is_ok());
        let old = ServerKind::Redis.check_version("redis-server", "6.2.14").unwrap_err();
        assert_eq!(old.to_string(), "redis-server is version 6.2.14, but cacheproof needs 7.0 or later");
        assert!(ServerKind::Postgres.check_version("postgres", "9.6.24").is_err());
        assert!(ServerKind::Postgres.check_version("postgres", "17beta1").is_ok());
        assert!(ServerKind::Redis.check_version("redis-server", "").is_err());
    }
}
