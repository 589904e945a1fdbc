//! A probe's connection through a proxy.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The protocol of the server behind a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// The protocol of Redis, with user and password, each may be empty.
    Redis(String, String),
    /// Postgres' `SSLRequest`; one round trip for each connection.
    Postgres,
    /// TLS: an invalid record, which the server answers with an alert; one round trip for each connection.
    Tls,
}

impl Protocol {
    /// Whether the size of the answer can be chosen, and a connection used again.
    pub(super) fn can_echo(&self) -> bool {
        matches!(self, Self::Redis(..))
    }

    /// The largest request: Postgres accepts 10,000 bytes before the log-in, a TLS record has up to 16 KiB.
    pub(super) fn max_request_bytes(&self) -> usize {
        match self {
            Self::Redis(..) => 1 << 20,
            Self::Postgres => 10_000,
            Self::Tls => (1 << 14) + 5,
        }
    }
}

/// A connection through a proxy.
#[derive(Debug)]
pub(super) struct ProbeConnection {
    stream: TcpStream,
    protocol: Protocol,
    authenticated: bool,
}

/// The state of an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdleState {
    /// Open.
    Open,
    /// Closed by FIN.
    Closed,
    /// Closed by RST.
    Reset,
}

impl ProbeConnection {
    /// Connects, and sends nothing yet.
    pub(super) async fn open(address: SocketAddr, protocol: &Protocol) -> std::io::Result<Self> {
        let connect = TcpStream::connect(address);
        let stream =
            tokio::time::timeout(Duration::from_secs(1), connect).await.map_err(|_| std::io::ErrorKind::TimedOut)??;
        Ok(Self::from_stream(stream, protocol))
    }

    /// From an open stream.
    pub(super) fn from_stream(stream: TcpStream, protocol: &Protocol) -> Self {
        let _ignored = stream.set_nodelay(true);
        Self { stream, protocol: protocol.clone(), authenticated: false }
    }

    /// Its local port.
    pub(super) fn port(&self) -> Option<u16> {
        self.stream.local_addr().ok().map(|address| address.port())
    }

    /// Sends a request of about this many bytes, which Redis echoes. Returns the duration.
    pub(super) async fn round_trip(&mut self, bytes: usize, timeout: Duration) -> std::io::Result<Duration> {
        let exchange = async {
            match self.protocol.clone() {
                Protocol::Redis(user, password) => {
                    if !self.authenticated && !password.is_empty() {
                        let arguments: &[&str] =
                            if user.is_empty() { &["AUTH", &password] } else { &["AUTH", &user, &password] };
                        self.stream.write_all(&encode_command(arguments)).await?;
                        self.read_reply(0).await?;
                    }
                    self.authenticated = true;
                    let start = Instant::now();
                    self.stream.write_all(&encode_command(&["PING", &"x".repeat(bytes.max(1))])).await?;
                    self.read_reply(bytes).await?;
                    Ok(start.elapsed())
                }
                Protocol::Postgres => {
                    let start = Instant::now();
                    // SSLRequest: answered with a single byte after all of it has arrived, whatever its length.
                    let length = bytes.max(8);
                    let mut request = (length as u32).to_be_bytes().to_vec();
                    request.extend([4, 210, 22, 47]);
                    request.resize(length, 0);
                    self.stream.write_all(&request).await?;
                    self.read_any().await?;
                    Ok(start.elapsed())
                }
                Protocol::Tls => {
                    let start = Instant::now();
                    // An invalid handshake: rejected after the whole record has arrived.
                    let length = bytes.saturating_sub(5).max(16);
                    let mut record = vec![22, 3, 1];
                    record.extend((length as u16).to_be_bytes());
                    record.resize(5 + length, 0);
                    self.stream.write_all(&record).await?;
                    self.read_any().await?;
                    Ok(start.elapsed())
                }
            }
        };
        tokio::time::timeout(timeout, exchange).await.map_err(|_| std::io::ErrorKind::TimedOut)?
    }

    /// Reads something, or the end.
    async fn read_any(&mut self) -> std::io::Result<()> {
        let mut any = [0; 256];
        self.stream.read(&mut any).await.map(|_| ())
    }

    /// Reads one reply of Redis with at least this many bytes, or an error.
    async fn read_reply(&mut self, bytes: usize) -> std::io::Result<()> {
        let mut got = Vec::with_capacity(bytes + 32);
        loop {
            if self.stream.read_buf(&mut got).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let is_error = got.first() == Some(&b'-');
            if got.ends_with(b"\r\n") && (is_error || got.len() >= bytes) {
                return Ok(());
            }
        }
    }

    /// The state of the connection, after waiting for this long.
    pub(super) async fn idle_state(&mut self, duration: Duration) -> IdleState {
        let mut any = [0; 256];
        match tokio::time::timeout(duration, self.stream.read(&mut any)).await {
            Err(_) => IdleState::Open,
            Ok(Ok(0)) => IdleState::Closed,
            Ok(Ok(_)) => IdleState::Open,
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionReset => IdleState::Reset,
            Ok(Err(_)) => IdleState::Closed,
        }
    }
}

fn encode_command(arguments: &[&str]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", arguments.len());
    for word in arguments {
        text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    text.into_bytes()
}
