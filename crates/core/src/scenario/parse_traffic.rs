//! `[traffic]` and its requests.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::item::ItemContext;
use super::parse::{is_identifier, name};
use super::problem::{Problem, known_names};
use super::reader::{Located, Section, span_in_file};
use super::variables::check_variables;
use super::{
    Arrivals, LoadModel, Method, Popularity, Request, Scenario, TargetSpec, Traffic, body, item, parse_freshness,
    schema,
};

impl Scenario {
    /// The key space that a placeholder without its braces stands for, with its size: `post` is `posts`, or
    /// `post` where there is a key space of exactly that name.
    pub fn key_space(&self, placeholder: &str) -> Option<(&str, u64)> {
        key_space(&self.data, placeholder)
    }
}

pub(super) fn key_space<'a>(data: &'a BTreeMap<String, u64>, placeholder: &str) -> Option<(&'a str, u64)> {
    let plural = format!("{placeholder}s");
    let (name, size) = data.get_key_value(placeholder).or_else(|| data.get_key_value(&plural))?;
    Some((name, *size))
}

/// Where a text has `{placeholders}`, braces included. Only `{` + letters, digits, `_` + `}` is one, so
/// that the braces of a JSON body are none. `${NAME}` is an environment variable.
pub fn placeholders(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (open, _) in text.match_indices('{') {
        if !text[..open].ends_with('$')
            && let Some(length) = text[open..].find('}')
            && is_identifier(&text[open + 1..open + length])
        {
            found.push(open..open + length + 1);
        }
    }
    found
}

/// Placeholders that are no key spaces.
pub(super) const RESERVED_PLACEHOLDERS: [&str; 3] = ["random", "version", "token"];

pub(super) fn traffic(root: &Section<'_>, data: &BTreeMap<String, u64>, target: &TargetSpec, text: &str) -> Traffic {
    let mut traffic = Traffic {
        load_model: LoadModel::Open { rate: 1.0, arrivals: Arrivals::Poisson, connections: 64 },
        popularity: Popularity::Zipf(0.99),
        timeout: Duration::from_secs(2),
        requests: Vec::new(),
    };
    let Some(section) = root.section("traffic", "[traffic]", schema::TRAFFIC) else {
        if !root.has("traffic") {
            root.missing("traffic", "[traffic] with rate = \"400/s\" (or users = 50) and [[traffic.request]]");
        }
        return traffic;
    };
    traffic.load_model = load_model(&section);
    traffic.popularity = popularity(&section);
    if let Some(timeout) = section.time("timeout", false, "timeout = \"2s\"") {
        traffic.timeout = timeout.value;
    }
    let mut taken = Vec::new();
    let requests = section.sections("request", "traffic.request", schema::REQUEST);
    for one in &requests {
        let context = ItemContext { data, identity: target.identity.as_deref(), text };
        traffic.requests.push(request(one, &context, &mut taken));
    }
    for (one, section) in traffic.requests.iter().zip(&requests) {
        parse_freshness::check_list(section, one, &traffic.requests, data);
    }
    if !section.has("request") {
        section.missing("request", "[[traffic.request]] with name = \"read post\" and get = \"/posts/{post}\"");
    }
    traffic
}

/// Each user and each connection is an HTTP client of its own, with a socket of this one process.
const MAX_USERS: u64 = 10_000;

fn load_model(section: &Section<'_>) -> LoadModel {
    let words = [("poisson", Arrivals::Poisson), ("constant", Arrivals::Constant)];
    let rate = section.rate("rate", "rate = \"400/s\"");
    let users = section.integer("users", 1..=MAX_USERS, "users = 50");
    let arrivals = section.one_of("arrivals", &words).map_or(Arrivals::default(), |arrivals| arrivals.value);
    let connections = section.integer("connections", 1..=MAX_USERS, "connections = 64").map_or(64, |count| count.value);
    if let Some(span) = section.key_span("users") {
        let both = [("rate", "rate and users are two ways to drive"), ("arrivals", ""), ("connections", "")];
        for (key, message) in both.into_iter().filter(|(key, _)| section.has(key)) {
            let message = match message {
                "" => format!("{key} belongs to rate, not to users"),
                message => message.to_owned(),
            };
            let span = section.key_span(key).unwrap_or(span.clone());
            let help = "keep rate for requests that arrive by the clock, or users for users that wait for each answer";
            section.problems.add(Problem::new(message).at(span).help(help));
        }
        return LoadModel::Closed { users: users.map_or(1, |users| to_usize(users.value)) };
    }
    if !section.has("rate") {
        section.missing("rate", "rate = \"400/s\" (requests arrive by the clock), or users = 50");
    }
    LoadModel::Open { rate: rate.unwrap_or(1.0), arrivals, connections: to_usize(connections) }
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn popularity(section: &Section<'_>) -> Popularity {
    let default = Popularity::Zipf(0.99);
    let Some(value) = section.get("popularity") else { return default };
    let help = "write popularity = { zipf = 0.99 } or popularity = \"uniform\"";
    if !value.is_table() {
        if value.inner.get_ref().as_str() == Some("uniform") {
            return Popularity::Uniform;
        }
        value.refuse("this is not a popularity".to_owned(), "unknown", help);
        return default;
    }
    let Some(table) = value.section("popularity", schema::POPULARITY) else { return default };
    match table.get("zipf") {
        Some(zipf) => match zipf.number() {
            Some(exponent) if exponent > 0.0 && exponent <= 10.0 => Popularity::Zipf(exponent),
            _ => {
                zipf.refuse("\"zipf\" is a number above 0, at most 10".to_owned(), "here", help);
                default
            }
        },
        None => {
            table.missing("zipf", "popularity = { zipf = 0.99 }");
            default
        }
    }
}

const METHODS: [(&str, Method); 5] = [
    ("get", Method::Get),
    ("post", Method::Post),
    ("put", Method::Put),
    ("patch", Method::Patch),
    ("delete", Method::Delete),
];

fn request(section: &Section<'_>, context: &ItemContext<'_>, taken: &mut Vec<String>) -> Request {
    let (data, text) = (context.data, context.text);
    let name = name(section, "read post", taken);
    let given: Vec<_> = METHODS.iter().filter(|(key, _)| section.has(key)).collect();
    let (key, method) = match given.as_slice() {
        [] => {
            section.missing("get", "get = \"/posts/{post}\" (or post, put, patch, delete)");
            ("get", Method::Get)
        }
        [one] => **one,
        [_, (second, _), ..] => {
            let span = section.key_span(second).unwrap_or(section.span.clone());
            let help = "give each request one of get, post, put, patch, delete";
            section.problems.add(Problem::new("this request has two methods").at(span).help(help));
            *given[0]
        }
    };
    let path = section.string(key);
    if let Some(path) = &path {
        check_path(section, path, data, text);
    }
    let body = section.string("body");
    let headers = parse_freshness::headers(section, data, text);
    let cacheable = section.boolean("cacheable");
    if cacheable == Some(true) && !method.is_read() {
        let span = section.key_span("cacheable").unwrap_or_default();
        let help = "leave it out: the hit rate counts reads only";
        section.problems.add(Problem::new(format!("{} is never cacheable", method.as_str())).at(span).help(help));
    }
    let mut list = parse_freshness::list(section, method);
    if let Some(list) = &mut list {
        list.of = item::normalized(&list.of, data);
    }
    let mut request = Request {
        name,
        method,
        path: path.map_or_else(String::new, |path| path.value.to_owned()),
        body: body.as_ref().map(|body| body.value.to_owned()),
        weight: weight(section),
        cacheable: cacheable.unwrap_or(method.is_read()) && method.is_read(),
        expect: expect(section),
        headers,
        owner: parse_freshness::owner(section),
        list,
        item: None,
    };
    if let Some(body) = &body {
        body::check(section, body, &request, context);
    }
    request.item = item::item(section, &request, context);
    request
}

fn weight(section: &Section<'_>) -> f64 {
    let Some(value) = section.get("weight") else { return 1.0 };
    match value.number() {
        Some(weight) if weight > 0.0 && weight <= 1e9 => weight,
        None => {
            let help = "write a number without quotes and unit, relative to the other weights: weight = 10";
            value.wrong("a number", help);
            1.0
        }
        Some(weight) if weight > 0.0 => {
            let help = "weights are relative to each other: write smaller ones";
            value.refuse("\"weight\" is more than 1_000_000_000".to_owned(), "too much", help);
            1.0
        }
        Some(_) => {
            let help = "write a share of the traffic, e.g. weight = 10; leave out what should not be sent";
            value.refuse("\"weight\" must be a number above 0".to_owned(), "never sent", help);
            1.0
        }
    }
}

fn expect(section: &Section<'_>) -> Vec<u16> {
    let Some(value) = section.get("expect") else { return Vec::new() };
    let help = "write a list of statuses beside 2xx: expect = [404]";
    let Some(list) = value.inner.get_ref().as_array() else {
        value.wrong("a list of statuses", help);
        return Vec::new();
    };
    let statuses: Option<Vec<u16>> = list
        .iter()
        .map(|item| {
            let status = item.get_ref().as_integer()?.as_str().parse().ok()?;
            (100..600).contains(&status).then_some(status)
        })
        .collect();
    if statuses.is_none() {
        value.refuse("statuses are numbers from 100 to 599".to_owned(), "not all are", help);
    }
    statuses.unwrap_or_default()
}

fn check_path(section: &Section<'_>, path: &Located<&str>, data: &BTreeMap<String, u64>, text: &str) {
    let refuse = |part: Range<usize>, message: &str, help: &str| {
        section.problems.add(Problem::new(message).at(span_in_file(text, path, part)).help(help));
    };
    if !path.value.starts_with('/') {
        let help = "begin it with /; the app's address is in [target]";
        refuse(0..path.value.len(), "this is not a path", help);
    }
    if let Some(at) = path.value.find(|c: char| c.is_whitespace() || c.is_control() || c == '#') {
        refuse(at..at + 1, "a path cannot have this character", "write it percent-encoded, a space as %20");
    }
    check_placeholders(section, path, data, text, &[]);
    check_variables(section, path);
    // The braces of a wrong ${…} were complained of.
    let variables = path
        .value
        .match_indices("${")
        .map(|(at, _)| at + 1..path.value[at..].find('}').map_or(path.value.len(), |length| at + length + 1));
    let known: Vec<_> = placeholders(path.value).into_iter().chain(variables).collect();
    let stray =
        path.value.match_indices(['{', '}']).map(|(at, _)| at).find(|at| !known.iter().any(|one| one.contains(at)));
    if let Some(at) = stray {
        refuse(at..at + 1, "this brace belongs to no placeholder", "write {name} with letters, digits and _");
    }
}

pub(super) fn check_placeholders(
    section: &Section<'_>,
    within: &Located<&str>,
    data: &BTreeMap<String, u64>,
    text: &str,
    allowed: &[&str],
) {
    for part in placeholders(within.value) {
        let placeholder = &within.value[part.start + 1..part.end - 1];
        if placeholder == "random" || key_space(data, placeholder).is_some() || allowed.contains(&placeholder) {
            continue;
        }
        if RESERVED_PLACEHOLDERS.contains(&placeholder) {
            let message = format!("{{{placeholder}}} has no meaning here");
            let help = format!("{{{placeholder}}} belongs in the body of a put, a patch or a post");
            section.problems.add(Problem::new(message).at(span_in_file(text, within, part)).help(help));
            continue;
        }
        let known = data.keys().map(|name| name.strip_suffix('s').unwrap_or(name)).chain(["random"]);
        let help =
            format!("add {placeholder}s = 1_000 to [data]; {}", known_names(placeholder, "placeholders so far", known));
        let message = format!("{{{placeholder}}} has no key space in [data]");
        section.problems.add(Problem::new(message).at(span_in_file(text, within, part)).help(help));
    }
}
