//! The proxy's port. It stays bound for the whole run, whether it accepts or refuses connections.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, SockRef, Socket, Type};

/// The default maximum of Linux (somaxconn).
const BACKLOG: i32 = 4096;

fn bound(port: u16) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // Otherwise connections of an earlier run in TIME_WAIT would block the port.
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    Ok(socket)
}

/// A bound port that accepts or refuses.
#[derive(Debug)]
pub(super) struct ProxyListener {
    socket: TcpListener,
    address: SocketAddr,
    open: bool,
}

impl ProxyListener {
    /// Binds this loopback port, or a free one, and listens.
    pub(super) fn bind(port: Option<u16>) -> io::Result<Self> {
        // Linux releases a port that it chose itself when the socket stops listening, but not one that was bound by number. So one
        // socket gets a free port, and a second socket binds it by number while the first still holds it.
        let finder = bound(port.unwrap_or(0))?;
        let port = finder.local_addr()?.as_socket().map_or(0, |address| address.port());
        let socket = bound(port)?;
        drop(finder);
        socket.set_nonblocking(true)?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from_std(socket.into());
        let address = socket.local_addr()?;
        Ok(Self { socket, address, open: true })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE)
    }

    pub(super) fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        if self.open { self.socket.accept() } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    /// Makes the port accept or refuse connections. The socket stays bound: on Linux, `shutdown` of a listening socket only ends the
    /// listening.
    pub(super) fn set_open(&mut self, open: bool) -> io::Result<()> {
        if self.open == open {
            return Ok(());
        }
        let socket = SockRef::from(&self.socket);
        if open {
            socket.set_reuse_address(true)?;
            socket.listen(BACKLOG)?;
        } else {
            socket.shutdown(Shutdown::Read)?;
            // With it, another program that sets SO_REUSEADDR, as most servers do, could bind the port now.
            socket.set_reuse_address(false)?;
        }
        self.open = open;
        Ok(())
    }
}
