//! What is done to connections by the proxies in front of the servers.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;

use super::FaultError;
use super::act::{Act, Done, Sight};
use super::line::{Idle, Line, Tongue};
use cacheproof_core::scenario::{Direction, LinkFault, LinkFaultKind, Reach};
use cacheproof_proxy::{FaultId, Proxy};
use cacheproof_stack::Server;
use cacheproof_supervise::Undo;

/// How long without an answer counts as none.
const SILENCE: Duration = Duration::from_millis(600);

/// Connections that probes open before the fault, for faults that only hit those; a share hits some of them.
const LIVE: usize = 16;

/// How many answers in a row must be as slow as the fault makes them: one can be slow by chance.
const IN_A_ROW: usize = 3;

/// A way that a fault is done to.
#[derive(Clone)]
pub(super) struct Way<'run> {
    pub(super) server: &'run Server,
    pub(super) proxy: &'run Proxy,
    pub(super) tongue: Tongue,
}

/// A link fault on one server's connections.
pub(super) struct LinkAct<'run> {
    way: Way<'run>,
    fault: LinkFault,
    injected: Option<FaultId>,
    live: Vec<Line>,
    /// Ports of all probes so far: the proxy goes on holding one that is closed, where nothing passes.
    own: Vec<u16>,
}

impl<'run> LinkAct<'run> {
    pub(super) fn new(way: Way<'run>, fault: LinkFault) -> Self {
        Self { way, fault, injected: None, live: Vec::new(), own: Vec::new() }
    }

    async fn open(&mut self) -> std::io::Result<Line> {
        let line = Line::open(self.way.proxy.address(), &self.way.tongue).await?;
        self.own.extend(line.port());
        Ok(line)
    }

    /// Whose these connections are, but for probes'.
    fn others(&self, clients: &[SocketAddr]) -> u64 {
        clients.iter().filter(|client| !self.own.contains(&client.port())).count() as u64
    }

    /// A connection that the fault may hit.
    async fn line(&mut self) -> std::io::Result<Line> {
        match self.fault.reach {
            Reach::Live => self.live.pop().ok_or_else(|| std::io::ErrorKind::NotConnected.into()),
            Reach::All | Reach::New => self.open().await,
        }
    }

    /// Asks a connection some times; `None` when it did not answer.
    async fn slowest_of_few(&mut self, bytes: usize, at_least: Duration) -> Option<Duration> {
        let mut line = self.line().await.ok()?;
        let mut least = Duration::MAX;
        for _ in 0..IN_A_ROW {
            let taken = line.ask(bytes, Duration::from_secs(20)).await.ok()?;
            least = least.min(taken);
            if taken < at_least {
                break;
            }
            if !self.way.tongue.can_echo() {
                line = self.line().await.ok()?;
            }
        }
        if self.fault.reach == Reach::Live {
            self.live.insert(0, line);
        }
        Some(least)
    }

    /// How often the delay of one direction counts in a round trip.
    fn ways(&self) -> u32 {
        if self.fault.direction == Direction::Both { 2 } else { 1 }
    }

    async fn slow(&mut self) -> Option<Sight> {
        let (ways, most) = (self.ways(), self.way.tongue.most());
        let (bytes, at_least) = match self.fault.kind {
            LinkFaultKind::Latency { delay, jitter } => (1, (delay - jitter) * ways),
            LinkFaultKind::Bandwidth { bytes: rate } => {
                // More than may pass at once, and little beside what the app sends: those who share the line take turns.
                let bytes = (rate / 40).clamp(64, most as u64);
                (bytes as usize, Duration::from_secs_f64(bytes as f64 / rate as f64 / 2.0))
            }
            LinkFaultKind::Slice { size, gap } => {
                let bytes = (size * 8).clamp(8, most as u64);
                // A gap behind each piece but the last, and one less: a probe may begin in the middle of one.
                let gaps = u32::try_from(bytes / size.max(1)).ok()?.saturating_sub(2);
                (bytes as usize, (gaps > 0).then(|| gap * gaps)?)
            }
            _ => return None,
        };
        let slowest = self.slowest_of_few(bytes, at_least).await?;
        (slowest >= at_least).then(|| format!("answers through the proxy take {} ms and more", slowest.as_millis()))
    }

    /// A connection that gets no answer, while the server itself answers past the proxy.
    async fn silent(&mut self) -> Option<Sight> {
        let mut line = match self.line().await {
            Ok(line) => line,
            Err(_) => return None,
        };
        match line.ask(1, SILENCE).await {
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {}
            _ => {
                if self.fault.reach == Reach::Live {
                    self.live.insert(0, line);
                }
                return None;
            }
        }
        if line.idle(Duration::from_millis(50)).await != Idle::Open || !self.way.server.answers().await {
            return None;
        }
        Some(format!("a connection through the proxy gets no answer for {} ms and stays open", SILENCE.as_millis()))
    }

    async fn reset(&mut self) -> Option<Sight> {
        let is_reset = match self.fault.reach {
            Reach::New => match self.open().await {
                Ok(mut line) => line.idle(Duration::from_millis(300)).await == Idle::Reset,
                // Faster than the connection was ours.
                Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
            },
            Reach::All | Reach::Live => self.live.pop()?.idle(Duration::from_millis(300)).await == Idle::Reset,
        };
        let which = if self.fault.reach == Reach::New { "a new" } else { "an open, idle" };
        is_reset.then(|| format!("{which} connection saw RST"))
    }
}

#[async_trait]
impl Act for LinkAct<'_> {
    fn undo_record(&self) -> Undo {
        Undo::WithCacheproof
    }

    async fn inject(&mut self) -> Result<Done, FaultError> {
        let needs_live = self.fault.reach == Reach::Live
            || (self.fault.kind == LinkFaultKind::Reset && self.fault.reach == Reach::All);
        if needs_live {
            for _ in 0..LIVE {
                match self.open().await {
                    Ok(line) => self.live.push(line),
                    Err(_) => break,
                }
            }
            // Until the proxy has them on both sides.
            if let Some(line) = self.live.last_mut() {
                let _no_answer_is_an_answer = line.idle(Duration::from_millis(30)).await;
            }
        }
        let injected = self.way.proxy.inject(&self.fault, None);
        self.injected = Some(injected.id);
        let words = format!("at the proxy in front of {}", self.way.server.name());
        Ok(Done { words, connections: Some(self.others(&injected.clients)) })
    }

    async fn seen(&mut self) -> Option<Sight> {
        match self.fault.kind {
            LinkFaultKind::Latency { .. } | LinkFaultKind::Bandwidth { .. } | LinkFaultKind::Slice { .. } => {
                self.slow().await
            }
            LinkFaultKind::BlackHole | LinkFaultKind::HalfOpen => self.silent().await,
            LinkFaultKind::Reset => self.reset().await,
            LinkFaultKind::Refuse => match self.open().await {
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    Some("a new connection is refused".into())
                }
                _ => None,
            },
        }
    }

    async fn undo(&mut self, _stopping: bool) -> Result<Done, FaultError> {
        self.live.clear();
        let Some(id) = self.injected.take() else { return Ok("it was not there".to_owned().into()) };
        let removed = self.way.proxy.remove(id);
        let words = format!("taken away at the proxy in front of {}", self.way.server.name());
        Ok(Done { words, connections: Some(self.others(&removed.clients)) })
    }

    async fn seen_undone(&mut self) -> Option<Sight> {
        answers_through(&self.way).await
    }
}

/// A new connection through the proxy gets an answer as fast as one past it, a few times over.
pub(super) async fn answers_through(way: &Way<'_>) -> Option<Sight> {
    let mut line = Line::open(way.proxy.address(), &way.tongue).await.ok()?;
    let taken = line.ask(1, Duration::from_secs(1)).await.ok()?;
    Some(format!("a new connection through the proxy is answered in {:.1} ms", taken.as_secs_f64() * 1e3))
}
