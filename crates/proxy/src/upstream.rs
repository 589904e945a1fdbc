//! The server's address, and whether the server accepts connections. While it does not, the proxy's port refuses them too.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::sockets;
use super::timers::{TimerTarget, Timers};

/// How often a server that refuses is checked. The proxy's port accepts again that much later than the server.
const RETRY_INTERVAL: Duration = Duration::from_millis(4);
/// The shortest time between two checks of a server that accepts but has closed a connection. Each check shows up as one more
/// connection in the server's statistics.
const RECHECK_INTERVAL: Duration = Duration::from_millis(25);
/// How long a check may take that is neither accepted nor refused.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Upstream {
    address: SocketAddr,
    token: Token,
    down: bool,
    attempt: Option<(TcpStream, Instant)>,
    last_checked: Option<Instant>,
    /// When the next check is due.
    next: Option<Instant>,
    /// Whether a check is needed.
    check_pending: bool,
}

impl Upstream {
    pub(super) fn new(address: SocketAddr, token: Token) -> Self {
        Self { address, token, down: false, attempt: None, last_checked: None, next: None, check_pending: false }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether the server refuses connections.
    pub(super) fn is_down(&self) -> bool {
        self.down
    }

    pub(super) fn set_address(&mut self, address: SocketAddr, registry: &Registry, timers: &mut Timers) {
        self.address = address;
        self.attempt = None;
        if self.down {
            self.next = None;
            self.check(registry, timers);
        }
    }

    /// The server has closed a connection: it may be going down.
    pub(super) fn on_server_closed(&mut self, registry: &Registry, timers: &mut Timers) {
        if self.check_pending || self.down {
            return;
        }
        self.check_pending = true;
        let now = Instant::now();
        match self.last_checked.map(|last_checked| last_checked + RECHECK_INTERVAL).filter(|next| *next > now) {
            Some(next) => self.schedule_check(next, timers),
            None => self.check(registry, timers),
        }
    }

    /// The server could not be reached for a client.
    pub(super) fn on_refused(&mut self, timers: &mut Timers) {
        self.down = true;
        self.check_pending = true;
        self.schedule_check(Instant::now() + RETRY_INTERVAL, timers);
    }

    /// Sets the earliest check only: many refused clients do not cause more checks.
    fn schedule_check(&mut self, when: Instant, timers: &mut Timers) {
        if self.next.is_none_or(|next| next > when || next <= Instant::now()) {
            self.next = Some(when);
            timers.schedule(when, TimerTarget::Upstream);
        }
    }

    /// Starts a connection attempt, if a check is needed and due.
    pub(super) fn check(&mut self, registry: &Registry, timers: &mut Timers) {
        if !self.check_pending {
            return;
        }
        let now = Instant::now();
        if self.next.is_some_and(|next| next > now) {
            return;
        }
        self.next = None;
        if self.attempt.as_ref().is_some_and(|(_, since)| now < *since + CONNECT_TIMEOUT) {
            return;
        }
        self.attempt = None;
        self.last_checked = Some(now);
        let connect = || {
            let mut stream = TcpStream::connect(self.address)?;
            registry.register(&mut stream, self.token, Interest::WRITABLE)?;
            Ok(stream)
        };
        match connect() {
            Ok(stream) => {
                self.attempt = Some((stream, now));
                self.schedule_check(now + CONNECT_TIMEOUT, timers);
            }
            // Without a file for it, nothing is known of the server: it is as it was.
            Err(error) if sockets::is_own_failure(&error) => self.schedule_check(now + RETRY_INTERVAL, timers),
            Err(error) => self.on_check_result(Err(error), timers),
        }
    }

    /// Handles an event of the connection attempt.
    pub(super) fn on_event(&mut self, timers: &mut Timers) {
        let Some((stream, _)) = &self.attempt else { return };
        let answer = match stream.take_error() {
            Ok(Some(error)) | Err(error) => Err(error),
            Ok(None) => match stream.peer_addr() {
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return,
                answer => answer.map(drop),
            },
        };
        self.attempt = None;
        self.on_check_result(answer, timers);
    }

    fn on_check_result(&mut self, answer: io::Result<()>, timers: &mut Timers) {
        self.down = answer.is_err();
        self.check_pending = self.down;
        if self.down {
            self.schedule_check(Instant::now() + RETRY_INTERVAL, timers);
        }
    }
}
