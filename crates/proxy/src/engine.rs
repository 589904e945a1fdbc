//! The proxy's thread: waits for events, and owns everything that they are about.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Registry, Token, Waker};

use super::connection::{self, Connection, Fate};
use super::faults::{Caller, ClientFilter, FaultId, Faults};
use super::handle::{Command, Counters, Injected, Removed};
use super::link::CHUNK;
use super::listener::Listener;
use super::sockets;
use super::timers::{Timers, Wake};
use super::upstream::Upstream;
use cacheproof_core::scenario::{Direction, LinkFault, LinkFaultKind};

const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);
const UPSTREAM: Token = Token(2);
/// When the system has no descriptor left, accepting is tried again after this.
const EXHAUSTED: Duration = Duration::from_millis(10);

/// How long the thread stays awake after the last event: about as long as Redis takes for an answer.
const AWAKE: Duration = Duration::from_micros(20);

/// What connections need of the proxy.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) registry: Registry,
    pub(super) faults: Faults,
    pub(super) timers: Timers,
    pub(super) counters: Arc<Counters>,
    /// Where bytes are read to.
    pub(super) scratch: Box<[u8]>,
    /// The server ended a connection.
    pub(super) suspicious: bool,
}

#[derive(Debug)]
pub(super) struct Engine {
    poll: Poll,
    listener: Listener,
    upstream: Upstream,
    connections: BTreeMap<u64, Connection>,
    accepted: u64,
    /// Connections that have more to do at once.
    again: Vec<u64>,
    commands: Receiver<Command>,
    shared: Shared,
}

impl Engine {
    /// Takes the port. The waker makes the thread look at its commands.
    pub(super) fn new(
        listen: Option<u16>,
        upstream: SocketAddr,
        seed: u64,
        counters: Arc<Counters>,
        commands: Receiver<Command>,
    ) -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        let mut listener = Listener::bind(listen)?;
        listener.register(poll.registry(), LISTENER)?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let shared = Shared {
            registry: poll.registry().try_clone()?,
            faults: Faults::new(seed),
            timers: Timers::default(),
            counters,
            scratch: vec![0; CHUNK].into(),
            suspicious: false,
        };
        let upstream = Upstream::new(upstream, UPSTREAM);
        let engine = Self {
            poll,
            listener,
            upstream,
            connections: BTreeMap::new(),
            accepted: 0,
            again: Vec::new(),
            commands,
            shared,
        };
        Ok((engine, waker))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Until it is told to stop.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(256);
        loop {
            let timeout = if self.again.is_empty() {
                self.shared.timers.next().map(|next| next.saturating_duration_since(Instant::now()))
            } else {
                Some(Duration::ZERO)
            };
            match self.wait(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    panic!("the proxy cannot wait for its own sockets: {error}")
                }
                _ => {}
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    UPSTREAM => {
                        self.upstream.hear(&mut self.shared.timers);
                        self.listen();
                    }
                    WAKER => {
                        if self.obey().is_break() {
                            self.shared.counters.closed.fetch_add(self.connections.len() as u64, Ordering::Relaxed);
                            return;
                        }
                    }
                    token => {
                        let Some((number, side)) = connection::of(token) else { continue };
                        if let Some(connection) = self.connections.get_mut(&number) {
                            connection.hear(side, event);
                            self.advance(number);
                        }
                    }
                }
            }
            for number in std::mem::take(&mut self.again) {
                self.advance(number);
            }
            self.wake();
            if std::mem::take(&mut self.shared.suspicious) {
                self.upstream.suspect(&self.shared.registry, &mut self.shared.timers);
                self.listen();
            }
        }
    }

    /// Waits for something to do: at first without going to sleep, for a core that has gone to sleep takes longer to wake than
    /// Redis takes to answer. Whoever else wants the core has it meanwhile.
    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        let mut left = timeout;
        if timeout.is_none_or(|timeout| timeout > AWAKE) {
            let until = Instant::now() + AWAKE;
            while Instant::now() < until {
                self.poll.poll(events, Some(Duration::ZERO))?;
                if !events.is_empty() {
                    return Ok(());
                }
                std::thread::yield_now();
            }
            left = timeout.map(|timeout| timeout - AWAKE);
        }
        self.poll.poll(events, left)
    }

    fn wake(&mut self) {
        let now = Instant::now();
        while let Some(wake) = self.shared.timers.due(now) {
            match wake {
                Wake::Link(number, _) => self.advance(number),
                Wake::Listener => {
                    self.listen();
                    self.accept();
                }
                Wake::Upstream => {
                    self.upstream.ask(&self.shared.registry, &mut self.shared.timers);
                    self.listen();
                }
            }
        }
    }

    /// Lets a connection do what it can, and ends it if it is over.
    fn advance(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        match connection.advance(self.upstream.address(), &mut self.shared) {
            Fate::Waits => {}
            Fate::Again => self.again.push(number),
            fate => self.end(number, fate, Direction::Both),
        }
    }

    fn end(&mut self, number: u64, fate: Fate, direction: Direction) {
        let Some(connection) = self.connections.remove(&number) else { return };
        let counters = &self.shared.counters;
        counters.closed.fetch_add(1, Ordering::Relaxed);
        if fate == Fate::Over {
            return;
        }
        counters.resets.fetch_add(1, Ordering::Relaxed);
        if fate == Fate::Unreached {
            counters.unreached.fetch_add(1, Ordering::Relaxed);
            // First, so that a client which tries again at once is refused already.
            self.upstream.refused(&mut self.shared.timers);
            self.listen();
        }
        connection.reset(direction);
    }

    /// Accepts all who have connected.
    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, address)) => {
                    let caller = Caller { number: self.accepted, address };
                    self.accepted += 1;
                    self.shared.counters.accepted.fetch_add(1, Ordering::Relaxed);
                    let hit = self.shared.faults.for_new(caller);
                    let is_refused = |id: &FaultId| {
                        let kind = self.shared.faults.spec(*id).map(|spec| &spec.kind);
                        matches!(kind, Some(LinkFaultKind::Reset | LinkFaultKind::Refuse))
                    };
                    if hit.iter().any(is_refused) {
                        sockets::reset(&stream);
                        self.shared.counters.closed.fetch_add(1, Ordering::Relaxed);
                        self.shared.counters.resets.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    match Connection::new(stream, caller, hit, &self.shared) {
                        Ok(connection) => {
                            self.connections.insert(caller.number, connection);
                            self.advance(caller.number);
                        }
                        Err(_) => {
                            self.shared.counters.closed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The client has given up already.
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {
                }
                Err(error) => {
                    tracing::warn!(%error, "the proxy cannot accept a connection, and will try again");
                    self.shared.timers.at(Instant::now() + EXHAUSTED, Wake::Listener);
                    return;
                }
            }
        }
    }

    /// Lets the port accept or refuse, as it should now.
    fn listen(&mut self) {
        let open = !self.upstream.is_down() && !self.shared.faults.refuse_everybody();
        if let Err(error) = self.listener.set_open(open) {
            tracing::warn!(%error, open, "the proxy cannot open or close its port, and will try again");
            self.shared.timers.at(Instant::now() + EXHAUSTED, Wake::Listener);
        }
    }

    /// Does what it is told.
    fn obey(&mut self) -> std::ops::ControlFlow<()> {
        while let Ok(command) = self.commands.try_recv() {
            // Nobody may wait for the answer any more.
            let _nobody = match command {
                Command::Inject(fault, only, done) => done.send(self.inject(fault, only)).ok(),
                Command::Remove(id, done) => done.send(self.remove(id)).ok(),
                Command::Move(address, done) => {
                    self.upstream.moved(address, &self.shared.registry, &mut self.shared.timers);
                    self.listen();
                    done.send(()).ok()
                }
                Command::Stop => return std::ops::ControlFlow::Break(()),
            };
        }
        std::ops::ControlFlow::Continue(())
    }

    fn inject(&mut self, fault: LinkFault, only: Option<ClientFilter>) -> Injected {
        // Whoever has connected so far is live, even if the kernel has not been asked for it.
        self.accept();
        let (kind, direction) = (fault.kind.clone(), fault.direction);
        let id = self.shared.faults.add(fault, only);
        let hits = |(number, connection): (&u64, &Connection)| {
            let caller = connection.caller();
            self.shared.faults.hits_live(id, caller).then_some((*number, caller.address))
        };
        let (hit, clients): (Vec<_>, Vec<_>) = self.connections.iter().filter_map(hits).unzip();
        for number in &hit {
            if kind == LinkFaultKind::Reset {
                self.end(*number, Fate::Reset, direction);
            } else if let Some(connection) = self.connections.get_mut(number) {
                connection.hit(id, &self.shared);
                self.advance(*number);
            }
        }
        self.listen();
        Injected { id, at: Instant::now(), connections: hit.len() as u64, clients }
    }

    fn remove(&mut self, id: FaultId) -> Removed {
        self.accept();
        let mut clients = Vec::new();
        if self.shared.faults.remove(id).is_some() {
            for number in self.connections.keys().copied().collect::<Vec<_>>() {
                let Some(connection) = self.connections.get_mut(&number) else { continue };
                let client = connection.caller().address;
                match connection.lift(id, &self.shared) {
                    Some(Fate::Reset) => self.end(number, Fate::Reset, Direction::Both),
                    Some(_) => self.advance(number),
                    None => continue,
                }
                clients.push(client);
            }
        }
        self.listen();
        Removed { at: Instant::now(), connections: clients.len() as u64, clients }
    }
}
