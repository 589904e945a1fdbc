//! What a Redis URL says. redis-rs reads users, passwords and single hosts; what goes beyond is read here.

use crate::config::ConfigError;
use crate::store::redis::config::Credentials;
use redis::{ConnectionAddr, IntoConnectionInfo};
use std::fmt;

/// How Redis is deployed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One server.
    Standalone(Address),
    /// A master with replicas; sentinels say which it is.
    Sentinel {
        /// The name under which they watch it.
        master: String,
        /// Some of them; each is asked in turn until one answers.
        sentinels: Vec<Address>,
    },
    /// Masters that share the keys.
    Cluster {
        /// Some nodes; the others are found.
        seeds: Vec<Address>,
    },
}

/// Where one server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A whole URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store::redis) struct Deployment {
    pub(in crate::store::redis) topology: Topology,
    pub(super) credentials: Credentials,
    pub(super) database: i64,
    pub(super) tls: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Standalone,
    Sentinel,
    Cluster,
}

impl Deployment {
    /// The errors never repeat the URL: it may hold a password.
    pub(in crate::store::redis) fn parse(url: &str) -> Result<Self, ConfigError> {
        let (scheme, rest) = url.split_once("://").ok_or(ConfigError::RedisUrl)?;
        let (tls, kind) = match scheme {
            "redis" => (false, Kind::Standalone),
            "rediss" => (true, Kind::Standalone),
            "redis+sentinel" => (false, Kind::Sentinel),
            "rediss+sentinel" => (true, Kind::Sentinel),
            "redis+cluster" => (false, Kind::Cluster),
            "rediss+cluster" => (true, Kind::Cluster),
            _ => return Err(ConfigError::RedisUrl),
        };
        if tls && cfg!(not(feature = "tls")) {
            return Err(ConfigError::RedisUrlPart("TLS needs the feature `tls` of cache-layer: build with it"));
        }
        if rest.contains(['?', '#']) {
            let what =
                "nothing stands behind `?` or `#`; there is no insecure TLS either: name the CA file to trust instead";
            return Err(ConfigError::RedisUrlPart(what));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
        let (master, database) = match kind {
            Kind::Standalone | Kind::Cluster => (None, path),
            Kind::Sentinel => match path.split_once('/').unwrap_or((path, "")) {
                ("", _) => {
                    return Err(ConfigError::RedisUrlPart("a Sentinel URL names the master: write …:26379/mymaster"));
                }
                (master, database) => (Some(master.to_owned()), database),
            },
        };
        let mut read = hosts.split(',').map(|host| single(user, host, database, kind));
        let (first, credentials, database) = read.next().ok_or(ConfigError::RedisUrl)??;
        let mut addresses = vec![first];
        for other in read {
            addresses.push(other?.0);
        }
        let topology = match (kind, master) {
            (Kind::Standalone, _) if addresses.len() > 1 => {
                let what = "redis:// names one server; several are redis+sentinel:// or redis+cluster://";
                return Err(ConfigError::RedisUrlPart(what));
            }
            (Kind::Standalone, _) => Topology::Standalone(addresses.swap_remove(0)),
            (Kind::Cluster, _) if database != 0 => {
                return Err(ConfigError::RedisUrlPart("a cluster has no databases: leave the number out"));
            }
            (Kind::Cluster, _) => Topology::Cluster { seeds: addresses },
            (Kind::Sentinel, master) => Topology::Sentinel { master: master.unwrap_or_default(), sentinels: addresses },
        };
        Ok(Self { topology, credentials, database, tls })
    }
}

fn single(user: &str, host: &str, database: &str, kind: Kind) -> Result<(Address, Credentials, i64), ConfigError> {
    let has_port = host.rsplit_once(']').map_or(host, |(_, behind)| behind).contains(':');
    let port = match kind {
        _ if has_port => "",
        Kind::Sentinel => ":26379",
        Kind::Standalone | Kind::Cluster => ":6379",
    };
    let at = if user.is_empty() { "" } else { "@" };
    // The error may repeat the URL; so it is dropped.
    let info = format!("redis://{user}{at}{host}{port}/{database}")
        .into_connection_info()
        .map_err(|_| ConfigError::RedisUrl)?;
    let ConnectionAddr::Tcp(host, port) = info.addr() else { return Err(ConfigError::RedisUrl) };
    let redis = info.redis_settings();
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let credentials = Credentials { username: owned(redis.username()), password: owned(redis.password()) };
    Ok((Address { host: host.clone(), port: *port }, credentials, redis.db()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16) -> Address {
        Address { host: host.into(), port }
    }

    fn parsed(url: &str) -> Deployment {
        Deployment::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn each_deployment_has_its_url() {
        assert_eq!(parsed("redis://h").topology, Topology::Standalone(at("h", 6379)));
        assert_eq!(parsed("redis://[::1]:7000/3").topology, Topology::Standalone(at("::1", 7000)));
        assert_eq!(parsed("redis://[::1]:7000/3").database, 3);
        let sentinel = parsed("redis+sentinel://:pw@s1,s2:5000/mymaster/2");
        let (sentinels, master) = (vec![at("s1", 26379), at("s2", 5000)], "mymaster".to_owned());
        assert_eq!(sentinel.topology, Topology::Sentinel { master, sentinels });
        assert_eq!((sentinel.database, sentinel.credentials.password.as_deref()), (2, Some("pw")));
        let cluster = parsed("redis+cluster://u:p%40ss%2F@n1,[::2],n3:7003");
        assert_eq!(
            cluster.topology,
            Topology::Cluster { seeds: vec![at("n1", 6379), at("::2", 6379), at("n3", 7003)] }
        );
        assert_eq!(cluster.credentials.username.as_deref(), Some("u"));
        assert_eq!(cluster.credentials.password.as_deref(), Some("p@ss/"));
        assert_eq!(at("::1", 7000).to_string(), "[::1]:7000");
    }

    #[test]
    #[cfg(feature = "tls")]
    fn rediss_speaks_tls_in_each_deployment() {
        for url in ["rediss://h", "rediss+sentinel://h/m", "rediss+cluster://h"] {
            assert!(parsed(url).tls, "{url}");
        }
        assert!(!parsed("redis://h").tls);
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_repeating_the_password() {
        for (url, hint) in [
            ("nonsense", "redis://"),
            ("http://u:secret@h", "redis://"),
            ("redis://u:secret@h:port", "redis://"),
            ("redis://u:secret@h,h2", "redis+cluster://"),
            ("redis://u:secret@", "redis://"),
            ("redis+sentinel://u:secret@h", "mymaster"),
            ("redis+sentinel://u:secret@h,/m", "redis://"),
            ("redis+cluster://u:secret@h/1", "databases"),
            ("redis://u:secret@h/x", "redis://"),
            ("redis://u:secret@h/#insecure", "CA file"),
        ] {
            let error = Deployment::parse(url).expect_err(url);
            let text = format!("{error} {error:?}");
            assert!(!text.contains("secret"), "{text}");
            assert!(text.contains(hint), "{url}: {text}");
        }
    }
}
