//! Headers that tell without words of their own: traces, codes, numbers.

use std::borrow::Cow;

use super::lists::{last_member, members};
use super::{Meaning, words};
use cacheproof_core::journal::Outcome;

/// The trace of Symfony's `HttpCache` and of Rack::Cache: `GET /: stale, valid, store; GET /fragment: miss`, or short,
/// `stale/valid/store`. The first request is the one that was asked for.
pub(super) fn trace(lines: &[Cow<'_, str>]) -> Meaning {
    let Some(line) = lines.last() else { return Meaning::Silent };
    let first = line.split("; ").next().unwrap_or_default();
    let steps = first.rsplit_once(": ").map_or(first, |(_, steps)| steps).to_ascii_lowercase();
    let did = |step: &str| steps.split([',', '/', ' ']).any(|word| word == step);
    let meanings: [(bool, Outcome); 8] = [
        (did("stale-while-revalidate") || did("stale-if-error"), Outcome::StaleServed),
        (did("fresh"), Outcome::Hit),
        (did("stale") && did("valid"), Outcome::Hit),
        (did("lookup-failed"), Outcome::Fallback),
        (did("reload"), Outcome::Bypass),
        (did("pass") || did("invalidate"), Outcome::Bypass),
        (did("miss"), Outcome::Miss),
        (did("stale"), Outcome::Miss),
    ];
    meanings.into_iter().find(|(is, _)| *is).map_or(Meaning::Unknown, |(_, outcome)| Meaning::Is(outcome))
}

/// The same of the last proxy, which is the nearest to the user.
pub(super) fn last_via_codes(lines: &[Cow<'_, str>]) -> Meaning {
    last_member(lines).and_then(codes).unwrap_or(Meaning::Silent)
}

/// The codes of Apache Traffic Server in `Via`: `http/1.1 edge (ApacheTrafficServer [uScHs f p eN:t cCHp s ])`. Of the
/// proxies that write them, the last one is nearest to the user.
pub(super) fn via_codes(lines: &[Cow<'_, str>]) -> Meaning {
    let mut proxies = lines.iter().rev().flat_map(|line| members(line).into_iter().rev());
    proxies.find_map(codes).unwrap_or(Meaning::Silent)
}

/// What the codes of one proxy say: letters in pairs, of which `c` is the result of the look-up and `s` the answer of the
/// origin. Those behind the colon are details.
fn codes(proxy: &str) -> Option<Meaning> {
    let (_, rest) = proxy.split_once('[')?;
    let (codes, _) = rest.split_once(']')?;
    let codes = codes.split(':').next().unwrap_or_default();
    let mut letters = codes.chars().peekable();
    let (mut look_up, mut origin) = (None, None);
    while let Some(key) = letters.next() {
        if !key.is_ascii_lowercase() {
            return None;
        }
        let value = letters.next_if(|letter| !letter.is_ascii_lowercase()).unwrap_or(' ');
        match key {
            'c' => look_up = Some(value),
            's' => origin = Some(value),
            _ => {}
        }
    }
    Some(match (look_up?, origin) {
        ('H' | 'R' | 'W', _) | ('S', Some('N')) => Meaning::Is(Outcome::Hit),
        ('M' | 'A' | 'S', _) => Meaning::Is(Outcome::Miss),
        (' ', _) => Meaning::Is(Outcome::Bypass),
        _ => Meaning::Unknown,
    })
}

/// `X-Cache-Hits`: how often each cache has served the object.
pub(super) fn hit_counts(lines: &[Cow<'_, str>]) -> Meaning {
    let Some(last) = last_member(lines) else { return Meaning::Silent };
    match last.parse::<u64>() {
        Ok(0) => Meaning::Is(Outcome::Miss),
        Ok(_) => Meaning::Is(Outcome::Hit),
        Err(_) => words::meaning(last),
    }
}

/// `X-Varnish`: two ids are a hit. With one, Varnish asked the backend.
pub(super) fn varnish_ids(lines: &[Cow<'_, str>]) -> Meaning {
    let Some(last) = last_member(lines) else { return Meaning::Silent };
    let ids: Vec<&str> = last.split_whitespace().collect();
    match ids.len() {
        _ if !ids.iter().all(|id| id.bytes().all(|byte| byte.is_ascii_digit())) => Meaning::Unknown,
        1 => Meaning::Is(Outcome::Miss),
        2 => Meaning::Is(Outcome::Hit),
        _ => Meaning::Unknown,
    }
}
