//! Which item a request reads or writes. Requests whose paths lead to the same address read and write the same item.

use std::collections::BTreeMap;

use super::parse_traffic::{RESERVED_PLACEHOLDERS, key_space, placeholders};
use super::problem::Problem;
use super::reader::{Section, span_in_file};
use super::{Method, Request, Scenario};
use crate::percent;

/// The most items of one address: each takes 8 bytes.
const MAX_ITEMS: u64 = 50_000_000;

/// The item that a request reads or writes, as all its requests name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemAddress {
    /// Its path: without a slash at the end, and without a query that does not name it. Requests with the same template
    /// are of the same items.
    pub template: String,
    /// The key spaces of the placeholders in it, each once. The last is the item's own key.
    pub keys: Vec<String>,
    /// What names the item in the path of this request, as in `/items/article-{item}`: the whole segment, or the value
    /// in the query. `None`: the key alone, or not the path.
    pub segment: Option<String>,
}

impl Scenario {
    /// An address as [`ItemAddress::template`] has it.
    pub fn normalized(&self, address: &str) -> String {
        normalized(address, &self.data)
    }
}

/// What is looked at to find the item of a request.
pub(super) struct ItemContext<'a> {
    pub(super) data: &'a BTreeMap<String, u64>,
    /// The field that holds an item's key.
    pub(super) identity: Option<&'a str>,
    pub(super) text: &'a str,
}

/// A placeholder's name.
fn name_of(text: &str, place: &std::ops::Range<usize>) -> String {
    text[place.start + 1..place.end - 1].to_owned()
}

/// The key spaces in a text, each once.
fn spaces_in(text: &str, data: &BTreeMap<String, u64>) -> Vec<String> {
    let mut spaces: Vec<String> = Vec::new();
    for place in placeholders(text) {
        if let Some((space, _)) = key_space(data, &name_of(text, &place))
            && !spaces.iter().any(|known| known == space)
        {
            spaces.push(space.to_owned());
        }
    }
    spaces
}

/// Whether a text holds a word that is another one each time.
fn holds_a_word(text: &str) -> bool {
    placeholders(text).iter().any(|place| RESERVED_PLACEHOLDERS.contains(&&text[place.start + 1..place.end - 1]))
}

/// A path by which other requests of the same item can be found: no slash at its end, each placeholder and each escape
/// written in one way.
pub(super) fn normalized(address: &str, data: &BTreeMap<String, u64>) -> String {
    let (path, query) = address.split_once('?').map_or((address, None), |(path, query)| (path, Some(query)));
    let trimmed = path.trim_end_matches('/');
    let mut whole = if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() };
    if let Some(query) = query {
        whole = format!("{whole}?{query}");
    }
    let mut text = String::new();
    let mut at = 0;
    for place in placeholders(&whole) {
        text.push_str(&decoded(&whole[at..place.start]));
        at = place.end;
        let name = name_of(&whole, &place);
        let space = key_space(data, &name).map_or(name.as_str(), |(space, _)| space);
        let short = space.strip_suffix('s').filter(|short| !short.is_empty() && !data.contains_key(*short));
        text.push_str(&format!("{{{}}}", short.unwrap_or(space)));
    }
    text + &decoded(&whole[at..])
}

/// Percent-encoded characters as themselves, except those that would divide the path in another way.
fn decoded(text: &str) -> String {
    let divides = |byte: u8| b"/?#%&+{}$".contains(&byte) || byte.is_ascii_control();
    String::from_utf8(percent::decode_where(text, |byte| !divides(byte))).unwrap_or_else(|_| text.to_owned())
}

/// The item of a request: what its `item` says, else what its path names.
pub(super) fn item(section: &Section<'_>, request: &Request, context: &ItemContext<'_>) -> Option<ItemAddress> {
    let address = match section.get("item") {
        None => of_path(request, context),
        Some(value) if value.inner.get_ref().as_bool() == Some(false) => None,
        Some(_) => given(section, request, context),
    };
    let items = |address: &ItemAddress| -> Option<u64> {
        address.keys.iter().try_fold(1_u64, |all, space| all.checked_mul(*context.data.get(space)?))
    };
    if let Some(address) = address.as_ref().filter(|address| items(address).is_none_or(|all| all > MAX_ITEMS)) {
        let message = format!("\"{}\" names more than {MAX_ITEMS} items", address.template);
        let help = "make the key spaces in it smaller in [data], or write item = false";
        section.problems.add(Problem::new(message).at(section.span.clone()).help(help));
        return None;
    }
    address
}

/// The item that a path names: its last segment holds one key, as in `/posts/{post}`, `/posts/{post}/` and
/// `/posts/post-{post}.json`, not in `/posts/{post}/votes`; or its query has a key in a field of the name of
/// `target.identity`, as in `/post?id={post}`. A POST makes another one.
fn of_path(request: &Request, context: &ItemContext<'_>) -> Option<ItemAddress> {
    if request.method == Method::Post {
        return None;
    }
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let path = path.trim_end_matches('/');
    let segment = path.rsplit('/').next()?;
    let own = |text: &str| {
        let keys = spaces_in(text, context.data);
        (keys.len() == 1 && !holds_a_word(text)).then(|| keys.into_iter().next()).flatten()
    };
    let is_fixed = |text: &str| placeholders(text).is_empty();
    let (template, key, segment) = if !is_fixed(segment) {
        (path.to_owned(), own(segment)?, segment)
    } else {
        let identity = context.identity?;
        let name = identity.rsplit('.').next()?;
        let (pair, value) = query
            .split('&')
            .filter_map(|pair| Some((pair, pair.split_once('=')?)))
            .find_map(|(pair, (field, value))| (field == name).then_some((pair, value)))?;
        (format!("{path}?{pair}"), own(value)?, value)
    };
    // What is another one each time leads to another address each time.
    if holds_a_word(&template) {
        return None;
    }
    Some(address(&template, &key, segment, context))
}

fn address(template: &str, own: &str, segment: &str, context: &ItemContext<'_>) -> ItemAddress {
    let template = normalized(template, context.data);
    let mut keys = spaces_in(&template, context.data);
    keys.retain(|key| key != own);
    keys.push(own.to_owned());
    let is_bare = placeholders(segment).first().is_some_and(|place| *place == (0..segment.len()));
    ItemAddress { template, keys, segment: (!is_bare && !segment.is_empty()).then(|| segment.to_owned()) }
}

/// A key space by whose keys the items of a list are told apart, and of which the request for the list has none.
pub(super) fn missing_of_list(request: &Request, item: &ItemAddress, data: &BTreeMap<String, u64>) -> Option<String> {
    let sent = sent_keys(request, data);
    let (_, others) = item.keys.split_last()?;
    others.iter().find(|key| !sent.contains(key)).cloned()
}

/// The key spaces of all that a request sends.
fn sent_keys(request: &Request, data: &BTreeMap<String, u64>) -> Vec<String> {
    let headers = request.headers.iter().map(|(_, value)| value.as_str());
    let texts = [request.path.as_str()].into_iter().chain(request.body.as_deref()).chain(headers);
    texts.flat_map(|text| spaces_in(text, data)).collect()
}

/// The item that `item = "/posts/{post}"` names.
fn given(section: &Section<'_>, request: &Request, context: &ItemContext<'_>) -> Option<ItemAddress> {
    let given = section.string("item")?;
    let refuse = |message: String, help: &str| {
        let span = span_in_file(context.text, &given, 0..given.value.len());
        section.problems.add(Problem::new(message).at(span).help(help));
    };
    let example =
        "write the path that its other requests have: item = \"/posts/{post}\", or item = false if it names none";
    let keys = spaces_in(given.value, context.data);
    let Some(own) = keys.last().filter(|_| given.value.starts_with('/') && !holds_a_word(given.value)) else {
        refuse("\"item\" is not the path of an item".to_owned(), example);
        return None;
    };
    let sent = sent_keys(request, context.data);
    if let Some(missing) = keys.iter().find(|key| !sent.contains(key)) {
        let message = format!("this request has no key of {missing}, so it names no \"{}\"", given.value);
        refuse(message, "write the key into its path, its body or a header");
        return None;
    }
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let values = query.split('&').filter_map(|pair| Some(pair.split_once('=')?.1));
    let names = |part: &&str| spaces_in(part, context.data).contains(own) && !holds_a_word(part);
    let segment = path.split('/').chain(values).find(names).unwrap_or_default();
    Some(address(given.value, own, segment, context))
}
