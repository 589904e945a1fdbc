//! Which server is responsible for what: for tools, and for marks that each master keeps of itself.

use super::RedisStore;
use crate::key::Key;

impl RedisStore {
    /// `host:port` of every server that takes writes, as known at this moment.
    #[must_use]
    pub fn masters(&self) -> Vec<String> {
        self.inner.servers.all().iter().map(|server| server.address()).collect()
    }

    /// `host:port` of the server that holds a key.
    #[must_use]
    pub fn master_of(&self, key: &Key) -> String {
        self.inner.servers.of(&self.inner.name(key.name())).address()
    }

    /// For each master its address and a name that begins with `prefix` and belongs to it; in a cluster with a hash tag that
    /// lands there. The same for as long as the masters keep their slots.
    #[must_use]
    pub fn own_names(&self, prefix: &str) -> Vec<(String, String)> {
        let all = self.inner.servers.all();
        all.iter().filter_map(|server| Some((server.address(), server.own_name(prefix)?))).collect()
    }
}
