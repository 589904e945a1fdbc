//! One new connection: TCP, TLS, log-in, first answer.

use super::url::Address;
use crate::config::ConfigError;
use crate::store::redis::config::{Credentials, TlsConfig};
use redis::aio::{MultiplexedConnection, PubSub};
use redis::io::tcp::socket2::{SockRef, TcpKeepalive};
use redis::{AsyncConnectionConfig, ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError, RedisResult};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// After this long without acknowledgement of what was sent, the kernel gives the connection up.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(2);

/// Knows how to speak to servers of one kind: whom to say one is, TLS or not, how long to wait.
#[derive(Clone)]
pub(in crate::store::redis) struct Dialer {
    login: RedisConnectionInfo,
    #[cfg(feature = "tls")]
    tls: Option<super::tls::Tls>,
    pub(super) patience: Duration,
    queue: usize,
}

/// A connection, and the task that moves its bytes: dropping that closes the connection, and whoever waits for an answer on it
/// learns at once.
pub(in crate::store::redis) struct Line {
    pub(in crate::store::redis) inner: MultiplexedConnection,
    pub(in crate::store::redis) driver: JoinSet<()>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Dialer {
    pub(super) fn new(
        credentials: &Credentials,
        database: i64,
        tls: Option<&TlsConfig>,
        patience: Duration,
        queue: usize,
    ) -> Result<Self, ConfigError> {
        let mut login =
            RedisConnectionInfo::default().set_db(database).set_lib_name("cache-layer", env!("CARGO_PKG_VERSION"));
        if let Some(username) = &credentials.username {
            login = login.set_username(username);
        }
        if let Some(password) = &credentials.password {
            login = login.set_password(password);
        }
        #[cfg(not(feature = "tls"))]
        if tls.is_some() {
            return Err(ConfigError::RedisUrlPart("TLS needs the feature `tls` of cache-layer: build with it"));
        }
        Ok(Self {
            login,
            #[cfg(feature = "tls")]
            tls: tls.map(super::tls::Tls::new).transpose()?,
            patience,
            queue,
        })
    }

    /// Connects and logs in. What the server sends unasked goes to `pushes`.
    pub(in crate::store::redis) async fn connect(
        &self,
        address: &Address,
        pushes: Option<UnboundedSender<PushInfo>>,
    ) -> RedisResult<Line> {
        let connecting = async {
            let stream = self.stream(address).await?;
            let mut login = self.login.clone();
            let mut config =
                AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(self.queue);
            if let Some(pushes) = pushes {
                config = config.set_push_sender(pushes);
                login = login.set_protocol(ProtocolVersion::RESP3);
            }
            let (inner, running) = MultiplexedConnection::new_with_config(&login, stream, config).await?;
            let mut driver = JoinSet::new();
            driver.spawn(running);
            Ok(Line { inner, driver })
        };
        timeout(self.patience, connecting).await.map_err(|_| silence())?
    }

    /// Connects for subscriptions.
    pub(in crate::store::redis) async fn pubsub(&self, address: &Address) -> RedisResult<PubSub> {
        let connecting = async { PubSub::new(&self.login, self.stream(address).await?).await };
        timeout(self.patience, connecting).await.map_err(|_| silence())?
    }

    /// Whether a server answers there: a connection and a `PING` that is thrown away. It does not log in; that it should is an
    /// answer, too. A frozen server accepts connections, so that accepting alone says nothing.
    pub(in crate::store::redis) async fn answers(&self, address: &Address) -> bool {
        let asking = async {
            let mut stream = self.stream(address).await?;
            stream.write_all(b"PING\r\n").await?;
            stream.flush().await?;
            let mut answer = [0; 64];
            let read = stream.read(&mut answer).await?;
            io::Result::Ok(answer[..read].starts_with(b"+PONG") || answer[..read].starts_with(b"-NOAUTH"))
        };
        matches!(timeout(self.patience, asking).await, Ok(Ok(true)))
    }

    async fn stream(&self, address: &Address) -> io::Result<Box<dyn Stream>> {
        let tcp = TcpStream::connect((address.host.as_str(), address.port)).await?;
        tcp.set_nodelay(true)?;
        let socket = SockRef::from(&tcp);
        let (idle, each) = (Duration::from_secs(5), Duration::from_secs(1));
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle).with_interval(each))?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return Ok(Box::new(tls.over(&address.host, tcp).await?));
        }
        Ok(Box::new(tcp))
    }
}

pub(in crate::store::redis) fn silence() -> RedisError {
    RedisError::from(io::Error::from(io::ErrorKind::TimedOut))
}
