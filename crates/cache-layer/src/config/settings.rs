//! Every setting, as data: its names, its defaults, what it takes.

use super::environment::Profile;
use super::{CacheConfig, Coherence};
use crate::breaker::BreakerConfig;
use crate::store::{Eviction, RedisConfig, SentinelTls, TlsConfig};
use crate::value::ValueKeys;
use std::time::Duration;

/// Every setting that [`CacheConfig::from_env`] reads.
#[doc = include_str!("settings.md")]
#[derive(Clone, Copy, Debug)]
pub struct Settings;

impl Settings {
    /// The table above, as Markdown.
    #[must_use]
    pub fn table() -> String {
        let mut table = String::from("| in the file | variable | takes | default | |\n|---|---|---|---|---|\n");
        for Setting { name, variable, takes, default, says, .. } in SETTINGS {
            let shown = |text: &str| if text.is_empty() { "–".to_owned() } else { format!("`{text}`") };
            let default = match default {
                All(text) => shown(text),
                Each(texts) => {
                    let each = Profile::ALL.iter().zip(texts);
                    each.map(|(of, text)| format!("{}: {}", of.name(), shown(text))).collect::<Vec<_>>().join(", ")
                }
            };
            table += &format!("| `{name}` | `{variable}` | {takes} | {default} | {says} |\n");
        }
        table
    }
}

pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) variable: &'static str,
    pub(super) takes: &'static str,
    pub(super) default: Default,
    pub(super) says: &'static str,
    /// Not to be repeated by an error.
    pub(super) secret: bool,
    /// Puts a value in its place; `None` when it does not fit.
    pub(super) apply: fn(&mut CacheConfig, &str) -> Option<()>,
}

/// As one would write it; empty for none.
pub(super) enum Default {
    All(&'static str),
    /// For dev, test, prod.
    Each([&'static str; 3]),
}

use Default::{All, Each};

const DURATION: &str = "a time with its unit: `50ms`, `10s`, `5m`, `1h`";
const COUNT: &str = "a whole number from 1";
const FILE: &str = "a PEM file";

/// Shorthand for one that takes what is shown.
const fn setting(
    name: &'static str,
    variable: &'static str,
    takes: &'static str,
    default: Default,
    says: &'static str,
    apply: fn(&mut CacheConfig, &str) -> Option<()>,
) -> Setting {
    Setting { name, variable, takes, default, says, secret: false, apply }
}

const fn secret(mut setting: Setting) -> Setting {
    setting.secret = true;
    setting
}

/// A function that puts a value into a field.
macro_rules! field {
    ($read:ident => $($of:ident)? . $($field:ident).+) => {
        |config, text| {
            field!(@at config $($of)?).$($field).+ = $read(text)?;
            Some(())
        }
    };
    (@at $config:ident redis) => { redis($config) };
    (@at $config:ident breaker) => { breaker($config) };
    (@at $config:ident cache) => { $config };
}

#[rustfmt::skip]
pub(super) const SETTINGS: &[Setting] = &[
    setting("strategy", "CACHE_STRATEGY", "`redis`, `two-tier`, `memory` or `none`", Each(["redis", "memory", "redis"]),
        "where values are stored", |config, text| { config.strategy = text.parse().ok()?; Some(()) }),
    setting("request_budget", "CACHE_REQUEST_BUDGET", DURATION, All("100ms"),
        "the longest one request waits for the cache", field!(duration => cache.request_budget)),
    setting("namespace", "CACHE_NAMESPACE", "text", Each(["dev:", "test:", "prod:"]),
        "the prefix of every key in Redis", field!(text => redis.namespace)),
    setting("coherence", "CACHE_COHERENCE", "`delete`, `lease` or `outbox`", All("lease"),
        "what invalidations guarantee", field!(coherence => redis.coherence)),
    setting("lease_ttl", "CACHE_LEASE_TTL", DURATION, All("10s"),
        "how long a load may take", |config, text| {
            redis(config).lease_ttl = duration(text)?;
            config.memory.lease_ttl = duration(text)?;
            Some(())
        }),
    setting("announce", "CACHE_ANNOUNCE", "`true` or `false`", All("false"),
        "announce deletions to other processes, as `two-tier` always does; set it in all processes before some of them become two-tier",
        field!(truth => redis.announce)),
    setting("owed_at_most", "CACHE_OWED_AT_MOST", COUNT, All("10000"),
        "failed invalidations that are remembered one by one", field!(count => redis.owed_at_most)),
    setting("memory.max_bytes", "CACHE_MEMORY_MAX_BYTES", "a size: `1048576`, `64mb`, `1gb`", All("64mb"),
        "size of keys and values with the strategy `memory`", field!(bytes => cache.memory.max_bytes)),
    setting("two_tier.eviction", "CACHE_TWO_TIER_EVICTION", "`lru` or `tiny-lfu`", All("lru"),
        "what leaves the first tier of `two-tier` first when it is full: what was used least recently, or what is used least often",
        |config, text| {
            config.two_tier.eviction = Eviction::named(text)?;
            Some(())
        }),
    secret(setting("value_keys", "CACHE_VALUE_KEYS", "`name:key`, several with commas; a key is 32 bytes in base64", All(""),
        "keys that encrypt the values of sealed classes; without keys these are not cached", |config, text| {
            config.value_keys = ValueKeys::parse(text)?;
            Some(())
        })),
    secret(setting("redis.url", "REDIS_URL",
        "`redis://host:port`, `redis+sentinel://host:port,…/master`, `redis+cluster://host:port,…`; `rediss` for TLS",
        Each(["redis://127.0.0.1:6379", "redis://127.0.0.1:6379", ""]),
        "where Redis is", field!(text => redis.url))),
    secret(setting("redis.username", "REDIS_USERNAME", "text", All(""),
        "the ACL user, if it is not in the URL", field!(some => redis.credentials.username))),
    secret(setting("redis.password", "REDIS_PASSWORD", "text", All(""),
        "its password, if it is not in the URL", field!(some => redis.credentials.password))),
    setting("redis.ca_file", "REDIS_CA_FILE", FILE, All(""),
        "certificate authorities to trust; by default those of the system", field!(path => redis.tls.ca_file)),
    setting("redis.certificate_file", "REDIS_CERTIFICATE_FILE", FILE, All(""),
        "the client's certificate, for servers that ask for one", field!(path => redis.tls.certificate_file)),
    setting("redis.key_file", "REDIS_KEY_FILE", FILE, All(""), "its key", field!(path => redis.tls.key_file)),
    secret(setting("sentinel.username", "REDIS_SENTINEL_USERNAME", "text", All(""),
        "the ACL user for the sentinels", field!(some => redis.sentinel_credentials.username))),
    secret(setting("sentinel.password", "REDIS_SENTINEL_PASSWORD", "text", All(""),
        "its password", field!(some => redis.sentinel_credentials.password))),
    setting("sentinel.tls", "REDIS_SENTINEL_TLS", "`like-servers`, `plain`, or a PEM file of the authorities to trust",
        All("like-servers"), "TLS for the connections to the sentinels", field!(sentinel_tls => redis.sentinel_tls)),
    setting("redis.connections", "CACHE_CONNECTIONS", COUNT, Each(["2", "2", "10"]),
        "connections to each server", field!(count => redis.connections)),
    setting("redis.in_flight_at_most", "CACHE_IN_FLIGHT_AT_MOST", COUNT, All("512"),
        "round trips in flight on one connection; more are rejected", field!(count => redis.in_flight_at_most)),
    setting("redis.connect_timeout", "CACHE_CONNECT_TIMEOUT", DURATION, All("200ms"),
        "the longest wait for a new connection", field!(duration => redis.connect_timeout)),
    setting("redis.command_timeout", "CACHE_COMMAND_TIMEOUT", DURATION, All("50ms"),
        "the longest wait for one command", field!(duration => redis.command_timeout)),
    setting("redis.timeouts_to_replace", "CACHE_TIMEOUTS_TO_REPLACE", COUNT, All("2"),
        "timeouts in a row after which a connection is replaced", field!(count => redis.timeouts_to_replace)),
    setting("redis.backoff", "CACHE_BACKOFF", DURATION, All("50ms"),
        "reconnect backoff: upper bound of the first random delay", field!(duration => redis.backoff)),
    setting("redis.backoff_at_most", "CACHE_BACKOFF_AT_MOST", DURATION, All("10s"),
        "reconnect backoff: upper bound of the longest random delay", field!(duration => redis.backoff_at_most)),
    setting("redis.probe_every", "CACHE_PROBE_EVERY", "a time with its unit, or `0ms` for never", All("150ms"),
        "while disconnected: how often to probe whether Redis answers", field!(duration_or_none => redis.probe_every)),
    setting("redis.replicas_remembered", "CACHE_REPLICAS_REMEMBERED", DURATION, All("15s"),
        "how long a replica that disconnected must still confirm", field!(duration => redis.replicas_remembered)),
    setting("breaker.window", "CACHE_BREAKER_WINDOW", DURATION, All("2s"),
        "how long calls are counted", field!(duration => breaker.window)),
    setting("breaker.min_calls", "CACHE_BREAKER_MIN_CALLS", COUNT, All("10"),
        "fewer calls in the window never open it", field!(count => breaker.min_calls)),
    setting("breaker.failure_share", "CACHE_BREAKER_FAILURE_SHARE", "a share from 0 to 1, or `50%`", All("0.5"),
        "failures ÷ calls that opens it", field!(share => breaker.failure_share)),
    setting("breaker.slow_call", "CACHE_BREAKER_SLOW_CALL", DURATION, All(""),
        "a call that takes longer is slow; by default 30 ms, or three fifths of `redis.command_timeout` if that is more",
        field!(some_duration => breaker.slow_call)),
    setting("breaker.slow_share", "CACHE_BREAKER_SLOW_SHARE", "a share from 0 to 1, or `50%`", All("0.8"),
        "slow calls ÷ calls that opens it", field!(share => breaker.slow_share)),
    setting("breaker.consecutive", "CACHE_BREAKER_CONSECUTIVE", COUNT, All("5"),
        "failures in a row that open it", field!(count => breaker.consecutive)),
    setting("breaker.open_for", "CACHE_BREAKER_OPEN_FOR", DURATION, All("100ms"),
        "how long it stays open the first time", field!(duration => breaker.open_for)),
    setting("breaker.open_for_at_most", "CACHE_BREAKER_OPEN_FOR_AT_MOST", DURATION, All("500ms"),
        "the longest it stays open", field!(duration => breaker.open_for_at_most)),
    setting("breaker.probes", "CACHE_BREAKER_PROBES", COUNT, All("2"),
        "probe calls at the same time while it is half-open", field!(count => breaker.probes)),
    setting("breaker.probes_to_close", "CACHE_BREAKER_PROBES_TO_CLOSE", COUNT, All("2"),
        "successful probe calls that close it", field!(count => breaker.probes_to_close)),
];

/// What an environment has before anything is said.
pub(super) fn defaults(profile: Profile) -> CacheConfig {
    let mut config = CacheConfig::redis("");
    for setting in SETTINGS {
        let default = match setting.default {
            All(text) => text,
            Each(texts) => texts[profile as usize],
        };
        if !default.is_empty() {
            (setting.apply)(&mut config, default).expect("defaults fit: a test applies each");
        }
    }
    config
}

fn redis(config: &mut CacheConfig) -> &mut RedisConfig {
    config.redis.get_or_insert_with(|| RedisConfig::new(""))
}

fn breaker(config: &mut CacheConfig) -> &mut BreakerConfig {
    &mut redis(config).breaker
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn some(text: &str) -> Option<Option<String>> {
    Some(Some(text.to_owned()))
}

fn path(text: &str) -> Option<Option<std::path::PathBuf>> {
    Some(Some(text.into()))
}

fn coherence(text: &str) -> Option<Coherence> {
    match text {
        "delete" => Some(Coherence::Delete),
        "lease" => Some(Coherence::Lease),
        "outbox" => Some(Coherence::Outbox),
        _ => None,
    }
}

fn truth(text: &str) -> Option<bool> {
    text.parse().ok()
}

fn sentinel_tls(text: &str) -> Option<SentinelTls> {
    Some(match text {
        "like-servers" => SentinelTls::LikeServers,
        "plain" => SentinelTls::Plain,
        file => SentinelTls::Own(TlsConfig { ca_file: Some(file.into()), ..TlsConfig::default() }),
    })
}

fn count<N: TryFrom<u64>>(text: &str) -> Option<N> {
    N::try_from(text.parse::<u64>().ok().filter(|n| *n > 0)?).ok()
}

fn share(text: &str) -> Option<f64> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().ok()? / 100.0,
        None => text.parse().ok()?,
    };
    (0.0..=1.0).contains(&share).then_some(share)
}

fn duration_or_none(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let number = digits.trim().parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)?;
    Duration::try_from_secs_f64(number * seconds).ok()
}

fn duration(text: &str) -> Option<Duration> {
    duration_or_none(text).filter(|duration| !duration.is_zero())
}

fn some_duration(text: &str) -> Option<Option<Duration>> {
    duration(text).map(Some)
}

fn bytes(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "b" => 1,
        "kb" => 1 << 10,
        "mb" => 1 << 20,
        "gb" => 1 << 30,
        _ => return None,
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(unit).filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Credentials;

    #[test]
    fn every_default_fits_and_production_has_those_of_the_library() {
        for profile in Profile::ALL {
            assert_eq!(redis(&mut defaults(profile)).namespace, format!("{}:", profile.name()));
        }
        let mut ours = defaults(Profile::Prod);
        let prod = redis(&mut ours);
        let library = RedisConfig { namespace: "prod:".into(), ..RedisConfig::new("") };
        // `Debug` of a breaker shows all of it; the rest is compared one by one.
        assert_eq!(format!("{:?}", prod.breaker), format!("{:?}", library.breaker));
        assert_eq!((prod.connections, prod.in_flight_at_most), (library.connections, library.in_flight_at_most));
        assert_eq!((prod.connect_timeout, prod.command_timeout), (library.connect_timeout, library.command_timeout));
        assert_eq!((prod.backoff, prod.backoff_at_most), (library.backoff, library.backoff_at_most));
        assert_eq!((prod.probe_every, prod.lease_ttl), (library.probe_every, library.lease_ttl));
        assert_eq!(prod.replicas_remembered, library.replicas_remembered);
        assert_eq!((prod.timeouts_to_replace, prod.owed_at_most), (library.timeouts_to_replace, library.owed_at_most));
        assert_eq!(prod.announce, library.announce);
        assert_eq!((prod.coherence, &prod.credentials), (library.coherence, &Credentials::default()));
        assert_eq!((ours.memory.max_bytes, ours.two_tier.eviction), (64 << 20, Eviction::Lru));
    }

    #[test]
    fn names_are_told_apart() {
        for (i, one) in SETTINGS.iter().enumerate() {
            for other in &SETTINGS[..i] {
                assert!(one.name != other.name && one.variable != other.variable, "{}", one.name);
            }
        }
    }

    /// With `UPDATE_SETTINGS=1` the table is written instead.
    #[test]
    fn the_table_in_the_docs_is_the_table_in_the_code() {
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/settings.md");
        if std::env::var_os("UPDATE_SETTINGS").is_some() {
            std::fs::write(here, Settings::table()).expect("a file");
        }
        let in_rustdoc = std::fs::read_to_string(here).expect("a file");
        assert_eq!(in_rustdoc, Settings::table(), "run this test with UPDATE_SETTINGS=1");
        let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cache-config.md");
        let guide = std::fs::read_to_string(guide).expect("a file");
        assert!(guide.contains(&in_rustdoc), "docs/cache-config.md has another table");
    }

    #[test]
    fn values_are_read_with_their_units() {
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("2 h"), Some(Duration::from_secs(7200)));
        for wrong in ["", "5", "0s", "-1s", "s", "1d", "1e400s", "nans", "é"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
        assert_eq!((bytes("64mb"), bytes("1 GB"), bytes("17")), (Some(64 << 20), Some(1 << 30), Some(17)));
        assert_eq!((bytes("0"), bytes("99999999999gb"), bytes("1.5mb")), (None, None, None));
        assert_eq!((share("50%"), share("0.25"), share("1.1"), share("nan")), (Some(0.5), Some(0.25), None, None));
        assert_eq!((count::<u32>("3"), count::<u32>("0"), count::<u32>("4294967296")), (Some(3), None, None));
    }
}
