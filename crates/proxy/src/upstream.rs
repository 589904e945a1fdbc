//! Where the server is, and whether it accepts: while it does not, the proxy's port does not either.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::timers::{Timers, Wake};

/// How often a server that refuses is asked again: so much later than the server itself does the proxy's port accept.
const AGAIN: Duration = Duration::from_millis(4);
/// How often a server that accepts is asked because it closed a connection. Each time is one connection more in its statistics.
const SUSPICION: Duration = Duration::from_millis(25);
/// How long an attempt may take that is neither accepted nor refused.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Upstream {
    address: SocketAddr,
    token: Token,
    down: bool,
    attempt: Option<(TcpStream, Instant)>,
    asked: Option<Instant>,
    /// When it is to be asked again.
    next: Option<Instant>,
    /// Whether it is to be asked at all.
    doubted: bool,
}

impl Upstream {
    pub(super) fn new(address: SocketAddr, token: Token) -> Self {
        Self { address, token, down: false, attempt: None, asked: None, next: None, doubted: false }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it refuses connections.
    pub(super) fn is_down(&self) -> bool {
        self.down
    }

    pub(super) fn moved(&mut self, address: SocketAddr, registry: &Registry, timers: &mut Timers) {
        self.address = address;
        self.attempt = None;
        if self.down {
            self.next = None;
            self.ask(registry, timers);
        }
    }

    /// Something looked as if it were gone.
    pub(super) fn suspect(&mut self, registry: &Registry, timers: &mut Timers) {
        if self.doubted || self.down {
            return;
        }
        self.doubted = true;
        let now = Instant::now();
        match self.asked.map(|asked| asked + SUSPICION).filter(|next| *next > now) {
            Some(next) => self.later(next, timers),
            None => self.ask(registry, timers),
        }
    }

    /// A client was refused.
    pub(super) fn refused(&mut self, timers: &mut Timers) {
        self.down = true;
        self.doubted = true;
        self.later(Instant::now() + AGAIN, timers);
    }

    /// One time is set, the earliest: many who are refused at once do not make it be asked more often.
    fn later(&mut self, when: Instant, timers: &mut Timers) {
        if self.next.is_none_or(|next| next > when || next <= Instant::now()) {
            self.next = Some(when);
            timers.at(when, Wake::Upstream);
        }
    }

    /// Asks whether it accepts, if that is in question.
    pub(super) fn ask(&mut self, registry: &Registry, timers: &mut Timers) {
        if !self.doubted {
            return;
        }
        let now = Instant::now();
        if self.next.is_some_and(|next| next > now) {
            return;
        }
        self.next = None;
        if self.attempt.as_ref().is_some_and(|(_, since)| now < *since + PATIENCE) {
            return;
        }
        self.attempt = None;
        self.asked = Some(now);
        let connect = || {
            let mut stream = TcpStream::connect(self.address)?;
            registry.register(&mut stream, self.token, Interest::WRITABLE)?;
            Ok(stream)
        };
        match connect() {
            Ok(stream) => {
                self.attempt = Some((stream, now));
                self.later(now + PATIENCE, timers);
            }
            Err(error) => self.answered(Err(error), timers),
        }
    }

    /// The kernel has news of the attempt.
    pub(super) fn hear(&mut self, timers: &mut Timers) {
        let Some((stream, _)) = &self.attempt else { return };
        let answer = match stream.take_error() {
            Ok(Some(error)) | Err(error) => Err(error),
            Ok(None) => match stream.peer_addr() {
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return,
                answer => answer.map(drop),
            },
        };
        self.attempt = None;
        self.answered(answer, timers);
    }

    fn answered(&mut self, answer: io::Result<()>, timers: &mut Timers) {
        self.down = answer.is_err();
        self.doubted = self.down;
        if self.down {
            self.later(Instant::now() + AGAIN, timers);
        }
    }
}
