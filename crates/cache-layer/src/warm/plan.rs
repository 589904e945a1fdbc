use crate::key::Key;
use bytes::Bytes;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Failure = Box<dyn std::error::Error + Send + Sync>;
type Load = Box<dyn FnOnce() -> BoxFuture<Result<Option<Bytes>, Failure>> + Send>;
type List = Box<dyn Fn(usize) -> BoxFuture<Result<Vec<Unit>, Failure>> + Send + Sync>;

/// Which things to warm, and how: a name, a list of ids, a key and a loader for each.
pub struct Plan {
    pub(super) name: &'static str,
    pub(super) limit: usize,
    pub(super) at_once: usize,
    pub(super) per_second: u32,
    pub(super) patience: Duration,
    pub(super) list: List,
}

/// One thing to warm.
pub(super) struct Unit {
    pub(super) key: Key,
    pub(super) load: Load,
}

impl Plan {
    /// Warms at most `limit` things: `list` is given the limit and answers ids, what is wanted most first; each is loaded by `load`
    /// (as for [`crate::Cache::get_or_load`]) and stored under its `key`. Two at a time and 100 a second, unless told
    /// otherwise.
    pub fn new<Id, ToList, Listed, ToKey, ToLoad, Loaded, E>(
        name: &'static str,
        limit: usize,
        list: ToList,
        key: ToKey,
        load: ToLoad,
    ) -> Self
    where
        Id: Send + 'static,
        ToList: Fn(usize) -> Listed + Send + Sync + 'static,
        Listed: Future<Output = Result<Vec<Id>, E>> + Send + 'static,
        ToKey: Fn(&Id) -> Key + Send + Sync + 'static,
        ToLoad: Fn(Id) -> Loaded + Send + Sync + 'static,
        Loaded: Future<Output = Result<Option<Bytes>, E>> + Send + 'static,
        E: Into<Failure>,
    {
        let (key, load) = (Arc::new(key), Arc::new(load));
        let list: List = Box::new(move |limit| {
            let (listing, key, load) = (list(limit), Arc::clone(&key), Arc::clone(&load));
            Box::pin(async move {
                let unit = |id: Id| {
                    let (key, load) = (key(&id), Arc::clone(&load));
                    let load: Load = Box::new(move || {
                        let loading = load(id);
                        Box::pin(async move { loading.await.map_err(Into::into) })
                    });
                    Unit { key, load }
                };
                Ok(listing.await.map_err(Into::into)?.into_iter().map(unit).collect())
            })
        });
        Self { name, limit, at_once: 2, per_second: 100, patience: Duration::from_secs(10), list }
    }

    /// So many loads at a time; at least one.
    #[must_use]
    pub fn at_once(mut self, loads: usize) -> Self {
        self.at_once = loads.max(1);
        self
    }

    /// So many keys a second; at least one.
    #[must_use]
    pub fn per_second(mut self, keys: u32) -> Self {
        self.per_second = keys.max(1);
        self
    }

    /// The longest wait for the list, and for one load; 10 s unless told otherwise.
    #[must_use]
    pub fn patience(mut self, longest: Duration) -> Self {
        self.patience = longest;
        self
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("name", &self.name).field("limit", &self.limit).finish_non_exhaustive()
    }
}
