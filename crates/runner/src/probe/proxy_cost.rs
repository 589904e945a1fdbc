//! What cacheproof's proxy adds to a round trip, measured in every run: PINGs to Redis, direct and through the proxy in
//! turn, so that a busy machine slows both equally. Direct PINGs are also measured before that, and the lower median counts:
//! on an idle machine client and server share a core, until the proxy's thread separates them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use cacheproof_core::journal::ProxyCost;
use cacheproof_stack::Stack;

/// Round trips on each of the two ways.
const MAX_ROUND_TRIPS: usize = 300;
/// Round trips in a row on one way. The median of fewer says little.
const ROUND_TRIPS_PER_TURN: usize = 50;
/// The time limit; a slow machine makes fewer round trips.
const MAX_DURATION: Duration = Duration::from_millis(400);
/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(200);

/// `None` if there is no proxy, if the connection uses TLS, or if the server is slower than the timeout.
pub(crate) async fn measure(stack: &Stack) -> Option<ProxyCost> {
    let redis = stack.redis.as_ref()?;
    let node = redis.nodes().iter().find(|node| node.proxy.is_some() && node.server.url().starts_with("redis://"))?;
    let proxy = node.proxy.as_ref()?.address();
    let facts = redis.facts().nodes.iter().find(|facts| facts.name == node.name)?;
    let server = facts.address.to_socket_addrs().ok()?.next()?;
    // Not on the runtime: its scheduling would be measured as well.
    tokio::task::spawn_blocking(move || measure_in_turn(server, proxy)).await.ok().flatten()
}

fn measure_in_turn(server: SocketAddr, proxy: SocketAddr) -> Option<ProxyCost> {
    let (mut to_server, mut to_proxy) = (connect(server)?, connect(proxy)?);
    // The proxy opens its own connection at the first PING.
    ping(&mut to_server)?;
    ping(&mut to_proxy)?;
    let start = Instant::now();
    let mut before = Vec::new();
    while before.len() < MAX_ROUND_TRIPS / 3 && start.elapsed() < MAX_DURATION / 4 {
        before.push(ping(&mut to_server)?);
    }
    let start = Instant::now();
    let (mut direct, mut proxied) = (Vec::new(), Vec::new());
    while direct.len() < MAX_ROUND_TRIPS && start.elapsed() < MAX_DURATION {
        for _ in 0..ROUND_TRIPS_PER_TURN {
            direct.push(ping(&mut to_server)?);
        }
        for _ in 0..ROUND_TRIPS_PER_TURN {
            proxied.push(ping(&mut to_proxy)?);
        }
    }
    let round_trips = direct.len() as u64;
    let direct = median(before).min(median(direct));
    // By chance the proxy can be the faster way; then the cost is 0.
    Some(ProxyCost { round_trips, direct, added: median(proxied).saturating_sub(direct) })
}

fn median<T: Ord + Copy>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    values[values.len() / 2]
}

fn connect(to: SocketAddr) -> Option<BufReader<TcpStream>> {
    let stream = TcpStream::connect_timeout(&to, ANSWER_TIMEOUT).ok()?;
    stream.set_nodelay(true).ok()?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).ok()?;
    Some(BufReader::new(stream))
}

/// One round trip in nanoseconds. An error (a missing password) is an answer, too.
fn ping(stream: &mut BufReader<TcpStream>) -> Option<u64> {
    let mut answer = Vec::new();
    let start = Instant::now();
    stream.get_mut().write_all(b"PING\r\n").ok()?;
    stream.read_until(b'\n', &mut answer).ok()?;
    let took = start.elapsed();
    let answered = answer.first().is_some_and(|first| matches!(first, b'+' | b'-'));
    answered.then(|| u64::try_from(took.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpListener;

    use super::*;

    /// Answers each PING after a delay.
    fn server(delay: Duration, answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = [0; 6];
                while stream.read_exact(&mut request).is_ok() {
                    std::thread::sleep(delay);
                    if stream.write_all(answer).is_err() {
                        break;
                    }
                }
            }
        });
        address
    }

    #[test]
    fn the_cost_is_the_difference_of_the_two_ways() {
        let quick = server(Duration::ZERO, b"-NOAUTH Authentication required.\r\n");
        let slow = server(Duration::from_millis(2), b"+PONG\r\n");
        let cost = measure_in_turn(quick, slow).expect("both answer");
        assert!(cost.added > 1_000_000, "{cost:?}");
        assert!(
            cost.round_trips >= ROUND_TRIPS_PER_TURN as u64 && cost.round_trips <= MAX_ROUND_TRIPS as u64,
            "{cost:?}"
        );
        assert_eq!(measure_in_turn(slow, quick).map(|cost| cost.added), Some(0), "never negative");
    }

    #[test]
    fn a_server_that_does_not_answer_a_ping_has_no_cost() {
        let start = Instant::now();
        assert_eq!(
            measure_in_turn(server(Duration::ZERO, b"HTTP/1.1 400\r\n"), server(Duration::ZERO, b"+PONG\r\n")),
            None
        );
        let closed = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
        assert_eq!(measure_in_turn(closed, closed), None);
        assert!(start.elapsed() < ANSWER_TIMEOUT * 10);
    }
}
