//! Passwords and secret parameters in URLs: in a text that holds URLs, in one whole URL, and in a query.

use std::ops::Range;

use super::names::is_secret_name;
use super::values::literal_parts;
use crate::percent;

/// The secret parts of a text: the passwords of its URLs, and the values of secret parameters in queries.
pub(crate) fn in_text(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("://") {
        let begin = at + 3;
        let end = text[begin..].find(ends_url).map_or(text.len(), |length| begin + length);
        let end = next_url(&text[begin..end]).map_or(end, |length| begin + length);
        found.extend(
            password(scheme(&text[..at]), &text[begin..end], false).map(|part| begin + part.start..begin + part.end),
        );
    }
    let parts = found.into_iter().flat_map(|part| literal_parts(text, part, false));
    parts.chain(parameters(text, ends_url, false)).collect()
}

/// The same of a text that is one URL, so that a password in it may hold any character.
pub(crate) fn in_whole_url(url: &str) -> Vec<Range<usize>> {
    let Some(at) = url.find("://") else { return in_query(url, 0) };
    let begin = at + 3;
    let part = password(scheme(&url[..at]), &url[begin..], true).map(|part| begin + part.start..begin + part.end);
    let mut found: Vec<_> = part.into_iter().flat_map(|part| literal_parts(url, part, false)).collect();
    let rest = user_end(url).unwrap_or(begin);
    found.extend(in_query(&url[rest..], rest));
    found
}

/// The values of secret parameters in a path with its query, moved by `offset`. A query without its `?` begins with its
/// first name.
pub(crate) fn in_query(text: &str, offset: usize) -> Vec<Range<usize>> {
    let without_path = !text.starts_with(['/', '?']) && !text.contains("://");
    parameters(text, |_| false, without_path).into_iter().map(|part| offset + part.start..offset + part.end).collect()
}

/// `at_start`: the text begins with the name of a parameter.
fn parameters(text: &str, ends: impl Fn(char) -> bool, at_start: bool) -> Vec<Range<usize>> {
    let begins = std::iter::once(0).filter(|_| at_start);
    let separators = text.match_indices(['?', '&', ';', '#']).map(|(at, _)| at + 1);
    let mut found = Vec::new();
    for begin in begins.chain(separators) {
        let named = |c: char| c.is_ascii_alphanumeric() || "_.-[]%$~".contains(c);
        let length = text[begin..].find(|c| !named(c)).unwrap_or(text.len() - begin);
        let name = &text[begin..begin + length];
        let value = begin + length + 1;
        if text[begin + length..].starts_with('=') && is_secret_name(&percent::decode(name)) {
            let stop = |c: char| matches!(c, '&' | '#') || ends(c);
            let end = text[value..].find(stop).map_or(text.len(), |length| value + length);
            found.extend(literal_parts(text, value..end, true));
        }
    }
    found
}

fn ends_url(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '<' | '>' | '`')
}

/// Where the next URL begins, behind a separator.
fn next_url(text: &str) -> Option<usize> {
    let at = text.find("://")?;
    let begin = at - scheme(&text[..at]).len();
    text[..begin].ends_with([',', '|', '=', '(', ')', ';', '&']).then_some(begin)
}

/// The scheme at the end of the text before `://`.
fn scheme(before: &str) -> &str {
    let begin = before
        .rfind(|c: char| !c.is_ascii_alphanumeric() && !"+.-".contains(c))
        .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    &before[begin..]
}

/// Where user and password of a URL end: the place of the `@`.
pub(crate) fn user_end(url: &str) -> Option<usize> {
    let at = url.find("://")?;
    end_of_user(scheme(&url[..at]), &url[at + 3..], true).map(|end| at + 3 + end)
}

/// The password within what follows `://`.
fn password(scheme: &str, rest: &str, whole: bool) -> Option<Range<usize>> {
    let end = end_of_user(scheme, rest, whole)?;
    let begin = rest[..end].find(':')? + 1;
    (begin < end).then_some(begin..end)
}

/// Where user and password end within what follows `://`. Passwords that were not percent-encoded may hold `/`, `?`, `#` or
/// `@`, so it is the last `@`, unless a path or a query that comes first has nothing to do with a password. `whole`: the URL is
/// the address of a server, and not that of any page.
fn end_of_user(scheme: &str, rest: &str, whole: bool) -> Option<usize> {
    let first = rest.find('@')?;
    // Behind the first `@`, an `@` in a query belongs to the query.
    let query = rest[first..].match_indices('?').map(|(at, _)| first + at).find(|at| {
        let name = rest[at + 1..].split(|c: char| !c.is_ascii_alphanumeric() && !"_.-".contains(c)).next();
        name.is_some_and(|name| !name.is_empty() && rest[at + 1 + name.len()..].starts_with('='))
    });
    let last = rest[..query.unwrap_or(rest.len())].rfind('@').unwrap_or(first);
    if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
        return Some(last);
    }
    // In the path of a web page an `@` is nothing special: http://localhost:8080/users/me@example.com.
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..authority_end];
    let is_server = || whole || is_host_of_server(&rest[last + 1..]);
    match authority.rfind('@') {
        Some(_) if is_server() => Some(last),
        Some(at) => Some(at),
        None if !authority.contains(':') => None,
        None => (!looks_like_host_and_port(authority) || is_server()).then_some(last),
    }
}

fn looks_like_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_none_or(|(host, port)| {
        !host.is_empty() && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Whether a text begins with what can only be the address of a server: with a port, or an address in numbers.
fn is_host_of_server(text: &str) -> bool {
    let host = text.split(['/', '?', '#']).next().unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && (is_number(port) || port.starts_with('{')) => {
            return !name.is_empty();
        }
        Some((name, "")) => name,
        _ => host,
    };
    let numbers = name.split('.').filter(|part| is_number(part)).count();
    name.eq_ignore_ascii_case("localhost") || numbers == 4 || (name.starts_with('[') && name.ends_with(']'))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The characters in user and password of a URL that must be percent-encoded, each once.
pub(crate) fn unencoded_in_password(url: &str) -> Vec<char> {
    let (Some(begin), Some(end)) = (url.find("://").map(|at| at + 3), user_end(url)) else { return Vec::new() };
    let mut found = Vec::new();
    for part in literal_parts(url, begin..end, false) {
        let text = &url[part];
        for (at, c) in text.char_indices() {
            let stray = c == '%' && !is_escape(&text[at..]);
            if (must_be_encoded(c) || stray) && !found.contains(&c) {
                found.push(c);
            }
        }
    }
    found
}

fn must_be_encoded(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(c, '/' | '?' | '#' | '@' | '[' | ']' | '\\' | '"' | '<' | '>' | '^' | '|')
}

fn is_escape(text: &str) -> bool {
    text.as_bytes().get(1..3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

/// Percent-encodes what can't stand in the password of a URL. What is encoded already stays.
pub(crate) fn encode_password(text: &str) -> String {
    let mut encoded = String::new();
    for (at, c) in text.char_indices() {
        if must_be_encoded(c) || matches!(c, '{' | '}') || !c.is_ascii() || (c == '%' && !is_escape(&text[at..])) {
            encoded.extend(c.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%{byte:02X}")));
        } else {
            encoded.push(c);
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_of_any_characters_is_found() {
        for url in [
            "redis://:42/HUSH=@127.0.0.1:6399",
            "redis://me:42/HUSH@127.0.0.1:6399/0",
            "redis://me:42#HUSH@host",
            "redis://me:?HUSH@host",
            "redis://me:a@HUSH@host",
            "redis://me:a@b/HUSH?@host/0?timeout=5&by=x@y",
            "postgres://app:1/2@HUSH:3@db,db2:5432/app?sslmode=require",
            "http://me:42/HUSH@127.0.0.1:8080",
            "http://me:a@b/HUSH@127.0.0.1:8080/base",
            "https://me:42?HUSH@localhost/",
            "http://me:HU SH\"<HUSH@host:80",
            "http://me:/HUSH@shop.example",
            "http://me:x#HUSH@shop.example/x",
            "http://me:42/HUSH@shop.example/x",
        ] {
            let struck = super::super::strike(url, in_whole_url(url));
            assert!(!struck.contains("HUSH") && struck.contains(":***@"), "{url} became {struck}");
            assert!(struck.starts_with(url.split(':').next().unwrap()), "{struck}");
        }
        let page = "http://localhost:8080/users/me@example.com";
        assert_eq!(in_text(page), [], "the page of a user");
        for url in ["http://host/a:b@c", "postgres://user@host/db", "redis://host:6379/0", "http://u:${PW}@host"] {
            assert_eq!(in_whole_url(url), [], "{url}");
        }
    }

    #[test]
    fn values_of_secret_parameters_are_found_also_with_placeholders() {
        let struck = |text: &str| super::super::strike(text, in_query(text, 0));
        assert_eq!(struck("/a?x=1&api_key=a b'c&y=2"), "/a?x=1&api_key=***&y=2");
        assert_eq!(struck("/a?access_token=${TOKEN}&sig={item}x"), "/a?access_token=${TOKEN}&sig={item}***");
        assert_eq!(struck("api_key=abc"), "api_key=***");
        assert_eq!(struck("/a?api%5Fkey=abc#token=d"), "/a?api%5Fkey=***#token=***");
        assert_eq!(struck("/a?monkey=abc"), "/a?monkey=abc");
    }

    #[test]
    fn what_must_be_encoded_is_named_and_encoded() {
        assert_eq!(unencoded_in_password("redis://:42/HUSH=@h"), ['/']);
        assert_eq!(unencoded_in_password("redis://u:a@b#%zz@h"), ['@', '#', '%']);
        assert!(unencoded_in_password("redis://u:a%40${X}@h").is_empty());
        assert!(unencoded_in_password("http://localhost:8080/a%40b").is_empty());
        assert_eq!(encode_password("a/b@c%2F%d é"), "a%2Fb%40c%2F%25d%20%C3%A9");
    }
}
