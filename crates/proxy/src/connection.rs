//! A client's connection and the one to the server that belongs to it.

use std::io;
use std::net::SocketAddr;

use mio::Token;
use mio::event::Event;
use mio::net::TcpStream;

use super::engine::Shared;
use super::faults::{Caller, FaultId};
use super::link::{Link, Side, Step};
use super::sockets::{End, Taken};
use cacheproof_core::scenario::{Direction, LinkFaultKind};

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It waits for an event.
    Waits,
    /// It has more to do at once.
    Again,
    /// Both ends have closed: nothing is left to do.
    Over,
    /// Both ends are to be reset.
    Reset,
    /// As [`Self::Reset`]; the server could not be reached.
    Unreached,
}

/// The server's side.
#[derive(Debug)]
enum Server {
    /// Not asked for yet: a black hole keeps the client from it.
    Postponed,
    Connecting(End),
    Open(End),
    /// Closed without a word to the client.
    Away {
        /// The client's next bytes will be answered with RST.
        healed: bool,
        /// The client has sent something.
        spoken: bool,
    },
}

#[derive(Debug)]
pub(super) struct Connection {
    caller: Caller,
    client: End,
    server: Server,
    to_server: Link,
    to_client: Link,
    faults: Vec<FaultId>,
}

/// Tokens of a connection's sockets follow on the proxy's own.
const FIRST: usize = 16;

/// The token of a connection's socket.
fn token(number: u64, side: Side) -> Token {
    Token(FIRST + usize::try_from(number).unwrap_or(usize::MAX / 4) * 2 + side as usize)
}

/// Whose socket a token names; the side says to whom that socket leads.
pub(super) fn of(token: Token) -> Option<(u64, Side)> {
    let index = token.0.checked_sub(FIRST)?;
    let side = if index.is_multiple_of(2) { Side::ToServer } else { Side::ToClient };
    Some((u64::try_from(index / 2).ok()?, side))
}

impl Connection {
    /// One that was just accepted, under the faults `hit`.
    pub(super) fn new(stream: TcpStream, caller: Caller, hit: Vec<FaultId>, shared: &Shared) -> io::Result<Self> {
        let link = |side| {
            let conditions = shared.faults.conditions(&hit, side);
            Link::new(caller.number, side, conditions, shared.faults.jitter(caller.number, side))
        };
        let (to_server, to_client) = (link(Side::ToServer), link(Side::ToClient));
        let client = End::new(stream, &shared.registry, token(caller.number, Side::ToClient))?;
        let mut connection = Self { caller, client, server: Server::Postponed, to_server, to_client, faults: hit };
        if connection.is_half_open(shared) {
            connection.server = Server::Away { healed: false, spoken: false };
        }
        Ok(connection)
    }

    pub(super) fn caller(&self) -> Caller {
        self.caller
    }

    /// Notes what the kernel says about one of the sockets: the one that leads to `side`.
    pub(super) fn hear(&mut self, side: Side, event: &Event) {
        match (side, &mut self.server) {
            (Side::ToClient, _) => self.client.hear(event),
            (Side::ToServer, Server::Connecting(server) | Server::Open(server)) => server.hear(event),
            (Side::ToServer, Server::Postponed | Server::Away { .. }) => {}
        }
    }

    /// Does all that can be done now.
    pub(super) fn advance(&mut self, upstream: SocketAddr, shared: &mut Shared) -> Fate {
        loop {
            match &mut self.server {
                // Whoever has given up meanwhile would never have reached the server.
                Server::Postponed if self.client.is_closing() => return Fate::Over,
                Server::Postponed if self.to_server.is_hole() => return Fate::Waits,
                Server::Postponed => {
                    let connect = || {
                        let stream = TcpStream::connect(upstream)?;
                        End::new(stream, &shared.registry, token(self.caller.number, Side::ToServer))
                    };
                    match connect() {
                        Ok(server) => self.server = Server::Connecting(server),
                        Err(_) => return Fate::Unreached,
                    }
                    return Fate::Waits;
                }
                Server::Connecting(server) => match server.connected() {
                    Ok(false) => return Fate::Waits,
                    Ok(true) => {
                        let Server::Connecting(server) = std::mem::replace(&mut self.server, Server::Postponed) else {
                            return Fate::Waits;
                        };
                        self.server = Server::Open(server);
                    }
                    Err(_) => return Fate::Unreached,
                },
                Server::Open(_) => return self.pass(shared),
                Server::Away { healed, spoken } => loop {
                    match self.client.read(&mut shared.scratch) {
                        Taken::Bytes(_) if *healed => return Fate::Reset,
                        Taken::Bytes(_) => *spoken = true,
                        Taken::Nothing => return Fate::Waits,
                        Taken::End | Taken::Broken => return Fate::Over,
                    }
                },
            }
        }
    }

    /// Passes on what has come, both ways.
    fn pass(&mut self, shared: &mut Shared) -> Fate {
        let Server::Open(server) = &mut self.server else { return Fate::Waits };
        let server_was_there = !self.to_client.has_ended();
        let mut up = self.to_server.pump(&mut self.client, server, shared);
        let down = self.to_client.pump(server, &mut self.client, shared);
        // Either may have found that its receiver is gone, which is news of the other's sender.
        if up == Step::Broken && self.to_client.has_ended() {
            self.to_client.break_off();
        }
        if down == Step::Broken {
            if self.to_server.has_ended() {
                self.to_server.break_off();
            }
            up = self.to_server.pump(&mut self.client, server, shared);
        }
        // A server that ends a connection which its client has not ended may be dying.
        shared.suspicious |= server_was_there && self.to_client.has_ended() && !self.to_server.has_ended();
        match (up, down) {
            (Step::Reset, _) | (_, Step::Reset) => Fate::Reset,
            _ if self.to_server.is_finished() && self.to_client.is_finished() => Fate::Over,
            (Step::Again, _) | (_, Step::Again) => Fate::Again,
            _ => Fate::Waits,
        }
    }

    /// Puts it under one more fault that acts on what passes.
    pub(super) fn hit(&mut self, id: FaultId, shared: &Shared) {
        self.faults.push(id);
        self.recompute(shared, false);
        if self.is_half_open(shared) && !matches!(self.server, Server::Away { healed: false, .. }) {
            // Closes the socket to the server, if there is one.
            self.server = Server::Away { healed: false, spoken: false };
        }
    }

    /// Takes it from under a fault that has been removed. Whether it was under it, and is to be reset for it.
    pub(super) fn lift(&mut self, id: FaultId, shared: &Shared) -> Option<Fate> {
        let at = self.faults.iter().position(|fault| *fault == id)?;
        self.faults.remove(at);
        self.recompute(shared, true);
        let still = self.is_half_open(shared);
        match &mut self.server {
            Server::Away { spoken: true, .. } if !still => Some(Fate::Reset),
            Server::Away { healed, .. } if !still => {
                *healed = true;
                Some(Fate::Again)
            }
            _ => Some(Fate::Again),
        }
    }

    fn recompute(&mut self, shared: &Shared, lifted: bool) {
        self.to_server.set(shared.faults.conditions(&self.faults, Side::ToServer), lifted);
        self.to_client.set(shared.faults.conditions(&self.faults, Side::ToClient), lifted);
    }

    fn is_half_open(&self, shared: &Shared) -> bool {
        self.faults.iter().any(|id| shared.faults.spec(*id).is_some_and(|spec| spec.kind == LinkFaultKind::HalfOpen))
    }

    /// Ends it: RST where `direction` leads, a plain close to the other end.
    pub(super) fn reset(self, direction: Direction) {
        if direction != Direction::ToServer {
            self.client.reset();
        }
        match self.server {
            Server::Connecting(server) | Server::Open(server) if direction != Direction::ToClient => server.reset(),
            _ => {}
        }
    }
}
