//! Where an answer came from, by the headers that caches send. docs/scenario.md has the same tables for users.
//!
//! A header is a list, on one line or on several. Its last member is from the cache nearest to the user, and counts.

mod cache_status;
mod lists;
mod traces;
mod words;

use std::borrow::Cow;

use reqwest::header::HeaderMap;

use cacheproof_core::journal::Outcome;

pub use lists::last_member;

/// What a header says of one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Where the answer came from.
    Is(Outcome),
    /// A documented value that doesn't tell: an error page, a cache that wasn't asked.
    Silent,
    /// No word that is known.
    Unknown,
}

impl Meaning {
    /// Where the answer came from, if the header tells.
    pub fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Is(outcome) => Some(outcome),
            Self::Silent | Self::Unknown => None,
        }
    }
}

/// How the values of a header are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `Cache-Status`, RFC 9211.
    CacheStatus,
    /// One word for each cache: `MISS from a, HIT from b`.
    Words,
    /// The same, where `REVALIDATED` is an answer of the origin.
    VercelWords,
    /// One cache, a word and remarks: `hit,private`.
    FirstWord,
    /// What one cache did, step by step: `GET /: stale, valid, store`.
    Trace,
    /// [`Self::Words`], where the cache nearest to the user is CloudFront.
    CloudFront,
    /// `Via` with the codes of Apache Traffic Server.
    ViaCodes,
    /// The same, where the last proxy wrote them: no other is nearer to the user.
    LastViaCodes,
    /// The number of hits for each cache: `0, 3`.
    HitCounts,
    /// `X-Varnish`: the id of this request and, for a hit, that of the request that stored the answer.
    VarnishIds,
}

/// The headers that are read without `[target.hit]`. The first one that tells is believed, in the order of how near to the user
/// their caches usually are, because a cache replays the headers of those behind it: CDNs, the standard, the caches in front of
/// an app, and last those within its server or framework.
const HEADERS: &[(&str, Form)] = &[
    ("cf-cache-status", Form::Words),
    ("x-vercel-cache", Form::VercelWords),
    ("cdn-cache", Form::Words),
    ("x-qc-cache", Form::FirstWord),
    ("x-cache", Form::CloudFront),
    ("cache-status", Form::CacheStatus),
    ("x-cache", Form::Words),
    ("via", Form::LastViaCodes),
    ("x-cache-status", Form::Words),
    ("x-proxy-cache", Form::Words),
    ("x-nginx-cache", Form::Words),
    ("x-nginx-cache-status", Form::Words),
    ("x-fastcgi-cache", Form::Words),
    ("x-srcache-fetch-status", Form::Words),
    ("x-varnish-cache", Form::Words),
    ("x-kinsta-cache", Form::Words),
    ("x-lsadc-cache", Form::FirstWord),
    ("x-cache-hits", Form::HitCounts),
    ("x-varnish", Form::VarnishIds),
    ("via", Form::ViaCodes),
    ("x-litespeed-cache", Form::FirstWord),
    ("x-symfony-cache", Form::Trace),
    ("x-rack-cache", Form::Trace),
    ("x-nextjs-cache", Form::VercelWords),
    ("x-drupal-cache", Form::FirstWord),
    ("x-drupal-dynamic-cache", Form::FirstWord),
    ("x-magento-cache-debug", Form::Words),
    ("x-fastapi-cache", Form::Words),
];

/// Where an answer came from, and the values that nobody understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheReading {
    /// What the first header that tells says.
    pub outcome: Option<Outcome>,
    /// `name: value` of each header before it that holds no word that is known.
    pub unread: Vec<String>,
}

/// Reads the headers in their order. `cache`: the name of the cache that counts; then only `Cache-Status` is read, as no
/// other header names caches.
pub fn read(headers: &HeaderMap, cache: Option<&str>) -> CacheReading {
    let mut reading = CacheReading::default();
    for (name, form) in HEADERS.iter().filter(|(_, form)| cache.is_none() || *form == Form::CacheStatus) {
        let lines = lines(headers, name);
        if lines.is_empty() {
            continue;
        }
        match meaning(*form, &lines, cache) {
            Meaning::Is(outcome) => {
                reading.outcome = Some(outcome);
                break;
            }
            Meaning::Silent => {}
            // Read once more in its general form.
            Meaning::Unknown if matches!(form, Form::CloudFront | Form::LastViaCodes) => {}
            Meaning::Unknown => reading.unread.push(format!("{name}: {}", lines.join(", "))),
        }
    }
    reading
}

/// What the lines of one header say. A header that is not in the table is read as words.
pub fn meaning_of(name: &str, lines: &[Cow<'_, str>]) -> Meaning {
    meaning(form_of(name).unwrap_or(Form::Words), lines, None)
}

/// How the values of a header are written; `None`: it is not in the table. A header that is there twice has its general form last.
fn form_of(name: &str) -> Option<Form> {
    HEADERS.iter().rfind(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, form)| *form)
}

/// The place of a header in the order in which they are believed; `None`: it is read only with `[target.hit]`.
pub fn rank(name: &str) -> Option<usize> {
    HEADERS.iter().position(|(known, _)| known.eq_ignore_ascii_case(name))
}

/// Whether the values of a header are words, which `[target.hit]` can list.
pub fn holds_words(name: &str) -> bool {
    matches!(form_of(name), None | Some(Form::Words | Form::VercelWords | Form::FirstWord))
}

/// The lines of a header, in their order.
pub fn lines<'headers>(headers: &'headers HeaderMap, name: &str) -> Vec<Cow<'headers, str>> {
    headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect()
}

fn meaning(form: Form, lines: &[Cow<'_, str>], cache: Option<&str>) -> Meaning {
    match form {
        Form::CacheStatus => cache_status::meaning(lines, cache),
        Form::Words => last_member(lines).map_or(Meaning::Silent, words::meaning),
        Form::VercelWords => match last_member(lines) {
            Some(member) if words::fetched_anew(member) => Meaning::Is(Outcome::Miss),
            member => member.map_or(Meaning::Silent, words::meaning),
        },
        Form::FirstWord => {
            let last = lines.last().map_or("", |line| line.as_ref());
            lists::members(last).first().map_or(Meaning::Silent, |member| words::meaning(member))
        }
        Form::Trace => traces::trace(lines),
        Form::CloudFront => match last_member(lines) {
            Some(member) if member.to_ascii_lowercase().contains("from cloudfront") => words::meaning(member),
            _ => Meaning::Silent,
        },
        Form::ViaCodes => traces::via_codes(lines),
        Form::LastViaCodes => traces::last_via_codes(lines),
        Form::HitCounts => traces::hit_counts(lines),
        Form::VarnishIds => traces::varnish_ids(lines),
    }
}

#[cfg(test)]
mod tests;
