//! One end of a connection: a socket, and what the kernel said of it.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::SockRef;

/// What came of reading.
#[derive(Debug)]
pub(super) enum ReadResult {
    /// So many bytes.
    Bytes(usize),
    /// Nothing now.
    WouldBlock,
    /// The peer will send no more.
    Eof,
    /// The peer broke the connection.
    Broken,
}

/// What came of writing.
#[derive(Debug)]
pub(super) enum WriteResult {
    /// So many bytes, at least one.
    Bytes(usize),
    /// No room now.
    WouldBlock,
    /// The peer broke the connection.
    Broken,
}

/// A socket whose events come as edges: what it is ready for is remembered until the kernel says otherwise.
#[derive(Debug)]
pub(super) struct Endpoint {
    stream: TcpStream,
    readable: bool,
    writable: bool,
    /// The peer has sent its last.
    closing: bool,
    /// A write said that the connection is broken, and reading will not say it again.
    broken: bool,
}

impl Endpoint {
    /// Both ends never wait to fill a segment: what the app or the server sent at once is passed on at once.
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

    /// Whether the connection has been established. An error if it never will be.
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

    /// Whether the peer is known to have closed its side.
    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Whether there may be something to read.
    pub(super) fn is_readable(&self) -> bool {
        self.readable
    }

    pub(super) fn read(&mut self, into: &mut [u8]) -> ReadResult {
        loop {
            match self.stream.read(into) {
                Ok(0) if self.broken => return ReadResult::Broken,
                Ok(0) => return ReadResult::Eof,
                Ok(length) => {
                    // Less than asked for: the kernel has no more, and tells of what comes. Not of an end that it has told of already.
                    self.readable = length == into.len() || self.closing;
                    return ReadResult::Bytes(length);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.broken => {
                    self.readable = false;
                    return ReadResult::WouldBlock;
                }
                Err(_) => return ReadResult::Broken,
            }
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> WriteResult {
        if !self.writable {
            return WriteResult::WouldBlock;
        }
        loop {
            match self.stream.write(bytes) {
                Ok(length) if length > 0 => return WriteResult::Bytes(length),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.writable = false;
                    return WriteResult::WouldBlock;
                }
                Ok(_) | Err(_) => {
                    self.broken = true;
                    self.readable = true;
                    return WriteResult::Broken;
                }
            }
        }
    }

    /// Passes on that no more will come. A socket whose peer is gone has nobody to tell.
    pub(super) fn finish(&self) {
        let _nobody_there = self.stream.shutdown(Shutdown::Write);
    }

    /// Closes with RST instead of FIN, whatever is still on its way.
    pub(super) fn reset(self) {
        reset(&self.stream);
    }
}

/// Lets the next close of a socket send RST.
pub(super) fn reset(stream: &TcpStream) {
    let _only_a_fin = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
