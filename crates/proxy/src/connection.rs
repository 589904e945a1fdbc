//! A client's connection and the one to the server that belongs to it.

use std::io;
use std::net::SocketAddr;

use mio::Token;
use mio::event::Event;
use mio::net::TcpStream;

use super::event_loop::ProxyContext;
use super::faults::{ConnectionInfo, FaultId};
use super::link::{Flow, Link, PumpResult};
use super::sockets::{Endpoint, ReadResult};
use cacheproof_core::scenario::{Direction, LinkFaultKind};

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdvanceOutcome {
    /// It waits for an event.
    Pending,
    /// It has more to do at once.
    Reschedule,
    /// Both ends have closed: nothing is left to do.
    Closed,
    /// Both ends are to be reset.
    Reset,
    /// As [`Self::Reset`]; the server could not be reached.
    Unreached,
}

/// The server's side.
#[derive(Debug)]
enum UpstreamState {
    /// Not asked for yet: a black hole keeps the client from it.
    NotConnected,
    Connecting(Endpoint),
    Open(Endpoint),
    /// Closed without a word to the client.
    HalfOpen {
        /// The client's next bytes will be answered with RST.
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

/// Tokens of a connection's sockets follow on the proxy's own.
const FIRST_CONNECTION_TOKEN: usize = 16;

/// The token of a connection's socket.
fn token(number: u64, flow: Flow) -> Token {
    Token(FIRST_CONNECTION_TOKEN + usize::try_from(number).unwrap_or(usize::MAX / 4) * 2 + flow as usize)
}

/// Whose socket a token names; the side says to whom that socket leads.
pub(super) fn from_token(token: Token) -> Option<(u64, Flow)> {
    let index = token.0.checked_sub(FIRST_CONNECTION_TOKEN)?;
    let flow = if index.is_multiple_of(2) { Flow::ToServer } else { Flow::ToClient };
    Some((u64::try_from(index / 2).ok()?, flow))
}

impl Connection {
    /// One that was just accepted, under the faults `hit`.
    pub(super) fn new(
        stream: TcpStream,
        info: ConnectionInfo,
        hit: Vec<FaultId>,
        context: &ProxyContext,
    ) -> io::Result<Self> {
        let link = |flow| {
            let conditions = context.faults.conditions(&hit, flow);
            Link::new(info.number, flow, conditions, context.faults.jitter(info.number, flow))
        };
        let (to_server, to_client) = (link(Flow::ToServer), link(Flow::ToClient));
        let client = Endpoint::new(stream, &context.registry, token(info.number, Flow::ToClient))?;
        let mut connection =
            Self { info, client, server: UpstreamState::NotConnected, to_server, to_client, faults: hit };
        if connection.is_half_open(context) {
            connection.server = UpstreamState::HalfOpen { fault_removed: false, client_sent_data: false };
        }
        Ok(connection)
    }

    pub(super) fn info(&self) -> ConnectionInfo {
        self.info
    }

    /// Notes what the kernel says about one of the sockets: the one that leads to `flow`.
    pub(super) fn on_event(&mut self, flow: Flow, event: &Event) {
        match (flow, &mut self.server) {
            (Flow::ToClient, _) => self.client.on_event(event),
            (Flow::ToServer, UpstreamState::Connecting(server) | UpstreamState::Open(server)) => server.on_event(event),
            (Flow::ToServer, UpstreamState::NotConnected | UpstreamState::HalfOpen { .. }) => {}
        }
    }

    /// Does all that can be done now.
    pub(super) fn advance(&mut self, upstream: SocketAddr, context: &mut ProxyContext) -> AdvanceOutcome {
        loop {
            match &mut self.server {
                // Whoever has given up meanwhile would never have reached the server.
                UpstreamState::NotConnected if self.client.is_closing() => return AdvanceOutcome::Closed,
                UpstreamState::NotConnected if self.to_server.is_black_hole() => return AdvanceOutcome::Pending,
                UpstreamState::NotConnected => {
                    let connect = || {
                        let stream = TcpStream::connect(upstream)?;
                        Endpoint::new(stream, &context.registry, token(self.info.number, Flow::ToServer))
                    };
                    match connect() {
                        Ok(server) => self.server = UpstreamState::Connecting(server),
                        Err(_) => return AdvanceOutcome::Unreached,
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
                    Err(_) => return AdvanceOutcome::Unreached,
                },
                UpstreamState::Open(_) => return self.forward(context),
                UpstreamState::HalfOpen { fault_removed, client_sent_data } => loop {
                    match self.client.read(&mut context.scratch) {
                        ReadResult::Bytes(_) if *fault_removed => return AdvanceOutcome::Reset,
                        ReadResult::Bytes(_) => *client_sent_data = true,
                        ReadResult::WouldBlock => return AdvanceOutcome::Pending,
                        ReadResult::Eof | ReadResult::Broken => return AdvanceOutcome::Closed,
                    }
                },
            }
        }
    }

    /// Passes on what has come, both ways.
    fn forward(&mut self, context: &mut ProxyContext) -> AdvanceOutcome {
        let UpstreamState::Open(server) = &mut self.server else { return AdvanceOutcome::Pending };
        let server_was_there = !self.to_client.has_ended();
        let mut up = self.to_server.pump(&mut self.client, server, context);
        let down = self.to_client.pump(server, &mut self.client, context);
        // Either may have found that its receiver is gone, which is news of the other's sender.
        if up == PumpResult::Broken && self.to_client.has_ended() {
            self.to_client.on_sender_reset();
        }
        if down == PumpResult::Broken {
            if self.to_server.has_ended() {
                self.to_server.on_sender_reset();
            }
            up = self.to_server.pump(&mut self.client, server, context);
        }
        // A server that ends a connection which its client has not ended may be dying.
        context.server_closed_connection |=
            server_was_there && self.to_client.has_ended() && !self.to_server.has_ended();
        match (up, down) {
            (PumpResult::Reset, _) | (_, PumpResult::Reset) => AdvanceOutcome::Reset,
            _ if self.to_server.is_finished() && self.to_client.is_finished() => AdvanceOutcome::Closed,
            (PumpResult::Reschedule, _) | (_, PumpResult::Reschedule) => AdvanceOutcome::Reschedule,
            _ => AdvanceOutcome::Pending,
        }
    }

    /// Puts it under one more fault that acts on what passes.
    pub(super) fn apply_fault(&mut self, id: FaultId, context: &ProxyContext) {
        self.faults.push(id);
        self.recompute(context, false);
        if self.is_half_open(context) && !matches!(self.server, UpstreamState::HalfOpen { fault_removed: false, .. }) {
            // Closes the socket to the server, if there is one.
            self.server = UpstreamState::HalfOpen { fault_removed: false, client_sent_data: false };
        }
    }

    /// Takes it from under a fault that has been removed. Whether it was under it, and is to be reset for it.
    pub(super) fn remove_fault(&mut self, id: FaultId, context: &ProxyContext) -> Option<AdvanceOutcome> {
        let at = self.faults.iter().position(|fault| *fault == id)?;
        self.faults.remove(at);
        self.recompute(context, true);
        let still = self.is_half_open(context);
        match &mut self.server {
            UpstreamState::HalfOpen { client_sent_data: true, .. } if !still => Some(AdvanceOutcome::Reset),
            UpstreamState::HalfOpen { fault_removed, .. } if !still => {
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

    /// Ends it: RST where `direction` leads, a plain close to the other end.
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
