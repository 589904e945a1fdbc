//! The proxy's thread: an event loop that owns the port, the connections and the faults.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Registry, Token, Waker};

use super::connection::{self, AdvanceOutcome, Connection};
use super::faults::{ClientFilter, ConnectionInfo, FaultId, Faults};
use super::handle::{Injected, ProxyCommand, Removed, StatsCounters};
use super::link::READ_BUFFER_BYTES;
use super::listener::ProxyListener;
use super::sockets;
use super::timers::{TimerTarget, Timers};
use super::upstream::Upstream;
use cacheproof_core::scenario::{Direction, LinkFault, LinkFaultKind};

const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);
const UPSTREAM: Token = Token(2);
/// When accepting is tried again after an error, such as no free file descriptor.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(10);

/// How long the thread polls without sleeping after an event: about the response time of Redis.
const BUSY_POLL_DURATION: Duration = Duration::from_micros(20);

/// What the connections share.
#[derive(Debug)]
pub(super) struct ProxyContext {
    pub(super) registry: Registry,
    pub(super) faults: Faults,
    pub(super) timers: Timers,
    pub(super) counters: Arc<StatsCounters>,
    /// The read buffer.
    pub(super) scratch: Box<[u8]>,
    /// The server has closed a connection since the last check.
    pub(super) server_closed_connection: bool,
}

#[derive(Debug)]
pub(super) struct EventLoop {
    poll: Poll,
    listener: ProxyListener,
    upstream: Upstream,
    connections: BTreeMap<u64, Connection>,
    accepted: u64,
    /// Connections that have more to do at once.
    rescheduled: Vec<u64>,
    commands: Receiver<ProxyCommand>,
    context: ProxyContext,
}

impl EventLoop {
    /// Binds the port. The waker makes the thread handle its commands.
    pub(super) fn new(
        listen: Option<u16>,
        upstream: SocketAddr,
        seed: u64,
        counters: Arc<StatsCounters>,
        commands: Receiver<ProxyCommand>,
    ) -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        let mut listener = ProxyListener::bind(listen)?;
        listener.register(poll.registry(), LISTENER)?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let context = ProxyContext {
            registry: poll.registry().try_clone()?,
            faults: Faults::new(seed),
            timers: Timers::default(),
            counters,
            scratch: vec![0; READ_BUFFER_BYTES].into(),
            server_closed_connection: false,
        };
        let upstream = Upstream::new(upstream, UPSTREAM);
        let event_loop = Self {
            poll,
            listener,
            upstream,
            connections: BTreeMap::new(),
            accepted: 0,
            rescheduled: Vec::new(),
            commands,
            context,
        };
        Ok((event_loop, waker))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Runs until the stop command.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(256);
        loop {
            let timeout = if self.rescheduled.is_empty() {
                self.context.timers.next().map(|next| next.saturating_duration_since(Instant::now()))
            } else {
                Some(Duration::ZERO)
            };
            match self.wait(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    panic!("the proxy can't wait for its sockets: {error}")
                }
                _ => {}
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    UPSTREAM => {
                        self.upstream.on_event(&mut self.context.timers);
                        self.listen();
                    }
                    WAKER => {
                        if self.handle_commands().is_break() {
                            self.context.counters.closed.fetch_add(self.connections.len() as u64, Ordering::Relaxed);
                            return;
                        }
                    }
                    token => {
                        let Some((number, flow)) = connection::from_token(token) else { continue };
                        if let Some(connection) = self.connections.get_mut(&number) {
                            connection.on_event(flow, event);
                            self.advance(number);
                        }
                    }
                }
            }
            for number in std::mem::take(&mut self.rescheduled) {
                self.advance(number);
            }
            self.fire_timers();
            if std::mem::take(&mut self.context.server_closed_connection) {
                self.upstream.on_server_closed(&self.context.registry, &mut self.context.timers);
                self.listen();
            }
        }
    }

    /// Waits for an event. It polls for a short time first, because waking a sleeping core takes longer than a response of Redis.
    /// While it polls it yields the core to other threads.
    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        let mut left = timeout;
        if timeout.is_none_or(|timeout| timeout > BUSY_POLL_DURATION) {
            let deadline = Instant::now() + BUSY_POLL_DURATION;
            while Instant::now() < deadline {
                self.poll.poll(events, Some(Duration::ZERO))?;
                if !events.is_empty() {
                    return Ok(());
                }
                std::thread::yield_now();
            }
            left = timeout.map(|timeout| timeout - BUSY_POLL_DURATION);
        }
        self.poll.poll(events, left)
    }

    fn fire_timers(&mut self) {
        let now = Instant::now();
        while let Some(target) = self.context.timers.pop_due(now) {
            match target {
                TimerTarget::Link(number, _) => self.advance(number),
                TimerTarget::Listener => {
                    self.listen();
                    self.accept();
                }
                TimerTarget::Upstream => {
                    self.upstream.check(&self.context.registry, &mut self.context.timers);
                    self.listen();
                }
            }
        }
    }

    /// Advances a connection, and removes it when it has ended.
    fn advance(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        match connection.advance(self.upstream.address(), &mut self.context) {
            AdvanceOutcome::Pending => {}
            AdvanceOutcome::Reschedule => self.rescheduled.push(number),
            outcome => self.end(number, outcome, Direction::Both),
        }
    }

    fn end(&mut self, number: u64, outcome: AdvanceOutcome, direction: Direction) {
        let Some(connection) = self.connections.remove(&number) else { return };
        let counters = &self.context.counters;
        counters.closed.fetch_add(1, Ordering::Relaxed);
        if outcome == AdvanceOutcome::Closed {
            return;
        }
        counters.resets.fetch_add(1, Ordering::Relaxed);
        if outcome == AdvanceOutcome::Unreachable {
            counters.unreached.fetch_add(1, Ordering::Relaxed);
            // Before the reset, so that a client that reconnects at once is refused.
            self.upstream.on_refused(&mut self.context.timers);
            self.listen();
        }
        connection.reset(direction);
    }

    /// Accepts all waiting connections.
    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, address)) => {
                    let info = ConnectionInfo { number: self.accepted, address };
                    self.accepted += 1;
                    self.context.counters.accepted.fetch_add(1, Ordering::Relaxed);
                    let faults = self.context.faults.for_new(info);
                    let is_refused = |id: &FaultId| {
                        let kind = self.context.faults.spec(*id).map(|spec| &spec.kind);
                        matches!(kind, Some(LinkFaultKind::Reset | LinkFaultKind::Refuse))
                    };
                    if faults.iter().any(is_refused) {
                        sockets::reset(&stream);
                        self.context.counters.closed.fetch_add(1, Ordering::Relaxed);
                        self.context.counters.resets.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    match Connection::new(stream, info, faults, &self.context) {
                        Ok(connection) => {
                            self.connections.insert(info.number, connection);
                            self.advance(info.number);
                        }
                        Err(_) => {
                            self.context.counters.closed.fetch_add(1, Ordering::Relaxed);
                            self.context.counters.own_failures.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The client has closed already.
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {
                }
                Err(error) => {
                    self.context.counters.own_failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%error, "the proxy can't accept a connection and will try again");
                    self.context.timers.schedule(Instant::now() + ACCEPT_RETRY_DELAY, TimerTarget::Listener);
                    return;
                }
            }
        }
    }

    /// Makes the port accept or refuse connections, by the state of the server and the faults.
    fn listen(&mut self) {
        let open = !self.upstream.is_down() && !self.context.faults.refuse_all();
        if let Err(error) = self.listener.set_open(open) {
            tracing::warn!(%error, open, "the proxy can't open or close its port and will try again");
            self.context.timers.schedule(Instant::now() + ACCEPT_RETRY_DELAY, TimerTarget::Listener);
        }
    }

    /// Executes the waiting commands.
    fn handle_commands(&mut self) -> std::ops::ControlFlow<()> {
        while let Ok(command) = self.commands.try_recv() {
            // The caller may not wait for the answer any more.
            let _no_receiver = match command {
                ProxyCommand::Inject(fault, only, done) => done.send(self.inject(fault, only)).ok(),
                ProxyCommand::Remove(id, done) => done.send(self.remove(id)).ok(),
                ProxyCommand::SetUpstream(address, done) => {
                    self.upstream.set_address(address, &self.context.registry, &mut self.context.timers);
                    self.listen();
                    done.send(()).ok()
                }
                ProxyCommand::Stop => return std::ops::ControlFlow::Break(()),
            };
        }
        std::ops::ControlFlow::Continue(())
    }

    fn inject(&mut self, fault: LinkFault, only: Option<ClientFilter>) -> Injected {
        // Connections that wait in the kernel's queue count as live.
        self.accept();
        let (kind, direction) = (fault.kind.clone(), fault.direction);
        let id = self.context.faults.add(fault, only);
        let hits = |(number, connection): (&u64, &Connection)| {
            let info = connection.info();
            self.context.faults.hits_live(id, info).then_some((*number, info.address))
        };
        let (hit, clients): (Vec<_>, Vec<_>) = self.connections.iter().filter_map(hits).unzip();
        for number in &hit {
            if kind == LinkFaultKind::Reset {
                self.end(*number, AdvanceOutcome::Reset, direction);
            } else if let Some(connection) = self.connections.get_mut(number) {
                connection.apply_fault(id, &self.context);
                self.advance(*number);
            }
        }
        self.listen();
        Injected { id, at: Instant::now(), connections: hit.len() as u64, clients }
    }

    fn remove(&mut self, id: FaultId) -> Removed {
        self.accept();
        let mut clients = Vec::new();
        if self.context.faults.remove(id).is_some() {
            for number in self.connections.keys().copied().collect::<Vec<_>>() {
                let Some(connection) = self.connections.get_mut(&number) else { continue };
                let client = connection.info().address;
                match connection.remove_fault(id, &self.context) {
                    Some(AdvanceOutcome::Reset) => self.end(number, AdvanceOutcome::Reset, Direction::Both),
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
