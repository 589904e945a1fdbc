//! The public handle of a proxy: sends commands to its thread and waits for the answers.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use mio::Waker;

use super::event_loop::EventLoop;
use super::faults::{ClientFilter, FaultId};
use super::link::Flow;
use cacheproof_core::scenario::LinkFault;

/// The result of injecting a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injected {
    /// Identifies the fault, to remove it.
    pub id: FaultId,
    /// When it had taken effect on every connection that it hits.
    pub at: Instant,
    /// How many open connections it hit.
    pub connections: u64,
    /// The addresses of the clients of these connections.
    pub clients: Vec<SocketAddr>,
}

/// The result of removing a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// When its effect had ended.
    pub at: Instant,
    /// How many open connections were free of it afterwards.
    pub connections: u64,
    /// The addresses of the clients of these connections.
    pub clients: Vec<SocketAddr>,
}

/// Counts since the start of the proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that are open now.
    pub open: u64,
    /// Connections that ended with RST, from either end or by a fault.
    pub resets: u64,
    /// Of those, connections that were reset because the server could not be reached.
    pub unreached: u64,
    /// Connections that failed because this process or machine had no file, port or memory for them.
    pub own_failures: u64,
    /// Bytes forwarded to the server.
    pub to_server: u64,
    /// Bytes forwarded to clients.
    pub to_client: u64,
}

/// The counters behind [`Stats`], written by the proxy's thread.
#[derive(Debug, Default)]
pub(super) struct StatsCounters {
    pub(super) accepted: AtomicU64,
    pub(super) closed: AtomicU64,
    pub(super) resets: AtomicU64,
    pub(super) unreached: AtomicU64,
    pub(super) own_failures: AtomicU64,
    forwarded: [AtomicU64; 2],
}

impl StatsCounters {
    pub(super) fn add_forwarded(&self, flow: Flow, bytes: usize) {
        self.forwarded[flow as usize].fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// A command for the thread, with the channel for its answer.
pub(super) enum ProxyCommand {
    Inject(LinkFault, Option<ClientFilter>, SyncSender<Injected>),
    Remove(FaultId, SyncSender<Removed>),
    SetUpstream(SocketAddr, SyncSender<()>),
    Stop,
}

/// A TCP proxy on a loopback port that stays the same until the proxy is stopped. Dropping it stops it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    upstream: Mutex<SocketAddr>,
    commands: Sender<ProxyCommand>,
    waker: Waker,
    counters: Arc<StatsCounters>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Proxy {
    /// Listens on the port `listen`, or on a free one, and forwards connections to `upstream`. `seed` decides the jitter, and which
    /// connections a fault with a share hits.
    ///
    /// # Errors
    /// When the port is taken, or the system has no more file descriptors or threads.
    pub fn start(listen: Option<u16>, upstream: SocketAddr, seed: u64) -> io::Result<Self> {
        let counters = Arc::new(StatsCounters::default());
        let (commands, received) = mpsc::channel();
        let (event_loop, waker) = EventLoop::new(listen, upstream, seed, Arc::clone(&counters), received)?;
        let address = event_loop.address();
        let thread =
            std::thread::Builder::new().name(format!("proxy {}", address.port())).spawn(|| event_loop.run())?;
        Ok(Self {
            address,
            upstream: Mutex::new(upstream),
            commands,
            waker,
            counters,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Where the app connects to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where connections are forwarded to.
    pub fn upstream(&self) -> SocketAddr {
        *self.upstream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forwards new connections to another address from now on. Open connections are not changed.
    pub fn set_upstream(&self, upstream: SocketAddr) {
        *self.upstream.lock().unwrap_or_else(PoisonError::into_inner) = upstream;
        self.request(|done| ProxyCommand::SetUpstream(upstream, done));
    }

    /// Injects a fault, in addition to those that are active. Returns when it has taken effect, within milliseconds. With a filter, it
    /// hits only clients for which the filter returns true. On a stopped proxy it hits nothing.
    pub fn inject(&self, fault: &LinkFault, only: Option<ClientFilter>) -> Injected {
        self.request(|done| ProxyCommand::Inject(fault.clone(), only, done)).unwrap_or_else(|| Injected {
            id: FaultId::NONE,
            at: Instant::now(),
            connections: 0,
            clients: Vec::new(),
        })
    }

    /// Removes a fault, and forwards what it held back. No error when the fault is not active.
    pub fn remove(&self, fault: FaultId) -> Removed {
        self.request(|done| ProxyCommand::Remove(fault, done)).unwrap_or_else(|| Removed {
            at: Instant::now(),
            connections: 0,
            clients: Vec::new(),
        })
    }

    /// The counts so far.
    pub fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // Read in this order, so that there are never more closed than accepted.
        let closed = read(&self.counters.closed);
        let accepted = read(&self.counters.accepted);
        Stats {
            accepted,
            open: accepted.saturating_sub(closed),
            resets: read(&self.counters.resets),
            unreached: read(&self.counters.unreached),
            own_failures: read(&self.counters.own_failures),
            to_server: read(&self.counters.forwarded[Flow::ToServer as usize]),
            to_client: read(&self.counters.forwarded[Flow::ToClient as usize]),
        }
    }

    /// Closes the port and all connections, and returns when that is done.
    pub fn stop(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            self.send(ProxyCommand::Stop);
            let _panicked = thread.join();
        }
    }

    fn send(&self, command: ProxyCommand) {
        let _stopped = self.commands.send(command);
        let _stopped = self.waker.wake();
    }

    /// `None` when the proxy has been stopped.
    fn request<T>(&self, command: impl FnOnce(SyncSender<T>) -> ProxyCommand) -> Option<T> {
        let (done, answer) = mpsc::sync_channel(1);
        self.send(command(done));
        answer.recv().ok()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop();
    }
}
