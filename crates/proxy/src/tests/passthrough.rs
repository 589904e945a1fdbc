//! Without a fault, both ends behave as without a proxy.

use std::net::Shutdown;
use std::thread;

use super::*;

#[test]
fn fin_is_forwarded_as_fin_and_the_other_direction_stays_open() {
    let fixture = ProxyFixture::new();
    let mut pair = fixture.pair();
    pair.client.shutdown(Shutdown::Write).unwrap();
    assert_fin(&mut pair.server);
    assert_passes(&mut pair.server, &mut pair.client, b"answer after the client's FIN");
    pair.server.shutdown(Shutdown::Write).unwrap();
    assert_fin(&mut pair.client);
    fixture.wait_for_open(0);
    let mut pair = fixture.pair();
    pair.server.shutdown(Shutdown::Write).unwrap();
    assert_fin(&mut pair.client);
    assert_passes(&mut pair.client, &mut pair.server, b"to a server that has ended its stream");
    assert_eq!(fixture.proxy.stats().resets, 0);
}

#[test]
fn rst_is_forwarded_as_rst_in_each_direction() {
    let fixture = ProxyFixture::new();
    let mut pair = fixture.pair();
    reset(pair.client);
    assert_reset(&mut pair.server);
    let mut pair = fixture.pair();
    reset(pair.server);
    assert_reset(&mut pair.client);
    fixture.wait_for_open(0);
    assert_eq!(fixture.proxy.stats().resets, 2);
}

#[test]
fn a_write_to_a_closed_peer_ends_in_an_error_as_without_a_proxy() {
    let fixture = ProxyFixture::new();
    let mut pair = fixture.pair();
    drop(pair.server);
    assert_fin(&mut pair.client);
    until("an error", || pair.client.write_all(b"anybody there?").is_err());
    fixture.wait_for_open(0);
}

#[test]
fn all_bytes_arrive_in_order_in_both_directions_with_all_shaping_faults_at_once() {
    let fixture = ProxyFixture::new();
    let mut pair = fixture.pair();
    fixture.inject(latency(5, 10));
    fixture.inject(LinkFaultKind::Slice { size: 10_000, gap: Duration::from_micros(100) });
    fixture.inject(LinkFaultKind::Bandwidth { bytes: 20_000_000 });
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|index| (index % 251) as u8).collect();
    let senders = [pair.client.try_clone().unwrap(), pair.server.try_clone().unwrap()].map(|mut stream| {
        let bytes = bytes.clone();
        thread::spawn(move || stream.write_all(&bytes).unwrap())
    });
    let mut server = pair.server.try_clone().unwrap();
    let length = bytes.len();
    let at_server = thread::spawn(move || receive(&mut server, length));
    assert!(receive(&mut pair.client, bytes.len()) == bytes, "to the client");
    assert!(at_server.join().unwrap() == bytes, "to the server");
    for sender in senders {
        sender.join().unwrap();
    }
    // Bytes are counted after they were written.
    until("all bytes are counted", || {
        let stats = fixture.proxy.stats();
        stats.to_client >= 3_000_000 && stats.to_server >= 3_000_000
    });
}

#[test]
fn a_receiver_that_does_not_read_stops_the_sender() {
    let fixture = ProxyFixture::new();
    for delayed in [false, true] {
        let mut pair = fixture.pair();
        if delayed {
            fixture.inject(latency(1, 0));
        }
        pair.client.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut sent = 0;
        let piece = vec![7; 1 << 16];
        while let Ok(length) = pair.client.write(&piece) {
            sent += length;
            // What both kernels hold is less than 30 MB by default.
            assert!(sent < 100 << 20, "{sent} bytes were taken");
        }
        let received = receive(&mut pair.server, sent);
        assert!(received.iter().all(|byte| *byte == 7));
    }
}

#[test]
fn thousands_of_short_connections_leave_none_open() {
    let fixture = ProxyFixture::new();
    for round in 0..3_000_u32 {
        let mut client = fixture.connect();
        client.write_all(&round.to_be_bytes()).unwrap();
        let mut server = fixture.accept();
        let word = receive(&mut server, 4);
        server.write_all(&word).unwrap();
        // Each end closes first in turn, so that both get connections in TIME_WAIT.
        if round.is_multiple_of(2) {
            drop(server);
        }
        assert_eq!(receive(&mut client, 4), round.to_be_bytes());
    }
    fixture.wait_for_open(0);
    let stats = fixture.proxy.stats();
    assert_eq!((stats.accepted, stats.to_server, stats.to_client), (3_000, 12_000, 12_000));
}

#[test]
fn stop_closes_every_connection_and_releases_the_port() {
    let fixture = ProxyFixture::new();
    let mut pairs: Vec<_> = (0..20).map(|_| fixture.pair()).collect();
    fixture.inject(LinkFaultKind::BlackHole);
    fixture.proxy.stop();
    for pair in &mut pairs {
        assert_fin(&mut pair.client);
        assert_fin(&mut pair.server);
    }
    assert_refused(fixture.try_connect());
    fixture.proxy.stop();
    assert_eq!(fixture.inject(LinkFaultKind::Reset).connections, 0);
    assert_eq!(fixture.proxy.stats().open, 0);
    let again = Proxy::start(Some(fixture.proxy.address().port()), fixture.server.local_addr().unwrap(), 1).unwrap();
    assert_eq!(again.address(), fixture.proxy.address());
    let second = Proxy::start(Some(again.address().port()), unused_address(), 1);
    assert_eq!(second.unwrap_err().kind(), ErrorKind::AddrInUse);
}
