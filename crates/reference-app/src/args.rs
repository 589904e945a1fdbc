use crate::resource::RESOURCES;
use cache_layer::Strategy;
use std::net::SocketAddr;
use std::str::FromStr;

/// What `cacheproof serve` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// Postgres to read from, postgres://user:password@host:port/database
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,

    /// Redis to cache in, redis://host:port
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<String>,

    /// Where to cache: redis, memory or none
    #[arg(long, env = "CACHE", default_value = "redis")]
    pub cache: Strategy,

    /// Milliseconds to wait for one answer of Redis; a request waits twice as long at most
    #[arg(long, env = "CACHE_TIMEOUT_MS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub cache_timeout_ms: u64,

    /// Rows to fill empty tables with, or `none`
    #[arg(long, env = "LOAD", default_value = "posts=10000,profiles=1000,products=1000,courses=500")]
    pub load: Load,

    /// Connections to Postgres
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub db_connections: u32,
}

/// How many rows each service should have at least, in the order of the services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load(pub(crate) [i64; RESOURCES.len()]);

impl FromStr for Load {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut rows = [0; RESOURCES.len()];
        if text == "none" {
            return Ok(Self(rows));
        }
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, count) = part.split_once('=').ok_or_else(|| format!("`{part}`: write it like posts=10000"))?;
            let at = RESOURCES.iter().position(|resource| resource.name() == name);
            let at = at.ok_or_else(|| format!("there is no `{name}`: write posts, profiles, products or courses"))?;
            let count: u32 = count.parse().map_err(|_| format!("`{count}` is no number of {name}"))?;
            rows[at] = i64::from(count);
        }
        Ok(Self(rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_names_services_and_rows() {
        assert_eq!("posts=10, courses=3".parse(), Ok(Load([10, 0, 0, 3])));
        assert_eq!("none".parse(), Ok(Load([0; 4])));
        for bad in ["posts", "post=1", "posts=-1", "posts=1e3"] {
            assert!(bad.parse::<Load>().is_err(), "{bad}");
        }
    }
}
