//! One instance of the app is cut off from Redis: its connections are a black hole, those of the others are not.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::FaultError;
use super::act::{Act, Done, Sight};
use super::line::Line;
use super::link::{Way, answers_through};
use super::peers::Peers;
use cacheproof_core::scenario::{Direction, LinkFault, LinkFaultKind, Reach};
use cacheproof_proxy::FaultId;
use cacheproof_supervise::Undo;

/// How long without an answer counts as none.
const SILENCE: Duration = Duration::from_millis(600);

/// The partition of one instance.
pub(super) struct Partition<'run> {
    /// In front of every server of the cache.
    ways: Vec<Way<'run>>,
    group: u32,
    /// Ports of probes that share the instance's fate.
    shared: Arc<Mutex<Vec<u16>>>,
    /// Ports of all probes so far: the proxy goes on holding one that is closed, where nothing passes.
    own: Vec<u16>,
    name: String,
    injected: Vec<FaultId>,
}

impl<'run> Partition<'run> {
    /// Of the instance with this name whose process group has this number.
    pub(super) fn new(name: String, group: u32, ways: Vec<Way<'run>>) -> Self {
        let shared = Arc::new(Mutex::new(Vec::new()));
        Self { ways, group, shared, own: Vec::new(), name, injected: Vec::new() }
    }
}

#[async_trait]
impl Act for Partition<'_> {
    fn undo_record(&self) -> Undo {
        Undo::WithCacheproof
    }

    async fn inject(&mut self) -> Result<Done, FaultError> {
        let fault =
            LinkFault { kind: LinkFaultKind::BlackHole, direction: Direction::Both, share: 1.0, reach: Reach::All };
        let mut connections = 0;
        for way in &self.ways {
            let (peers, shared) = (Peers::of(self.group, way.proxy.address().port()), Arc::clone(&self.shared));
            let injected = way.proxy.inject(
                &fault,
                Some(Arc::new(move |client| {
                    shared.lock().unwrap_or_else(PoisonError::into_inner).contains(&client.port()) || peers.owns(client)
                })),
            );
            self.injected.push(injected.id);
            connections += injected.connections;
        }
        let words = format!("{} is cut off at {} proxies", self.name, self.ways.len());
        Ok(Done { words, connections: Some(connections) })
    }

    async fn seen(&mut self) -> Option<Sight> {
        let way = self.ways.first()?;
        // One probe that shares the instance's fate, and one that does not. The port is known before it connects.
        let socket = tokio::net::TcpSocket::new_v4().ok()?;
        socket.bind(std::net::SocketAddr::from(([127, 0, 0, 1], 0))).ok()?;
        let port = socket.local_addr().ok()?.port();
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).push(port);
        self.own.push(port);
        let sharing = async {
            let stream = socket.connect(way.proxy.address()).await.ok()?;
            let asked = Line::on(stream, &way.tongue).ask(1, SILENCE).await;
            Some(matches!(asked, Err(error) if error.kind() == std::io::ErrorKind::TimedOut))
        };
        let (sharing, other) = tokio::join!(sharing, answers_through(way));
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).retain(|shared| *shared != port);
        other.filter(|_| sharing == Some(true))?;
        Some(format!(
            "a connection treated as {}'s gets no answer for {} ms, another does",
            self.name,
            SILENCE.as_millis()
        ))
    }

    async fn undo(&mut self, _stopping: bool) -> Result<Done, FaultError> {
        let removed = self.ways.iter().zip(self.injected.drain(..)).flat_map(|(way, id)| way.proxy.remove(id).clients);
        let connections = removed.filter(|client| !self.own.contains(&client.port())).count() as u64;
        Ok(Done { words: format!("{} is let through again", self.name), connections: Some(connections) })
    }

    async fn seen_undone(&mut self) -> Option<Sight> {
        answers_through(self.ways.first()?).await
    }
}
