//! The proxy as the rest of the house holds it: asks its thread, and waits for the answer.

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

/// A fault has been injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injected {
    /// To remove it by.
    pub id: FaultId,
    /// When it had taken effect on every connection it hits.
    pub at: Instant,
    /// How many open connections it hit.
    pub connections: u64,
    /// Where the clients of these are connected from.
    pub clients: Vec<SocketAddr>,
}

/// A fault has been removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// When its effect had ended.
    pub at: Instant,
    /// How many connections that were still open it was lifted from.
    pub connections: u64,
    /// Where the clients of these are connected from.
    pub clients: Vec<SocketAddr>,
}

/// What has passed since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that are open now.
    pub open: u64,
    /// Connections that ended with RST, whoever sent it.
    pub resets: u64,
    /// Of those, connections that were reset because the server could not be reached.
    pub unreached: u64,
    /// Bytes passed on to the server.
    pub to_server: u64,
    /// Bytes passed on to clients.
    pub to_client: u64,
}

/// [`Stats`] as the proxy's thread counts them.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) accepted: AtomicU64,
    pub(super) closed: AtomicU64,
    pub(super) resets: AtomicU64,
    pub(super) unreached: AtomicU64,
    passed: [AtomicU64; 2],
}

impl Counters {
    pub(super) fn passed(&self, flow: Flow, bytes: usize) {
        self.passed[flow as usize].fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// What the thread is asked. Each answers when it is done.
pub(super) enum Command {
    Inject(LinkFault, Option<ClientFilter>, SyncSender<Injected>),
    Remove(FaultId, SyncSender<Removed>),
    SetUpstream(SocketAddr, SyncSender<()>),
    Stop,
}

/// A TCP proxy on a port of the loopback interface that stays the same until it is stopped. Dropping it stops it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    upstream: Mutex<SocketAddr>,
    commands: Sender<Command>,
    waker: Waker,
    counters: Arc<Counters>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Proxy {
    /// Listens on `listen`, `None`: on a port that is free, and passes connections on to `upstream`. `seed` decides which connections a fault with a
    /// share hits, and the jitter.
    ///
    /// # Errors
    /// When the port is taken, or the system has no more descriptors or threads to give.
    pub fn start(listen: Option<u16>, upstream: SocketAddr, seed: u64) -> io::Result<Self> {
        let counters = Arc::new(Counters::default());
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

    /// Where connections are passed on to.
    pub fn upstream(&self) -> SocketAddr {
        *self.upstream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes new connections on to another address from now on. Open ones stay where they are.
    pub fn set_upstream(&self, upstream: SocketAddr) {
        *self.upstream.lock().unwrap_or_else(PoisonError::into_inner) = upstream;
        self.request(|done| Command::SetUpstream(upstream, done));
    }

    /// Injects a fault; those that were injected before stay. Returns when it has taken effect, within milliseconds. With a filter, it hits
    /// only connections of clients that the filter says yes to. On a proxy that was stopped there is nothing to hit.
    pub fn inject(&self, fault: &LinkFault, only: Option<ClientFilter>) -> Injected {
        self.request(|done| Command::Inject(fault.clone(), only, done)).unwrap_or_else(|| Injected {
            id: FaultId::NONE,
            at: Instant::now(),
            connections: 0,
            clients: Vec::new(),
        })
    }

    /// Removes a fault, and lets through what it held back. A fault that is not there (any more) is lifted from nothing.
    pub fn remove(&self, fault: FaultId) -> Removed {
        self.request(|done| Command::Remove(fault, done)).unwrap_or_else(|| Removed {
            at: Instant::now(),
            connections: 0,
            clients: Vec::new(),
        })
    }

    /// What has passed so far.
    pub fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // In this order, so that there are never more closed than accepted.
        let closed = read(&self.counters.closed);
        let accepted = read(&self.counters.accepted);
        Stats {
            accepted,
            open: accepted.saturating_sub(closed),
            resets: read(&self.counters.resets),
            unreached: read(&self.counters.unreached),
            to_server: read(&self.counters.passed[Flow::ToServer as usize]),
            to_client: read(&self.counters.passed[Flow::ToClient as usize]),
        }
    }

    /// Closes the port and every connection, and returns when that is done.
    pub fn stop(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            self.send(Command::Stop);
            let _it_said_why = thread.join();
        }
    }

    fn send(&self, command: Command) {
        let _gone = self.commands.send(command);
        let _gone = self.waker.wake();
    }

    /// `None` when the proxy has been stopped.
    fn request<T>(&self, command: impl FnOnce(SyncSender<T>) -> Command) -> Option<T> {
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
