//! `[target]`: the app under test.

use super::problem::Problem;
use super::reader::{Located, Section};
use super::{
    Absent, BypassSpec, CacheKind, CacheStatusSpec, DEFAULT_MAX_BODY, TargetKind, TargetSpec, VersionSpec, hit_words,
    parse_servers, schema,
};

/// More instances than this measure the machine and not the app.
const MAX_INSTANCES: u64 = 16;

impl TargetSpec {
    /// Whether cacheproof starts the app, so that it may also measure and break its process.
    pub fn is_started(&self) -> bool {
        !self.start.is_empty() || (self.kind == TargetKind::Reference && self.url.is_none())
    }
}

/// The target; of a file without one, the reference app, so that reading can go on.
pub(super) fn target(root: &Section<'_>) -> TargetSpec {
    let kinds = [("reference", TargetKind::Reference), ("http", TargetKind::Http)];
    let Some(section) = root.section("target", "[target]", schema::TARGET) else {
        if !root.has("target") {
            root.missing("target", "[target] with kind = \"reference\", or kind = \"http\" and a url");
        }
        return reference_defaults();
    };
    if !section.has("kind") {
        section.missing("kind", "kind = \"reference\", or kind = \"http\" and a url");
    }
    let kind = section.one_of("kind", &kinds).map_or(TargetKind::Reference, |kind| kind.value);
    let defaults = match kind {
        TargetKind::Reference => reference_defaults(),
        TargetKind::Http => TargetSpec {
            kind,
            ready: "/".to_owned(),
            bypass: None,
            identity: None,
            version: None,
            ..reference_defaults()
        },
    };
    let refuse = |key: &str, message: &str, help: &str| {
        if let Some(span) = section.key_span(key) {
            section.problems.add(Problem::new(message).at(span).help(help));
        }
    };
    if kind == TargetKind::Http {
        refuse(
            "cache",
            "\"cache\" tells the reference app how to cache",
            "leave it out: an http app has its own cache",
        );
        if !section.has("url") && !section.has("start") {
            section.missing("url", "url = \"http://localhost:8080\", or start = [\"program\", \"argument\"]");
        }
    }
    let url = parse_servers::url(&section, &["http://", "https://"], "http://localhost:8080");
    let start: Vec<String> =
        section.strings("start").unwrap_or_default().into_iter().map(|part| part.value.to_owned()).collect();
    if section.get("start").is_some_and(|start| start.inner.get_ref().as_array().is_some_and(|list| list.is_empty())) {
        refuse("start", "\"start\" is empty", "write start = [\"program\", \"argument\"], or leave it out");
    }
    let args: Vec<String> =
        section.strings("args").unwrap_or_default().into_iter().map(|part| part.value.to_owned()).collect();
    if kind == TargetKind::Http || !start.is_empty() || url.is_some() {
        let help = "write the whole command as start = [\"program\", \"argument\"]";
        refuse("args", "\"args\" are for the reference app that cacheproof starts", help);
    }
    let caches = [
        ("redis", CacheKind::Redis),
        ("memory", CacheKind::Memory),
        ("two-tier", CacheKind::TwoTier),
        ("none", CacheKind::None),
    ];
    let cache = section.one_of("cache", &caches).map_or(defaults.cache, |cache| cache.value);
    let ready = section.string("ready").map_or(defaults.ready, |ready| {
        if !ready.value.starts_with('/') || ready.value.contains(char::is_whitespace) {
            let help = "write a path: ready = \"/health\"";
            section.problems.add(Problem::new("\"ready\" is not a path").at(ready.span).help(help));
        }
        ready.value.to_owned()
    });
    let instances = instances(&section, url.as_deref(), &start, kind);
    let identity = match field(&section, "identity") {
        None => defaults.identity,
        found => found,
    };
    TargetSpec {
        kind,
        url,
        start,
        args,
        follow_redirects: section.boolean("follow_redirects").unwrap_or(defaults.follow_redirects),
        ready,
        instances,
        cache,
        hit: hit(&section),
        bypass: bypass(&section).or(defaults.bypass),
        identity,
        version: version(&section).or(defaults.version),
        max_body: max_body(&section),
        tokens: tokens(&section),
    }
}

/// How many of the app run side by side. Each needs a port of its own.
fn instances(section: &Section<'_>, url: Option<&str>, start: &[String], kind: TargetKind) -> usize {
    let Some(instances) = section.integer("instances", 1..=MAX_INSTANCES, "instances = 2") else { return 1 };
    let started = !start.is_empty() || (kind == TargetKind::Reference && url.is_none());
    let refuse = |message: &str, help: &str| {
        section.problems.add(Problem::new(message).at(instances.span.clone()).help(help));
    };
    if instances.value > 1 && !started {
        refuse("only an app that cacheproof starts has several instances", "add start = [\"program\", \"argument\"]");
    } else if instances.value > 1 && url.is_some_and(|url| !url.contains("{port}")) {
        refuse("several instances cannot share one port", "write url = \"http://127.0.0.1:{port}\", or leave url out");
    }
    usize::try_from(instances.value).unwrap_or(1)
}

fn reference_defaults() -> TargetSpec {
    TargetSpec {
        kind: TargetKind::Reference,
        url: None,
        start: Vec::new(),
        args: Vec::new(),
        follow_redirects: false,
        ready: "/health".to_owned(),
        instances: 1,
        cache: CacheKind::Redis,
        hit: CacheStatusSpec::default(),
        bypass: Some(BypassSpec::Header("Cache-Control".to_owned(), "no-store".to_owned())),
        identity: Some("id".to_owned()),
        version: Some(VersionSpec::Json("version".to_owned())),
        max_body: DEFAULT_MAX_BODY,
        tokens: Vec::new(),
    }
}

/// Each connection may hold a body of this size.
const MOST_OF_MAX_BODY: u64 = 1 << 30;

/// The longest body that is read.
fn max_body(section: &Section<'_>) -> u64 {
    let limit = section.bytes("max_body", "max_body = \"8mb\"").unwrap_or(DEFAULT_MAX_BODY);
    if limit > MOST_OF_MAX_BODY {
        let span = section.key_span("max_body").unwrap_or_default();
        let help = "write at most 1gb: each connection may hold a whole body in memory";
        section.problems.add(Problem::new("\"max_body\" is more than 1 GB").at(span).help(help));
    }
    limit.min(MOST_OF_MAX_BODY)
}

/// The fields that hold a write's token.
fn tokens(section: &Section<'_>) -> Vec<String> {
    let fields = section.strings("tokens").unwrap_or_default();
    for field in fields.iter().filter(|field| !is_field(field.value)) {
        let help = "write the fields' names, dots for depth: tokens = [\"title\", \"data.body\"]";
        let message = "\"tokens\" holds something that is not a JSON field";
        section.problems.add(Problem::new(message).at(field.span.clone()).help(help));
    }
    fields.into_iter().map(|field| field.value.to_owned()).collect()
}

/// Whether a text names a JSON field, dots for depth.
pub(super) fn is_field(text: &str) -> bool {
    !text.is_empty() && !text.split('.').any(str::is_empty)
}

/// A JSON field, dots for depth.
pub(super) fn field(section: &Section<'_>, key: &str) -> Option<String> {
    let field = section.string(key)?;
    if !is_field(field.value) {
        let help = format!("write the field's name, dots for depth: {key} = \"data.{key}\"");
        section.problems.add(Problem::new(format!("\"{key}\" is not a JSON field")).at(field.span).help(help));
    }
    Some(field.value.to_owned())
}

pub(super) fn is_header_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// The name of a header.
fn header(section: &Section<'_>, example: &str) -> Option<String> {
    let header = section.string("header")?;
    if !is_header_name(header.value) {
        let help = format!("write its name alone: header = \"{example}\"");
        section.problems.add(Problem::new("this is not the name of a header").at(header.span).help(help));
    }
    Some(header.value.to_owned())
}

fn version(section: &Section<'_>) -> Option<VersionSpec> {
    if !section.get("version")?.is_table() {
        return field(section, "version").map(VersionSpec::Json);
    }
    let table = section.section("version", "version", schema::VERSION)?;
    if !table.has("header") {
        table.missing("header", "version = { header = \"X-Version\" }");
    }
    header(&table, "X-Version").map(VersionSpec::Header)
}

fn hit(section: &Section<'_>) -> CacheStatusSpec {
    let Some(table) = section.section("hit", "[target.hit]", schema::HIT) else { return CacheStatusSpec::default() };
    let absent = absent(&table);
    if let Some(cache) = table.string("cache") {
        return CacheStatusSpec { absent, ..named_cache(&table, &cache) };
    }
    // Alone: the app marks only its hits, or only its misses, in a header that is known.
    let is_alone = |keys: [&str; 7]| !keys.into_iter().any(|key| table.has(key));
    if table.has("absent") && is_alone(["header", "json", "hit", "miss", "stale", "bypass", "fallback"]) {
        return CacheStatusSpec { absent, ..CacheStatusSpec::default() };
    }
    if table.has("header") && table.has("json") {
        let span = table.key_span("json").unwrap_or_default();
        let help = "keep the one that the app sends";
        table.problems.add(Problem::new("a hit shows in a header or in a JSON field, not in both").at(span).help(help));
    } else if !table.has("header") && !table.has("json") {
        table.missing("header", "header = \"X-Cache-Status\" (or json = \"meta.cached\")");
    }
    if !table.has("hit") && absent != Absent::Hit {
        table.missing("hit", "the values that mean a hit: hit = [\"HIT\"]");
    }
    let mut taken = Vec::new();
    let mut values = |key| hit_words::read(&table, key, &mut taken);
    CacheStatusSpec {
        header: header(&table, "X-Cache-Status"),
        json: field(&table, "json"),
        cache: None,
        hit: values("hit"),
        miss: values("miss"),
        stale: values("stale"),
        bypass: values("bypass"),
        fallback: values("fallback"),
        absent,
    }
}

/// What an answer is that says nothing.
fn absent(table: &Section<'_>) -> Absent {
    let meanings = [("hit", Absent::Hit), ("miss", Absent::Miss)];
    table.one_of("absent", &meanings).map_or(Absent::Unknown, |absent| absent.value)
}

/// The cache in `Cache-Status` that counts. The header's own words need no explanation.
fn named_cache(table: &Section<'_>, cache: &Located<&str>) -> CacheStatusSpec {
    if cache.value.trim().is_empty() {
        let help =
            "write the name as the header has it: cache = \"Edge\", for `Cache-Status: Origin; hit, Edge; fwd=miss`";
        table.problems.add(Problem::new("\"cache\" is empty").at(cache.span.clone()).help(help));
    }
    for key in ["header", "json", "hit", "miss", "stale", "bypass", "fallback"].into_iter().filter(|key| table.has(key))
    {
        let message =
            format!("\"cache\" names a cache in Cache-Status, whose words are standard: \"{key}\" has no use");
        let help = format!("remove {key}, or remove cache if another header or a field shows the hits");
        table.problems.add(Problem::new(message).at(table.key_span(key).unwrap_or_default()).help(help));
    }
    CacheStatusSpec { cache: Some(cache.value.trim().to_owned()), ..CacheStatusSpec::default() }
}

/// How to go past the cache. What is written wrong was complained of once, so it counts as something.
fn bypass(section: &Section<'_>) -> Option<BypassSpec> {
    let table = section.section("bypass", "[target.bypass]", schema::BYPASS)?;
    let refuse = |key: &str, message: &str, help: &str| {
        let span = table.get(key).map_or(table.span.clone(), |value| value.span());
        table.problems.add(Problem::new(message).at(span).help(help));
    };
    match (table.string("header"), table.string("query")) {
        (Some(_), Some(_)) => {
            refuse(
                "query",
                "a request asks by a header or by its query, not by both",
                "keep the one that the app reads",
            );
            Some(BypassSpec::Query(String::new()))
        }
        (Some(header), None) => match header.value.split_once(':') {
            Some((name, value)) if is_header_name(name.trim()) && !value.contains(char::is_control) => {
                Some(BypassSpec::Header(name.trim().to_owned(), value.trim().to_owned()))
            }
            _ => {
                let help = "write name and value: header = \"Cache-Control: no-store\"";
                refuse("header", "this is not a header with its value", help);
                Some(BypassSpec::Query(String::new()))
            }
        },
        (None, Some(query)) => {
            let right = !query.value.is_empty()
                && !query.value.starts_with(['?', '&'])
                && !query.value.contains(|c: char| c.is_whitespace() || c == '#');
            if !right {
                refuse("query", "this is not a part of a query", "write it without ? or &: query = \"nocache=1\"");
            }
            Some(BypassSpec::Query(query.value.to_owned()))
        }
        (None, None) => {
            if !table.has("header") && !table.has("query") {
                table.missing("header", "header = \"Cache-Control: no-store\", or query = \"nocache=1\"");
            }
            Some(BypassSpec::Query(String::new()))
        }
    }
}
