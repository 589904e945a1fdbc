//! The port, which belongs to the proxy for the whole run whether it listens or not.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, SockRef, Socket, Type};

/// As many as Linux allows by default (somaxconn).
const BACKLOG: i32 = 4096;

fn bound(port: u16) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // Connections of an earlier run that wait out their time must not keep the port from this one.
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    Ok(socket)
}

/// A bound port.
#[derive(Debug)]
pub(super) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    open: bool,
}

impl Listener {
    /// Takes a port of the loopback interface, `None`: any that is free, and listens.
    pub(super) fn bind(port: Option<u16>) -> io::Result<Self> {
        // Linux lets a port go when its socket stops listening, unless it was asked for by its number. So one socket finds a
        // port, and a second asks for it while the first still keeps it from others.
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

    /// Whether connections are refused or accepted from now on. The socket stays bound all the time: on Linux, a shutdown ends listening and
    /// nothing else.
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
            // Or else another program that asks for the reuse of addresses, as most servers do, could bind the port now.
            socket.set_reuse_address(false)?;
        }
        self.open = open;
        Ok(())
    }
}
