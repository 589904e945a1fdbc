//! Classifies responses: outcome, item and user, version.

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, LOCATION};

use super::cache_words::{self, CacheReading, Meaning};
use super::fields::{field, unquote};
use super::substitute;
use super::{VersionReading, WriteToken};
use cacheproof_core::journal::Outcome;
use cacheproof_core::journal::WrongKind;
use cacheproof_core::percent;
use cacheproof_core::scenario::{
    Absent, BypassSpec, CacheStatusSpec, ListSpec, Method, Request, TargetSpec, VersionSpec,
};

/// Classifies responses as the scenario defines it.
#[derive(Clone, Debug)]
pub struct ResponseClassifier {
    hit: CacheStatusSpec,
    identity: Option<String>,
    version: Option<VersionSpec>,
    tokens: Vec<String>,
}

/// What a request asked for, and as which user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpectedIdentity {
    /// Number of the item that it names, where it names one; that of the item's tokens.
    pub item: Option<u64>,
    /// How it names that item: so must the answer.
    pub name: Option<ItemName>,
    /// The user that it was sent as, where the response names its user.
    pub owner: Option<u64>,
}

/// How a request names its item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemName {
    /// The item's own key.
    pub key: u64,
    /// What names it in the path as sent, where that is more than the key: `article-17`.
    pub segment: Option<String>,
}

impl From<u64> for ItemName {
    fn from(key: u64) -> Self {
        Self { key, segment: None }
    }
}

impl ItemName {
    /// Whether a field with this content names the same item: as text or as a number, as its key or as sent.
    fn is(&self, found: &str) -> bool {
        let same_number = |text: &str, key: u64| text.parse() == Ok(key);
        let Some(segment) = &self.segment else { return found == self.key.to_string() || same_number(found, self.key) };
        let plain = percent::decode(segment);
        // Where all of it is digits, the app cannot tell the key from the rest.
        match plain.parse() {
            Ok(number) => found == plain || same_number(found, number),
            Err(_) => found == plain || found == segment || same_number(found, self.key),
        }
    }

    /// In words, for people.
    fn shown(&self) -> String {
        self.segment.clone().unwrap_or_else(|| self.key.to_string())
    }
}

/// What a response shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassifiedResponse {
    /// The outcome of the request.
    pub outcome: Outcome,
    /// Version of the item.
    pub version: VersionReading,
    /// For errors and wrong responses: what was wrong, in words.
    pub error_detail: Option<String>,
    /// The kind of a wrong response.
    pub wrong: Option<WrongKind>,
    /// Whether the response is that there is no such item.
    pub missing: bool,
    /// Whether it looks like an error page or a sign-in page in place of the item. Only where nothing else tells.
    pub is_substitute: bool,
    /// The write that it comes from, where it carries a token.
    pub token: Option<WriteToken>,
    /// Id of the item that a POST created, where the response names it.
    pub created: Option<u64>,
    /// The items of a list with their versions, where the list is judged.
    pub listed: Vec<(u64, Option<u64>)>,
    /// `name: value` of each cache header that nobody understood.
    pub unread: Vec<String>,
    /// Whether it said nothing of where it came from, and the scenario's `absent` says what that means.
    pub is_assumed: bool,
}

impl ResponseClassifier {
    /// For the apps of this kind.
    pub fn new(target: &TargetSpec) -> Self {
        Self {
            hit: target.hit.clone(),
            identity: target.identity.clone(),
            version: target.version.clone(),
            tokens: target.tokens.clone(),
        }
    }

    /// The same for requests that bypass the cache: what they do not say is not assumed, as it shows whether the bypass works.
    #[must_use]
    pub fn past_cache(&self) -> Self {
        Self { hit: CacheStatusSpec { absent: Absent::Unknown, ..self.hit.clone() }, ..self.clone() }
    }

    /// Classifies a response to `request`.
    pub fn classify(
        &self,
        request: &Request,
        expected: &ExpectedIdentity,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> ClassifiedResponse {
        if !status.is_success() {
            let missing = matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE);
            if request.expect.contains(&status.as_u16()) {
                let (CacheReading { outcome, unread }, is_assumed) = self.cache_reading(request, headers, body);
                let outcome = outcome.unwrap_or_default();
                return ClassifiedResponse { outcome, unread, is_assumed, missing, ..ClassifiedResponse::default() };
            }
            let what = match headers.get(LOCATION).filter(|_| status.is_redirection()) {
                Some(location) => format!("status {status}, a redirect to {}", shorten(location.as_bytes())),
                None => format!("status {status}: {}", shorten(body)),
            };
            return ClassifiedResponse { missing, ..failed(Outcome::Error, what) };
        }
        let identity = self.identity.as_ref().filter(|_| request.method != Method::Delete);
        // Many apps answer a write with 204 and nothing.
        let is_bare = !request.method.is_read() && body.is_empty();
        let checks = [
            (identity.filter(|_| !is_bare), expected.name.clone(), WrongKind::OtherItem),
            (request.owner.as_ref(), expected.owner.map(ItemName::from), WrongKind::OtherUser),
        ];
        for (name, wanted, kind) in checks {
            if let (Some(name), Some(wanted)) = (name, wanted)
                && let Some(reading) = mismatch(body, name, &wanted, kind)
            {
                return reading;
            }
        }
        let token = match self.token(expected.item, body) {
            Ok(token) => token,
            Err(reading) => return *reading,
        };
        let listed = match request.list.as_ref().map(|list| listed(list, body)) {
            Some(Err(problem)) => return failed(Outcome::Error, format!("{problem}: {}", shorten(body))),
            Some(Ok(listed)) => listed,
            None => Vec::new(),
        };
        let is_substitute = request.method.is_read()
            && match &expected.name {
                // The identity tells.
                Some(_) if self.identity.is_some() => false,
                Some(name) => {
                    let names: Vec<String> = name.segment.iter().cloned().chain([name.key.to_string()]).collect();
                    substitute::is_substitute(body, &names)
                }
                // A request that asks for such a page.
                None if substitute::is_asked_for(&request.path) => false,
                None => substitute::is_substitute(body, &[]),
            };
        let created_id_field = self.identity.as_ref().filter(|_| request.method == Method::Post);
        let (CacheReading { outcome, unread }, is_assumed) = self.cache_reading(request, headers, body);
        ClassifiedResponse {
            outcome: outcome.unwrap_or_default(),
            unread,
            is_assumed,
            version: self.version(headers, body),
            created: created_id_field.and_then(|name| unquote(field(body, name).ok()??).parse().ok()),
            token,
            listed,
            is_substitute,
            ..ClassifiedResponse::default()
        }
    }

    /// The token in the fields that hold one: the same in all of them, and this item's.
    fn token(&self, item: Option<u64>, body: &[u8]) -> Result<Option<WriteToken>, Box<ClassifiedResponse>> {
        let Some(item) = item.filter(|_| !self.tokens.is_empty()) else { return Ok(None) };
        let mut tokens = self.tokens.iter().map(|name| {
            let text = field(body, name).ok().flatten().map(unquote);
            (name, text.and_then(|text| WriteToken::find(&text)))
        });
        let Some((name, first)) = tokens.next() else { return Ok(None) };
        if let Some((other, token)) = tokens.find(|(_, token)| *token != first) {
            let say =
                |token: &Option<WriteToken>| token.as_ref().map_or_else(|| "none".to_owned(), WriteToken::to_string);
            let what = format!("torn: {name} is of {}, {other} of {}", say(&first), say(&token));
            return Err(Box::new(wrong_answer(WrongKind::Torn, what)));
        }
        match first {
            Some(token) if token.id != item && token.id != 0 => {
                let what = format!("asked for {item}, got a value of {}", token.id);
                Err(Box::new(wrong_answer(WrongKind::OtherItem, what)))
            }
            token => Ok(token),
        }
    }

    /// Version of the item in a response.
    pub fn version(&self, headers: &HeaderMap, body: &[u8]) -> VersionReading {
        match &self.version {
            Some(VersionSpec::Header(name)) => headers.get(name).map_or(VersionReading::Missing, |value| {
                VersionReading::of(&String::from_utf8_lossy(value.as_bytes()))
            }),
            Some(VersionSpec::Json(path)) => version_in(body, path),
            None => VersionReading::Missing,
        }
    }

    /// Where a read was answered from. What the scenario defines comes before the headers that are known.
    /// The second value: whether it is only assumed.
    fn cache_reading(&self, request: &Request, headers: &HeaderMap, body: &[u8]) -> (CacheReading, bool) {
        if !request.method.is_read() {
            return (CacheReading::default(), false);
        }
        let read = || cache_words::read(headers, self.hit.cache.as_deref());
        let mut reading = self.configured_reading(headers, body).unwrap_or_else(read);
        let says_nothing = reading.outcome.is_none() && reading.unread.is_empty();
        if says_nothing {
            reading.outcome = match self.hit.absent {
                Absent::Unknown => None,
                Absent::Hit => Some(Outcome::Hit),
                Absent::Miss => Some(Outcome::Miss),
            };
        }
        let is_assumed = says_nothing && reading.outcome.is_some();
        (reading, is_assumed)
    }

    /// By the header or field that the scenario names. `None`: it names none, or the response has none.
    fn configured_reading(&self, headers: &HeaderMap, body: &[u8]) -> Option<CacheReading> {
        let (name, value, outcome) = match (&self.hit.header, &self.hit.json) {
            (Some(name), _) => {
                let lines = cache_words::lines(headers, name);
                let value = lines.join(", ");
                // Whole values come first: `hit,private` is one word of LiteSpeed's.
                let whole = [Some(value.as_str()), lines.last().map(AsRef::as_ref), cache_words::last_member(&lines)];
                let listed = whole.into_iter().flatten().find_map(|value| self.listed_outcome(value));
                let outcome = listed.map_or_else(|| cache_words::meaning_of(name, &lines), Meaning::Is);
                (name, (!lines.is_empty()).then_some(value)?, outcome)
            }
            (None, Some(path)) => {
                let value = unquote(field(body, path).ok()??).into_owned();
                let outcome = self.listed_outcome(&value).map_or(Meaning::Unknown, Meaning::Is);
                (path, value, outcome)
            }
            (None, None) => return None,
        };
        let unread = if outcome == Meaning::Unknown { vec![format!("{name}: {value}")] } else { Vec::new() };
        Some(CacheReading { outcome: outcome.outcome(), unread })
    }

    /// What the scenario says that this value means.
    fn listed_outcome(&self, value: &str) -> Option<Outcome> {
        let value = value.trim();
        [
            (&self.hit.hit, Outcome::Hit),
            (&self.hit.miss, Outcome::Miss),
            (&self.hit.stale, Outcome::StaleServed),
            (&self.hit.bypass, Outcome::Bypass),
            (&self.hit.fallback, Outcome::Fallback),
        ]
        .into_iter()
        .find(|(words, _)| words.iter().any(|word| word.eq_ignore_ascii_case(value)))
        .map(|(_, outcome)| outcome)
    }
}

fn failed(outcome: Outcome, what: String) -> ClassifiedResponse {
    ClassifiedResponse { outcome, error_detail: Some(what), ..ClassifiedResponse::default() }
}

fn wrong_answer(kind: WrongKind, what: String) -> ClassifiedResponse {
    ClassifiedResponse { wrong: Some(kind), ..failed(Outcome::Wrong, what) }
}

/// What is wrong where a field does not hold this id.
fn mismatch(body: &[u8], name: &str, wanted: &ItemName, kind: WrongKind) -> Option<ClassifiedResponse> {
    match field(body, name) {
        Err(problem) => Some(failed(Outcome::Error, format!("{problem}: {}", shorten(body)))),
        Ok(None) => Some(failed(Outcome::Error, format!("the body has no field {name}: {}", shorten(body)))),
        Ok(Some(found)) if !wanted.is(&unquote(found)) => {
            let (wanted, found) = (wanted.shown(), shorten(found.as_bytes()));
            Some(wrong_answer(kind, format!("asked for {name} {wanted}, got {name} {found}")))
        }
        Ok(Some(_)) => None,
    }
}

fn version_in(body: &[u8], path: &str) -> VersionReading {
    let found = field(body, path).ok().flatten();
    found.map_or(VersionReading::Missing, |found| VersionReading::of(&unquote(found)))
}

/// The items of a list: id and version of each that has an id.
fn listed(list: &ListSpec, body: &[u8]) -> Result<Vec<(u64, Option<u64>)>, String> {
    let text = match &list.items {
        Some(items) => field(body, items)?.ok_or_else(|| format!("the body has no field {items}"))?,
        None => std::str::from_utf8(body).map_err(|_| "the body isn't UTF-8".to_owned())?,
    };
    let items: Vec<&serde_json::value::RawValue> =
        serde_json::from_str(text).map_err(|error| format!("the list is no JSON array: {error}"))?;
    let of = |item: &serde_json::value::RawValue| {
        let item = item.get().as_bytes();
        let id = unquote(field(item, &list.id).ok().flatten()?).parse().ok()?;
        Some((id, list.version.as_ref().and_then(|name| version_in(item, name).number())))
    };
    Ok(items.into_iter().filter_map(of).collect())
}

/// The URL with the query that bypasses the cache, where the bypass is a query.
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
mod tests;
