//! What a file says about freshness: `[freshness]`, and who asks and what is listed in a request.

use std::collections::BTreeMap;

use super::item::missing_of_list;
use super::parse_target::{field, is_field, is_header_name};
use super::parse_traffic::check_placeholders;
use super::problem::Problem;
use super::reader::{Section, percent};
use super::variables::check_variables;
use super::{FreshnessSpec, ListSpec, Method, Quantity, Request, schema};

/// Probe reads beyond this share would be a load of their own.
const MAX_PROBE_SHARE: f64 = 0.02;

/// `[freshness]`.
pub(super) fn freshness(root: &Section<'_>) -> FreshnessSpec {
    let mut spec = FreshnessSpec::default();
    let Some(section) = root.section("freshness", "[freshness]", schema::FRESHNESS) else { return spec };
    if let Some(settle) = section.time("settle", false, "settle = \"1s\"") {
        spec.settle = settle.value;
    }
    spec.ttl = section.time("ttl", false, "ttl = \"60s\"").map(|ttl| ttl.value);
    let with_unit = |number: &str| match percent(number) {
        share if share.parse().is_ok_and(|share: Quantity| share.number() > MAX_PROBE_SHARE) => "1%".to_owned(),
        share => share,
    };
    let probes = section.get("probes").and_then(|probes| probes.quantity("a percentage", "probes = \"1%\"", with_unit));
    if let Some(probes) = probes {
        match probes.value {
            Quantity::Share(share) if (0.0..=MAX_PROBE_SHARE).contains(&share) => spec.probes = share,
            _ => {
                let help = "write a share of the requests, at most 2%: probes = \"1%\" (or \"0%\" for none)";
                section.problems.add(Problem::new("\"probes\" is not such a share").at(probes.span).help(help));
            }
        }
    }
    spec
}

/// A request's headers with their placeholders.
pub(super) fn headers(section: &Section<'_>, data: &BTreeMap<String, u64>, text: &str) -> Vec<(String, String)> {
    let Some(value) = section.get("headers") else { return Vec::new() };
    let help = "write headers = { \"X-User\" = \"{user}\" }";
    let Some(table) = value.inner.get_ref().as_table() else {
        value.wrong("a table", help);
        return Vec::new();
    };
    let mut headers = Vec::new();
    for (name, value) in Section::with_user_keys(section, table, value.span(), "headers").entries() {
        if headers.iter().any(|(known, _): &(String, String)| known.eq_ignore_ascii_case(name.value)) {
            let help = "keep one of them: the case of letters makes no difference";
            section.problems.add(Problem::new("this header is there twice").at(name.span.clone()).help(help));
        }
        if !is_header_name(name.value) {
            section.problems.add(Problem::new("this is not the name of a header").at(name.span.clone()).help(help));
        }
        let Some(value) = value.string() else { continue };
        if value.value.contains(char::is_control) {
            section.problems.add(Problem::new("a header is one line of text").at(value.span.clone()).help(help));
        }
        check_placeholders(section, &value, data, text, &[]);
        check_variables(section, &value);
        headers.push((name.value.to_owned(), value.value.to_owned()));
    }
    headers
}

/// The field that says whose answer it is.
pub(super) fn owner(section: &Section<'_>) -> Option<String> {
    let owner = field(section, "owner")?;
    let names_a_key =
        section.get("headers").and_then(|headers| headers.inner.get_ref().as_table().cloned()).is_some_and(|headers| {
            let holds = |text: &str| super::placeholders(text).iter().any(|place| &text[place.clone()] != "{random}");
            headers.iter().any(|(_, value)| value.get_ref().as_str().is_some_and(holds))
        });
    if !names_a_key {
        let span = section.key_span("owner").unwrap_or_default();
        let help = "say who asks: headers = { \"X-User\" = \"{user}\" }, with users = 100 in [data]";
        section.problems.add(Problem::new("\"owner\" has no user to compare with").at(span).help(help));
    }
    Some(owner)
}

/// What a list's items are compared with.
pub(super) fn list(section: &Section<'_>, method: Method) -> Option<ListSpec> {
    let table = section.section("list", "list", schema::LIST)?;
    if !method.is_read() {
        let help = "leave it out: only a get is answered with a list";
        table.problems.add(Problem::new("a write has no list to judge").at(table.span.clone()).help(help));
    }
    let of = table.string("of").map(|of| {
        if !of.value.starts_with('/') || of.value.contains('?') {
            let help = "write the path that its items are written by: of = \"/posts/{post}\"";
            table.problems.add(Problem::new("\"of\" is not the path of an item").at(of.span.clone()).help(help));
        }
        of.value.to_owned()
    });
    if of.is_none() && !table.has("of") {
        table.missing("of", "of = \"/posts/{post}\"");
    }
    let name = |key: &str| {
        let given = table.string(key)?;
        if !is_field(given.value) {
            let help = format!("write the field's name: {key} = \"{key}\"");
            table.problems.add(Problem::new(format!("\"{key}\" is not a JSON field")).at(given.span).help(help));
        }
        Some(given.value.to_owned())
    };
    let (items, id, version) = (name("items"), name("id"), name("version"));
    if !table.has("id") {
        table.missing("id", "id = \"id\"");
    }
    Some(ListSpec { of: of.unwrap_or_default(), items, id: id.unwrap_or_default(), version })
}

/// Whether anything writes what a list shows.
pub(super) fn check_list(section: &Section<'_>, request: &Request, requests: &[Request], data: &BTreeMap<String, u64>) {
    let Some(list) = request.list.as_ref().filter(|list| list.of.starts_with('/')) else { return };
    let written = requests.iter().find(|write| write.changes_item() && write.is_of(&list.of));
    if let Some(key) = written.and_then(|write| missing_of_list(request, write.item.as_ref()?, data)) {
        let span = section.key_span("list").unwrap_or_default();
        let help =
            "write that key into the list's path or into a header; without it, items of different keys look alike";
        let message = format!("\"{}\" has a key of {key}, and the request for the list has none", list.of);
        section.problems.add(Problem::new(message).at(span).help(help));
    }
    if !requests.iter().any(|write| write.changes_item() && write.is_of(&list.of)) {
        let span = section.key_span("list").unwrap_or_default();
        let help = format!("add a [[traffic.request]] with put = \"{0}\" (or patch, or delete)", list.of);
        let message = format!("nothing writes \"{}\", so there is nothing to compare the list's items with", list.of);
        section.problems.add(Problem::new(message).at(span).help(help));
    }
}
