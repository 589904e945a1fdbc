//! Where everything of a run is to be found, as the user's own commands are told it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// With what the name of each variable begins: nobody else's does, so that a command that is run without having been told never takes
/// another server for the run's.
const PREFIX: &str = "CACHEPROOF_";

/// Environment variables: `CACHEPROOF_REDIS_URL` and `CACHEPROOF_DATABASE_URL` are the servers themselves, past cacheproof's
/// proxies (whoever breaks a server must reach it while its links are broken); of several servers each has its own besides,
/// `CACHEPROOF_REDIS_2_URL` or `CACHEPROOF_SENTINEL_1_URL`. The URLs hold passwords: what is shown of this are the names.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses(Vec<(String, String)>);

impl Addresses {
    /// Of a run's servers, and of its app's instances by their base URLs: `CACHEPROOF_APP_URL` is the first one's. `redis`: name and
    /// URL of each Redis server; the first is the one that clients are given.
    pub fn of(redis: &[(&str, &str)], database: Option<&str>, app: &[String]) -> Self {
        let mut all = Self::default();
        if let Some((_, url)) = redis.first() {
            all.add("REDIS", &with_user(url));
        }
        for (name, url) in redis.iter().filter(|_| redis.len() > 1) {
            all.add(name, &with_user(url));
        }
        if let Some(url) = database {
            all.add("DATABASE", url);
        }
        all.add_apps(app);
        all
    }

    fn add_apps(&mut self, app: &[String]) {
        for (number, url) in (1..).zip(app) {
            if number == 1 {
                self.add("APP", url);
            }
            if app.len() > 1 {
                self.add(&format!("APP_{number}"), url);
            }
        }
    }

    fn add(&mut self, what: &str, url: &str) {
        self.0.push((format!("{PREFIX}{}_URL", what.to_uppercase().replace('-', "_")), url.into()));
    }

    /// Names and values, for a command's environment.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A variable of this kind that a command names and that is neither here nor in cacheproof's own environment: the shell would put
    /// nothing in its place, and many a program then goes to a server of its own choice.
    pub fn find_undefined_variable<'command>(&self, command: &'command str) -> Option<&'command str> {
        let named = command.split('$').skip(1).map(|rest| {
            let rest = rest.strip_prefix('{').unwrap_or(rest);
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            &rest[..end]
        });
        let mut ours = named.filter(|name| name.starts_with(PREFIX) && name.ends_with("_URL"));
        ours.find(|name| self.iter().all(|(known, _)| known != *name) && std::env::var_os(name).is_none())
    }
}

/// A Redis URL whose user has a name: redis-cli takes `redis://:password@…` for a user whose name is empty, and there is none.
fn with_user(url: &str) -> String {
    url.replacen("://:", "://default:", 1)
}

impl fmt::Debug for Addresses {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Addresses {
        let mut all = Addresses::default();
        all.add("REDIS", "redis://default:s3cret@127.0.0.1:7000/");
        all.add("sentinel-1", "redis://127.0.0.1:7001/");
        all
    }

    #[test]
    fn what_is_shown_are_the_names() {
        assert_eq!(format!("{:?}", some()), r#"["CACHEPROOF_REDIS_URL", "CACHEPROOF_SENTINEL_1_URL"]"#);
    }

    #[test]
    fn each_instance_of_an_app_has_a_name_where_there_are_several() {
        let names = |urls: &[&str]| {
            let mut all = Addresses::default();
            all.add_apps(&urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>());
            all.0.into_iter().map(|(name, url)| format!("{name}={url}")).collect::<Vec<_>>()
        };
        assert_eq!(names(&["http://a"]), ["CACHEPROOF_APP_URL=http://a"]);
        let two = ["CACHEPROOF_APP_URL=http://a", "CACHEPROOF_APP_1_URL=http://a", "CACHEPROOF_APP_2_URL=http://b"];
        assert_eq!(names(&["http://a", "http://b"]), two);
    }

    #[test]
    fn a_user_without_a_name_is_the_default_one() {
        assert_eq!(with_user("redis://:s3cret@h:1/"), "redis://default:s3cret@h:1/");
        assert_eq!(with_user("redis://u:s3cret@h:1/"), "redis://u:s3cret@h:1/");
        assert_eq!(with_user("redis://h:1/"), "redis://h:1/");
    }

    #[test]
    fn a_command_that_names_what_nobody_knows_is_found() {
        for (command, unknown) in [
            ("redis-cli -u $CACHEPROOF_REDIS_URL ping", None),
            ("redis-cli -u \"${CACHEPROOF_SENTINEL_1_URL}\" ping; echo $HOME $1 $", None),
            ("psql $CACHEPROOF_DATABASE_URL -c 'select 1'", Some("CACHEPROOF_DATABASE_URL")),
            ("echo ${CACHEPROOF_REDIS_2_URL:-none}", Some("CACHEPROOF_REDIS_2_URL")),
            ("echo $CACHEPROOF_RUN $DATABASE_URL", None),
        ] {
            assert_eq!(some().find_undefined_variable(command), unknown, "{command}");
        }
    }
}
