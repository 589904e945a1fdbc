//! Servers that are there already. cacheproof connects, looks, and never breaks them.

use std::time::Duration;

use super::StackError;
use super::probe::{Kind, without_password};

/// How long one may take to answer at the start.
const PATIENCE: Duration = Duration::from_secs(10);

/// The URL with its `${NAME}`s filled in, once the server behind it answers.
pub(super) async fn connect(kind: Kind, url: Option<&str>) -> Result<String, StackError> {
    let fault = |why: String| StackError::Url {
        server: kind.key(),
        why,
        example: match kind {
            Kind::Redis => "redis://:${REDIS_PASSWORD}@127.0.0.1:6379/",
            Kind::Postgres => "postgres://app:${DB_PASSWORD}@127.0.0.1:5432/app",
        },
    };
    let url = url.ok_or_else(|| fault("provider = \"external\" needs a url".into()))?;
    let url = fill_in(url, |name| std::env::var(name).ok()).map_err(fault)?;
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    let known = match kind {
        Kind::Redis => ["redis", "rediss"],
        Kind::Postgres => ["postgres", "postgresql"],
    };
    if !known.contains(&scheme) {
        return Err(fault(format!("its url does not begin with {}://", known[0])));
    }
    kind.ask(&url, PATIENCE).await.map_err(|why| StackError::NotUp {
        what: format!("{} at {}", kind.name(), without_password(&url)),
        why,
        help: "check that it runs and can be reached from here, and the url in the scenario's [stack]".into(),
    })?;
    Ok(url)
}

/// Replaces each `${NAME}` by the variable's value.
fn fill_in(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, from)) = rest.split_once("${") {
        let (name, after) = from.split_once('}').ok_or("its url has a ${ without a }")?;
        let value = variable(name).ok_or_else(|| format!("its url needs the environment variable {name}"))?;
        filled.push_str(before);
        filled.push_str(&value);
        rest = after;
    }
    Ok(filled + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_once() {
        let variable = |name: &str| (name == "A").then(|| "x${B}".to_owned());
        assert_eq!(fill_in("redis://:${A}@h", variable).unwrap(), "redis://:x${B}@h");
        assert_eq!(fill_in("plain", variable).unwrap(), "plain");
        assert_eq!(fill_in("${C}", variable).unwrap_err(), "its url needs the environment variable C");
        assert!(fill_in("${A", variable).is_err());
    }

    #[tokio::test]
    async fn a_url_of_another_kind_is_refused_before_anything_is_sent() {
        let error = connect(Kind::Redis, Some("postgres://h/")).await.unwrap_err();
        assert_eq!(error.to_string(), "redis: its url does not begin with redis://");
        let error = connect(Kind::Postgres, None).await.unwrap_err();
        assert_eq!(error.to_string(), "postgres: provider = \"external\" needs a url");
    }
}
