//! What the proxy costs, on a real Redis: direct, through the proxy, and through the simplest proxy that tokio can make, in rounds of each in
//! turn, so that a busy machine slows all alike. Then how exact a delay of 50 ms is. `just proxy-cost` prints these tables, and fails
//! where a limit is passed.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cacheproof_core::scenario::{ConnectionScope, Direction, LinkFault, LinkFaultKind};
use cacheproof_proxy::Proxy;
use tokio::runtime::Runtime;

const ROUNDS: usize = 60;
const CALLS: usize = 200;
const DELAY: Duration = Duration::from_millis(50);
/// Round trip that may be added, at the median.
const LIMIT: Duration = Duration::from_micros(60);
/// How far from the set delay the median may be.
const LIMIT_OF_DELAY: Duration = Duration::from_millis(2);

struct Redis {
    child: Child,
    address: SocketAddr,
}

impl Redis {
    fn start() -> Self {
        let address =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr()).expect("a free port");
        let child = Command::new("redis-server")
            .args(["--port", &address.port().to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server: `just setup` installs it");
        let redis = Self { child, address };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "redis-server does not listen");
            thread::sleep(Duration::from_millis(5));
        }
        redis
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).expect("a connection");
    stream.set_nodelay(true).expect("an open socket");
    stream
}

/// The simplest proxy: two tasks' worth of `copy_bidirectional` on a runtime.
fn simplest(runtime: &Runtime, to: SocketAddr) -> SocketAddr {
    let listener = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a port");
    let address = listener.local_addr().expect("a bound socket");
    runtime.spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = tokio::net::TcpStream::connect(to).await?;
                client.set_nodelay(true)?;
                server.set_nodelay(true)?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    address
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn request(stream: &mut TcpStream, request: &[u8], answer: &mut [u8]) {
    stream.write_all(request).expect("Redis takes a request");
    stream.read_exact(answer).expect("Redis answers");
}

/// Median round trip of each way, over all rounds.
fn round_trips(ways: &[SocketAddr], command: &[u8], length: usize, calls: usize) -> Vec<Duration> {
    let mut streams: Vec<_> = ways.iter().map(|way| connect(*way)).collect();
    let mut answer = vec![0; length];
    let mut medians = vec![Vec::new(); ways.len()];
    for _ in 0..ROUNDS {
        for (stream, medians) in streams.iter_mut().zip(&mut medians) {
            let times = (0..calls).map(|_| {
                let start = Instant::now();
                request(stream, command, &mut answer);
                start.elapsed()
            });
            medians.push(median(times.collect()));
        }
    }
    medians.into_iter().map(median).collect()
}

fn connections(ways: &[SocketAddr]) -> Vec<Duration> {
    let mut times = vec![Vec::new(); ways.len()];
    for _ in 0..ROUNDS * 5 {
        for (way, times) in ways.iter().zip(&mut times) {
            let start = Instant::now();
            request(&mut connect(*way), b"PING\r\n", &mut [0; 7]);
            times.push(start.elapsed());
        }
    }
    times.into_iter().map(median).collect()
}

/// Prints a line. Gives whether the limit was kept.
fn show(what: &str, times: &[Duration], limit: Option<Duration>) -> bool {
    let direct = times[0];
    print!("{what:<44}");
    for time in times {
        print!("{:>10.1}", time.as_secs_f64() * 1e6);
    }
    let added = time_added(direct, times[1]);
    print!("{added:>10.1}");
    match limit.map(|limit| limit.as_secs_f64() * 1e6) {
        Some(limit) => {
            let kept = added <= limit;
            println!("{limit:>8.0}{}", if kept { "" } else { " passed" });
            kept
        }
        None => {
            println!();
            true
        }
    }
}

fn time_added(direct: Duration, through: Duration) -> f64 {
    (through.as_secs_f64() - direct.as_secs_f64()) * 1e6
}

/// A runtime with two workers that are busy, as with a load generator's tasks: 200 µs of work each, then the next one's turn.
fn busy(tasks: usize) -> (Runtime, Arc<AtomicBool>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let on = Arc::new(AtomicBool::new(false));
    for _ in 0..tasks {
        let on = Arc::clone(&on);
        runtime.spawn(async move {
            loop {
                if on.load(Ordering::Relaxed) {
                    let start = Instant::now();
                    while start.elapsed() < Duration::from_micros(200) {
                        std::hint::spin_loop();
                    }
                    tokio::task::yield_now().await;
                } else {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        });
    }
    (runtime, on)
}

/// Round trips of a pipelined connection: one PING a millisecond, whatever has been answered.
fn pipelined(to: SocketAddr) -> Vec<Duration> {
    let mut sender = connect(to);
    let mut receiver = sender.try_clone().expect("a descriptor");
    request(&mut sender, b"PING\r\n", &mut [0; 7]);
    let count = 2_000;
    let sending = thread::spawn(move || {
        let start = Instant::now();
        let send = |index: u32| {
            thread::sleep((Duration::from_millis(1) * index).saturating_sub(start.elapsed()));
            let at = Instant::now();
            sender.write_all(b"PING\r\n").expect("Redis takes a request");
            at
        };
        (0..count).map(send).collect::<Vec<_>>()
    });
    let receive = |_| {
        receiver.read_exact(&mut [0; 7]).expect("Redis answers");
        Instant::now()
    };
    let received: Vec<_> = (0..count).map(receive).collect();
    let sent = sending.join().expect("the sender");
    received.into_iter().zip(sent).map(|(received, sent)| received.saturating_duration_since(sent)).collect()
}

fn main() -> ExitCode {
    let redis = Redis::start();
    let proxy = Proxy::start(None, redis.address, 1).expect("a proxy");
    let alone = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (shared, load) = busy(6);
    let ways = [redis.address, proxy.address(), simplest(&alone, redis.address), simplest(&shared, redis.address)];
    let value = vec![b'x'; 1 << 20];
    let mut setting = connect(redis.address);
    for (key, length) in [("small", 1 << 10), ("large", 1 << 20)] {
        let head = format!("*3\r\n$3\r\nSET\r\n$5\r\n{key}\r\n${length}\r\n");
        request(&mut setting, &[head.as_bytes(), &value[..length], b"\r\n"].concat(), &mut [0; 5]);
    }

    println!(
        "{:<44}{:>10}{:>10}{:>10}{:>10}{:>10}{:>8}",
        "µs, median of interleaved rounds", "direct", "proxy", "tokio", "shared", "added", "limit"
    );
    // On an idle machine two who talk to each other share a core, which a third that is awake drives apart: directly is also
    // measured while nothing goes through a proxy, and the faster counts.
    let small = |command: &[u8], length| {
        let alone = round_trips(&ways[..1], command, length, CALLS)[0];
        let mut times = round_trips(&ways, command, length, CALLS);
        times[0] = times[0].min(alone);
        times
    };
    let mut kept = show("PING", &small(b"PING\r\n", 7), Some(LIMIT));
    kept &= show("GET of 1 KiB", &small(b"GET small\r\n", (1 << 10) + 9), Some(LIMIT));
    let large = round_trips(&ways, b"GET large\r\n", (1 << 20) + 12, 5);
    show("GET of 1 MiB", &large, None);
    show("connect, PING, close", &connections(&ways), None);
    load.store(true, Ordering::Relaxed);
    show("PING while two cores are busy", &round_trips(&ways[..], b"PING\r\n", 7, 10), None);
    load.store(false, Ordering::Relaxed);
    let speed = |time: Duration| (1 << 20) as f64 / 1e6 / time.as_secs_f64();
    println!("GET of 1 MiB: {:.0} MB/s direct, {:.0} MB/s through the proxy", speed(large[0]), speed(large[1]));

    let delay = LinkFaultKind::Latency { delay: DELAY, jitter: Duration::ZERO };
    let fault =
        LinkFault { kind: delay, direction: Direction::ToClient, share: 1.0, connection_scope: ConnectionScope::All };
    let injected = proxy.inject(&fault, None);
    let serial = round_trips(&ways[1..2], b"PING\r\n", 7, 1)[0];
    let mut times = pipelined(proxy.address());
    proxy.remove(injected.id);
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 1000].as_secs_f64() * 1e3;
    let exact = (at(500) - DELAY.as_secs_f64() * 1e3).abs() <= LIMIT_OF_DELAY.as_secs_f64() * 1e3;
    println!(
        "\n{:<44}{:>10}{:>10}{:>10}{:>10}{:>18}",
        "ms, a delay of 50 ms is set", "p50", "p95", "p99", "max", "limit of p50"
    );
    println!("{:<44}{:>10.2}", "PING, one after another", serial.as_secs_f64() * 1e3);
    println!(
        "{:<44}{:>10.2}{:>10.2}{:>10.2}{:>10.2}{:>18}",
        "PING every millisecond, pipelined",
        at(500),
        at(950),
        at(990),
        at(1000),
        format!("50 ± {}{}", LIMIT_OF_DELAY.as_millis(), if exact { "" } else { " passed" }),
    );
    println!("{:<44}{:>10.2}", "the same without the fault", median(pipelined(proxy.address())).as_secs_f64() * 1e3);
    if kept && exact { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
