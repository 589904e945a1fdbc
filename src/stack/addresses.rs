//! Where everything of a run is to be found, as the user's own commands are told it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Deployment, Stack};

/// Environment variables: `REDIS_URL` and `DATABASE_URL` are the servers themselves, past cacheproof's proxies (whoever breaks
/// a server must reach it while its links are broken); of several servers each has its own besides, `REDIS_2_URL` or
/// `SENTINEL_1_URL`. The URLs hold passwords: what is shown of this are the names.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses(Vec<(String, String)>);

impl Addresses {
    /// Of a run's servers, and of its app's instances by their base URLs: `APP_URL` is the first one's.
    pub fn of(stack: &Stack, app: &[String]) -> Self {
        let mut all = Self::default();
        if let Some(redis) = &stack.redis {
            all.add("REDIS_URL", &named(redis.first().url()));
            all.add_each(redis);
            if let Some(file) = redis.ca_file() {
                all.add("REDIS_CA_FILE", &file.display().to_string());
            }
        }
        if let Some(postgres) = &stack.postgres {
            all.add("DATABASE_URL", postgres.first().url());
        }
        for (number, url) in (1..).zip(app) {
            if number == 1 {
                all.add("APP_URL", url);
            }
            if app.len() > 1 {
                all.add(&format!("APP_{number}_URL"), url);
            }
        }
        all
    }

    /// Names and values, for a command's environment.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn add(&mut self, name: &str, value: &str) {
        self.0.push((name.into(), value.into()));
    }

    fn add_each(&mut self, servers: &Deployment) {
        for node in servers.nodes().iter().filter(|_| servers.nodes().len() > 1) {
            self.add(&format!("{}_URL", node.name.to_uppercase().replace('-', "_")), &named(node.server.url()));
        }
    }
}

/// A Redis URL whose user has a name: redis-cli takes `redis://:password@…` for a user whose name is empty, and there is none.
fn named(url: &str) -> String {
    url.replacen("://:", "://default:", 1)
}

impl fmt::Debug for Addresses {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}
