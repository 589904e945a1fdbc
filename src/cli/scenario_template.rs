//! The scenario that `init` writes. What the answers show is filled in; the rest is there as comments.

use std::fmt::Write as _;

use reqwest::Url;

use super::probe::ProbeAnswer;

/// The scenario for an app that gave these answers: two to plain requests, one to a request past the cache.
pub(super) fn scenario(url: &Url, answers: &[ProbeAnswer]) -> String {
    let traits = DetectedTraits::of(url, answers);
    let mut text = String::new();
    head(&mut text, url, answers);
    target(&mut text, url, answers, &traits);
    traffic(&mut text, url, answers.first().map(|answer| answer.status), &traits);
    timeline(&mut text, &traits);
    criteria(&mut text, &traits);
    text
}

/// What the answers show of the cache and the items.
struct DetectedTraits {
    /// There was a `Cache-Status` or `X-Cache` header, which need no `[target.hit]`.
    standard: bool,
    /// Another header that distinguishes hits from misses.
    header: Option<String>,
    /// A JSON field that does.
    json: Option<&'static str>,
    /// The second answer was a hit, the one with `Cache-Control: no-store` was not.
    bypass: bool,
    /// The JSON field with the item's key, and the key.
    identity: Option<(&'static str, String)>,
    /// The JSON field with the item's version.
    version: Option<&'static str>,
}

impl DetectedTraits {
    fn of(url: &Url, answers: &[ProbeAnswer]) -> Self {
        let any = |name: &str| answers.iter().any(|answer| answer.header(name).is_some());
        let standard = any("cache-status") || any("x-cache");
        let words = ["hit", "miss", "bypass", "expired", "stale"];
        let shows_hits = |value: &str| words.iter().any(|word| value.to_lowercase().contains(word));
        let header = answers.iter().flat_map(cache_headers).find(|(_, value)| shows_hits(value));
        let header = header.filter(|_| !standard).map(|(name, _)| name.to_owned());
        let field = |names: &[&'static str], test: &dyn Fn(&serde_json::Value) -> bool| {
            let body = answers.first()?.json.as_ref()?;
            names.iter().copied().find(|name| body.get(name).is_some_and(test))
        };
        let json = field(&["cached", "from_cache", "fromCache", "cache"], &serde_json::Value::is_boolean)
            .filter(|_| !standard && header.is_none());
        let last = url.path_segments().and_then(|mut segments| segments.next_back()).unwrap_or_default();
        let key = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let identity = field(&["id", "_id", "key", "slug"], &|value| !last.is_empty() && key(value) == last);
        let word = |answer: &ProbeAnswer| {
            let name = if any("cache-status") { "cache-status" } else { header.as_deref().unwrap_or("x-cache") };
            answer.header(name).map(str::to_lowercase)
        };
        let bypass = matches!(answers, [_, second, past] if match (word(second), word(past)) {
            (Some(second), Some(past)) => second.contains("hit") && !past.contains("hit"),
            _ => false,
        });
        Self {
            standard,
            header,
            json,
            bypass,
            identity: identity.map(|name| (name, last.to_owned())),
            version: field(&["version", "_version", "revision", "rev"], &serde_json::Value::is_u64),
        }
    }

    fn shows_hits(&self) -> bool {
        self.standard || self.header.is_some() || self.json.is_some()
    }
}

/// The headers that describe what a cache did. `Cache-Control` does not.
fn cache_headers(answer: &ProbeAnswer) -> impl Iterator<Item = (&str, &str)> {
    answer
        .headers
        .iter()
        .filter(|(name, _)| (name.contains("cache") || name == "age") && name != "cache-control")
        .map(|(name, value)| (name.as_str(), value.as_str()))
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn line(text: &mut String, line: impl std::fmt::Display) {
    let _ = writeln!(text, "{line}");
}

/// The path and query for a request; braces are escaped, as they would be placeholders.
fn page(url: &Url) -> String {
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}{query}", url.path()).replace('{', "%7B").replace('}', "%7D")
}

/// The app's base URL. A password is replaced by an environment variable.
fn base(url: &Url) -> String {
    let mut base = url.clone();
    base.set_path("");
    base.set_query(None);
    base.set_fragment(None);
    let text = base.as_str().trim_end_matches('/').to_owned();
    match (url.password(), text.split_once('@')) {
        (Some(_), Some((_, host))) => format!("{}://{}:${{APP_PASSWORD}}@{host}", url.scheme(), url.username()),
        _ => text,
    }
}

fn head(text: &mut String, url: &Url, answers: &[ProbeAnswer]) {
    line(text, "# A scenario for cacheproof, written by `cacheproof init`. Change it to what your app promises, then");
    line(text, "# `cacheproof check` it and `cacheproof run` it. docs/scenario.md explains every key and every rule.");
    line(text, "#");
    line(text, format_args!("# GET {} was answered three times:", page(url)));
    for (answer, how) in answers.iter().zip(["first", "again", "with Cache-Control: no-store"]) {
        let mut words: Vec<String> =
            cache_headers(answer).map(|(name, value)| format!("{name}: {}", shortened(value))).collect();
        if words.is_empty() {
            words.push("no cache headers".to_owned());
        }
        let body = if answer.json.is_some() { "JSON" } else { "not JSON" };
        line(text, format_args!("#   {how}: status {}, {body}, {}", answer.status, words.join(", ")));
    }
    line(text, "");
    line(text, format_args!("title = {}", quoted(&format!("Cache of {}", url.host_str().unwrap_or("the app")))));
    line(text, "seed = 1 # the same seed gives the same keys, in the same order, at the same times");
    line(text, "");
}

/// A header's value for a comment: one line, not too long.
fn shortened(value: &str) -> String {
    let clean: String = value.chars().filter(|c| !c.is_control()).collect();
    if clean.chars().count() > 80 { format!("{}…", clean.chars().take(79).collect::<String>()) } else { clean }
}

fn target(text: &mut String, url: &Url, answers: &[ProbeAnswer], traits: &DetectedTraits) {
    line(text, "[target]");
    line(text, "kind = \"http\"");
    line(text, format_args!("url = {}", quoted(&base(url))));
    if url.password().is_some() {
        line(text, "# The password is read from the environment: export APP_PASSWORD=… before the run.");
    }
    let answered = answers.first().is_some_and(|answer| (200..300).contains(&answer.status));
    if answered {
        line(text, format_args!("ready = {} # answers 2xx once the app is ready", quoted(url.path())));
    } else {
        line(text, "ready = \"/\" # write a path that answers 2xx: the given one did not");
    }
    line(text, "# start = [\"./my-app\"] # let cacheproof start the app; then it may also kill or pause it");
    match &traits.identity {
        Some((field, _)) => line(text, format_args!("identity = {} # must equal the key in the path", quoted(field))),
        None => line(
            text,
            "# identity = \"id\" # JSON field that must equal the key in the path: catches another item's answer",
        ),
    }
    match traits.version {
        Some(field) => {
            line(text, format_args!("version = {} # grows with every write: catches stale answers", quoted(field)))
        }
        None => line(
            text,
            "# version = \"version\" # JSON field (or { header = \"X-Version\" }) that grows with every write",
        ),
    }
    line(text, "");
    if traits.standard {
        line(text, "# Cache-Status (RFC 9211) and X-Cache are understood as they are: no [target.hit] is needed.");
    } else if let Some(header) = &traits.header {
        line(text, "[target.hit] # how a response says that it came from the cache: check these words");
        line(text, format_args!("header = {}", quoted(header)));
        line(text, "hit = [\"HIT\", \"REVALIDATED\"]");
        line(text, "miss = [\"MISS\", \"EXPIRED\"]");
        line(text, "stale = [\"STALE\", \"UPDATING\"]");
        line(text, "bypass = [\"BYPASS\"]");
    } else if let Some(field) = traits.json {
        line(text, "[target.hit] # how a response says that it came from the cache");
        line(text, format_args!("json = {}", quoted(field)));
        line(text, "hit = [\"true\"]");
        line(text, "miss = [\"false\"]");
    } else {
        line(text, "# Nothing in the answers distinguishes a hit from a miss, so no rule can use the hit rate yet.");
        line(text, "# Describe it here, or let the app send Cache-Status, which needs no [target.hit]:");
        line(text, "# [target.hit]");
        line(text, "# header = \"X-Cache-Status\" # or json = \"meta.cached\"");
        line(text, "# hit = [\"HIT\"]");
        line(text, "# miss = [\"MISS\"]");
    }
    line(text, "");
    if traits.bypass {
        line(text, "# A request with this header was not answered from the cache.");
        line(text, "[target.bypass]");
        line(text, "header = \"Cache-Control: no-store\"");
    } else {
        line(text, "# How a request bypasses the cache; if there is a way, enable the phase \"uncached\" below.");
        line(text, "# [target.bypass]");
        line(text, "# header = \"Cache-Control: no-store\" # or query = \"nocache=1\"");
    }
    line(text, "");
}

fn traffic(text: &mut String, url: &Url, status: Option<u16>, traits: &DetectedTraits) {
    let page = page(url);
    line(text, "# Key spaces: with items = 1_000, {item} in a path is an id from 1 to 1,000.");
    line(text, "# [data]");
    line(text, "# items = 1_000");
    line(text, "");
    line(text, "[traffic]");
    line(text, "rate = \"20/s\" # open loop; or users = 5, a closed loop: each user waits for the answer");
    line(text, "connections = 16");
    line(text, "popularity = { zipf = 0.99 } # a few keys are read often, most of them rarely");
    line(text, "timeout = \"2s\"");
    line(text, "");
    line(text, "[[traffic.request]]");
    line(text, "name = \"read\"");
    match &traits.identity {
        Some((_, key)) => {
            let start = page.split('?').next().and_then(|path| path.strip_suffix(key.as_str())).unwrap_or("/");
            line(text, format_args!("get = {} # with [data]: {}", quoted(&page), quoted(&format!("{start}{{item}}"))));
        }
        None => line(text, format_args!("get = {}", quoted(&page))),
    }
    if let Some(status) = status.filter(|status| !(200..300).contains(status)) {
        line(
            text,
            format_args!(
                "# It was answered with {status}, which counts as an error: use a page that answers 2xx, or write"
            ),
        );
        line(text, format_args!("# expect = [{status}]"));
    }
    line(text, "weight = 95");
    line(text, "");
    line(text, "# Without writes nothing can become stale. A request that changes an item:");
    line(text, "# [[traffic.request]]");
    line(text, "# name = \"update\"");
    line(text, "# put = \"/items/{item}\"");
    line(text, "# body = '{\"name\": \"{random}\"}'");
    line(text, "# weight = 5");
    line(text, "");
}

fn timeline(text: &mut String, traits: &DetectedTraits) {
    let mark = if traits.bypass { "" } else { "# " };
    line(text, format_args!("{mark}[[phase]]"));
    line(text, format_args!("{mark}name = \"uncached\" # the baseline: the same traffic past the cache"));
    line(text, format_args!("{mark}path = \"uncached\""));
    line(text, format_args!("{mark}lasts = \"10s\""));
    line(text, "");
    line(text, "[[phase]]");
    line(text, "name = \"warm-up\"");
    line(text, "warm_up = true # not judged; ends when the hit rate is stable");
    line(text, "lasts = \"10s\"");
    line(text, "");
    line(text, "[[phase]]");
    line(text, "name = \"steady\"");
    line(text, "lasts = \"20s\"");
    line(text, "");
}

fn criteria(text: &mut String, traits: &DetectedTraits) {
    line(text, "# What must hold, in your own words. A criterion is met if all its rules are.");
    line(text, "[[criterion]]");
    line(text, "says = \"The app answers quickly\"");
    line(text, "rules = [\"errors < 1%\", \"p95 in steady < 500ms\"]");
    line(text, "");
    let mark = if traits.shows_hits() { "" } else { "# " };
    line(text, format_args!("{mark}[[criterion]]"));
    line(text, format_args!("{mark}says = \"The cache answers most reads\""));
    line(text, format_args!("{mark}rules = [\"hit_rate in steady > 60%\"]"));
    line(text, "");
    let mark = if traits.bypass { "" } else { "# " };
    line(text, format_args!("{mark}[[criterion]]"));
    line(text, format_args!("{mark}says = \"The cache makes the app faster\""));
    line(text, format_args!("{mark}rules = [\"p50 in steady < p50 in uncached\"]"));
    line(text, "");
    line(text, "# With {item} in the path, answers of another item are found; with writes, stale answers, too:");
    line(text, "# [[criterion]]");
    line(text, "# says = \"Answers are correct and not stale\"");
    line(text, "# rules = [\"wrong_answers == 0\", \"stale == 0\"]");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_the_url_is_not_in_the_scenario() {
        let url = Url::parse("http://me:s3cret@localhost:8080/a/b?c=d#e").unwrap();
        let text = scenario(&url, &[ProbeAnswer { status: 404, ..ProbeAnswer::default() }]);
        assert!(text.contains("url = \"http://me:${APP_PASSWORD}@localhost:8080\"\n"), "{text}");
        assert!(text.contains("get = \"/a/b?c=d\"\n# It was answered with 404"), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
        crate::scenario::parse("starter", &text).unwrap();
    }

    proptest::proptest! {
        #[test]
        fn the_scenario_is_valid_for_every_answer(
            path in "[ -~]{0,20}",
            names in proptest::collection::vec("(x-cache|cache-status|x-cache-status|cf-cache-status|age|etag)", 0..4),
            value in "[ -~]{0,100}",
            field in "(id|version|cached|key)",
            item in "[a-z0-9\"']{0,4}",
        ) {
            let Ok(url) = Url::parse(&format!("http://localhost/{path}")) else { return Ok(()) };
            let headers = names.into_iter().map(|name| (name, value.clone())).collect();
            let json = Some(serde_json::json!({ field: item, "rev": 3 }));
            let answer = ProbeAnswer { status: 200, headers, json };
            let text = scenario(&url, &[answer.clone(), answer.clone(), answer]);
            let parsed = crate::scenario::parse("starter", &text);
            proptest::prop_assert!(parsed.is_ok(), "{text}\n{:?}", parsed.err());
        }
    }
}
