//! What a server says of itself.

use super::servers::{Command, Server, Via, parsed};
use crate::store::ServerInfo;
use redis::InfoDict;
use std::time::Instant;

pub(super) async fn ask(server: &Server) -> Option<ServerInfo> {
    let start = Instant::now();
    let mut answers = server.run(Via::Direct, vec![Command::new("", redis::cmd("INFO"))]).await.ok()?;
    let info: InfoDict = parsed(answers.pop()?.ok()?).ok()?;
    let answered_in = start.elapsed();
    let number = |field| info.get(field).unwrap_or(0_u64);
    let text = |field| info.get::<String>(field).unwrap_or_default();
    let keys = (0..16).filter_map(|db| info.get::<String>(&format!("db{db}")));
    let keys = keys.filter_map(|db| db.strip_prefix("keys=")?.split(',').next()?.parse::<u64>().ok()).sum();
    Some(ServerInfo {
        address: server.address(),
        answered_in,
        version: text("redis_version"),
        role: text("role"),
        uptime_seconds: number("uptime_in_seconds"),
        used_memory: number("used_memory"),
        max_memory: number("maxmemory"),
        policy: text("maxmemory_policy"),
        keys,
        evicted: number("evicted_keys"),
        clients: number("connected_clients"),
        keyspace_hits: number("keyspace_hits"),
        keyspace_misses: number("keyspace_misses"),
    })
}
