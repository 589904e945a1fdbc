//! Faults that change when bytes arrive. Times are compared with each other, or with generous bounds, because the machine is shared.

use std::thread;

use super::*;

/// How long bytes take from one end to the other.
fn transfer_time(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) -> Duration {
    let start = Instant::now();
    assert_passes(from, to, bytes);
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[test]
fn latency_delays_only_its_direction_and_ends_when_removed() {
    let fixture = ProxyFixture::new();
    let mut pair = fixture.pair();
    let delay = Duration::from_millis(200);
    let one_way = LinkFault { direction: Direction::ToClient, ..fault(latency(200, 0)) };
    let injected = fixture.proxy.inject(&one_way, None);
    let to_client = transfer_time(&mut pair.server, &mut pair.client, b"late");
    assert!(to_client >= delay && to_client < delay * 10, "{to_client:?}");
    let to_server = median((0..5).map(|_| transfer_time(&mut pair.client, &mut pair.server, b"in time")).collect());
    assert!(to_server < delay / 2, "{to_server:?}");
    // When a delay of a minute is removed, delayed bytes arrive at once.
    let long = fixture.inject(latency(60_000, 0));
    pair.client.write_all(b"on its way").unwrap();
    assert_silent(&mut pair.server);
    fixture.proxy.remove(long.id);
    assert_eq!(receive(&mut pair.server, 10), b"on its way");
    fixture.proxy.remove(injected.id);
    let after = median((0..5).map(|_| transfer_time(&mut pair.server, &mut pair.client, b"in time")).collect());
    assert!(after < delay / 2, "{after:?}");
}

/// Sends one byte every 2 ms; returns how long each took.
fn pipelined_times(pair: &Pair, bytes: u8) -> Vec<Duration> {
    let mut sender = pair.server.try_clone().unwrap();
    let mut receiver = pair.client.try_clone().unwrap();
    let start = Instant::now();
    let sending = thread::spawn(move || {
        let send = |index: u8| {
            let at = start.elapsed();
            sender.write_all(&[index]).unwrap();
            thread::sleep(Duration::from_millis(2));
            at
        };
        (0..bytes).map(send).collect::<Vec<_>>()
    });
    let arrived: Vec<_> = (0..bytes)
        .map(|index| {
            assert_eq!(receive(&mut receiver, 1), [index], "in order");
            start.elapsed()
        })
        .collect();
    let sent = sending.join().unwrap();
    arrived.into_iter().zip(sent).map(|(arrived, sent)| arrived.saturating_sub(sent)).collect()
}

#[test]
fn latency_on_a_pipelined_connection_is_the_same_for_every_byte() {
    let fixture = ProxyFixture::new();
    let pair = fixture.pair();
    fixture.inject(latency(50, 0));
    let times = pipelined_times(&pair, 200);
    let set = Duration::from_millis(50);
    assert!(times.iter().all(|time| *time >= set), "{times:?}");
    // If each chunk slept after the one before, it would be 180 ms (noxious); if a chunk left with an earlier one, 27 ms.
    let median = median(times);
    assert!(median < set + Duration::from_millis(15), "{median:?}");
}

#[test]
fn jitter_keeps_the_order_and_may_be_larger_than_the_delay() {
    let fixture = ProxyFixture::new();
    let pair = fixture.pair();
    fixture.inject(latency(5, 30));
    let times = pipelined_times(&pair, 100);
    let most = times.iter().max().unwrap();
    assert!(*most >= Duration::from_millis(10), "{times:?}");
}

#[test]
fn fin_and_rst_are_delayed_like_the_bytes() {
    let fixture = ProxyFixture::new();
    fixture.inject(latency(150, 0));
    let Pair { mut client, server } = fixture.pair();
    let start = Instant::now();
    drop(server);
    assert_fin(&mut client);
    assert!(start.elapsed() >= Duration::from_millis(150));
    let Pair { client, mut server } = fixture.pair();
    let start = Instant::now();
    reset(client);
    assert_reset(&mut server);
    assert!(start.elapsed() >= Duration::from_millis(150));
}

#[test]
fn connections_under_one_bandwidth_share_it_fairly_and_directions_do_not() {
    let fixture = ProxyFixture::new();
    let pairs = [fixture.pair(), fixture.pair()];
    assert_eq!(fixture.inject(LinkFaultKind::Bandwidth { bytes: 1_000_000 }).connections, 2);
    let start = Instant::now();
    let threads: Vec<_> = pairs
        .iter()
        .flat_map(|pair| [(&pair.client, &pair.server), (&pair.server, &pair.client)])
        .map(|(from, to)| {
            let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            thread::spawn(move || {
                let sending = thread::spawn(move || from.write_all(&vec![1; 250_000]).unwrap());
                receive(&mut to, 250_000);
                let took = start.elapsed();
                sending.join().unwrap();
                took
            })
        })
        .collect();
    // 500 kB each way on 1 MB/s: half a second, less the burst.
    for took in threads.into_iter().map(|thread| thread.join().unwrap()) {
        assert!(took >= Duration::from_millis(400), "faster than the link, or than its fair share: {took:?}");
        assert!(took < Duration::from_secs(5), "slower than the link: {took:?}");
    }
}

#[test]
fn a_slice_splits_bytes_into_pieces_with_gaps() {
    let fixture = ProxyFixture::new();
    let mut pair = fixture.pair();
    fixture.inject(LinkFaultKind::Slice { size: 10, gap: Duration::from_millis(20) });
    let start = Instant::now();
    pair.client.write_all(&[5; 100]).unwrap();
    let mut pieces = Vec::new();
    let mut buffer = [0; 100];
    while pieces.iter().sum::<usize>() < 100 {
        pieces.push(pair.server.read(&mut buffer).unwrap());
    }
    assert!(start.elapsed() >= Duration::from_millis(180));
    assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece % 10 == 0), "{pieces:?}");
}

#[test]
fn faults_combine_and_each_is_removed_separately() {
    let fixture = ProxyFixture::new();
    let mut pair = fixture.pair();
    let first = fixture.inject(latency(100, 0));
    let second = fixture.inject(latency(150, 0));
    let black_hole = fixture.inject(LinkFaultKind::BlackHole);
    let both = Duration::from_millis(250);
    pair.client.write_all(b"held").unwrap();
    assert_silent(&mut pair.server);
    assert_eq!(fixture.proxy.remove(black_hole.id).connections, 1);
    assert_eq!(receive(&mut pair.server, 4), b"held");
    assert!(transfer_time(&mut pair.client, &mut pair.server, b"both") >= both);
    fixture.proxy.remove(first.id);
    let one = median((0..3).map(|_| transfer_time(&mut pair.client, &mut pair.server, b"one")).collect());
    assert!(one >= Duration::from_millis(150) && one < both, "{one:?}");
    fixture.proxy.remove(second.id);
    let none = median((0..5).map(|_| transfer_time(&mut pair.client, &mut pair.server, b"none")).collect());
    assert!(none < Duration::from_millis(100), "{none:?}");
    assert_eq!(fixture.proxy.remove(second.id).connections, 0, "it was removed before");
}
