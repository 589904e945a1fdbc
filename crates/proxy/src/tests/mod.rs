//! Tests of the proxy on real sockets: what both ends of a connection see of each fault.

mod breaking;
mod passthrough;
mod selection;
mod shaping;
mod upstream;

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::{Injected, Proxy};
use cacheproof_core::scenario::{ConnectionScope, Direction, LinkFault, LinkFaultKind};

/// How long to wait for what must happen. Long enough for a slow machine.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How long to wait for what must not happen.
const QUIET_PERIOD: Duration = Duration::from_millis(60);

/// A server that the test plays itself, and a proxy in front of it.
struct ProxyFixture {
    server: TcpListener,
    proxy: Proxy,
}

/// A connection through the proxy, seen from both ends.
struct Pair {
    client: TcpStream,
    server: TcpStream,
}

fn ready(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

impl ProxyFixture {
    fn new() -> Self {
        Self::seeded(1)
    }

    fn seeded(seed: u64) -> Self {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = Proxy::start(None, server.local_addr().unwrap(), seed).unwrap();
        Self { server, proxy }
    }

    fn try_connect(&self) -> io::Result<TcpStream> {
        TcpStream::connect(self.proxy.address()).map(ready)
    }

    fn connect(&self) -> TcpStream {
        self.try_connect().unwrap()
    }

    /// An open connection on which both ends have exchanged bytes.
    fn pair(&self) -> Pair {
        let mut client = self.connect();
        client.write_all(b"hello").unwrap();
        let mut server = self.accept();
        assert_eq!(receive(&mut server, 5), b"hello");
        let mut pair = Pair { client, server };
        pair.check();
        pair
    }

    /// The server's end of a connection whose client has sent something. The proxy's checks whether the server accepts are skipped:
    /// they send nothing.
    fn accept(&self) -> TcpStream {
        loop {
            let server = ready(self.server.accept().unwrap().0);
            if server.peek(&mut [0]).unwrap() > 0 {
                return server;
            }
        }
    }

    fn inject(&self, kind: LinkFaultKind) -> Injected {
        self.proxy.inject(&fault(kind), None)
    }

    /// Waits until the proxy has that many open connections.
    fn wait_for_open(&self, count: u64) {
        until("connections to be closed", || self.proxy.stats().open == count);
    }
}

impl Pair {
    fn check(&mut self) {
        assert_passes(&mut self.client, &mut self.server, b"to the server");
        assert_passes(&mut self.server, &mut self.client, b"to the client");
    }
}

/// A fault in both directions, on all connections.
fn fault(kind: LinkFaultKind) -> LinkFault {
    LinkFault { kind, direction: Direction::Both, share: 1.0, connection_scope: ConnectionScope::All }
}

fn latency(delay: u64, jitter: u64) -> LinkFaultKind {
    LinkFaultKind::Latency { delay: Duration::from_millis(delay), jitter: Duration::from_millis(jitter) }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !done() {
        assert!(Instant::now() < deadline, "timed out waiting for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn receive(from: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).unwrap();
    bytes
}

fn assert_passes(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).unwrap();
    assert_eq!(receive(to, bytes.len()), bytes);
}

/// Nothing arrives, and the connection stays open.
fn assert_silent(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(QUIET_PERIOD)).unwrap();
    let read = stream.read(&mut [0; 16]);
    assert_eq!(read.unwrap_err().kind(), ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
}

/// The peer has closed with FIN.
fn assert_fin(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
}

/// The connection was reset.
fn assert_reset(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0; 16]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

fn assert_refused(connected: io::Result<TcpStream>) {
    assert_eq!(connected.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

/// Closes with RST.
fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// An address where nobody listens.
fn unused_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}
