//! A pass over the names on every server, a batch at a time.

use super::servers::{Command, Server, Servers, Via, parsed};
use crate::store::CacheError;
use std::sync::Arc;

/// Keys met by one `SCAN`: some 100 µs of the server's time.
const BATCH: usize = 500;

pub(super) struct Sweep {
    pattern: String,
    via: Via,
    servers: std::vec::IntoIter<Arc<Server>>,
    at: Option<(Arc<Server>, u64)>,
}

impl Sweep {
    /// Over the names that match, namespace included. Every name that is there from beginning to end is met: `SCAN`
    /// guarantees that much.
    pub(super) fn new(servers: &Servers, pattern: String, via: Via) -> Self {
        Self { pattern, via, servers: servers.all().into_iter(), at: None }
    }

    /// The next batch, possibly empty; `None` when all is seen.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<String>>, CacheError> {
        let Some((server, cursor)) = self.at.take().or_else(|| self.servers.next().map(|server| (server, 0))) else {
            return Ok(None);
        };
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(&self.pattern).arg("COUNT").arg(BATCH);
        let mut answers = server.run(self.via, vec![Command::new("", scan)]).await?;
        let answer = answers.pop().ok_or(CacheError::Unavailable("an empty answer"))??;
        let (next, names): (u64, Vec<Vec<u8>>) = parsed(answer)?;
        self.at = (next != 0).then_some((server, next));
        // The layer's own names are text; others' in a shared Redis need not be.
        Ok(Some(names.into_iter().filter_map(|name| String::from_utf8(name).ok()).collect()))
    }
}
