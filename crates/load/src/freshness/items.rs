//! The items that can be judged: every kind that some request writes, by its path template.

use super::judge::{ItemKey, Judge, WriteKind};
use crate::{Call, TrafficPlan};
use cacheproof_core::scenario::{ItemAddress, Method, Request, Scenario, placeholders};

/// Which kind of item each request of a scenario reads, writes, lists or creates.
#[derive(Debug)]
pub(super) struct ItemKinds {
    /// For each request: the kind of item that it reads or writes.
    of_request: Vec<Option<usize>>,
    /// For each request: the kind of item that it lists.
    of_list: Vec<Option<usize>>,
    /// For each request: the kind of item that it creates, with an id that the app assigns.
    of_create: Vec<Option<usize>>,
    /// The requests that read items, each with their kind.
    reads: Vec<(usize, usize)>,
    /// For each kind: the first request that reads it, and its address.
    kinds: Vec<(Option<usize>, ItemAddress)>,
}

impl ItemKinds {
    pub(super) fn new(scenario: &Scenario, plan: &TrafficPlan) -> (Self, Judge) {
        let requests = &scenario.traffic.requests;
        let templates: Vec<String> = scenario.written_templates().into_iter().map(str::to_owned).collect();
        let find = |template: &str| templates.iter().position(|known| known == template);
        let named = |request: &Request| request.template().and_then(find);
        // `/posts` creates what `/posts/{post}` names.
        let made = |request: &Request| {
            let path = request.path.split('?').next().unwrap_or_default().trim_end_matches('/');
            let path = scenario.normalized(path);
            let of = |known: &String| {
                known.rsplit_once('/').is_some_and(|(list, _)| if list.is_empty() { path == "/" } else { path == list })
            };
            let creates = request.method == Method::Post && request.item.is_none();
            creates.then(|| templates.iter().position(of)).flatten()
        };
        let spaces = templates.iter().map(|template| {
            let of = |index: &usize| requests[*index].is_of(template);
            let size = (0..requests.len()).filter(of).find_map(|index| plan.items(index)).unwrap_or(0);
            (size, scenario.assigns_versions(template))
        });
        let judge = Judge::new(spaces);
        let kind = |template: &String| {
            let reads = requests.iter().position(|one| one.method.is_read() && one.is_of(template));
            let address = requests.iter().find(|one| one.is_of(template)).and_then(|one| one.item.clone());
            address.map(|address| (reads, address))
        };
        let reads = requests.iter().enumerate().filter(|(_, one)| one.method.is_read());
        let items = Self {
            reads: reads.filter_map(|(index, one)| Some((index, named(one)?))).collect(),
            of_request: requests.iter().map(named).collect(),
            of_list: requests.iter().map(|one| one.list.as_ref().and_then(|list| find(&list.of))).collect(),
            of_create: requests.iter().map(made).collect(),
            kinds: templates.iter().filter_map(kind).collect(),
        };
        (items, judge)
    }

    /// The item that a call reads or writes.
    pub(super) fn key(&self, call: &Call) -> Option<ItemKey> {
        Some(ItemKey { space: self.of_request[call.request]?, id: call.expected.item? })
    }

    /// The item with this key of its own that is listed, or was created, by a call.
    pub(super) fn key_beside(&self, plan: &TrafficPlan, call: &Call, space: usize, own: u64) -> Option<ItemKey> {
        let spaces = &self.kinds.get(space)?.1.keys;
        if spaces.len() == 1 {
            return Some(ItemKey { space, id: own });
        }
        let mut keys = call.keys.clone();
        keys.insert(spaces.last()?.clone(), own);
        Some(ItemKey { space, id: plan.item_of(spaces, &keys)? })
    }

    /// The item's own key, which answers hold.
    pub(super) fn own_key(&self, plan: &TrafficPlan, key: ItemKey) -> Option<u64> {
        let spaces = &self.kinds.get(key.space)?.1.keys;
        plan.keys_of(spaces, key.id).get(spaces.last()?).copied()
    }

    /// The kind of item that a request reads or writes, or creates.
    pub(super) fn written_by(&self, request: usize) -> Option<usize> {
        self.of_request[request].or(self.of_create[request])
    }

    /// The kind of item that a request lists.
    pub(super) fn listed(&self, request: usize) -> Option<usize> {
        self.of_list[request]
    }

    /// The kind of item that a request creates.
    pub(super) fn made(&self, request: usize) -> Option<usize> {
        self.of_create[request]
    }

    /// The request that reads this kind of item.
    pub(super) fn reading_request(&self, space: usize) -> Option<usize> {
        self.kinds.get(space)?.0
    }

    /// Each request that reads items of a kind, with that kind.
    pub(super) fn reading_requests(&self) -> Vec<(usize, usize)> {
        self.reads.clone()
    }

    /// How many kinds there are.
    pub(super) fn kinds(&self) -> usize {
        self.kinds.len()
    }

    /// The item by its path: `/posts/17`.
    pub(super) fn path(&self, scenario: &Scenario, plan: &TrafficPlan, key: ItemKey) -> String {
        let Some((_, address)) = self.kinds.get(key.space) else { return String::new() };
        let keys = plan.keys_of(&address.keys, key.id);
        let mut path = String::new();
        let mut at = 0;
        for place in placeholders(&address.template) {
            path.push_str(&address.template[at..place.start]);
            at = place.end;
            let space = scenario.key_space(&address.template[place.start + 1..place.end - 1]);
            let found = space.and_then(|(space, _)| keys.get(space));
            path.push_str(&found.map_or_else(|| address.template[place].to_owned(), u64::to_string));
        }
        path + &address.template[at..]
    }
}

/// What a method does to the item that its path names; `None` for reads.
pub(super) fn write_kind(method: Method) -> Option<WriteKind> {
    match method {
        Method::Get => None,
        Method::Delete => Some(WriteKind::Delete),
        Method::Post | Method::Put | Method::Patch => Some(WriteKind::Put),
    }
}
