//! The items that can be judged: every kind that some request writes, by its path template.

use super::judge::{ItemKey, Judge, WriteKind};
use crate::{Call, TrafficPlan};
use cacheproof_core::scenario::{Method, Request, Scenario};

/// Which kind of item each request of a scenario reads, writes, lists or creates.
#[derive(Debug)]
pub(super) struct ItemKinds {
    /// For each request: the kind of item that it reads or writes.
    of_request: Vec<Option<usize>>,
    /// For each request: the kind of item that it lists.
    of_list: Vec<Option<usize>>,
    /// For each request: the kind of item that it creates, with an id that the app assigns.
    of_create: Vec<Option<usize>>,
    /// For each kind: the first request that reads it, and its template.
    kinds: Vec<(Option<usize>, String)>,
}

impl ItemKinds {
    pub(super) fn new(scenario: &Scenario, plan: &TrafficPlan) -> (Self, Judge) {
        let requests = &scenario.traffic.requests;
        let templates: Vec<String> = scenario.written_templates().into_iter().map(str::to_owned).collect();
        let find = |template: &str| templates.iter().position(|known| known == template);
        let named = |request: &Request| request.item_key().and_then(|_| find(request.template()));
        // `/posts` creates what `/posts/{post}` names.
        let made = |request: &Request| {
            let of = |known: &String| known.rsplit_once('/').is_some_and(|(list, _)| list == request.template());
            (request.method == Method::Post).then(|| templates.iter().position(of)).flatten()
        };
        let spaces = templates.iter().map(|template| {
            let of = |index: &usize| requests[*index].item_key().is_some() && requests[*index].template() == template;
            let size = (0..requests.len()).filter(of).find_map(|index| plan.items(index)).unwrap_or(0);
            (size, scenario.assigns_versions(template))
        });
        let judge = Judge::new(spaces);
        let reads = |template: &String| {
            requests
                .iter()
                .position(|one| one.method.is_read() && one.item_key().is_some() && one.template() == template)
        };
        let items = Self {
            of_request: requests.iter().map(named).collect(),
            of_list: requests.iter().map(|one| one.list.as_ref().and_then(|list| find(&list.of))).collect(),
            of_create: requests.iter().map(made).collect(),
            kinds: templates.iter().map(|template| (reads(template), template.clone())).collect(),
        };
        (items, judge)
    }

    /// The item that a call reads or writes.
    pub(super) fn key(&self, call: &Call) -> Option<ItemKey> {
        Some(ItemKey { space: self.of_request[call.request]?, id: call.expected.item? })
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

    /// How many kinds there are.
    pub(super) fn kinds(&self) -> usize {
        self.kinds.len()
    }

    /// The item by its path: `/posts/17`.
    pub(super) fn path(&self, key: ItemKey) -> String {
        let template = self.kinds.get(key.space).map_or("", |(_, template)| template);
        let list = template.rsplit_once('/').map_or("", |(list, _)| list);
        format!("{list}/{}", key.id)
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
