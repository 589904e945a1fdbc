//! One end of a connection: a socket with its readiness.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use socket2::SockRef;

/// Whether this process or its machine had no file, port or memory for a socket: the other end did nothing.
pub(super) fn is_own_failure(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::EADDRNOTAVAIL | Errno::ENOMEM | Errno::ENOBUFS))
}

/// The result of a read.
#[derive(Debug)]
pub(super) enum ReadOutcome {
    /// The number of bytes.
    Bytes(usize),
    /// There is nothing to read now.
    WouldBlock,
    /// The peer has ended its stream.
    Eof,
    /// The connection is broken.
    Broken,
}

/// The result of a write.
#[derive(Debug)]
pub(super) enum WriteOutcome {
    /// The number of bytes, at least one.
    Bytes(usize),
    /// The socket's buffer is full.
    WouldBlock,
    /// The connection is broken.
    Broken,
}

/// A socket. Its events are edge-triggered, so its readiness is remembered until a call would block.
#[derive(Debug)]
pub(super) struct Endpoint {
    stream: TcpStream,
    readable: bool,
    writable: bool,
    /// The peer has closed its side.
    closing: bool,
    /// A write has failed. The kernel reports that error only once, so reads must report it from here.
    broken: bool,
}

impl Endpoint {
    /// Sets TCP_NODELAY, so that the proxy adds no delay of its own.
    pub(super) fn new(mut stream: TcpStream, registry: &Registry, token: Token) -> io::Result<Self> {
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        let _only_slower = stream.set_nodelay(true);
        Ok(Self { stream, readable: false, writable: false, closing: false, broken: false })
    }

    pub(super) fn on_event(&mut self, event: &Event) {
        self.closing |= event.is_read_closed() || event.is_error();
        self.readable |= event.is_readable() || self.closing;
        self.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
    }

    /// Whether the connection is established. An error if the attempt has failed.
    pub(super) fn connected(&self) -> io::Result<bool> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the peer has closed its side.
    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Whether there may be something to read.
    pub(super) fn is_readable(&self) -> bool {
        self.readable
    }

    pub(super) fn read(&mut self, into: &mut [u8]) -> ReadOutcome {
        loop {
            match self.stream.read(into) {
                Ok(0) if self.broken => return ReadOutcome::Broken,
                Ok(0) => return ReadOutcome::Eof,
                Ok(length) => {
                    // After a short read there is nothing more, and the next bytes cause an event. A close that was reported
                    // already causes no event.
                    self.readable = length == into.len() || self.closing;
                    return ReadOutcome::Bytes(length);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.broken => {
                    self.readable = false;
                    return ReadOutcome::WouldBlock;
                }
                Err(_) => return ReadOutcome::Broken,
            }
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> WriteOutcome {
        if !self.writable {
            return WriteOutcome::WouldBlock;
        }
        loop {
            match self.stream.write(bytes) {
                Ok(length) if length > 0 => return WriteOutcome::Bytes(length),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.writable = false;
                    return WriteOutcome::WouldBlock;
                }
                Ok(_) | Err(_) => {
                    self.broken = true;
                    self.readable = true;
                    return WriteOutcome::Broken;
                }
            }
        }
    }

    /// Sends FIN. Fails silently when the peer is gone.
    pub(super) fn finish(&self) {
        let _peer_gone = self.stream.shutdown(Shutdown::Write);
    }

    /// Closes with RST instead of FIN; bytes that are still queued are discarded.
    pub(super) fn reset(self) {
        reset(&self.stream);
    }
}

/// Makes the close of a socket send RST.
pub(super) fn reset(stream: &TcpStream) {
    let _sends_fin = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
