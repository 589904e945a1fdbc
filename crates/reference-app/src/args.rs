use crate::handlers::TABLES;
use cache_layer::{Coherence, Environment, Strategy};
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// Arguments of `cacheproof serve`.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// Address to listen on; port 0 picks a free port
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// Warm the cache in the background at the start; requests are served meanwhile
    #[arg(long, env = "WARM", value_parser = clap::builder::FalseyValueParser::new())]
    pub warm: bool,

    /// The app's servers and how it caches
    #[command(flatten)]
    pub app: AppArgs,
}

/// Arguments of `cacheproof warm`.
#[derive(Clone, Debug, clap::Args)]
pub struct WarmArgs {
    /// What to warm: users, projects, dashboards, platform; by default all
    pub plans: Vec<String>,

    /// The app's servers and how it caches
    #[command(flatten)]
    pub app: AppArgs,
}

/// The app's servers and how it caches.
#[derive(Clone, clap::Args)]
pub struct AppArgs {
    /// The app's Postgres, postgres://user:password@host:port/database
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,

    /// Redis to cache in: redis://host:port, redis+sentinel://host,host/master, redis+cluster://host,host; rediss for TLS
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<String>,

    /// PEM file of the certificate authorities to trust for TLS to Redis; by default those of the system
    #[arg(long, env = "REDIS_CA_FILE")]
    pub redis_ca: Option<std::path::PathBuf>,

    /// Where to cache: redis, memory, two-tier or none; by default redis
    #[arg(long, env = "CACHE")]
    pub cache: Option<Strategy>,

    /// How the cache is kept correct when data changes: `delete` (delete keys after the commit), `lease` (a value read before an
    /// invalidation is not stored after it) or `outbox` (invalidations in a database table); default lease
    #[arg(long, env = "CACHE_COHERENCE", value_parser = coherence)]
    pub coherence: Option<Coherence>,

    /// With --coherence outbox: acknowledge a write only when no instance and no replica of Redis has the old value. This takes 2 s from
    /// the commit if Redis cannot be reached or a replica lags, and always with --cache two-tier. Reads never wait
    #[arg(long, env = "WRITES_WAIT", value_parser = clap::builder::FalseyValueParser::new())]
    pub writes_wait: bool,

    /// Prefix of every key; by default `app:` with --coherence outbox, else none
    #[arg(long, env = "CACHE_NAMESPACE")]
    pub namespace: Option<String>,

    /// Milliseconds to wait for one answer of Redis, by default 50; one request to the app waits for Redis at most twice as long
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub cache_timeout_ms: Option<u64>,

    /// If CACHE_ENV or CACHE_CONFIG is set: the environment that configures the cache, with its file and profile. The arguments above
    /// override it.
    #[arg(skip = configured())]
    pub environment: Option<Environment>,

    /// Maximum number of concurrent loads from Postgres, so that an outage of Redis does not overload Postgres; 0: no limit
    #[arg(long, env = "LOADS_AT_MOST", default_value_t = 64)]
    pub loads_at_most: usize,

    /// Minimum number of rows of each table; missing rows are added at the start. `none`: add no rows. A table that is not listed has a
    /// default of 0 to 900 rows, depending on the table. The command `warm` adds none
    #[arg(long, env = "LOAD", default_value = "posts=10000,profiles=1000,products=1000,courses=500")]
    pub load: SeedData,

    /// Maximum number of connections to Postgres
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub db_connections: u32,

    /// Bearer token for the management of the cache under /cache; without a token there is no management
    #[arg(long, env = "ADMIN_TOKEN", hide_env_values = true)]
    pub admin_token: Option<String>,

    /// Keys that encrypt sessions and the cached values of sealed classes (preferences, notes): a comma-separated list of name:KEY, where
    /// KEY is 32 bytes in base64. Without keys there are no sessions, and these values are not cached
    #[arg(long, env = "SESSION_KEYS", hide_env_values = true)]
    pub session_keys: Option<String>,

    /// Redis for sessions; by default the cache's Redis. Recommended: another database number, or a server without eviction
    #[arg(long, env = "SESSION_REDIS_URL", hide_env_values = true)]
    pub session_redis_url: Option<String>,

    /// Bearer token of the identity provider that may call POST /login; without one nobody can log in
    #[arg(long, env = "LOGIN_TOKEN", hide_env_values = true)]
    pub login_token: Option<String>,
}

/// Without the passwords and tokens.
impl fmt::Debug for AppArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("AppArgs");
        shown.field("cache", &self.cache).field("coherence", &self.coherence).field("namespace", &self.namespace);
        shown.field("load", &self.load).field("db_connections", &self.db_connections).finish_non_exhaustive()
    }
}

/// An empty variable counts as not set: compose files pass unset variables on as empty ones.
pub(crate) fn non_empty(secret: &Option<String>) -> Option<&str> {
    secret.as_deref().filter(|secret| !secret.is_empty())
}

fn configured() -> Option<Environment> {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    (is_set("CACHE_ENV") || is_set("CACHE_CONFIG")).then(Environment::of_process)
}

fn coherence(text: &str) -> Result<Coherence, String> {
    match text {
        "delete" => Ok(Coherence::Delete),
        "lease" => Ok(Coherence::Lease),
        "outbox" => Ok(Coherence::Outbox),
        _ => Err(format!("unknown coherence `{text}`: write delete, lease or outbox")),
    }
}

/// How many rows each table should have at least, in the order of the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedData(pub(crate) [i64; TABLES.len()]);

impl SeedData {
    /// No rows.
    pub(crate) const NONE: Self = Self([0; TABLES.len()]);
}

impl FromStr for SeedData {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::NONE);
        }
        let mut rows = TABLES.each_ref().map(|table| table.default_rows);
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, count) = part.split_once('=').ok_or_else(|| format!("`{part}`: write it like posts=10000"))?;
            let at = TABLES.iter().position(|table| table.name == name);
            let names = || TABLES.each_ref().map(|table| table.name).join(", ");
            let at = at.ok_or_else(|| format!("unknown table `{name}`: write some of {}", names()))?;
            let count: u32 = count.parse().map_err(|_| format!("`{count}` is not a number of {name}"))?;
            rows[at] = i64::from(count);
        }
        Ok(Self(rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        serve: ServeArgs,
    }

    #[test]
    fn load_is_a_list_of_tables_and_rows() {
        let load: SeedData = "posts=10, courses=3, notes=0".parse().expect("a load");
        let rows = |name| load.0[TABLES.iter().position(|table| table.name == name).expect("a table")];
        assert_eq!(["posts", "profiles", "courses", "users", "notes"].map(rows), [10, 0, 3, 300, 0]);
        assert_eq!("none".parse(), Ok(SeedData([0; TABLES.len()])));
        for bad in ["posts", "post=1", "posts=-1", "posts=1e3"] {
            assert!(bad.parse::<SeedData>().is_err(), "{bad}");
        }
    }

    #[test]
    fn passwords_and_tokens_are_not_shown() {
        let secrets =
            ["--database-url", "postgres://u:s3cret@h/d", "--redis-url", "redis://:s3cret@h", "--admin-token"];
        let more =
            ["s3cret-s3cret-s3cret", "--session-keys", "k:s3cret", "--login-token", "s3cret", "--coherence", "outbox"];
        let program = Program::try_parse_from(["app"].into_iter().chain(secrets).chain(more)).expect("arguments");
        let shown = format!("{program:?}");
        assert!(shown.contains("Outbox") && !shown.contains("s3cret"), "{shown}");
        let bad =
            Program::try_parse_from(["app", "--database-url", "u", "--coherence", "strict"]).expect_err("unknown");
        assert!(bad.to_string().contains("write delete, lease or outbox"), "{bad}");
    }
}
