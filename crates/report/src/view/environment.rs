//! The servers, the app and the machine of a run.

use cacheproof_core::journal::{Host, ServerFacts, TargetReady};
use cacheproof_core::measurements::Measurements;

use super::plural;

/// What the run was measured on.
pub(crate) struct Environment<'a> {
    /// Redis and Postgres, where the run had them.
    pub servers: Vec<(&'static str, &'a ServerFacts)>,
    pub app: Option<&'a TargetReady>,
    pub host: Option<&'a Host>,
}

impl<'a> Environment<'a> {
    pub(super) fn of(measurements: &'a Measurements) -> Self {
        let stack = measurements.stack.as_ref();
        let servers = [
            ("Redis", stack.and_then(|stack| stack.redis.as_ref())),
            ("Postgres", stack.and_then(|stack| stack.postgres.as_ref())),
        ];
        Self {
            servers: servers.into_iter().filter_map(|(name, facts)| Some((name, facts?))).collect(),
            app: measurements.target.as_ref(),
            host: measurements.start.as_ref().map(|start| &start.host),
        }
    }
}

/// `sentinel: 1 master, 2 replicas, 3 sentinels`; `None` where there is one server.
pub(crate) fn topology(server: &ServerFacts) -> Option<String> {
    let count = |role: &str| {
        let count = server.nodes.iter().filter(|node| node.role == role).count();
        (count > 0).then(|| plural(count as u64, role))
    };
    let counts: Vec<String> = ["master", "replica", "sentinel"].into_iter().filter_map(count).collect();
    (server.nodes.len() > 1).then(|| format!("{}: {}", server.topology, counts.join(", ")))
}
