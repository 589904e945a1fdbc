//! `[stack.redis]` and `[stack.postgres]`.

use super::problem::{Problem, known_names};
use super::reader::Section;
use super::variables::{ENCODE_HELP, check_variables, list};
use super::{
    CacheKind, CacheServer, FaultPermission, PostgresSpec, Provider, RedisSpec, StackSpec, TargetKind, TargetSpec,
    Topology, schema,
};
use crate::secrets::unencoded_in_password;

/// More replicas of a master than this prove nothing more.
const MAX_REPLICAS: u64 = 5;

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
    let redis = table("redis", "[stack.redis]", schema::REDIS)
        .map(|section| redis(&section))
        .or_else(|| (own && matches!(target.cache, CacheKind::Redis | CacheKind::TwoTier)).then(RedisSpec::default));
    let postgres = table("postgres", "[stack.postgres]", schema::POSTGRES)
        .map(|section| postgres(&section))
        .or_else(|| own.then(PostgresSpec::default));
    StackSpec { redis, postgres }
}

fn redis(section: &Section<'_>) -> RedisSpec {
    let (provider, url) = provider_and_url(section, &["redis://", "rediss://"], "redis://host:6379");
    let policy = section.string("policy").and_then(|policy| {
        let known = POLICIES.contains(&policy.value);
        if !known {
            let help = known_names(policy.value, "policies", POLICIES);
            let message = format!("Redis has no maxmemory-policy \"{}\"", policy.value);
            section.problems.add(Problem::new(message).at(policy.span).help(help));
        }
        known.then(|| policy.value.to_owned())
    });
    let servers = [("redis", CacheServer::Redis), ("valkey", CacheServer::Valkey)];
    let server = section.one_of("server", &servers).map_or(CacheServer::Redis, |server| server.value);
    let topologies =
        [Topology::Standalone, Topology::Sentinel, Topology::Cluster].map(|topology| (topology.as_str(), topology));
    let topology = section.one_of("topology", &topologies).map_or(Topology::Standalone, |topology| topology.value);
    let spec = RedisSpec {
        provider,
        url,
        image: image(section, server.image()),
        maxmemory: section.bytes("maxmemory", "maxmemory = \"64mb\""),
        policy,
        appendonly: section.boolean("appendonly").unwrap_or(false),
        server,
        topology,
        replicas: replicas(section, topology),
        tls: section.boolean("tls").unwrap_or(false),
        acl: section.boolean("acl").unwrap_or(false),
        permission: permission(section, provider),
    };
    if provider == Provider::External {
        for key in ["server", "topology", "replicas", "tls", "acl"] {
            let Some(span) = section.key_span(key) else { continue };
            let help = "leave it out, or let cacheproof start the server: provider = \"auto\" without a url";
            let message = format!("\"{key}\" is only for servers that cacheproof starts");
            section.problems.add(Problem::new(message).at(span).label("not used by this provider").help(help));
        }
    }
    spec
}

/// Replicas of each master: by default as many as the topology usually has.
fn replicas(section: &Section<'_>, topology: Topology) -> u32 {
    let least = u64::from(topology == Topology::Sentinel);
    let example = format!("replicas = {}", topology.replicas().max(1));
    if let (Topology::Standalone, Some(span)) = (topology, section.key_span("replicas")) {
        let help = "add topology = \"sentinel\" or topology = \"cluster\", or leave it out";
        let message = "one standalone server has no replicas";
        section.problems.add(Problem::new(message).at(span).help(help));
        return 0;
    }
    let given = section.integer("replicas", least..=MAX_REPLICAS, &example);
    given.and_then(|given| u32::try_from(given.value).ok()).unwrap_or_else(|| topology.replicas())
}

/// The container of an external server that the scenario allows to break.
fn permission(section: &Section<'_>, provider: Provider) -> Option<FaultPermission> {
    let container = section.string("container").map(|name| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if name.value.is_empty() || !name.value.chars().all(plain) {
            let help = "write it as `docker ps` shows it: container = \"shop-redis-1\"";
            section.problems.add(Problem::new("this is not the name of a container").at(name.span).help(help));
        }
        FaultPermission::Container(name.value.to_owned())
    });
    let compose = section.section("compose", "compose", schema::COMPOSE).and_then(|compose| {
        let part = |key: &str, example: &str| {
            let part = compose.string(key);
            if part.is_none() && !compose.has(key) {
                compose.missing(key, example);
            }
            part.map(|part| part.value.to_owned())
        };
        let (project, service) = (part("project", "project = \"shop\""), part("service", "service = \"redis\""));
        Some(FaultPermission::Compose { project: project?, service: service? })
    });
    let refuse = |key: &str, message: &str, help: &str| {
        let span = section.key_span(key).unwrap_or_default();
        section.problems.add(Problem::new(message).at(span).help(help));
    };
    let key = if section.has("container") { "container" } else { "compose" };
    if section.has("container") && section.has("compose") {
        refuse("compose", "a server runs in one container", "keep one of container and compose");
    } else if section.has(key) && provider != Provider::External {
        let help = "leave it out: what cacheproof starts it may break anyway";
        refuse(key, &format!("\"{key}\" is only for a server that is there already"), help);
    }
    container.or(compose)
}

fn postgres(section: &Section<'_>) -> PostgresSpec {
    let (provider, url) = provider_and_url(section, &["postgres://", "postgresql://"], "postgres://user@host:5432/app");
    let image = image(section, &PostgresSpec::default().image);
    PostgresSpec { provider, url, image, permission: permission(section, provider) }
}

fn image(section: &Section<'_>, default: &str) -> String {
    let Some(image) = section.string("image") else { return default.to_owned() };
    if image.value.is_empty() || image.value.contains(char::is_whitespace) {
        let help = format!("write an image with its tag: image = \"{default}\"");
        section.problems.add(Problem::new("\"image\" is not the name of an image").at(image.span).help(help));
    }
    image.value.to_owned()
}

/// Provider and URL, which belong together.
fn provider_and_url(section: &Section<'_>, schemes: &[&str], example: &str) -> (Provider, Option<String>) {
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

/// A URL with one of these schemes; `${NAME}` may stand for any part of it. Messages do not show it.
pub(super) fn url(section: &Section<'_>, schemes: &[&str], example: &str) -> Option<String> {
    let url = section.string("url")?;
    let refuse = |message: &str, help: String| {
        section.problems.add(Problem::new(message).at(url.span.clone()).help(help));
    };
    check_variables(section, &url);
    let rest = schemes.iter().find_map(|scheme| url.value.strip_prefix(scheme));
    let has_host = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
    let unencoded = unencoded_in_password(url.value);
    if !unencoded.is_empty() {
        refuse(&format!("the password in this url has {}", list(&unencoded)), ENCODE_HELP.to_owned());
    } else if url.value.contains(|c: char| c.is_whitespace() || c.is_control()) {
        refuse("this url has a space in it", "write spaces as %20".to_owned());
    } else if !url.value.starts_with("${") && !has_host {
        refuse(
            &format!("this is not a url of the kind {}", schemes.join(" or ")),
            format!("write url = \"{example}\""),
        );
    }
    Some(url.value.to_owned())
}
