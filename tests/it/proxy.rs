//! The proxy in front of a real Redis.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cacheproof::proxy::Proxy;
use cacheproof::scenario::{ConnectionScope, Direction, LinkFault, LinkFaultKind};
use redis::Connection;

const TIMEOUT: Duration = Duration::from_secs(20);

struct Redis {
    child: Child,
    address: SocketAddr,
}

impl Redis {
    fn start(address: SocketAddr) -> Self {
        let child = Command::new("redis-server")
            .args(["--port", &address.port().to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let redis = Self { child, address };
        until("Redis to listen", || TcpStream::connect(address).is_ok());
        redis
    }

    fn kill(mut self) -> SocketAddr {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.address
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _gone_already = self.child.wait();
    }
}

fn free_address() -> SocketAddr {
    // Not from the range for outgoing connections: a client that reconnects could get this port and reach itself.
    (Ipv4Addr::LOCALHOST, cacheproof::stack::free_port().unwrap()).into()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !done() {
        assert!(Instant::now() < deadline, "timed out waiting for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn client(address: SocketAddr) -> Connection {
    let connection = redis::Client::open(format!("redis://{address}")).unwrap().get_connection().unwrap();
    connection.set_read_timeout(Some(TIMEOUT)).unwrap();
    connection
}

fn ping(connection: &mut Connection) -> redis::RedisResult<String> {
    redis::cmd("PING").query(connection)
}

#[test]
fn a_killed_redis_is_refused_through_the_proxy_and_comes_back_on_the_same_port() {
    let redis = Redis::start(free_address());
    let proxy = Proxy::start(None, redis.address, 1).unwrap();
    let mut open = client(proxy.address());
    ping(&mut open).unwrap();
    let address = redis.kill();
    let lost = ping(&mut open).unwrap_err();
    assert!(lost.is_connection_dropped(), "{lost}");
    until("the proxy to refuse", || {
        TcpStream::connect(proxy.address()).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    let redis = Redis::start(address);
    until("the proxy to accept", || TcpStream::connect(proxy.address()).is_ok());
    ping(&mut client(proxy.address())).unwrap();
    drop(redis);
}

#[test]
fn a_pipeline_through_latency_takes_the_delay_once_and_a_reset_ends_an_idle_connection() {
    let redis = Redis::start(free_address());
    let proxy = Proxy::start(None, redis.address, 1).unwrap();
    let fault =
        |kind| LinkFault { kind, direction: Direction::ToClient, share: 1.0, connection_scope: ConnectionScope::All };
    let delay = Duration::from_millis(100);
    let mut connection = client(proxy.address());
    let latency = proxy.inject(&fault(LinkFaultKind::Latency { delay, jitter: Duration::ZERO }), None);
    assert_eq!(latency.connections, 1);
    let mut pipeline = redis::pipe();
    for key in 0..1000 {
        pipeline.set(key, "value".repeat(100)).get(key);
    }
    let start = Instant::now();
    let answers: Vec<redis::Value> = pipeline.query(&mut connection).unwrap();
    let took = start.elapsed();
    assert_eq!(answers.len(), 2000);
    assert!(took >= delay && took < delay * 20, "{took:?}");
    assert_eq!(proxy.remove(latency.id).connections, 1);
    ping(&mut connection).unwrap();
    let reset = proxy.inject(&fault(LinkFaultKind::Reset), None);
    assert_eq!(reset.connections, 1);
    let lost = ping(&mut connection).unwrap_err();
    assert!(lost.is_io_error() || lost.is_connection_dropped(), "{lost}");
    proxy.remove(reset.id);
    ping(&mut client(proxy.address())).unwrap();
}
