//! What a cache in front of the app needs to know of a request.

use axum::extract::Request;
use axum::http::{HeaderMap, Method, Uri};

/// Lists are cached in these orders, for these pages.
const FILTERS: [&str; 3] = ["recent", "top", "oldest"];
const PAGES: [&str; 3] = ["1", "2", "3"];

/// Whether it reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// A read or a write of one of the four services.
#[derive(Clone, Debug)]
pub(crate) struct DataRequest {
    pub(crate) kind: Access,
    pub(crate) deletes: bool,
    pub(crate) uri: Uri,
    pub(crate) service: &'static str,
    /// Of an item; `None`: a list, or a create.
    pub(crate) item: Option<u64>,
    /// Order and page of a list.
    list: Option<String>,
}

impl DataRequest {
    /// `None`: not cacheable, or past the cache on purpose.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        let (uri, kind) = (request.uri(), kind(request.method())?);
        if kind == Access::Read && says_no_store(request.headers()) {
            return None;
        }
        let mut parts = uri.path().split('/').skip(1);
        let service = service_named(parts.next()?)?;
        let item = match parts.next() {
            Some(id) => Some(id.parse().ok()?),
            None => None,
        };
        let list = item.is_none().then(|| list(uri.query().unwrap_or_default())).flatten();
        // Below an item (its votes) only writes matter.
        let relevant = kind == Access::Write || (item.is_some() && parts.next().is_none()) || list.is_some();
        let deletes = request.method() == Method::DELETE;
        relevant.then(|| Self { kind, deletes, uri: uri.clone(), service, item, list })
    }

    /// The key of its answer.
    pub(crate) fn key(&self) -> String {
        match (&self.item, &self.list) {
            (Some(id), _) => format!("{}:{id}", self.service),
            (None, list) => format!("{}:list:{}", self.service, list.as_deref().unwrap_or_default()),
        }
    }

    /// The keys that a write invalidates: the item and all lists.
    pub(crate) fn invalidated_keys(&self) -> Vec<String> {
        self.item.iter().map(|_| self.key()).chain(self.lists()).collect()
    }

    /// Every list of the service that can be cached.
    pub(crate) fn lists(&self) -> impl Iterator<Item = String> {
        let service = self.service;
        FILTERS.iter().flat_map(move |filter| PAGES.iter().map(move |page| format!("{service}:list:{filter}:{page}")))
    }
}

fn kind(method: &Method) -> Option<Access> {
    match *method {
        Method::GET => Some(Access::Read),
        Method::POST | Method::PUT | Method::PATCH | Method::DELETE => Some(Access::Write),
        _ => None,
    }
}

fn list(query: &str) -> Option<String> {
    let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let (filter, page) = (value("filter").unwrap_or(FILTERS[0]), value("page").unwrap_or(PAGES[0]));
    (FILTERS.contains(&filter) && PAGES.contains(&page)).then(|| format!("{filter}:{page}"))
}

fn service_named(name: &str) -> Option<&'static str> {
    cache_layer::key::SERVICES.iter().map(|service| service.name()).find(|service| *service == name)
}

fn says_no_store(headers: &HeaderMap) -> bool {
    headers.get("cache-control").is_some_and(|value| value == "no-store")
}

/// Whether it reads an item or a list through the cache.
pub(crate) fn is_cached_read(request: &Request) -> bool {
    DataRequest::of(request).is_some_and(|data_request| data_request.kind == Access::Read)
}

/// Whether `Cache-Status` has this parameter.
pub(crate) fn has_cache_status(headers: &HeaderMap, parameter: &str) -> bool {
    let status = headers.get("cache-status").and_then(|value| value.to_str().ok()).unwrap_or("");
    status.split(';').any(|part| part.trim() == parameter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn data_request(method: &str, uri: &str) -> Option<DataRequest> {
        DataRequest::of(&Request::builder().method(method).uri(uri).body(Body::empty()).unwrap())
    }

    #[test]
    fn reads_of_items_and_of_known_lists_are_cacheable() {
        assert_eq!(data_request("GET", "/posts/7?view=full").unwrap().key(), "posts:7");
        assert_eq!(data_request("GET", "/posts?filter=top&page=2").unwrap().key(), "posts:list:top:2");
        assert_eq!(data_request("GET", "/posts").unwrap().key(), "posts:list:recent:1");
        for other in ["/health", "/posts?page=99", "/posts/7/views", "/users/7", "/posts/x"] {
            assert!(data_request("GET", other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_write_invalidates_its_item_and_every_cacheable_list() {
        let vote = data_request("POST", "/posts/7/upvote").unwrap();
        assert_eq!((vote.kind, vote.invalidated_keys().len()), (Access::Write, 10));
        assert!(vote.invalidated_keys().contains(&data_request("GET", "/posts/7").unwrap().key()));
        let create = data_request("POST", "/posts").unwrap();
        assert!(create.invalidated_keys().contains(&data_request("GET", "/posts?page=3").unwrap().key()));
    }
}
