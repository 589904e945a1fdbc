//! The words that caches and CDNs document, as wholes: no part of a longer word, of a negation or of a host's name.

use super::Meaning;
use cacheproof_core::journal::Outcome;

/// Words in lower case, without the `-`, `_` and spaces in them. Codes that begin with `TCP_` are read by [`squid`].
const WORDS: &[(Meaning, &[&str])] = &[
    (
        Meaning::Is(Outcome::Hit),
        &[
            "hit",
            "cachehit",
            "cached",    // the VCL that Varnish's tutorial logs hits with
            "hitcached", // the same
            "fresh",
            "hitfresh", // Apache Traffic Server's xdebug
            "memhit",
            "diskhit",
            "remotehit",
            // Stale, confirmed by the origin, served from the cache:
            "revalidated",     // nginx, Cloudflare; not Vercel, see `fetched_anew`
            "revalidate",      // Apache's mod_cache
            "refreshhit",      // CloudFront
            "hitrefresh",      // Fastly
            "originshieldhit", // CloudFront
            "prerender",       // Vercel: built before, stored at the edge
        ],
    ),
    (
        Meaning::Is(Outcome::Miss),
        &[
            "miss",
            "cachemiss",
            "expired",
            "refresh", // Kong: was there, could not be used
            "refreshmiss",
            "invalidate", // Apache's mod_cache
            "partialhit", // Azure Front Door: a part came from the origin, as `fwd=partial` of RFC 9211
            "uncached",
            "notcached",
            "nohit",
            "nothit",
            "nonhit",
            "notahit",
        ],
    ),
    (
        Meaning::Is(Outcome::StaleServed),
        &["stale", "hitstale", "stalehit", "updating", "graced", "grace", "hitgraced", "hitgrace"],
    ),
    (
        Meaning::Is(Outcome::Bypass),
        &[
            "bypass",
            "bypassed",
            "pass",
            "passed",
            "passthrough",
            "pipe",
            "skip",
            "skipped",
            "dynamic", // Cloudflare
            "disabled",
            "uncacheable",
            "notcacheable",
            "noncacheable",
            "nocache",
            "nostore",
            "cachenoconfig",  // Azure
            "confignocache",  // Azure
            "privatenostore", // Azure
            "bkd",            // LiteSpeed: from the backend
            "hitforpass",
            "hitpass",
            "hitformiss",
            "hitmiss",
            // Made by the server itself, no cache was asked:
            "synth",
            "hitsynth",
            "none",
            "noneunknown", // Cloudflare
            "unknown",     // Cloudflare
            "lambdageneratedresponse",
            "functiongeneratedresponse",
            "redirect", // CloudFront
        ],
    ),
    (
        Meaning::Silent,
        &[
            "error",
            "denied",
            "deny",
            "na", // Azure: denied by a rule
            "limitexceeded",
            "capacityexceeded",
            "lambdaexecutionerror",
            "lambdavalidationerror",
            "lambdalimitexceeded",
            "functionexecutionerror",
            "functionvalidationerror",
            "functionthrottlederror",
        ],
    ),
];

/// What Fastly appends to a state.
const SUFFIXES: &[&str] = &["cluster", "wait", "remote", "refresh"];

/// What follows these is a host, a place or a person.
const STOPS: &[&str] = &["from", "via", "at", "by", "on", "in"];

/// Another word after one of these means something else.
const NEGATIONS: &[&str] = &["no", "not", "non", "never", "without", "cannot", "isnt", "wasnt", "didnt"];

/// After a word that means a hit, these say that it was none. A count of 0 hits says so too.
const DENIALS: &[&str] = &["false", "no", "off", "0", "?0"];

/// After a word that means a hit, these repeat it.
const CONFIRMATIONS: &[&str] = &["true", "yes", "on", "?1"];

/// The longest phrase in the table: `hit for pass`.
const LONGEST: usize = 3;

/// What one member of a list says: `HIT`, `Miss from cloudfront`, `cp1048 hit/3`, `UNCACHEABLE (poor cacheability)`.
pub(super) fn meaning(member: &str) -> Meaning {
    let member = member.trim();
    if member == "-" {
        return Meaning::Silent;
    }
    let unquoted = member.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(member);
    if let Some(meaning) = truth(unquoted) {
        return meaning;
    }
    let tokens = tokens(unquoted);
    if let Some((meaning, length)) = phrase(&tokens) {
        return followed(meaning, &tokens[..length], &tokens[length..]);
    }
    // The cache's name may come first. Then nothing but a count, or "stored", may follow the word.
    match tokens.split_first() {
        Some((name, rest)) if is_host(name) => match phrase(rest) {
            Some((meaning, length)) => match followed(meaning, &rest[..length], &rest[length..]) {
                denied if denied != meaning => denied,
                _ if rest[length..].iter().all(|rest| is_number(rest) || normal(rest) == "cached") => meaning,
                _ => Meaning::Unknown,
            },
            None => Meaning::Unknown,
        },
        _ => Meaning::Unknown,
    }
}

/// Whether the member begins with Vercel's and Next.js's word for an answer that came new from the origin, while the
/// stored one was replaced. Elsewhere the same word means that the stored answer was confirmed.
pub(super) fn fetched_anew(member: &str) -> bool {
    tokens(member.trim().trim_matches('"')).first().is_some_and(|word| normal(word) == "revalidated")
}

/// `hit=false`, `cached: no` and the like. `None`: not of this form, or true, so that the word alone tells.
fn truth(member: &str) -> Option<Meaning> {
    let (word, value) = member.split_once(['=', ':'])?;
    let bare = |text: &str| text.trim_matches([' ', '\t', '"', '\'']).to_ascii_lowercase();
    let value = bare(value.trim().split([';', ' ', '(']).next().unwrap_or_default());
    if !DENIALS.contains(&value.as_str()) {
        return None;
    }
    Some(match look_up(&bare(word))? {
        Meaning::Is(Outcome::Hit) => Meaning::Is(Outcome::Miss),
        _ => Meaning::Unknown,
    })
}

/// What a known phrase means with the words after it: `hit false` is none, and `cached` must stand alone, as it also
/// means "stored".
fn followed(meaning: Meaning, phrase: &[&str], rest: &[&str]) -> Meaning {
    let Some(next) = rest.first().map(|next| normal(next)) else { return meaning };
    let denied = DENIALS.contains(&next.as_str()) || NEGATIONS.contains(&next.as_str());
    match meaning {
        Meaning::Is(Outcome::Hit) if denied => Meaning::Is(Outcome::Miss),
        Meaning::Is(Outcome::StaleServed) if denied => Meaning::Unknown,
        _ if phrase.len() == 1
            && normal(phrase[0]) == "cached"
            && !CONFIRMATIONS.contains(&next.as_str())
            && !is_number(&next) =>
        {
            Meaning::Unknown
        }
        // Two caches, or a change from one to the other: `HIT/MISS`, `MISS -> HIT`.
        Meaning::Is(Outcome::Hit) if rest.iter().any(|word| normal(word) == "miss") => Meaning::Unknown,
        Meaning::Is(Outcome::Miss) if rest.iter().any(|word| normal(word) == "hit") => Meaning::Unknown,
        meaning => meaning,
    }
}

/// The words up to a host, a parameter or a remark.
fn tokens(member: &str) -> Vec<&str> {
    let end = member.find([';', '@']).unwrap_or(member.len());
    let (words, remark) = match member[..end].split_once('(') {
        Some((words, remark)) => (words, remark.split(')').next().unwrap_or_default().trim()),
        None => (&member[..end], ""),
    };
    let mut tokens: Vec<&str> =
        words.split([' ', '\t', '/', ':', '=', '|']).filter(|token| !token.is_empty()).collect();
    let stop = tokens.iter().position(|token| STOPS.contains(&token.to_ascii_lowercase().as_str()));
    match stop {
        Some(stop) => tokens.truncate(stop),
        // `HIT (grace)`: of remarks only this one changes the meaning.
        None if look_up(remark) == Some(Meaning::Is(Outcome::StaleServed)) => tokens.push(remark),
        None => {}
    }
    tokens
}

/// The longest phrase at the beginning that is known, and its length.
fn phrase(tokens: &[&str]) -> Option<(Meaning, usize)> {
    let longest = tokens.len().min(LONGEST);
    // `hitmiss` is one word of Varnish's; `HIT/MISS` are two.
    let is_pair = |words: &[&str]| {
        words.len() == 2 && normal(words[0]) == "hit" && ["miss", "pass"].contains(&normal(words[1]).as_str())
    };
    (1..=longest)
        .rev()
        .filter(|length| !is_pair(&tokens[..*length]))
        .find_map(|length| Some((look_up(&tokens[..length].join(" "))?, length)))
}

fn look_up(word: &str) -> Option<Meaning> {
    let parts: Vec<String> =
        word.split([' ', '-', '_']).filter(|part| !part.is_empty()).map(str::to_ascii_lowercase).collect();
    match parts.split_first() {
        Some((first, tags)) if first == "tcp" && !word.contains(' ') => return squid(tags),
        _ => {}
    }
    let known = |parts: &[String]| {
        let word = parts.concat();
        WORDS.iter().find(|(_, words)| words.contains(&word.as_str())).map(|(meaning, _)| *meaning)
    };
    let without = parts.iter().rposition(|part| !SUFFIXES.contains(&part.as_str())).map_or(0, |last| last + 1);
    known(&parts).or_else(|| known(&parts[..without]))
}

fn normal(token: &str) -> String {
    token.chars().filter(|c| !matches!(c, '-' | '_' | '\'' | '"')).collect::<String>().to_ascii_lowercase()
}

fn is_number(token: &str) -> bool {
    token.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a word may be the name of a host: `cp1048`, `hit-1`, `edge.example`. Other words may change the meaning of the
/// one that follows: `false hit`, `not-yet cached`.
fn is_host(token: &str) -> bool {
    let first = token.split(['-', '_']).next().map(normal).unwrap_or_default();
    token.contains(|c: char| c == '.' || c.is_ascii_digit())
        && token.trim_end_matches('%').parse::<f64>().is_err()
        && !NEGATIONS.contains(&first.as_str())
}

/// The result codes of Squid, which Akamai, Azure, Edgecast and others use too: `TCP_` and tags.
fn squid(tags: &[String]) -> Option<Meaning> {
    let has = |tag: &str| tags.iter().any(|known| known == tag);
    if has("denied") || has("deny") || has("redirect") || has("tunnel") {
        return Some(Meaning::Silent);
    }
    let outcome = if has("swapfail") || has("partial") || (has("fail") && has("err")) {
        Outcome::Miss
    } else if (has("fail") && (has("old") || has("hit"))) || (has("stale") && has("hit")) {
        Outcome::StaleServed
    } else if has("unmodified") || has("ignored") {
        // Stale, confirmed by the origin.
        Outcome::Hit
    } else if has("miss") || has("modified") || (has("client") && has("refresh")) {
        Outcome::Miss
    } else if has("hit") {
        Outcome::Hit
    } else {
        return None;
    };
    Some(Meaning::Is(outcome))
}
