//! A partition: one instance of the app is cut off from Redis. Its connections become black holes, those of other
//! instances do not.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::FaultError;
use super::connection_owner::ConnectionOwner;
use super::injector::{ActionReport, FaultInjector, Observation};
use super::link::{Route, answers_through_proxy};
use super::probe_connection::ProbeConnection;
use cacheproof_core::scenario::{ConnectionScope, Direction, LinkFault, LinkFaultKind};
use cacheproof_proxy::FaultId;
use cacheproof_supervise::Undo;

/// No answer within this time counts as none.
const NO_ANSWER_TIMEOUT: Duration = Duration::from_millis(600);

/// The partition of one instance.
pub(super) struct Partition<'run> {
    /// To every server of the cache.
    routes: Vec<Route<'run>>,
    group: u32,
    /// Ports of probe connections that are treated as the instance's.
    partitioned_probe_ports: Arc<Mutex<Vec<u16>>>,
    /// Ports of all probes so far, which are not counted: in a black hole the proxy does not notice that they are closed.
    probe_ports: Vec<u16>,
    name: String,
    injected: Vec<FaultId>,
}

impl<'run> Partition<'run> {
    /// For the instance with this name and process group.
    pub(super) fn new(name: String, group: u32, routes: Vec<Route<'run>>) -> Self {
        let partitioned_probe_ports = Arc::new(Mutex::new(Vec::new()));
        Self { routes, group, partitioned_probe_ports, probe_ports: Vec::new(), name, injected: Vec::new() }
    }
}

#[async_trait]
impl FaultInjector for Partition<'_> {
    fn undo_record(&self) -> Undo {
        Undo::WithCacheproof
    }

    async fn inject(&mut self) -> Result<ActionReport, FaultError> {
        let fault = LinkFault {
            kind: LinkFaultKind::BlackHole,
            direction: Direction::Both,
            share: 1.0,
            connection_scope: ConnectionScope::All,
        };
        let mut connections = 0;
        for route in &self.routes {
            let (owner, partitioned_probe_ports) = (
                ConnectionOwner::of(self.group, route.proxy.address().port()),
                Arc::clone(&self.partitioned_probe_ports),
            );
            let injected = route.proxy.inject(
                &fault,
                Some(Arc::new(move |client| {
                    partitioned_probe_ports.lock().unwrap_or_else(PoisonError::into_inner).contains(&client.port())
                        || owner.owns(client)
                })),
            );
            self.injected.push(injected.id);
            connections += injected.connections;
        }
        let detail = format!("{} is cut off at {} proxies", self.name, self.routes.len());
        Ok(ActionReport { detail, connections: Some(connections) })
    }

    async fn observe_effect(&mut self) -> Option<Observation> {
        let route = self.routes.first()?;
        // One probe that is treated as the instance's, and one that is not. Its port must be known before it connects.
        let socket = tokio::net::TcpSocket::new_v4().ok()?;
        socket.bind(std::net::SocketAddr::from(([127, 0, 0, 1], 0))).ok()?;
        let port = socket.local_addr().ok()?.port();
        self.partitioned_probe_ports.lock().unwrap_or_else(PoisonError::into_inner).push(port);
        self.probe_ports.push(port);
        let partitioned_probe = async {
            let stream = socket.connect(route.proxy.address()).await.ok()?;
            let answer = ProbeConnection::from_stream(stream, &route.protocol).round_trip(1, NO_ANSWER_TIMEOUT).await;
            Some(matches!(answer, Err(error) if error.kind() == std::io::ErrorKind::TimedOut))
        };
        let (partitioned_probe, other) = tokio::join!(partitioned_probe, answers_through_proxy(route));
        self.partitioned_probe_ports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|partitioned_port| *partitioned_port != port);
        other.filter(|_| partitioned_probe == Some(true))?;
        Some(format!(
            "a connection that is treated as {}'s gets no answer for {} ms, another one does",
            self.name,
            NO_ANSWER_TIMEOUT.as_millis()
        ))
    }

    async fn undo(&mut self, _stopping: bool) -> Result<ActionReport, FaultError> {
        let removed =
            self.routes.iter().zip(self.injected.drain(..)).flat_map(|(route, id)| route.proxy.remove(id).clients);
        let connections = removed.filter(|client| !self.probe_ports.contains(&client.port())).count() as u64;
        Ok(ActionReport { detail: format!("{} is connected again", self.name), connections: Some(connections) })
    }

    async fn observe_recovery(&mut self) -> Option<Observation> {
        answers_through_proxy(self.routes.first()?).await
    }
}
