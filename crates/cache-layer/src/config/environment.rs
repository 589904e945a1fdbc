//! A configuration for each environment, from defaults, a file and variables.
#![doc = include_str!("settings.md")]

use super::settings::{self, SETTINGS, Setting};
use super::{CacheConfig, ConfigError, Strategy};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// The variables that a configuration is read from. `Debug` shows their names only: values may be secret.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

impl Environment {
    /// The variables of this process.
    #[must_use]
    pub fn of_process() -> Self {
        // A value that is no text belongs to somebody else.
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The variables that are settings of the cache, but for those that somebody else takes. For a program that does not always read a
    /// configuration, to say which of them it leaves aside.
    #[must_use]
    pub fn settings_but(&self, taken: &[&str]) -> Vec<&'static str> {
        let left = SETTINGS.iter().map(|setting| setting.variable).filter(|name| !taken.contains(name));
        left.filter(|name| self.get(name).is_some()).collect()
    }

    /// A variable; one that is empty is not there.
    fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self { variables: variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect() }
    }
}

/// Where the program runs: `CACHE_ENV`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Profile {
    /// On a developer's machine.
    #[default]
    Dev,
    /// In tests.
    Test,
    /// In production.
    Prod,
}

impl Profile {
    pub(super) const ALL: [Self; 3] = [Self::Dev, Self::Test, Self::Prod];

    /// `dev`, `test` or `prod`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Test => "test",
            Self::Prod => "prod",
        }
    }

    /// What `CACHE_ENV` says; `dev` when it is not set.
    ///
    /// # Errors
    /// It says something else.
    pub fn of(environment: &Environment) -> Result<Self, ConfigError> {
        environment.get("CACHE_ENV").map_or(Ok(Self::default()), str::parse)
    }
}

impl FromStr for Profile {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let found = Self::ALL.into_iter().find(|profile| profile.name() == text);
        found.ok_or_else(|| ConfigError::Environment(text.to_owned()))
    }
}

impl CacheConfig {
    /// The configuration for the environment that `CACHE_ENV` names: its defaults, over them the file that `CACHE_CONFIG` names (if it
    /// is set), over that the variables. [`Settings`](crate::Settings) lists every setting.
    ///
    /// # Errors
    /// A name that is no setting (with the nearest one that is), a value that does not fit (with what to write), a file that cannot be
    /// read, settings that do not go together. No error repeats a URL or a password.
    pub fn from_env(environment: &Environment) -> Result<Self, ConfigError> {
        let profile = Profile::of(environment)?;
        let mut config = settings::defaults(profile);
        if let Some(file) = environment.get("CACHE_CONFIG") {
            let text = std::fs::read_to_string(file).map_err(|error| ConfigError::File(format!("{file}: {error}")))?;
            apply_file(&mut config, &text, Path::new(file), profile)?;
        }
        for name in environment.variables.keys().filter(|name| is_ours(name)) {
            if !["CACHE_ENV", "CACHE_CONFIG"].contains(&name.as_str())
                && !SETTINGS.iter().any(|setting| setting.variable == name)
            {
                let known = SETTINGS.iter().map(|setting| setting.variable).chain(["CACHE_ENV", "CACHE_CONFIG"]);
                return Err(unknown(&format!("the variable {name}"), name, known));
            }
        }
        for setting in SETTINGS {
            if let Some(value) = environment.get(setting.variable) {
                set(&mut config, setting, value, &format!("the variable {}", setting.variable))?;
            }
        }
        config.checked()
    }

    fn checked(mut self) -> Result<Self, ConfigError> {
        if let Some(redis) = &mut self.redis {
            if redis.backoff > redis.backoff_at_most {
                return Err(ConfigError::Together("redis.backoff_at_most: write at least what redis.backoff says"));
            }
            if matches!(self.strategy, Strategy::Redis | Strategy::TwoTier) {
                if redis.url.is_empty() {
                    return Err(ConfigError::NoRedisUrl);
                }
                redis.topology()?;
            }
        }
        Ok(self)
    }
}

/// `CACHE_…`, but for what Kubernetes sets for a service that is called `cache`.
fn is_ours(name: &str) -> bool {
    let kubernetes = |rest: &str| rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_");
    name.strip_prefix("CACHE_").is_some_and(|rest| !kubernetes(rest))
}

/// What stands at the top is for every environment; what stands in `[dev]`, `[test]`, `[prod]` for that one, and wins.
fn apply_file(config: &mut CacheConfig, text: &str, file: &Path, profile: Profile) -> Result<(), ConfigError> {
    let table: toml::Table = toml::from_str(text).map_err(|error| {
        // Its `Display` shows the line, password included.
        let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].lines().count().max(1));
        ConfigError::File(format!("{}: line {line}: {}", file.display(), error.message()))
    })?;
    let mut found = Vec::new();
    flatten(&table, "", &mut found);
    let mut own = Vec::new();
    for (name, value) in &found {
        let (of, short) = Profile::ALL
            .into_iter()
            .find_map(|of| Some((Some(of), name.strip_prefix(of.name())?.strip_prefix('.')?)))
            .unwrap_or((None, name));
        let Some(setting) = SETTINGS.iter().find(|setting| setting.name == short) else {
            let known = SETTINGS.iter().map(|setting| setting.name);
            return Err(unknown(&format!("`{name}` in {}", file.display()), short, known));
        };
        let from = format!("`{name}` in {}", file.display());
        let Some(value) = value else {
            return Err(ConfigError::Value { setting: from, got: None, write: setting.takes });
        };
        match of {
            None => set(config, setting, value, &from)?,
            // Those of other environments are read, too, so that a mistake shows before it is used.
            Some(of) if of != profile => set(&mut settings::defaults(of), setting, value, &from)?,
            Some(_) => own.push((setting, value, from)),
        }
    }
    own.into_iter().try_for_each(|(setting, value, from)| set(config, setting, value, &from))
}

/// `redis.connections` and `10` for `connections = 10` in the table `redis`; nothing for a value that no setting takes.
fn flatten(table: &toml::Table, prefix: &str, into: &mut Vec<(String, Option<String>)>) {
    for (key, value) in table {
        let name = format!("{prefix}{key}");
        let text = match value {
            toml::Value::Table(inner) => {
                flatten(inner, &format!("{name}."), into);
                continue;
            }
            toml::Value::String(text) => Some(text.clone()),
            toml::Value::Integer(number) => Some(number.to_string()),
            toml::Value::Float(number) => Some(number.to_string()),
            toml::Value::Boolean(truth) => Some(truth.to_string()),
            _ => None,
        };
        into.push((name, text));
    }
}

fn set(config: &mut CacheConfig, setting: &Setting, value: &str, from: &str) -> Result<(), ConfigError> {
    (setting.apply)(config, value).ok_or_else(|| ConfigError::Value {
        setting: from.to_owned(),
        // What may be secret is not repeated.
        got: (!setting.secret).then(|| value.to_owned()),
        write: setting.takes,
    })
}

fn unknown(what: &str, name: &str, known: impl Iterator<Item = &'static str>) -> ConfigError {
    let known: Vec<_> = known.collect();
    let nearest = known.iter().map(|known| (strsim::osa_distance(name, known), *known)).min();
    let hint = match nearest {
        Some((distance, nearest)) if distance <= name.len() / 3 => format!("did you mean {nearest}?"),
        _ => format!("there are {}", known.join(", ")),
    };
    ConfigError::Unknown { what: what.to_owned(), hint }
}
