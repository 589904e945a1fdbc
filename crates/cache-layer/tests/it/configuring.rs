//! From file and variables to a configuration.

use cache_layer::{CacheConfig, ConfigError, Environment, RedisConfig, Strategy, Topology};
use std::time::Duration;
use tempfile::TempDir;

struct File(TempDir);

impl File {
    fn of(text: &str) -> Self {
        let dir = TempDir::with_prefix("cache-layer-test-").expect("a directory");
        std::fs::write(dir.path().join("cache.toml"), text).expect("a file");
        Self(dir)
    }

    fn name(&self) -> String {
        self.0.path().join("cache.toml").display().to_string()
    }
}

fn with(variables: &[(&str, &str)]) -> Result<CacheConfig, ConfigError> {
    CacheConfig::from_env(&variables.iter().copied().collect::<Environment>())
}

fn redis(config: CacheConfig) -> RedisConfig {
    config.redis.expect("redis")
}

fn error(variables: &[(&str, &str)]) -> String {
    let error = with(variables).expect_err("refused");
    let text = error.to_string();
    assert!(!format!("{text}{error:?}").contains("secret"), "{text} {error:?}");
    text
}

#[test]
fn each_environment_has_its_defaults() {
    let dev = with(&[]).expect("dev needs nothing");
    assert_eq!((dev.strategy, redis(dev).namespace.as_str()), (Strategy::Redis, "dev:"));
    let test = with(&[("CACHE_ENV", "test")]).expect("test needs nothing");
    assert_eq!((test.strategy, redis(test).namespace.as_str()), (Strategy::Memory, "test:"));
    assert_eq!(with(&[("CACHE_ENV", "prod")]).expect_err("no default leads to production"), ConfigError::NoRedisUrl);
    let prod = with(&[("CACHE_ENV", "prod"), ("REDIS_URL", "redis+cluster://a,b")]).expect("a configuration");
    assert_eq!((prod.strategy, prod.request_budget), (Strategy::Redis, Duration::from_millis(100)));
    let prod = redis(prod);
    assert_eq!((prod.namespace.as_str(), prod.connections), ("prod:", 10));
    assert!(matches!(prod.topology(), Ok(Topology::Cluster { seeds }) if seeds.len() == 2));
}

#[test]
fn variables_win_over_the_file_and_the_file_over_the_environment() {
    let file = File::of(
        r#"
        request_budget = "80ms"
        [redis]
        url = "redis://from-file"
        connections = 3
        command_timeout = "30ms"
        [prod]
        namespace = "shop:"
        breaker.failure_share = 0.25
        [prod.redis]
        connections = 7
        [dev.redis]
        connections = 1
        "#,
    );
    let base = [("CACHE_CONFIG", file.name())];
    let load = |more: &[(&str, &str)]| {
        let all = base.iter().map(|(n, v)| (*n, v.as_str())).chain(more.iter().copied());
        CacheConfig::from_env(&all.collect::<Environment>()).expect("a configuration")
    };
    let prod = load(&[("CACHE_ENV", "prod")]);
    assert_eq!(prod.request_budget, Duration::from_millis(80));
    let prod = redis(prod);
    assert_eq!((prod.connections, prod.namespace.as_str(), prod.url.as_str()), (7, "shop:", "redis://from-file"));
    assert!((prod.breaker.failure_share - 0.25).abs() < 1e-9);
    let dev = redis(load(&[("CACHE_NAMESPACE", "mine:"), ("CACHE_COMMAND_TIMEOUT", "")]));
    assert_eq!((dev.connections, dev.namespace.as_str()), (1, "mine:"));
    assert_eq!(dev.command_timeout, Duration::from_millis(30), "an empty variable is none");
    let test = redis(load(&[("CACHE_ENV", "test"), ("CACHE_CONNECTIONS", "9"), ("REDIS_PASSWORD", "p@ss")]));
    assert_eq!((test.connections, test.credentials.password.as_deref()), (9, Some("p@ss")));
}

#[test]
fn a_mistake_is_an_error_that_says_what_to_write() {
    for (variables, hints) in [
        (&[("CACHE_CONECTIONS", "3")][..], &["CACHE_CONECTIONS", "did you mean CACHE_CONNECTIONS?"][..]),
        (&[("CACHE_XYZZY_PLUGH", "3")], &["CACHE_STRATEGY", "REDIS_URL"]),
        (&[("CACHE_ENV", "staging")], &["staging", "dev, test or prod"]),
        (&[("CACHE_CONNECTIONS", "0")], &["CACHE_CONNECTIONS", "`0`", "whole number from 1"]),
        (&[("CACHE_COMMAND_TIMEOUT", "50")], &["CACHE_COMMAND_TIMEOUT", "`50`", "50ms"]),
        (&[("CACHE_STRATEGY", "disk")], &["disk", "memory"]),
        (&[("REDIS_URL", "rediss+oops://u:secret@h")], &["redis+cluster://"]),
        (&[("CACHE_STRATEGY", "two-tier"), ("REDIS_URL", "rediss+oops://u:secret@h")], &["redis+cluster://"]),
        (&[("CACHE_STRATEGY", "two-tier"), ("CACHE_ENV", "prod")], &["no Redis URL"]),
        (&[("CACHE_BACKOFF", "20s")], &["backoff_at_most"]),
        (&[("CACHE_CONFIG", "/nowhere/cache.toml")], &["/nowhere/cache.toml"]),
    ] {
        let text = error(variables);
        assert!(hints.iter().all(|hint| text.contains(hint)), "{variables:?}: {text}");
    }
}

#[test]
fn a_mistake_in_the_file_is_found_in_every_part_of_it() {
    for (toml, hints) in [
        ("[redis]\nconections = 3", &["`redis.conections`", "did you mean redis.connections?"][..]),
        ("[prod.redis]\ncommand_timeout = \"fast\"", &["`prod.redis.command_timeout`", "`fast`", "50ms"]),
        ("[stage.redis]\nconnections = 3", &["`stage.redis.connections`", "redis.connections"]),
        ("namespace = [\"a\"]", &["`namespace`", "text"]),
        ("[redis]\npassword = \"secret\nconnections = 1", &["line 2"]),
        ("[redis]\nurl = [\"redis://u:secret@h\"]", &["`redis.url`", "redis+sentinel://"]),
    ] {
        let file = File::of(toml);
        let text = error(&[("CACHE_CONFIG", &file.name())]);
        assert!(hints.iter().all(|hint| text.contains(hint)), "{toml}: {text}");
    }
}

#[test]
fn what_others_set_is_left_alone() {
    let kubernetes = [
        ("CACHE_PORT", "tcp://10.0.0.1:80"),
        ("CACHE_SERVICE_HOST", "10.0.0.1"),
        ("CACHE_PORT_80_TCP", "x"),
        ("REDIS_PORT", "x"),
    ];
    with(&kubernetes).expect("not ours");
    let secret = [("REDIS_PASSWORD", "secret")].into_iter().collect::<Environment>();
    assert!(!format!("{secret:?}").contains("secret"));
    let config = CacheConfig::from_env(&secret).expect("a configuration");
    assert!(!format!("{config:?}").contains("secret"));
}

#[test]
fn who_reads_no_configuration_can_say_what_it_leaves_aside() {
    let set =
        [("REDIS_URL", "redis://h"), ("REDIS_PASSWORD", "secret"), ("CACHE_CONNECTIONS", "3"), ("CACHE_BACKOFF", "")];
    let environment: Environment = set.into_iter().chain([("CACHE_PORT", "6379"), ("PATH", "/bin")]).collect();
    assert_eq!(environment.settings_but(&["REDIS_URL"]), ["REDIS_PASSWORD", "CACHE_CONNECTIONS"]);
}
