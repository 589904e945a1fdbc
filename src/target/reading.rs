//! What a response says: where it came from, whose answer it is, how old it is.

use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use super::fields::{field, plain};
use crate::observe::Outcome;
use crate::scenario::{BypassSpec, HitSpec, Method, Request, TargetSpec, VersionSpec};

/// Reads responses by a scenario's words.
#[derive(Clone, Debug)]
pub struct Reader {
    hit: HitSpec,
    identity: Option<String>,
    version: Option<VersionSpec>,
}

/// What one response says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What became of the request.
    pub outcome: Outcome,
    /// Version of the item, where the response carries one.
    pub version: Option<u64>,
    /// For trouble: what was wrong, in words.
    pub trouble: Option<String>,
}

impl Reader {
    /// For the apps of this kind.
    pub fn new(target: &TargetSpec) -> Self {
        Self { hit: target.hit.clone(), identity: target.identity.clone(), version: target.version.clone() }
    }

    /// Reads a response to `request` that asked for `item` (where it asked for one).
    pub fn read(
        &self,
        request: &Request,
        item: Option<u64>,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Reading {
        if !status.is_success() {
            if request.expect.contains(&status.as_u16()) {
                return Reading { outcome: self.source(request, headers, body), version: None, trouble: None };
            }
            return trouble(Outcome::Error, format!("status {status}: {}", shorten(body)));
        }
        if let (Some(item), Some(identity)) = (item, &self.identity)
            && request.method != Method::Delete
        {
            match field(body, identity) {
                Err(problem) => return trouble(Outcome::Error, format!("{problem}: {}", shorten(body))),
                Ok(None) => {
                    return trouble(Outcome::Error, format!("the body has no field {identity}: {}", shorten(body)));
                }
                Ok(Some(found)) if plain(found) != item.to_string() => {
                    return trouble(
                        Outcome::Wrong,
                        format!("asked for {identity} {item}, got {identity} {}", shorten(found.as_bytes())),
                    );
                }
                Ok(Some(_)) => {}
            }
        }
        Reading { outcome: self.source(request, headers, body), version: self.version(headers, body), trouble: None }
    }

    /// Version of the item in a response, where it carries one.
    pub fn version(&self, headers: &HeaderMap, body: &[u8]) -> Option<u64> {
        match self.version.as_ref()? {
            VersionSpec::Header(name) => headers.get(name)?.to_str().ok()?.trim().parse().ok(),
            VersionSpec::Json(path) => plain(field(body, path).ok()??).parse().ok(),
        }
    }

    /// Where an answer came from. What the scenario names comes first, since it knows the app best.
    fn source(&self, request: &Request, headers: &HeaderMap, body: &[u8]) -> Outcome {
        if !request.method.is_read() {
            return Outcome::Plain;
        }
        if let Some(outcome) = self.named(headers, body) {
            return outcome;
        }
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(outcome) = header("cache-status").and_then(cache_status) {
            return outcome;
        }
        header("x-cache").and_then(x_cache).unwrap_or(Outcome::Plain)
    }

    fn named(&self, headers: &HeaderMap, body: &[u8]) -> Option<Outcome> {
        let value = match (&self.hit.header, &self.hit.json) {
            (Some(name), _) => headers.get(name)?.to_str().ok()?.trim().to_owned(),
            (None, Some(path)) => plain(field(body, path).ok()??).into_owned(),
            (None, None) => return None,
        };
        let is = |words: &[String]| words.iter().any(|word| word.eq_ignore_ascii_case(&value));
        [
            (&self.hit.hit, Outcome::Hit),
            (&self.hit.miss, Outcome::Miss),
            (&self.hit.stale, Outcome::StaleServed),
            (&self.hit.bypass, Outcome::Bypass),
        ]
        .into_iter()
        .find(|(words, _)| is(words))
        .map(|(_, outcome)| outcome)
    }
}

fn trouble(outcome: Outcome, what: String) -> Reading {
    Reading { outcome, version: None, trouble: Some(what) }
}

/// `Cache-Status` (RFC 9211). Of several caches the last one is nearest to us: if it had the answer it is a hit.
fn cache_status(value: &str) -> Option<Outcome> {
    let nearest = split_outside_quotes(value, ',').pop()?;
    let parameters = split_outside_quotes(nearest, ';');
    let parameter = |wanted: &str| {
        parameters.iter().skip(1).find_map(|parameter| {
            let (name, value) = parameter.trim().split_once('=').unwrap_or((parameter.trim(), ""));
            (name.trim() == wanted).then_some(value.trim().trim_matches('"'))
        })
    };
    if parameter("hit").is_some() {
        let expired = parameter("ttl").is_some_and(|ttl| ttl.starts_with('-'));
        return Some(if expired { Outcome::StaleServed } else { Outcome::Hit });
    }
    Some(match parameter("fwd")? {
        "bypass" if parameter("detail").is_some_and(|detail| detail.eq_ignore_ascii_case("fallback")) => {
            Outcome::Fallback
        }
        "bypass" | "request" | "method" => Outcome::Bypass,
        _ => Outcome::Miss,
    })
}

fn split_outside_quotes(text: &str, at: char) -> Vec<&str> {
    let mut quoted = false;
    text.split(|c| {
        quoted ^= c == '"';
        c == at && !quoted
    })
    .collect()
}

/// `X-Cache`, in the forms that proxies and CDNs give it.
fn x_cache(value: &str) -> Option<Outcome> {
    let value = value.to_ascii_lowercase();
    let words: Vec<&str> = value.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    [
        ("hit", Outcome::Hit),
        ("stale", Outcome::StaleServed),
        ("updating", Outcome::StaleServed),
        ("bypass", Outcome::Bypass),
        ("miss", Outcome::Miss),
        ("expired", Outcome::Miss),
        ("revalidated", Outcome::Hit),
    ]
    .into_iter()
    .find(|(word, _)| words.contains(word))
    .map(|(_, outcome)| outcome)
}

/// The URL with the query that asks to go past the cache, where that is how it is asked.
pub fn with_bypass(url: &str, bypass: Option<&BypassSpec>) -> String {
    match bypass {
        Some(BypassSpec::Query(query)) => format!("{url}{}{query}", if url.contains('?') { '&' } else { '?' }),
        _ => url.to_owned(),
    }
}

/// The beginning of a body, on one line, for messages.
pub fn shorten(body: &[u8]) -> String {
    const LENGTH: usize = 120;
    let text: String = String::from_utf8_lossy(&body[..body.len().min(4 * LENGTH)])
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LENGTH)
        .collect();
    if body.len() > text.len() { format!("{text}…") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_status_is_read_as_rfc_9211_has_it() {
        for (value, wanted) in [
            ("reference; hit; ttl=291", Some(Outcome::Hit)),
            ("reference; hit; ttl=-3", Some(Outcome::StaleServed)),
            ("reference; fwd=uri-miss; stored", Some(Outcome::Miss)),
            ("reference; fwd=stale; fwd-status=304", Some(Outcome::Miss)),
            ("reference; fwd=request", Some(Outcome::Bypass)),
            ("reference; fwd=bypass; detail=fallback", Some(Outcome::Fallback)),
            ("Origin; hit, \"CDN, edge\"; fwd=uri-miss", Some(Outcome::Miss)),
            ("Origin; fwd=uri-miss, Edge; hit", Some(Outcome::Hit)),
            ("reference", None),
        ] {
            assert_eq!(cache_status(value), wanted, "{value}");
        }
    }

    #[test]
    fn x_cache_is_read_in_its_usual_forms() {
        for (value, wanted) in [
            ("HIT", Some(Outcome::Hit)),
            ("Hit from cloudfront", Some(Outcome::Hit)),
            ("TCP_MISS from proxy:80", Some(Outcome::Miss)),
            ("EXPIRED", Some(Outcome::Miss)),
            ("STALE", Some(Outcome::StaleServed)),
            ("whitehall", None),
        ] {
            assert_eq!(x_cache(value), wanted, "{value}");
        }
    }

    fn reader(hit: HitSpec) -> Reader {
        Reader { hit, identity: Some("id".into()), version: Some(VersionSpec::Json("version".into())) }
    }

    fn get() -> Request {
        Request {
            name: "read".into(),
            method: Method::Get,
            path: "/posts/{post}".into(),
            body: None,
            weight: 1.0,
            cacheable: true,
            expect: vec![404],
        }
    }

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(reqwest::header::HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[test]
    fn another_items_body_is_a_wrong_answer_even_when_it_is_a_hit() {
        let headers = headers("cache-status", "c; hit; ttl=5");
        let reading = reader(HitSpec::default()).read(&get(), Some(17), StatusCode::OK, &headers, br#"{"id":18}"#);
        assert_eq!(reading.outcome, Outcome::Wrong);
        assert!(reading.trouble.unwrap().contains("got id 18"));
        let right =
            reader(HitSpec::default()).read(&get(), Some(18), StatusCode::OK, &headers, br#"{"id":"18","version":4}"#);
        assert_eq!((right.outcome, right.version), (Outcome::Hit, Some(4)));
    }

    #[test]
    fn a_status_that_was_not_expected_and_a_body_that_is_no_json_are_errors() {
        let reader = reader(HitSpec::default());
        let read = |status, body: &[u8]| reader.read(&get(), Some(1), status, &HeaderMap::new(), body).outcome;
        assert_eq!(read(StatusCode::INTERNAL_SERVER_ERROR, b"{}"), Outcome::Error);
        assert_eq!(read(StatusCode::NOT_FOUND, b"{}"), Outcome::Plain);
        assert_eq!(read(StatusCode::OK, b"<html>"), Outcome::Error);
        assert_eq!(read(StatusCode::OK, br#"{"name":1}"#), Outcome::Error);
    }

    #[test]
    fn the_scenarios_own_words_come_before_the_standard_headers() {
        let own = HitSpec { json: Some("meta.cached".into()), hit: vec!["true".into()], ..HitSpec::default() };
        let reading = reader(own).read(
            &get(),
            Some(1),
            StatusCode::OK,
            &headers("x-cache", "MISS"),
            br#"{"id":1,"meta":{"cached":true}}"#,
        );
        assert_eq!(reading.outcome, Outcome::Hit);
    }
}
