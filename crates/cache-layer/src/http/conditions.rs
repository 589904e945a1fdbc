//! What requests and responses say about caching: directives, validators, and what may not be stored.

use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, AGE, CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPIRES, IF_MATCH,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, ORIGIN, PRAGMA, RANGE, SET_COOKIE,
    TRAILER, UPGRADE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;

/// The elements of a list header, also where it occurs several times. Good for tokens; quoted strings are not looked into.
fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or(""));
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|element| !element.is_empty())
}

/// The directives of `Cache-Control`, each with its argument.
fn directives(headers: &HeaderMap) -> impl Iterator<Item = (&str, Option<&str>)> {
    elements(headers, &CACHE_CONTROL).map(|element| match element.split_once('=') {
        Some((name, argument)) => (name.trim(), Some(argument.trim().trim_matches('"'))),
        None => (element, None),
    })
}

fn has_directive(headers: &HeaderMap, wanted: &[&str]) -> bool {
    directives(headers).any(|(name, _)| wanted.iter().any(|wanted| name.eq_ignore_ascii_case(wanted)))
}

/// Why a request goes past the cache, whatever its rule says.
pub(super) fn request_refuses(headers: &HeaderMap, obey_no_cache: bool) -> Option<&'static str> {
    if has_directive(headers, &["no-store"]) {
        return Some("no-store");
    }
    let zero = |(name, age): (&str, Option<&str>)| name.eq_ignore_ascii_case("max-age") && age == Some("0");
    let pragma = || {
        !headers.contains_key(CACHE_CONTROL) && elements(headers, &PRAGMA).any(|e| e.eq_ignore_ascii_case("no-cache"))
    };
    if obey_no_cache && (has_directive(headers, &["no-cache"]) || directives(headers).any(zero) || pragma()) {
        return Some("no-cache");
    }
    None
}

/// Why a request is no plain read of the whole resource.
pub(super) fn request_is_special(headers: &HeaderMap) -> Option<&'static str> {
    if [RANGE, IF_RANGE].iter().any(|name| headers.contains_key(name)) {
        return Some("range");
    }
    if [IF_MATCH, IF_UNMODIFIED_SINCE].iter().any(|name| headers.contains_key(name)) {
        return Some("precondition");
    }
    headers.contains_key(UPGRADE).then_some("upgrade")
}

/// Why an answer may not be stored, by its headers. `private`: it is kept for one user only.
pub(super) fn answer_refuses(headers: &HeaderMap, private: bool) -> Option<&'static str> {
    let refused: &[&str] = if private { &["no-store", "no-cache"] } else { &["no-store", "no-cache", "private"] };
    if headers.contains_key(SET_COOKIE) {
        Some("set-cookie")
    } else if has_directive(headers, refused) {
        Some("cache-control")
    } else if headers.contains_key(CONTENT_RANGE) {
        Some("range")
    } else if headers.contains_key(TRAILER) {
        Some("trailers")
    } else if headers.contains_key(EXPIRES) && !has_directive(headers, &["max-age", "s-maxage"]) {
        // A date says less than the rule's TTL and needs a clock to be compared with.
        Some("expires")
    } else if headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")) {
        Some("event-stream")
    } else {
        None
    }
}

/// How long the answer itself allows to be kept: `s-maxage` (for many users) before `max-age`, less its `Age`. What cannot be
/// read counts as 0 (RFC 9111, 4.2.1).
pub(super) fn answer_allows(headers: &HeaderMap, private: bool) -> Option<Duration> {
    let of = |wanted: &str| {
        let mine = directives(headers).filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        mine.map(|(_, seconds)| seconds.and_then(|s| s.parse::<u64>().ok()).unwrap_or(0)).min()
    };
    let seconds = if private { of("max-age") } else { of("s-maxage").or_else(|| of("max-age")) }?;
    let age = headers.get(AGE).and_then(|age| age.to_str().ok()?.parse::<u64>().ok()).unwrap_or(0);
    Some(Duration::from_secs(seconds.saturating_sub(age)))
}

/// The request headers an answer varies by, sorted; `Err` when no key can tell its variants apart.
pub(super) fn varies_by(headers: &HeaderMap) -> Result<Vec<HeaderName>, &'static str> {
    let mut names = Vec::new();
    for value in headers.get_all(VARY) {
        let value = value.to_str().map_err(|_| "vary")?;
        for name in value.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if name == "*" {
                return Err("vary");
            }
            names.push(HeaderName::from_bytes(name.as_bytes()).map_err(|_| "vary")?);
        }
    }
    // An answer that allows one origin is wrong for another, also where nobody said `Vary: Origin`.
    if headers.get(ACCESS_CONTROL_ALLOW_ORIGIN).is_some_and(|allowed| allowed != "*") {
        names.push(ORIGIN);
    }
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    Ok(names)
}

/// What a client has already.
#[derive(Clone, Debug, Default)]
pub(super) struct Validators {
    none_match: Vec<HeaderValue>,
    modified_since: Option<HeaderValue>,
}

impl Validators {
    /// Takes them out of a request: the inner service is to give the whole answer.
    pub(super) fn take(headers: &mut HeaderMap) -> Self {
        let none_match = headers.get_all(IF_NONE_MATCH).iter().cloned().collect();
        headers.remove(IF_NONE_MATCH);
        Self { none_match, modified_since: headers.remove(IF_MODIFIED_SINCE) }
    }

    /// Whether the client has this answer (RFC 9110, 13.2.2). Dates are compared as texts: a client sends back the one it got.
    pub(super) fn has(&self, headers: &HeaderMap) -> bool {
        if !self.none_match.is_empty() {
            let mine = headers.get(ETAG).map(|tag| opaque(tag.as_bytes()));
            let matches = |value: &HeaderValue| matches_tag(value.as_bytes(), mine);
            return self.none_match.iter().any(matches);
        }
        self.modified_since.is_some() && self.modified_since.as_ref() == headers.get(LAST_MODIFIED)
    }
}

/// A tag without its `W/`: `If-None-Match` compares weakly.
fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// Whether a list of tags has one. Tags may have commas in them.
fn matches_tag(list: &[u8], mine: Option<&[u8]>) -> bool {
    if list.trim_ascii() == b"*" {
        return true;
    }
    let Some(mine) = mine else { return false };
    let mut rest = list;
    while let Some(open) = rest.iter().position(|b| *b == b'"') {
        let Some(length) = rest[open + 1..].iter().position(|b| *b == b'"') else { return false };
        let end = open + length + 2;
        if &rest[open..end] == mine {
            return true;
        }
        rest = &rest[end..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").expect("a header");
            headers.append(HeaderName::from_bytes(name.as_bytes()).expect("a name"), value.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn requests_that_want_no_cached_answer() {
        let refuses = |lines: &[&str]| request_refuses(&headers(lines), true);
        assert_eq!(refuses(&["cache-control: max-age=0, No-Store"]), Some("no-store"));
        assert_eq!(refuses(&["cache-control: max-age=0"]), Some("no-cache"));
        assert_eq!(refuses(&["cache-control: x", "cache-control: no-cache"]), Some("no-cache"));
        assert_eq!(refuses(&["pragma: no-cache"]), Some("no-cache"));
        assert_eq!(refuses(&["pragma: no-cache", "cache-control: max-age=5"]), None);
        assert_eq!(refuses(&["cache-control: max-age=60"]), None);
        assert_eq!(request_refuses(&headers(&["cache-control: no-cache"]), false), None);
        assert_eq!(request_refuses(&headers(&["cache-control: no-store"]), false), Some("no-store"));
    }

    #[test]
    fn answers_that_may_not_be_stored() {
        let refuses = |lines: &[&str]| answer_refuses(&headers(lines), false);
        assert_eq!(refuses(&["set-cookie: a=b"]), Some("set-cookie"));
        assert_eq!(refuses(&["cache-control: public, Private"]), Some("cache-control"));
        assert_eq!(refuses(&["cache-control: no-cache=\"x-a\""]), Some("cache-control"));
        assert_eq!(refuses(&["expires: 0"]), Some("expires"));
        assert_eq!(refuses(&["expires: 0", "cache-control: max-age=5"]), None);
        assert_eq!(refuses(&["content-type: text/event-stream"]), Some("event-stream"));
        assert_eq!(refuses(&["cache-control: public, max-age=5", "content-type: text/html"]), None);
        assert_eq!(answer_refuses(&headers(&["cache-control: private"]), true), None);
        assert_eq!(answer_refuses(&headers(&["cache-control: no-store"]), true), Some("cache-control"));
    }

    #[test]
    fn the_shortest_life_counts_and_nonsense_is_none() {
        let seconds = |lines: &[&str], private| answer_allows(&headers(lines), private).map(|life| life.as_secs());
        assert_eq!(seconds(&["cache-control: max-age=60"], false), Some(60));
        assert_eq!(seconds(&["cache-control: max-age=60, s-maxage=10"], false), Some(10));
        assert_eq!(seconds(&["cache-control: max-age=60, s-maxage=10"], true), Some(60));
        assert_eq!(seconds(&["cache-control: max-age=60", "cache-control: max-age=5"], false), Some(5));
        assert_eq!(seconds(&["cache-control: max-age=\"30\"", "age: 10"], false), Some(20));
        assert_eq!(seconds(&["cache-control: max-age=soon"], false), Some(0));
        assert_eq!(seconds(&["cache-control: public"], false), None);
    }

    #[test]
    fn vary_is_a_set_of_names_and_one_origin_is_for_that_origin() {
        let names = |lines: &[&str]| {
            varies_by(&headers(lines)).map(|names| names.iter().map(|n| n.as_str().to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(names(&["vary: B, a", "vary: A"]), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(names(&["vary: accept, *"]), Err("vary"));
        assert_eq!(names(&["vary: not a name"]), Err("vary"));
        assert_eq!(names(&["access-control-allow-origin: https://a.example"]), Ok(vec!["origin".to_owned()]));
        assert_eq!(names(&["access-control-allow-origin: *"]), Ok(vec![]));
    }

    #[test]
    fn tags_are_compared_weakly_and_one_by_one() {
        let has = |sent: &[&str], mine: &[&str]| Validators::take(&mut headers(sent)).has(&headers(mine));
        assert!(has(&["if-none-match: \"a\", W/\"b,c\""], &["etag: \"b,c\""]));
        assert!(has(&["if-none-match: \"b\""], &["etag: W/\"b\""]));
        assert!(has(&["if-none-match: *"], &["etag: \"b\""]));
        assert!(!has(&["if-none-match: \"a\", \"b"], &["etag: \"b\""]));
        assert!(!has(&["if-none-match: b"], &["etag: \"b\""]));
        assert!(!has(&["if-none-match: \"x\"", "if-modified-since: then"], &["etag: \"b\"", "last-modified: then"]));
        assert!(has(&["if-modified-since: then"], &["last-modified: then"]));
        assert!(!has(&["if-modified-since: later"], &["last-modified: then"]));
        assert!(!has(&[], &["etag: \"b\""]));
    }
}
