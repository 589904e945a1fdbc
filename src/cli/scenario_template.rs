//! The scenario that `init` writes. What the answers show is filled in; the rest is there as comments.

use std::borrow::Cow;
use std::fmt::Write as _;

use reqwest::Url;

use super::detected::{DetectedTraits, HitSign, SeenValues};
use super::probe::ProbeAnswer;
use crate::load::response::cache_words;
use crate::secrets::is_secret_name;

/// The scenario for an app that gave these answers: two to plain requests, one to a request past the cache.
pub(super) fn scenario(url: &Url, answers: &[ProbeAnswer], traits: &DetectedTraits) -> String {
    let mut text = String::new();
    head(&mut text, url, answers, traits);
    target(&mut text, url, answers, traits);
    traffic(&mut text, url, answers.first().map(|answer| answer.status), traits);
    timeline(&mut text, traits);
    criteria(&mut text, traits);
    text
}

/// The headers that describe what a cache did. `Cache-Control` and its like do not.
fn cache_headers(answer: &ProbeAnswer) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
    let headers = answer.headers.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())));
    headers.filter(|(name, _)| {
        let cache = name.contains("cache") || *name == "age" || cache_words::rank(name).is_some();
        cache && !name.ends_with("-control")
    })
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn line(text: &mut String, line: impl std::fmt::Display) {
    let _ = writeln!(text, "{line}");
}

/// The path and query for a request; braces are escaped, as they would be placeholders. Secret parameters are replaced by
/// environment variables.
fn page(url: &Url) -> String {
    let escaped = |text: &str| text.replace('{', "%7B").replace('}', "%7D");
    let parameter = |text: &str| match secret_parameter(text) {
        Some((name, variable)) => format!("{}=${{{variable}}}", escaped(name)),
        None => escaped(text),
    };
    // Segments of the path may have parameters: `/items/1;token=abc`.
    let of_segment = |text: &str| match text.split_once('/') {
        Some((head, rest)) => format!("{}/{}", parameter(head), escaped(rest)),
        None => parameter(text),
    };
    let path = url.path().split(';').map(of_segment).collect::<Vec<_>>().join(";");
    match url.query() {
        Some(query) => format!("{path}?{}", query.split('&').map(parameter).collect::<Vec<_>>().join("&")),
        None => path,
    }
}

/// The secret parameters of the path and the query.
fn secret_parameters(url: &Url) -> impl Iterator<Item = (&str, String)> {
    let of_path = url.path().split(';').skip(1).map(|text| text.split('/').next().unwrap_or_default());
    of_path.chain(url.query().unwrap_or_default().split('&')).filter_map(secret_parameter)
}

/// The name of a parameter whose value is a secret, and the variable that stands for it.
fn secret_parameter(pair: &str) -> Option<(&str, String)> {
    let (name, _) = pair.split_once('=').filter(|(name, value)| is_secret_name(name) && !value.is_empty())?;
    let letters = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    Some((name, format!("APP_{}", letters.collect::<String>())))
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

fn head(text: &mut String, url: &Url, answers: &[ProbeAnswer], traits: &DetectedTraits) {
    line(text, "# A scenario for cacheproof, written by `cacheproof init`. Change it to what your app promises, then");
    line(text, "# `cacheproof check` it and `cacheproof run` it. docs/scenario.md explains every key and every rule.");
    line(text, "#");
    line(text, format_args!("# GET {} was answered three times:", page(url)));
    let how = ["first", "again", "with Cache-Control: no-store"];
    for ((answer, outcome), how) in answers.iter().zip(&traits.outcomes).zip(how) {
        let mut words: Vec<String> =
            cache_headers(answer).map(|(name, value)| format!("{name}: {}", shortened(&value))).collect();
        if words.is_empty() {
            words.push("no cache headers".to_owned());
        }
        let body = if answer.json.is_some() { "JSON" } else { "not JSON" };
        let read = outcome.map(|outcome| format!(" ({})", outcome.as_str())).unwrap_or_default();
        line(text, format_args!("#   {how}: status {}, {body}, {}{read}", answer.status, words.join(", ")));
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
    for (name, variable) in secret_parameters(url) {
        line(
            text,
            format_args!("# The value of {name} is read from the environment: export {variable}=… before the run."),
        );
    }
    match answers.first().map(|answer| answer.status) {
        Some(status) if (200..300).contains(&status) => {
            line(
                text,
                format_args!("ready = {} # answered with {status}; any path that answers 2xx", quoted(&page(url))),
            );
        }
        _ => line(text, "# ready = \"/health\" # write a path that answers 2xx: none was seen; the default is \"/\""),
    }
    if answers.first().is_some_and(|answer| (300..400).contains(&answer.status)) {
        line(text, "# follow_redirects = true # follows a redirect to the same scheme, host and port");
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
    match &traits.hits {
        HitSign::Known(header) => {
            line(text, format_args!("# {header} told hits from other answers. It is understood without [target.hit]."));
        }
        HitSign::Words(header, values) => words(text, header, values),
        HitSign::Json(field) => {
            line(text, "[target.hit] # how a response says that it came from the cache: both values were seen");
            line(text, format_args!("json = {}", quoted(field)));
            line(text, "hit = [\"true\"]");
            line(text, "miss = [\"false\"]");
        }
        HitSign::None => {
            line(
                text,
                "# Nothing in these answers distinguishes a hit from a miss, so no rule can use the hit rate yet.",
            );
            line(text, "# Describe it here, or let the app send Cache-Status, which needs no [target.hit]:");
            line(text, "# [target.hit]");
            line(text, "# header = \"X-Cache-Status\" # or json = \"meta.cached\"");
            line(text, "# hit = [\"HIT\"]");
            line(text, "# miss = [\"MISS\"]");
        }
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

/// The header with the values that were seen, and no others.
fn words(text: &mut String, header: &str, values: &SeenValues) {
    line(text, "[target.hit] # how a response says that it came from the cache: the values that were seen");
    line(text, format_args!("header = {}", quoted(header)));
    let lists = [("hit", &values.hit), ("miss", &values.miss), ("stale", &values.stale), ("bypass", &values.bypass)];
    for (key, values) in lists.into_iter().filter(|(_, values)| !values.is_empty()) {
        let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
        line(text, format_args!("{key} = [{}]", values.join(", ")));
    }
    line(
        text,
        "# Other values are read by the table in docs/scenario.md; those that it lacks are reported with their count.",
    );
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
    let mark = if traits.hits == HitSign::None { "# " } else { "" };
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
        let answers = [ProbeAnswer { status: 404, ..ProbeAnswer::default() }];
        let text = scenario(&url, &answers, &DetectedTraits::of(&url, &answers));
        assert!(text.contains("url = \"http://me:${APP_PASSWORD}@localhost:8080\"\n"), "{text}");
        assert!(text.contains("get = \"/a/b?c=d\"\n# It was answered with 404"), "{text}");
        let url = Url::parse("http://localhost/a?c=d&api-key=s3cret&token=").unwrap();
        let answers = [ProbeAnswer { status: 200, ..ProbeAnswer::default() }];
        let with_key = scenario(&url, &answers, &DetectedTraits::of(&url, &answers));
        assert!(with_key.contains("get = \"/a?c=d&api-key=${APP_API_KEY}&token=\"\n"), "{with_key}");
        assert!(with_key.contains("export APP_API_KEY=…"), "{with_key}");
        crate::scenario::parse("starter", &with_key).unwrap();
        assert!(!text.contains("s3cret") && !with_key.contains("s3cret"), "{text}{with_key}");
        crate::scenario::parse("starter", &text).unwrap();
    }

    proptest::proptest! {
        #[test]
        fn the_scenario_is_valid_for_every_answer_and_reads_it_as_it_was_read(
            path in "[ -~]{0,20}",
            names in proptest::collection::vec(
                "(x-cache|cache-status|x-cache-status|cf-cache-status|x-own|via|x-varnish|age|etag)", 0..4),
            values in proptest::collection::vec("([ -~]{0,100}|HIT|MISS|hit,private|bypass|1 2|1|edge; hit)", 3),
            field in "(id|version|cached|key)",
            item in "[a-z0-9\"']{0,4}",
        ) {
            let Ok(url) = Url::parse(&format!("http://localhost/{path}")) else { return Ok(()) };
            let json = Some(serde_json::json!({ field: item, "rev": 3 }));
            let answer = |value: &String| {
                let header = |name: &String| Some((name.parse().ok()?, value.parse().ok()?));
                ProbeAnswer { status: 200, headers: names.iter().filter_map(header).collect(), json: json.clone() }
            };
            let answers: Vec<ProbeAnswer> = values.iter().map(answer).collect();
            let traits = DetectedTraits::of(&url, &answers);
            let text = scenario(&url, &answers, &traits);
            let parsed = crate::scenario::parse("starter", &text);
            proptest::prop_assert!(parsed.is_ok(), "{text}\n{:?}", parsed.err());
            proptest::prop_assert!(traits.hold_for(&parsed.unwrap(), &answers), "{text}\n{traits:?}");
        }
    }
}
