//! `Cache-Status` (RFC 9211), a list of structured fields (RFC 9651).

use std::borrow::Cow;

use sfv::{BareItem, List, ListEntry, Parameters, Parser};

use super::lists::split;
use super::{Meaning, words};
use cacheproof_core::journal::Outcome;

/// What one cache says.
struct Member {
    name: String,
    /// In the order of the header; names in lower case, booleans as `?1` and `?0`.
    parameters: Vec<(String, String)>,
}

/// What the cache of this name says, or else the one nearest to the user: the last.
pub(super) fn meaning(lines: &[Cow<'_, str>], cache: Option<&str>) -> Meaning {
    let members = structured(&lines.join(", ")).unwrap_or_else(|| loose(lines));
    let member = match cache {
        Some(cache) => members.iter().rev().find(|member| member.name.eq_ignore_ascii_case(cache)),
        None => members.last(),
    };
    member.map_or(Meaning::Unknown, Member::meaning)
}

fn structured(text: &str) -> Option<Vec<Member>> {
    let list: List = Parser::new(text).parse().ok()?;
    let member = |entry: ListEntry| match entry {
        ListEntry::Item(item) => Member { name: plain(&item.bare_item), parameters: parameters(&item.params) },
        ListEntry::InnerList(inner) => Member { name: String::new(), parameters: parameters(&inner.params) },
    };
    Some(list.into_iter().map(member).collect())
}

fn parameters(parameters: &Parameters) -> Vec<(String, String)> {
    parameters.iter().map(|(key, value)| (key.as_str().to_owned(), plain(value))).collect()
}

fn plain(item: &BareItem) -> String {
    match item {
        BareItem::Boolean(true) => "?1".to_owned(),
        BareItem::Boolean(false) => "?0".to_owned(),
        BareItem::Integer(number) => number.to_string(),
        BareItem::Decimal(number) => number.to_string(),
        BareItem::String(text) => text.as_str().to_owned(),
        BareItem::Token(text) => text.as_str().to_owned(),
        // None of the parameters that are read has another type.
        _ => String::new(),
    }
}

/// The members of a header that is no structured field.
fn loose(lines: &[Cow<'_, str>]) -> Vec<Member> {
    let unquoted = |text: &str| text.trim().trim_matches('"').to_owned();
    let member = |text: &str| {
        let mut parts = split(text, ';').into_iter();
        let name = unquoted(parts.next().unwrap_or_default());
        let parameter = |part: &str| {
            let (key, value) = part.split_once('=').unwrap_or((part, "?1"));
            (key.trim().to_ascii_lowercase(), unquoted(value))
        };
        Member { name, parameters: parts.map(parameter).collect() }
    };
    lines.iter().flat_map(|line| members(line)).map(|text| member(&text)).collect()
}

/// The members of a line. Souin writes the key of an answer, which holds a URL, without quotes: a comma in it is followed by no space.
fn members(line: &str) -> Vec<String> {
    let mut members: Vec<String> = Vec::new();
    for piece in split(line, ',') {
        let is_in_key = |before: &String| {
            let last = before.rsplit(';').next().unwrap_or_default().trim_start();
            last.starts_with("key=") && !last.starts_with("key=\"")
        };
        match members.last_mut().filter(|before| !piece.starts_with([' ', '\t']) && is_in_key(before)) {
            Some(before) => {
                before.push(',');
                before.push_str(piece);
            }
            None => members.push(piece.to_owned()),
        }
    }
    members.retain(|member| !member.trim().is_empty());
    members
}

impl Member {
    fn parameter(&self, wanted: &str) -> Option<&str> {
        self.parameters.iter().rev().find(|(key, _)| key == wanted).map(|(_, value)| value.as_str())
    }

    fn meaning(&self) -> Meaning {
        let hit = self.parameter("hit").and_then(truth);
        match (hit, self.parameter("fwd")) {
            // Souin says both where it serves a stale answer and asks for a new one.
            (Some(true), Some("stale")) if self.parameter("fwd-status") == Some("304") => Meaning::Is(Outcome::Hit),
            (Some(true), Some("stale")) => Meaning::Is(Outcome::StaleServed),
            (Some(true), None) => Meaning::Is(self.unless_expired()),
            (_, Some(reason)) => Meaning::Is(self.forwarded(&reason.to_ascii_lowercase())),
            (Some(false), None) => Meaning::Is(Outcome::Miss),
            // No RFC 9211, but common: the word alone, in the place of the cache's name.
            (None, None) => match words::meaning(&self.name) {
                Meaning::Is(Outcome::Hit) => Meaning::Is(self.unless_expired()),
                // Or behind it: `nginx; MISS`.
                Meaning::Unknown => {
                    let flags = self.parameters.iter().filter(|(_, value)| value == "?1");
                    flags
                        .map(|(key, _)| words::meaning(key))
                        .find(|one| *one != Meaning::Unknown)
                        .unwrap_or(Meaning::Unknown)
                }
                other => other,
            },
        }
    }

    fn unless_expired(&self) -> Outcome {
        let ttl = self.parameter("ttl").and_then(|ttl| ttl.parse::<f64>().ok());
        if ttl.is_some_and(|ttl| ttl < 0.0) { Outcome::StaleServed } else { Outcome::Hit }
    }

    /// The request went forward, for this reason. A stale answer that the next hop confirmed (304) or that was served
    /// because the next hop failed came from the cache all the same.
    fn forwarded(&self, reason: &str) -> Outcome {
        let status: Option<u16> = self.parameter("fwd-status").and_then(|status| status.parse().ok());
        match (reason, status) {
            ("bypass", _) if self.parameter("detail").is_some_and(|detail| detail.eq_ignore_ascii_case("fallback")) => {
                Outcome::Fallback
            }
            ("bypass" | "request" | "method", _) => Outcome::Bypass,
            ("stale", Some(304)) => Outcome::Hit,
            ("stale", Some(500..)) => Outcome::StaleServed,
            _ => Outcome::Miss,
        }
    }
}

fn truth(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "?1" | "1" | "true" | "yes" => Some(true),
        "?0" | "0" | "false" | "no" => Some(false),
        _ => None,
    }
}
