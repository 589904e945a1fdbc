//! The addresses of a run's servers and app, which the user's commands get as environment variables.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The prefix of every variable. No other program uses it, so a command without these variables never reaches another
/// server by mistake.
const PREFIX: &str = "CACHEPROOF_";

/// Environment variables for the user's commands. `CACHEPROOF_REDIS_URL` and `CACHEPROOF_DATABASE_URL` lead to the servers
/// directly, past cacheproof's proxies: a command must reach a server even while its proxy injects a fault. With several
/// servers each has a variable of its own as well, such as `CACHEPROOF_REDIS_2_URL` or `CACHEPROOF_SENTINEL_1_URL`. The URLs
/// hold passwords, so `Debug` shows the names only.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses(Vec<(String, String)>);

impl Addresses {
    /// The variables for these servers and instances of the app. `redis`: name and URL of each Redis server; the first one
    /// becomes `CACHEPROOF_REDIS_URL`. `app`: the base URL of each instance; the first one becomes `CACHEPROOF_APP_URL`.
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

    /// The first of these variables that a command uses but that is defined neither here nor in cacheproof's own environment.
    /// The shell would replace it by nothing, and many programs then connect to their default server.
    pub fn find_undefined_variable<'command>(&self, command: &'command str) -> Option<&'command str> {
        let used = command.split('$').skip(1).map(|rest| {
            let rest = rest.strip_prefix('{').unwrap_or(rest);
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            &rest[..end]
        });
        let mut ours = used.filter(|name| name.starts_with(PREFIX) && name.ends_with("_URL"));
        ours.find(|name| self.iter().all(|(known, _)| known != *name) && std::env::var_os(name).is_none())
    }
}

/// A Redis URL that names its user. For `redis://:password@…`, redis-cli logs in as a user with an empty name, who does not
/// exist.
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

    fn two_servers() -> Addresses {
        let mut all = Addresses::default();
        all.add("REDIS", "redis://default:s3cret@127.0.0.1:7000/");
        all.add("sentinel-1", "redis://127.0.0.1:7001/");
        all
    }

    #[test]
    fn debug_output_shows_the_names_only() {
        assert_eq!(format!("{:?}", two_servers()), r#"["CACHEPROOF_REDIS_URL", "CACHEPROOF_SENTINEL_1_URL"]"#);
    }

    #[test]
    fn each_instance_has_a_variable_where_there_are_several() {
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
    fn a_user_without_a_name_becomes_the_default_user() {
        assert_eq!(with_user("redis://:s3cret@h:1/"), "redis://default:s3cret@h:1/");
        assert_eq!(with_user("redis://u:s3cret@h:1/"), "redis://u:s3cret@h:1/");
        assert_eq!(with_user("redis://h:1/"), "redis://h:1/");
    }

    #[test]
    fn a_command_with_an_undefined_variable_is_found() {
        for (command, unknown) in [
            ("redis-cli -u $CACHEPROOF_REDIS_URL ping", None),
            ("redis-cli -u \"${CACHEPROOF_SENTINEL_1_URL}\" ping; echo $HOME $1 $", None),
            ("psql $CACHEPROOF_DATABASE_URL -c 'select 1'", Some("CACHEPROOF_DATABASE_URL")),
            ("echo ${CACHEPROOF_REDIS_2_URL:-none}", Some("CACHEPROOF_REDIS_2_URL")),
            ("echo $CACHEPROOF_RUN $DATABASE_URL", None),
        ] {
            assert_eq!(two_servers().find_undefined_variable(command), unknown, "{command}");
        }
    }
}
