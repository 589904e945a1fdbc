//! What cacheproof's own proxy adds to a round trip, measured in the run itself: PINGs to Redis, some straight and some
//! through the proxy in turn, so that a busy machine slows both alike, and one after another, as under load. Straight ones come
//! before that, too, and the faster count: on an idle machine two who talk to each other share a core, which a third that is
//! awake drives apart.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use cacheproof_core::journal::ProxyCost;
use cacheproof_stack::Stack;

/// Round trips each way.
const MAX_ROUND_TRIPS: usize = 300;
/// Round trips in a row one way. Of fewer the median says little.
const ROUND_TRIPS_PER_TURN: usize = 50;
/// A slow machine makes fewer in this time.
const MAX_DURATION: Duration = Duration::from_millis(400);
/// How long an answer may take; a server that is slower is measured by others.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(200);

/// `None` where the app goes straight, where TLS hides what passes, or where the server does not answer so fast.
pub(crate) async fn measure(stack: &Stack) -> Option<ProxyCost> {
    let redis = stack.redis.as_ref()?;
    let node = redis.nodes().iter().find(|node| node.proxy.is_some() && node.server.url().starts_with("redis://"))?;
    let proxy = node.proxy.as_ref()?.address();
    let facts = redis.facts().nodes.iter().find(|facts| facts.name == node.name)?;
    let server = facts.address.to_socket_addrs().ok()?.next()?;
    // Off the runtime: its turns would be measured as well.
    tokio::task::spawn_blocking(move || measure_in_turn(server, proxy)).await.ok().flatten()
}

fn measure_in_turn(server: SocketAddr, proxy: SocketAddr) -> Option<ProxyCost> {
    let (mut straight, mut through) = (connect(server)?, connect(proxy)?);
    // The first opens the proxy's own connection.
    ping(&mut straight)?;
    ping(&mut through)?;
    let begun = Instant::now();
    let mut alone = Vec::new();
    while alone.len() < MAX_ROUND_TRIPS / 3 && begun.elapsed() < MAX_DURATION / 4 {
        alone.push(ping(&mut straight)?);
    }
    let begun = Instant::now();
    let (mut direct, mut by_proxy) = (Vec::new(), Vec::new());
    while direct.len() < MAX_ROUND_TRIPS && begun.elapsed() < MAX_DURATION {
        for _ in 0..ROUND_TRIPS_PER_TURN {
            direct.push(ping(&mut straight)?);
        }
        for _ in 0..ROUND_TRIPS_PER_TURN {
            by_proxy.push(ping(&mut through)?);
        }
    }
    let round_trips = direct.len() as u64;
    let direct = median(alone).min(median(direct));
    // Noise may make the proxy the faster way; then it costs nothing that can be seen.
    Some(ProxyCost { round_trips, direct, added: median(by_proxy).saturating_sub(direct) })
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

/// One round trip, nanoseconds. That a password is missing is an answer, too.
fn ping(stream: &mut BufReader<TcpStream>) -> Option<u64> {
    let mut answer = Vec::new();
    let begun = Instant::now();
    stream.get_mut().write_all(b"PING\r\n").ok()?;
    stream.read_until(b'\n', &mut answer).ok()?;
    let took = begun.elapsed();
    let answered = answer.first().is_some_and(|first| matches!(first, b'+' | b'-'));
    answered.then(|| u64::try_from(took.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpListener;

    use super::*;

    /// Answers each PING after so long.
    fn server(late: Duration, answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut asked = [0; 6];
                while stream.read_exact(&mut asked).is_ok() {
                    std::thread::sleep(late);
                    if stream.write_all(answer).is_err() {
                        break;
                    }
                }
            }
        });
        address
    }

    #[test]
    fn what_the_second_way_takes_longer_is_what_it_adds() {
        let quick = server(Duration::ZERO, b"-NOAUTH Authentication required.\r\n");
        let slow = server(Duration::from_millis(2), b"+PONG\r\n");
        let cost = measure_in_turn(quick, slow).expect("both answer");
        assert!(cost.added > 1_000_000, "{cost:?}");
        assert!(
            cost.round_trips >= ROUND_TRIPS_PER_TURN as u64 && cost.round_trips <= MAX_ROUND_TRIPS as u64,
            "{cost:?}"
        );
        assert_eq!(measure_in_turn(slow, quick).map(|cost| cost.added), Some(0), "a gain is no cost");
    }

    #[test]
    fn a_server_that_does_not_answer_a_ping_is_not_waited_for() {
        let begun = Instant::now();
        assert_eq!(
            measure_in_turn(server(Duration::ZERO, b"HTTP/1.1 400\r\n"), server(Duration::ZERO, b"+PONG\r\n")),
            None
        );
        let closed = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
        assert_eq!(measure_in_turn(closed, closed), None);
        assert!(begun.elapsed() < ANSWER_TIMEOUT * 10);
    }
}
