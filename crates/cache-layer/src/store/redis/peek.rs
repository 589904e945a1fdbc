//! Looking at what is kept under a name, for people.

use super::Inner;
use super::servers::{Command, Via, parsed};
use crate::store::{CacheError, Kept, Peeked};
use redis::Value;
use std::time::Duration;

/// What one generation of a tag takes.
const GENERATION: usize = 16;

/// Value, end, generations, count.
type Fields = (Option<Vec<u8>>, Option<u64>, Option<Vec<u8>>, Option<i64>);

impl Inner {
    /// Reads past the tags: they are known to the one who makes the key, not to the one who only has its name.
    pub(super) async fn peek(&self, name: &str) -> Result<Option<Peeked>, CacheError> {
        let name = self.name(name);
        let mut command = redis::cmd("HMGET");
        command.arg(&name).arg("!v").arg("!e").arg("!t").arg("!n");
        let answer: Value = self.servers.call(Via::Breaker, Command::new(name, command)).await?;
        let (value, end, tags, count): Fields = parsed(answer)?;
        let Some(value) = value.map(|bytes| Kept::Bytes(bytes.into())).or(count.map(Kept::Count)) else {
            return Ok(None);
        };
        let ttl = end.map_or(Duration::ZERO, super::scripts::left);
        Ok(Some(Peeked { value, ttl, tags: tags.map_or(0, |generations| generations.len() / GENERATION) }))
    }
}
