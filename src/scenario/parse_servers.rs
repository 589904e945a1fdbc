//! `[stack.redis]` and `[stack.postgres]`.

use super::problem::{Problem, known_names};
use super::reader::Section;
use super::{CacheKind, PostgresSpec, Provider, RedisSpec, StackSpec, TargetKind, TargetSpec, schema};

const REDIS_IMAGE: &str = "redis:7";
const POSTGRES_IMAGE: &str = "postgres:17";

const POLICIES: [&str; 8] = [
    "noeviction",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
];

/// The servers. A reference app that cacheproof starts has both unless it keeps its cache elsewhere; an app that
/// runs already has those that the file names.
pub(super) fn stack(root: &Section<'_>, target: &TargetSpec) -> StackSpec {
    let section = root.section("stack", "[stack]", schema::STACK);
    let table = |key: &str, place: &str, keys| section.as_ref().and_then(|stack| stack.section(key, place, keys));
    let own = target.kind == TargetKind::Reference && target.url.is_none();
    let redis = table("redis", "[stack.redis]", schema::REDIS).map(|section| redis(&section)).or_else(|| {
        (own && target.cache == CacheKind::Redis).then(|| RedisSpec {
            provider: Provider::Auto,
            url: None,
            image: REDIS_IMAGE.to_owned(),
            maxmemory: None,
            policy: None,
            appendonly: false,
        })
    });
    let postgres =
        table("postgres", "[stack.postgres]", schema::POSTGRES).map(|section| postgres(&section)).or_else(|| {
            own.then(|| PostgresSpec { provider: Provider::Auto, url: None, image: POSTGRES_IMAGE.to_owned() })
        });
    StackSpec { redis, postgres }
}

fn redis(section: &Section<'_>) -> RedisSpec {
    let (provider, url) = origin(section, &["redis://", "rediss://"], "redis://host:6379");
    let policy = section.string("policy").and_then(|policy| {
        let known = POLICIES.contains(&policy.value);
        if !known {
            let help = known_names(policy.value, "policies", POLICIES);
            let message = format!("Redis has no maxmemory-policy \"{}\"", policy.value);
            section.problems.add(Problem::new(message).at(policy.span).help(help));
        }
        known.then(|| policy.value.to_owned())
    });
    RedisSpec {
        provider,
        url,
        image: image(section, REDIS_IMAGE),
        maxmemory: section.bytes("maxmemory", "maxmemory = \"64mb\""),
        policy,
        appendonly: section.boolean("appendonly").unwrap_or(false),
    }
}

fn postgres(section: &Section<'_>) -> PostgresSpec {
    let (provider, url) = origin(section, &["postgres://", "postgresql://"], "postgres://user@host:5432/app");
    PostgresSpec { provider, url, image: image(section, POSTGRES_IMAGE) }
}

fn image(section: &Section<'_>, default: &str) -> String {
    let Some(image) = section.string("image") else { return default.to_owned() };
    if image.value.is_empty() || image.value.contains(char::is_whitespace) {
        let help = format!("write an image with its tag: image = \"{default}\"");
        section.problems.add(Problem::new("\"image\" is no image name").at(image.span).help(help));
    }
    image.value.to_owned()
}

/// Provider and URL, which belong together.
fn origin(section: &Section<'_>, schemes: &[&str], example: &str) -> (Provider, Option<String>) {
    let url = url(section, schemes, example);
    let words = [
        ("auto", Provider::Auto),
        ("container", Provider::Container),
        ("local", Provider::Local),
        ("external", Provider::External),
    ];
    let provider = section.one_of("provider", &words);
    match &provider {
        Some(provider) if provider.value != Provider::External => {
            if let Some(span) = section.key_span("url") {
                let help = "write provider = \"external\", or leave the url out";
                let message = "a url is only for a server that is there already";
                section.problems.add(Problem::new(message).at(span).label("not used by this provider").help(help));
            }
        }
        Some(provider) if !section.has("url") => {
            let help = format!("add url = \"{example}\"; ${{NAME}} in it stands for an environment variable");
            let message = format!("{} is external but has no url", section.place);
            section.problems.add(Problem::new(message).at(provider.span.clone()).help(help));
        }
        _ => {}
    }
    // A url alone says enough.
    let default = if section.has("url") { Provider::External } else { Provider::Auto };
    (provider.map_or(default, |provider| provider.value), url)
}

/// A URL with one of these schemes; `${NAME}` may stand for any part of it.
pub(super) fn url(section: &Section<'_>, schemes: &[&str], example: &str) -> Option<String> {
    let url = section.string("url")?;
    let refuse = |message: &str, help: String| {
        section.problems.add(Problem::new(message).at(url.span.clone()).help(help));
    };
    match super::secrets::variables(url.value) {
        Err(()) => refuse("${ in this url is never closed", "write ${NAME} for an environment variable".to_owned()),
        Ok(names) => {
            if let Some(name) = names.iter().find(|name| !super::parse::is_identifier(name)) {
                let help = "names of environment variables have letters, digits and _";
                refuse(&format!("\"{name}\" is no name of an environment variable"), help.to_owned());
            }
        }
    }
    let rest = schemes.iter().find_map(|scheme| url.value.strip_prefix(scheme));
    let has_host = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
    if url.value.contains(|c: char| c.is_whitespace() || c.is_control()) {
        refuse("this url has a space in it", "write spaces as %20".to_owned());
    } else if !url.value.starts_with("${") && !has_host {
        refuse(&format!("this is no url of the kind {}", schemes.join(" or ")), format!("write url = \"{example}\""));
    }
    Some(url.value.to_owned())
}
