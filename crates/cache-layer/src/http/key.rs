//! The key of a request.

use super::rule::Compiled;
use crate::key::{Key, Tag, sanitised};
use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, Uri, request};
use sha2::{Digest, Sha256};

/// Characters of the path that a key shows; its hash is over the whole of it.
const SHOWN: usize = 96;

/// Headers that make many services answer something else, and that anybody can send: always part of the key.
pub(super) const ALWAYS: [HeaderName; 7] = [
    HOST,
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
];

/// What makes the key of a request, but for the headers its answer varies by.
pub(super) struct KeyParts {
    begun: Sha256,
    shown: String,
    tags: Vec<Tag>,
}

/// Each part with its length before it, so that no two lists of parts give the same bytes.
fn part(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

fn header(hash: &mut Sha256, headers: &HeaderMap, name: &HeaderName) {
    part(hash, name.as_str().as_bytes());
    let values = headers.get_all(name);
    hash.update((values.iter().count() as u64).to_be_bytes());
    values.iter().for_each(|value| part(hash, value.as_bytes()));
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from_digit(n.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

impl KeyParts {
    /// The request has been through [`only_chosen`].
    pub(super) fn new(compiled: &Compiled, request: &request::Parts, identity: Option<&str>, tags: Vec<Tag>) -> Self {
        let mut hash = Sha256::new();
        part(&mut hash, b"cache-layer http 1");
        match identity {
            None => part(&mut hash, b"shared"),
            Some(identity) => part(&mut hash, &Sha256::digest(identity.as_bytes())),
        }
        part(&mut hash, request.uri.authority().map_or("", |authority| authority.as_str()).as_bytes());
        part(&mut hash, request.uri.path_and_query().map_or("", PathAndQuery::as_str).as_bytes());
        ALWAYS.iter().chain(&compiled.rule.headers).for_each(|name| header(&mut hash, &request.headers, name));
        let path = sanitised(request.uri.path().trim_start_matches('/')).into_owned();
        let shown = path.get(..SHOWN).map_or(path.clone(), str::to_owned);
        Self { begun: hash, shown, tags }
    }

    /// The key, with the values of headers that the answer varies by.
    pub(super) fn key(&self, compiled: &Compiled, varies: &[HeaderName], headers: &HeaderMap) -> Key {
        let mut hash = self.begun.clone();
        varies.iter().for_each(|name| header(&mut hash, headers, name));
        let name = format!("http:{}:{}", self.shown, hex(&hash.finalize()));
        let key = Key::new(compiled.rule.class, name);
        self.tags.iter().cloned().fold(key, Key::tagged)
    }
}

/// The address with those parameters only that belong to the key, in one order.
pub(super) fn only_chosen(uri: &Uri, chosen: &[String]) -> Option<Uri> {
    let given = || uri.query().unwrap_or("").split('&').filter(|pair| !pair.is_empty());
    let name = |pair: &'_ str| pair.split_once('=').map_or(pair.len(), |(name, _)| name.len());
    let of = |wanted: &str| given().filter(|pair| &pair[..name(pair)] == wanted).collect::<Vec<_>>();
    let kept: Vec<&str> = chosen.iter().flat_map(|wanted| of(wanted)).collect();
    let query = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("{}{query}", uri.path()).parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::super::rule::Rule;
    use super::*;
    use http::Request;
    use proptest::prelude::*;
    use std::time::Duration;

    fn name(uri: &str, headers: &[(&str, &str)], identity: Option<&str>, varies: &[HeaderName]) -> String {
        let rule = Rule::get("/{*all}", Duration::from_secs(1)).header(http::header::ACCEPT).compile().expect("a rule");
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        KeyParts::new(&rule, &parts, identity, vec![]).key(&rule, varies, &parts.headers).name().to_owned()
    }

    #[test]
    fn each_part_of_a_key_tells_requests_apart() {
        let accept_language = http::header::ACCEPT_LANGUAGE;
        let keys = [
            name("/a", &[], None, &[]),
            name("/b", &[], None, &[]),
            name("/a?x=1", &[], None, &[]),
            name("/a?", &[], None, &[]),
            name("/a", &[("host", "h")], None, &[]),
            name("/a", &[("x-forwarded-host", "h")], None, &[]),
            name("http://h/a", &[], None, &[]),
            name("/a", &[("accept", "x")], None, &[]),
            name("/a", &[("accept", "x"), ("accept", "y")], None, &[]),
            name("/a", &[("accept", "x, y")], None, &[]),
            name("/a", &[], Some("alice"), &[]),
            name("/a", &[], Some("bob"), &[]),
            name("/a", &[], Some("shared"), &[]),
            name("/a", &[], None, std::slice::from_ref(&accept_language)),
            name("/a", &[("accept-language", "de")], None, std::slice::from_ref(&accept_language)),
        ];
        for (i, a) in keys.iter().enumerate() {
            assert!(a.starts_with("http:"), "{a}");
            keys[i + 1..].iter().for_each(|b| assert_ne!(a, b));
        }
        assert_eq!(keys[0], name("/a", &[("user-agent", "x")], None, &[]), "others do not count");
        assert!(keys.iter().all(|key| !key.contains("alice") && !key.contains("bob")));
        assert!(name(&format!("/{}", "long/".repeat(2000)), &[], None, &[]).len() < 200);
    }

    #[test]
    fn only_chosen_parameters_are_left_in_one_order() {
        let chosen =
            |uri: &str| only_chosen(&uri.parse().expect("a URI"), &["page".into(), "filter".into()]).expect("a URI");
        assert_eq!(chosen("/a?filter=x&utm=1&page=2&filter=y"), "/a?page=2&filter=x&filter=y");
        assert_eq!(chosen("/a?utm=1&%70age=3&pages=4"), "/a");
        assert_eq!(chosen("/a?page&&"), "/a?page");
        assert_eq!(chosen("http://h:1/a?x=1"), "http://h:1/a");
    }

    proptest! {
        #[test]
        fn identities_and_hosts_never_meet(a in "[ -~]{1,12}", b in "[ -~]{1,12}", host in "[a-z|:]{0,6}") {
            let of = |identity: &str| name("/a", &[("host", &host)], Some(identity), &[]);
            prop_assert_eq!(of(&a) == of(&b), a == b);
        }
    }
}
