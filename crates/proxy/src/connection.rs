//! A client's connection, together with its connection to the server.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use mio::Token;
use mio::event::Event;
use mio::net::TcpStream;

use super::event_loop::ProxyContext;
use super::faults::{ConnectionInfo, FaultId};
use super::link::{Flow, Link, PumpResult};
use super::sockets::{self, Endpoint, ReadOutcome};
use cacheproof_core::scenario::{Direction, LinkFaultKind};

/// What the event loop has to do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdvanceOutcome {
    /// Nothing: it waits for an event.
    Pending,
    /// Call it again at once: it has more to do.
    Reschedule,
    /// Remove it: both ends have closed.
    Closed,
    /// Reset both ends.
    Reset,
    /// As [`Self::Reset`], because the server could not be reached.
    Unreachable,
}

/// The connection to the server.
#[derive(Debug)]
enum UpstreamState {
    /// Not opened yet. It stays so in a black hole.
    NotConnected,
    Connecting(Endpoint),
    Open(Endpoint),
    /// Closed by a half-open fault; the client does not know it yet.
    HalfOpen {
        /// The fault was removed: the client is reset when it sends.
        fault_removed: bool,
        /// The client has sent something.
        client_sent_data: bool,
    },
}

#[derive(Debug)]
pub(super) struct Connection {
    info: ConnectionInfo,
    client: Endpoint,
    server: UpstreamState,
    to_server: Link,
    to_client: Link,
    faults: Vec<FaultId>,
}

/// The smaller tokens are the event loop's own.
const FIRST_CONNECTION_TOKEN: usize = 16;

/// The token of a connection's socket.
fn token(number: u64, flow: Flow) -> Token {
    Token(FIRST_CONNECTION_TOKEN + usize::try_from(number).unwrap_or(usize::MAX / 4) * 2 + flow as usize)
}

/// The connection of a token, and to which end its socket leads.
pub(super) fn from_token(token: Token) -> Option<(u64, Flow)> {
    let index = token.0.checked_sub(FIRST_CONNECTION_TOKEN)?;
    let flow = if index.is_multiple_of(2) { Flow::ToServer } else { Flow::ToClient };
    Some((u64::try_from(index / 2).ok()?, flow))
}

impl Connection {
    /// A connection that was just accepted, with the faults that hit it.
    pub(super) fn new(
        stream: TcpStream,
        info: ConnectionInfo,
        faults: Vec<FaultId>,
        context: &ProxyContext,
    ) -> io::Result<Self> {
        let link = |flow| {
            let conditions = context.faults.conditions(&faults, flow);
            Link::new(info.number, flow, conditions, context.faults.jitter(info.number, flow))
        };
        let (to_server, to_client) = (link(Flow::ToServer), link(Flow::ToClient));
        let client = Endpoint::new(stream, &context.registry, token(info.number, Flow::ToClient))?;
        let mut connection = Self { info, client, server: UpstreamState::NotConnected, to_server, to_client, faults };
        if connection.is_half_open(context) {
            connection.server = UpstreamState::HalfOpen { fault_removed: false, client_sent_data: false };
        }
        Ok(connection)
    }

    pub(super) fn info(&self) -> ConnectionInfo {
        self.info
    }

    /// Handles an event of the socket that leads to `flow`.
    pub(super) fn on_event(&mut self, flow: Flow, event: &Event) {
        match (flow, &mut self.server) {
            (Flow::ToClient, _) => self.client.on_event(event),
            (Flow::ToServer, UpstreamState::Connecting(server) | UpstreamState::Open(server)) => server.on_event(event),
            (Flow::ToServer, UpstreamState::NotConnected | UpstreamState::HalfOpen { .. }) => {}
        }
    }

    /// Does everything that can be done now.
    pub(super) fn advance(&mut self, upstream: SocketAddr, context: &mut ProxyContext) -> AdvanceOutcome {
        loop {
            match &mut self.server {
                // In a black hole, a client that has closed never reaches the server.
                UpstreamState::NotConnected if self.client.is_closing() => return AdvanceOutcome::Closed,
                UpstreamState::NotConnected if self.to_server.is_black_hole() => return AdvanceOutcome::Pending,
                UpstreamState::NotConnected => {
                    let connect = || {
                        let stream = TcpStream::connect(upstream)?;
                        Endpoint::new(stream, &context.registry, token(self.info.number, Flow::ToServer))
                    };
                    match connect() {
                        Ok(server) => self.server = UpstreamState::Connecting(server),
                        // The server may well be up.
                        Err(error) if sockets::is_own_failure(&error) => {
                            context.counters.own_failures.fetch_add(1, Ordering::Relaxed);
                            return AdvanceOutcome::Reset;
                        }
                        Err(_) => return AdvanceOutcome::Unreachable,
                    }
                    return AdvanceOutcome::Pending;
                }
                UpstreamState::Connecting(server) => match server.connected() {
                    Ok(false) => return AdvanceOutcome::Pending,
                    Ok(true) => {
                        let UpstreamState::Connecting(server) =
                            std::mem::replace(&mut self.server, UpstreamState::NotConnected)
                        else {
                            return AdvanceOutcome::Pending;
                        };
                        self.server = UpstreamState::Open(server);
                    }
                    Err(_) => return AdvanceOutcome::Unreachable,
                },
                UpstreamState::Open(_) => return self.forward(context),
                UpstreamState::HalfOpen { fault_removed, client_sent_data } => loop {
                    match self.client.read(&mut context.scratch) {
                        ReadOutcome::Bytes(_) if *fault_removed => return AdvanceOutcome::Reset,
                        ReadOutcome::Bytes(_) => *client_sent_data = true,
                        ReadOutcome::WouldBlock => return AdvanceOutcome::Pending,
                        ReadOutcome::Eof | ReadOutcome::Broken => return AdvanceOutcome::Closed,
                    }
                },
            }
        }
    }

    /// Forwards bytes in both directions.
    fn forward(&mut self, context: &mut ProxyContext) -> AdvanceOutcome {
        let UpstreamState::Open(server) = &mut self.server else { return AdvanceOutcome::Pending };
        let server_was_open = !self.to_client.has_ended();
        let mut up = self.to_server.pump(&mut self.client, server, context);
        let down = self.to_client.pump(server, &mut self.client, context);
        // The receiver of one direction is the sender of the other: if it is gone, the other direction ends.
        if up == PumpResult::Broken && self.to_client.has_ended() {
            self.to_client.on_sender_reset();
        }
        if down == PumpResult::Broken {
            if self.to_server.has_ended() {
                self.to_server.on_sender_reset();
            }
            up = self.to_server.pump(&mut self.client, server, context);
        }
        // A server that closes a connection which its client has not closed may be going down.
        context.server_closed_connection |=
            server_was_open && self.to_client.has_ended() && !self.to_server.has_ended();
        match (up, down) {
            (PumpResult::Reset, _) | (_, PumpResult::Reset) => AdvanceOutcome::Reset,
            _ if self.to_server.is_finished() && self.to_client.is_finished() => AdvanceOutcome::Closed,
            (PumpResult::Reschedule, _) | (_, PumpResult::Reschedule) => AdvanceOutcome::Reschedule,
            _ => AdvanceOutcome::Pending,
        }
    }

    /// Applies one more fault.
    pub(super) fn apply_fault(&mut self, id: FaultId, context: &ProxyContext) {
        self.faults.push(id);
        self.recompute(context, false);
        if self.is_half_open(context) && !matches!(self.server, UpstreamState::HalfOpen { fault_removed: false, .. }) {
            // Closes the socket to the server, if there is one.
            self.server = UpstreamState::HalfOpen { fault_removed: false, client_sent_data: false };
        }
    }

    /// Removes a fault. `None` when the fault did not hit this connection.
    pub(super) fn remove_fault(&mut self, id: FaultId, context: &ProxyContext) -> Option<AdvanceOutcome> {
        let index = self.faults.iter().position(|fault| *fault == id)?;
        self.faults.remove(index);
        self.recompute(context, true);
        let is_half_open = self.is_half_open(context);
        match &mut self.server {
            UpstreamState::HalfOpen { client_sent_data: true, .. } if !is_half_open => Some(AdvanceOutcome::Reset),
            UpstreamState::HalfOpen { fault_removed, .. } if !is_half_open => {
                *fault_removed = true;
                Some(AdvanceOutcome::Reschedule)
            }
            _ => Some(AdvanceOutcome::Reschedule),
        }
    }

    fn recompute(&mut self, context: &ProxyContext, fault_removed: bool) {
        self.to_server.set_conditions(context.faults.conditions(&self.faults, Flow::ToServer), fault_removed);
        self.to_client.set_conditions(context.faults.conditions(&self.faults, Flow::ToClient), fault_removed);
    }

    fn is_half_open(&self, context: &ProxyContext) -> bool {
        self.faults.iter().any(|id| context.faults.spec(*id).is_some_and(|spec| spec.kind == LinkFaultKind::HalfOpen))
    }

    /// Ends it: RST to the end that `direction` leads to, FIN to the other.
    pub(super) fn reset(self, direction: Direction) {
        if direction != Direction::ToServer {
            self.client.reset();
        }
        match self.server {
            UpstreamState::Connecting(server) | UpstreamState::Open(server) if direction != Direction::ToClient => {
                server.reset()
            }
            _ => {}
        }
    }
}
