//! A probe's own connection through a proxy.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How a probe speaks to the server behind a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Redis' protocol, with user (may be empty) and password (may be empty).
    Redis(String, String),
    /// Postgres' first words; a connection can be asked once.
    Postgres,
    /// TLS: nothing that a probe says is understood, but there is an answer to it. A connection can be asked once.
    Tls,
}

impl Protocol {
    /// Whether an answer can be made as large as one likes.
    pub(super) fn can_echo(&self) -> bool {
        matches!(self, Self::Redis(..))
    }

    /// With how many bytes it can be asked: Postgres takes 10,000 before anybody has logged in, a TLS record holds 16 KiB.
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

/// What an idle connection turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdleState {
    /// Open, nothing said.
    Open,
    /// Closed in order.
    Closed,
    /// Reset.
    Reset,
}

impl ProbeConnection {
    /// Connects; nothing is said yet.
    pub(super) async fn open(address: SocketAddr, protocol: &Protocol) -> std::io::Result<Self> {
        let connect = TcpStream::connect(address);
        let stream =
            tokio::time::timeout(Duration::from_secs(1), connect).await.map_err(|_| std::io::ErrorKind::TimedOut)??;
        Ok(Self::from_stream(stream, protocol))
    }

    /// On a connection that is there.
    pub(super) fn from_stream(stream: TcpStream, protocol: &Protocol) -> Self {
        let _slower_at_worst = stream.set_nodelay(true);
        Self { stream, protocol: protocol.clone(), authenticated: false }
    }

    /// Where it is connected from.
    pub(super) fn port(&self) -> Option<u16> {
        self.stream.local_addr().ok().map(|address| address.port())
    }

    /// Asks, with about so many bytes, which come back where the server can echo. Gives how long the answer took.
    pub(super) async fn round_trip(&mut self, bytes: usize, timeout: Duration) -> std::io::Result<Duration> {
        let asked = async {
            match self.protocol.clone() {
                Protocol::Redis(user, password) => {
                    if !self.authenticated && !password.is_empty() {
                        let arguments: &[&str] =
                            if user.is_empty() { &["AUTH", &password] } else { &["AUTH", &user, &password] };
                        self.stream.write_all(&encode_command(arguments)).await?;
                        self.read_reply(0).await?;
                    }
                    self.authenticated = true;
                    let begun = Instant::now();
                    self.stream.write_all(&encode_command(&["PING", &"x".repeat(bytes.max(1))])).await?;
                    self.read_reply(bytes).await?;
                    Ok(begun.elapsed())
                }
                Protocol::Postgres => {
                    let begun = Instant::now();
                    // SSLRequest: answered by a single byte, when all of it is there, however long it is.
                    let length = bytes.max(8);
                    let mut request = (length as u32).to_be_bytes().to_vec();
                    request.extend([4, 210, 22, 47]);
                    request.resize(length, 0);
                    self.stream.write_all(&request).await?;
                    self.read_any().await?;
                    Ok(begun.elapsed())
                }
                Protocol::Tls => {
                    let begun = Instant::now();
                    // A greeting without meaning: refused when the whole record is there.
                    let length = bytes.saturating_sub(5).max(16);
                    let mut record = vec![22, 3, 1];
                    record.extend((length as u16).to_be_bytes());
                    record.resize(5 + length, 0);
                    self.stream.write_all(&record).await?;
                    self.read_any().await?;
                    Ok(begun.elapsed())
                }
            }
        };
        tokio::time::timeout(timeout, asked).await.map_err(|_| std::io::ErrorKind::TimedOut)?
    }

    /// Whatever comes, be it the end.
    async fn read_any(&mut self) -> std::io::Result<()> {
        let mut any = [0; 256];
        self.stream.read(&mut any).await.map(|_| ())
    }

    /// One reply of Redis with at least so many bytes in it. An error is an answer, too.
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

    /// Looks at a connection on which nothing is said, for a moment.
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
