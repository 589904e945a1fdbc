use crate::breaker::BreakerState;
use crate::config::Strategy;
use crate::metrics::Reading;
use crate::store::{ServerInfo, StoreStatus};
use serde::Serialize;

/// A server with more of its memory used than this, in percent, is about to evict what is still wanted.
const MEMORY_PERCENT: u64 = 80;

/// How a cache is, for `/health` of an app and for management. No secrets are in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// In one word.
    pub state: State,
    /// What is not as it should be, in plain words; empty when all is well.
    pub problems: Vec<String>,
    /// `redis` for instance.
    pub strategy: &'static str,
    /// `closed`, `open` or `half-open`; of several the worst.
    pub breaker: &'static str,
    /// Connections that are up; 0 for strategies without any.
    pub connections: usize,
    /// Whether it is known what the servers' data reflect; while it is not, reads go to the database.
    pub trusted: bool,
    /// Invalidations that the cache did not confirm; while there are any, it is not read.
    pub owed_invalidations: usize,
    /// Hits ÷ (hits + misses) since the process began; none before the first read.
    pub hit_rate: Option<f64>,
    /// Loads from the database that run now, where they are limited.
    pub loads_running: u64,
    /// How far the cache is behind the database, where an outbox tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outbox: Option<Outbox>,
    /// The servers that answered.
    pub servers: Vec<ServerHealth>,
}

/// The state of a cache in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// All is well.
    Up,
    /// It is used, but something is not as it should be.
    Degraded,
    /// It is not used; reads go to the database.
    Down,
}

/// How far the cache is behind the database.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Outbox {
    /// How long the oldest invalidation that the relay last found had waited.
    pub lag_seconds: f64,
    /// How many it found.
    pub lag_rows: u64,
    /// Time since the watermark was renewed.
    pub watermark_age_seconds: f64,
}

/// What one server says of itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ServerHealth {
    /// `host:port`.
    pub address: String,
    /// How long it took to answer.
    pub answered_in_ms: f64,
    /// `master` or `slave`.
    pub role: String,
    /// `7.0.15` for instance.
    pub version: String,
    /// Since it started.
    pub uptime_seconds: u64,
    /// Bytes its data take.
    pub used_memory: u64,
    /// Bytes its data may take; 0: no limit.
    pub max_memory: u64,
    /// What it does when memory is full, `allkeys-lru` for instance.
    pub policy: String,
    /// Keys on it, the layer's and others.
    pub keys: u64,
    /// Keys evicted since it started.
    pub evicted: u64,
    /// Clients connected.
    pub clients: u64,
}

impl Health {
    pub(crate) fn of(strategy: Strategy, status: &StoreStatus, servers: &[ServerInfo], reading: &Reading) -> Self {
        let mut problems = Vec::new();
        match status.breaker {
            BreakerState::Closed => {}
            BreakerState::Open => problems.push("the breaker is open: too many calls failed or were slow".into()),
            BreakerState::HalfOpen => {
                problems.push("the breaker is half-open: it is tried whether calls succeed".into())
            }
        }
        if status.owed_invalidations > 0 {
            problems.push(format!("{} invalidations did not reach the cache yet", status.owed_invalidations));
        }
        let has_servers = matches!(strategy, Strategy::Redis | Strategy::TwoTier);
        if has_servers && status.connections == 0 {
            problems.push("no connection to a server is up".into());
        } else if has_servers && servers.is_empty() {
            problems.push("no server says how it is".into());
        } else if !status.trusted {
            let what = "it is not known whether the cache reflects the database: its relay does not come through";
            problems.push(what.into());
        }
        for server in servers {
            if server.max_memory > 0 && server.used_memory > server.max_memory / 100 * MEMORY_PERCENT {
                let percent = server.used_memory.saturating_mul(100) / server.max_memory;
                problems.push(format!("{} uses {percent} % of its memory", server.address));
            }
            if server.role == "slave" {
                problems.push(format!("{} is a replica and takes no writes", server.address));
            }
        }
        let state = match (status.usable, problems.is_empty()) {
            (false, _) => State::Down,
            (true, false) => State::Degraded,
            (true, true) => State::Up,
        };
        Self {
            state,
            problems,
            strategy: strategy.name(),
            breaker: status.breaker.name(),
            connections: status.connections,
            trusted: status.trusted,
            owed_invalidations: status.owed_invalidations,
            hit_rate: hit_rate(reading.sum("cache_hits_total", &[]), reading.sum("cache_misses_total", &[])),
            loads_running: reading.sum("cache_loads_running", &[]),
            outbox: Outbox::of(reading),
            servers: servers.iter().map(ServerHealth::of).collect(),
        }
    }
}

impl Outbox {
    /// None where no relay has ever renewed a watermark.
    fn of(reading: &Reading) -> Option<Self> {
        let age = reading.value("cache_watermark_age_seconds").filter(|age| *age > 0.0)?;
        Some(Self {
            lag_seconds: reading.value("cache_outbox_lag_seconds")?,
            lag_rows: reading.sum("cache_outbox_lag_rows", &[]),
            watermark_age_seconds: age,
        })
    }
}

impl ServerHealth {
    fn of(info: &ServerInfo) -> Self {
        Self {
            address: info.address.clone(),
            answered_in_ms: info.answered_in.as_secs_f64() * 1000.0,
            role: info.role.clone(),
            version: info.version.clone(),
            uptime_seconds: info.uptime_seconds,
            used_memory: info.used_memory,
            max_memory: info.max_memory,
            policy: info.policy.clone(),
            keys: info.keys,
            evicted: info.evicted,
            clients: info.clients,
        }
    }
}

/// Hits ÷ (hits + misses); reads that the cache could not answer are neither.
pub(crate) fn hit_rate(hits: u64, misses: u64) -> Option<f64> {
    let reads = hits + misses;
    (reads > 0).then(|| hits as f64 / reads as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    const WELL: StoreStatus = StoreStatus { connections: 10, ..StoreStatus::ALWAYS };

    fn server() -> ServerInfo {
        ServerInfo { role: "master".into(), used_memory: 10, max_memory: 100, ..ServerInfo::default() }
    }

    fn health(status: &StoreStatus, servers: &[ServerInfo]) -> Health {
        Health::of(Strategy::Redis, status, servers, &Reading::of(&Metrics::default()))
    }

    #[test]
    fn all_well_is_up() {
        let health = health(&WELL, &[server()]);
        assert_eq!((health.state, health.problems.len(), health.hit_rate), (State::Up, 0, None));
        let none = Health::of(Strategy::None, &StoreStatus::ALWAYS, &[], &Reading::of(&Metrics::default()));
        assert_eq!(none.state, State::Up, "a cache of no servers misses none");
    }

    #[test]
    fn what_is_used_with_a_problem_is_degraded() {
        for (status, server) in [
            (WELL, ServerInfo { used_memory: 85, ..server() }),
            (WELL, ServerInfo { role: "slave".into(), ..server() }),
            (StoreStatus { breaker: BreakerState::HalfOpen, ..WELL }, server()),
        ] {
            let health = health(&status, &[server]);
            assert_eq!((health.state, health.problems.len()), (State::Degraded, 1), "{health:?}");
        }
        assert_eq!(health(&WELL, &[]).state, State::Degraded, "no server answers");
    }

    #[test]
    fn what_is_not_used_is_down_and_says_why() {
        let broken =
            StoreStatus { usable: false, breaker: BreakerState::Open, connections: 0, owed_invalidations: 2, ..WELL };
        for strategy in [Strategy::Redis, Strategy::TwoTier] {
            let health = Health::of(strategy, &broken, &[], &Reading::of(&Metrics::default()));
            assert_eq!((health.state, health.problems.len()), (State::Down, 3), "{strategy}: {:?}", health.problems);
        }
    }

    #[test]
    fn what_is_not_trusted_is_not_well() {
        for (usable, state) in [(true, State::Degraded), (false, State::Down)] {
            let health = health(&StoreStatus { usable, trusted: false, ..WELL }, &[server()]);
            assert_eq!((health.state, health.problems.len()), (state, 1), "{:?}", health.problems);
        }
    }
}
