//! Faults on connections, by the proxies in front of the servers.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;

use super::FaultError;
use super::injector::{ActionReport, FaultInjector, Observation};
use super::probe_connection::{IdleState, ProbeConnection, Protocol};
use cacheproof_core::scenario::{ConnectionScope, Direction, LinkFault, LinkFaultKind};
use cacheproof_proxy::{FaultId, Proxy};
use cacheproof_stack::Server;
use cacheproof_supervise::Undo;

/// No answer within this time counts as none.
const NO_ANSWER_TIMEOUT: Duration = Duration::from_millis(600);

/// Probe connections that are opened before a fault on live connections; with a share, only some of them are affected.
const PREOPENED_CONNECTIONS: usize = 16;

/// The shortest delay that counts as one.
const MIN_DELAY: Duration = Duration::from_micros(500);

/// How many answers in a row must be slow: one can be slow by chance.
const SLOW_ANSWERS_NEEDED: usize = 3;

/// The connection to a server through its proxy.
#[derive(Clone)]
pub(super) struct Route<'run> {
    pub(super) server: &'run Server,
    pub(super) proxy: &'run Proxy,
    pub(super) protocol: Protocol,
}

/// A link fault on one server's connections.
pub(super) struct LinkFaultInjector<'run> {
    route: Route<'run>,
    fault: LinkFault,
    injected: Option<FaultId>,
    /// The app's connections when it was injected.
    open_before: u64,
    live: Vec<ProbeConnection>,
    /// Ports of all probes so far, which are not counted: in a black hole the proxy does not notice that they are closed.
    probe_ports: Vec<u16>,
}

impl<'run> LinkFaultInjector<'run> {
    pub(super) fn new(route: Route<'run>, fault: LinkFault) -> Self {
        Self { route, fault, injected: None, open_before: 0, live: Vec::new(), probe_ports: Vec::new() }
    }

    async fn open(&mut self) -> std::io::Result<ProbeConnection> {
        let connection = ProbeConnection::open(self.route.proxy.address(), &self.route.protocol).await?;
        self.probe_ports.extend(connection.port());
        Ok(connection)
    }

    /// The number of these connections that are not probes.
    fn count_app_connections(&self, clients: &[SocketAddr]) -> u64 {
        clients.iter().filter(|client| !self.probe_ports.contains(&client.port())).count() as u64
    }

    /// A connection that the fault can affect.
    async fn connection(&mut self) -> std::io::Result<ProbeConnection> {
        match self.fault.connection_scope {
            ConnectionScope::Live => self.live.pop().ok_or_else(|| std::io::ErrorKind::NotConnected.into()),
            ConnectionScope::All | ConnectionScope::New => self.open().await,
        }
    }

    /// The fastest of several round trips; `None` without an answer.
    async fn fastest_of_several(&mut self, bytes: usize, at_least: Duration) -> Option<Duration> {
        let mut connection = self.connection().await.ok()?;
        let mut fastest = Duration::MAX;
        for _ in 0..SLOW_ANSWERS_NEEDED {
            let taken = connection.round_trip(bytes, Duration::from_secs(20)).await.ok()?;
            fastest = fastest.min(taken);
            if taken < at_least {
                break;
            }
            if !self.route.protocol.can_echo() {
                connection = self.connection().await.ok()?;
            }
        }
        if self.fault.connection_scope == ConnectionScope::Live {
            self.live.insert(0, connection);
        }
        Some(fastest)
    }

    /// How many directions of a round trip are delayed.
    fn delayed_directions(&self) -> u32 {
        if self.fault.direction == Direction::Both { 2 } else { 1 }
    }

    async fn observe_delay(&mut self) -> Option<Observation> {
        let (delayed_directions, max_request_bytes) =
            (self.delayed_directions(), self.route.protocol.max_request_bytes());
        let (bytes, at_least) = match self.fault.kind {
            LinkFaultKind::Latency { delay, jitter } => (1, (delay - jitter) * delayed_directions),
            LinkFaultKind::Bandwidth { bytes: rate } => {
                // More than passes at once, and little compared with the app's traffic: connections share the bandwidth.
                let bytes = (rate / 40).clamp(64, max_request_bytes as u64);
                (bytes as usize, Duration::from_secs_f64(bytes as f64 / rate as f64 / 2.0))
            }
            LinkFaultKind::Slice { size, gap } => {
                let bytes = (size * 8).clamp(8, max_request_bytes as u64);
                // A gap after each piece but the last; one less, because a probe may start in the middle of a piece.
                let gaps = u32::try_from(bytes / size.max(1)).ok()?.saturating_sub(2);
                (bytes as usize, (gaps > 0).then(|| gap * gaps)?)
            }
            _ => return None,
        };
        // A shorter delay cannot be told from the time that an answer takes anyway.
        let at_least = at_least.max(MIN_DELAY);
        let fastest = self.fastest_of_several(bytes, at_least).await?;
        (fastest >= at_least).then(|| format!("answers through the proxy take {} ms and more", fastest.as_millis()))
    }

    /// A connection gets no answer, while the server answers past the proxy.
    async fn observe_no_answer(&mut self) -> Option<Observation> {
        let mut connection = match self.connection().await {
            Ok(connection) => connection,
            Err(_) => return None,
        };
        match connection.round_trip(1, NO_ANSWER_TIMEOUT).await {
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {}
            _ => {
                if self.fault.connection_scope == ConnectionScope::Live {
                    self.live.insert(0, connection);
                }
                return None;
            }
        }
        if connection.idle_state(Duration::from_millis(50)).await != IdleState::Open
            || !self.route.server.answers().await
        {
            return None;
        }
        Some(format!(
            "a connection through the proxy gets no answer for {} ms and stays open",
            NO_ANSWER_TIMEOUT.as_millis()
        ))
    }

    async fn observe_reset(&mut self) -> Option<Observation> {
        let is_reset = match self.fault.connection_scope {
            ConnectionScope::New => match self.open().await {
                Ok(mut connection) => connection.idle_state(Duration::from_millis(300)).await == IdleState::Reset,
                // Reset before the connection was established here.
                Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
            },
            ConnectionScope::All | ConnectionScope::Live => {
                self.live.pop()?.idle_state(Duration::from_millis(300)).await == IdleState::Reset
            }
        };
        let which = if self.fault.connection_scope == ConnectionScope::New { "a new" } else { "an open, idle" };
        is_reset.then(|| format!("{which} connection was reset (RST)"))
    }
}

#[async_trait]
impl FaultInjector for LinkFaultInjector<'_> {
    fn undo_record(&self) -> Undo {
        Undo::WithCacheproof
    }

    async fn inject(&mut self) -> Result<ActionReport, FaultError> {
        let needs_live = self.fault.connection_scope == ConnectionScope::Live
            || (self.fault.kind == LinkFaultKind::Reset && self.fault.connection_scope == ConnectionScope::All);
        if needs_live {
            for _ in 0..PREOPENED_CONNECTIONS {
                match self.open().await {
                    Ok(connection) => self.live.push(connection),
                    Err(_) => break,
                }
            }
            // Until the proxy has connected both sides.
            if let Some(connection) = self.live.last_mut() {
                let _no_answer_is_an_answer = connection.idle_state(Duration::from_millis(30)).await;
            }
        }
        self.open_before = self.route.proxy.stats().open;
        let injected = self.route.proxy.inject(&self.fault, None);
        self.injected = Some(injected.id);
        let detail = format!("at the proxy in front of {}", self.route.server.name());
        Ok(ActionReport { detail, connections: Some(self.count_app_connections(&injected.clients)) })
    }

    async fn observe_effect(&mut self) -> Option<Observation> {
        match self.fault.kind {
            LinkFaultKind::Latency { .. } | LinkFaultKind::Bandwidth { .. } | LinkFaultKind::Slice { .. } => {
                self.observe_delay().await
            }
            LinkFaultKind::BlackHole | LinkFaultKind::HalfOpen => self.observe_no_answer().await,
            LinkFaultKind::Reset => self.observe_reset().await,
            LinkFaultKind::Refuse => match self.open().await {
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    Some("a new connection is refused".into())
                }
                _ => None,
            },
        }
    }

    async fn undo(&mut self, _stopping: bool) -> Result<ActionReport, FaultError> {
        self.live.clear();
        let Some(id) = self.injected.take() else { return Ok("it was not injected".to_owned().into()) };
        let open = self.route.proxy.stats().open;
        let removed = self.route.proxy.remove(id);
        let detail = format!("removed from the proxy in front of {}", self.route.server.name());
        let connections = match self.fault.kind {
            // Nobody sees a refused attempt, but an app that goes on with its open connections makes none. One without
            // connections has to make attempts.
            LinkFaultKind::Refuse => (self.open_before > 0).then(|| self.open_before.saturating_sub(open)),
            _ => Some(self.count_app_connections(&removed.clients)),
        };
        Ok(ActionReport { detail, connections })
    }

    async fn observe_recovery(&mut self) -> Option<Observation> {
        answers_through_proxy(&self.route).await
    }
}

/// Probes whether a new connection through the proxy gets an answer.
pub(super) async fn answers_through_proxy(route: &Route<'_>) -> Option<Observation> {
    let mut connection = ProbeConnection::open(route.proxy.address(), &route.protocol).await.ok()?;
    let taken = connection.round_trip(1, Duration::from_secs(1)).await.ok()?;
    Some(format!("a new connection through the proxy is answered in {:.1} ms", taken.as_secs_f64() * 1e3))
}
